/**
 * How fast the simulator is: seconds of CPU for each policy over a shipped scenario, and how many times faster than life. Asserts that requests
 * were served and that every policy had the same ones before it says anything.
 *
 *   node24 bench/simulate.ts [scenario] [--policies ours,nearest-site]
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { loadScenario, runScenario } from '../scheduler/simulate/main.ts';

const scenario = process.argv[2]?.startsWith('--') === false ? process.argv[2] : 'day-1000-sites';
const at = process.argv.indexOf('--policies');
const loaded = loadScenario(scenario);
const policies = at < 0 ? loaded.scenario.policies : (process.argv[at + 1] ?? '').split(',');
const cpu = (): number => process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6;
const rows: Record<string, unknown>[] = [];
let requests: number | null = null;
for (const policy of policies) {
  const [before, began] = [cpu(), performance.now()];
  const [p] = runScenario(loaded, { policies: [policy] }).policies;
  const seconds = cpu() - before;
  assert.ok(p !== undefined && p.within > 0);
  assert.ok(requests === null || Math.abs(requests - p.requests) < 1, 'every policy has the same requests');
  requests = p.requests;
  rows.push({ policy, cpuSeconds: Math.round(seconds * 10) / 10, wallSeconds: Math.round((performance.now() - began) / 100) / 10, timesLife: Math.round((loaded.world.end - loaded.world.start) / 1000 / seconds), attainment: p.attainment, cost: Math.round(p.cost), moves: p.moves });
  console.log(JSON.stringify(rows.at(-1)));
}
console.log(JSON.stringify({ bench: 'simulate', scenario, sites: loaded.world.sites.length, clientRegions: loaded.world.regions.length, applications: loaded.world.applications.length, commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(), node: process.version, rows }));
