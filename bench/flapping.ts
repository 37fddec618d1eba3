/**
 * Does the placement follow the day without flapping? Seven days of 40 cities (measured round trips, hourly demand), every policy over the same
 * requests: goal attainment, latency, cost and moves per application and day, side by side. Figures, not times: the load of the machine does not
 * matter. The same as `proxima simulate bench/flapping.yaml`, plus what is said of it, plus ours with the default weights: three of the four
 * applications say that money counts less for them, which buys latency; goals come before money with either.
 *
 *   node24 bench/flapping.ts [--policies ours,nearest-site] [--out DIR] [--json]
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { table } from '../cli/output.ts';
import type { PolicyFigures } from '../scheduler/simulate/figures.ts';
import { type Loaded, loadScenario, runScenario } from '../scheduler/simulate/main.ts';
import { HEAD, rowOf, writeReport } from '../scheduler/simulate/report.ts';

const root = join(import.meta.dirname, '..');
const valueOf = (name: string): string | undefined => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);

/** What of the claim holds: nobody is both as good and as cheap. */
function verdict(ours: PolicyFigures, p: PolicyFigures): string {
  const points = (ours.attainment - p.attainment) * 100;
  const cost = (ours.cost / p.cost - 1) * 100;
  const moves = `${ours.movesPerApplicationPerDay.toFixed(1)} against ${p.movesPerApplicationPerDay.toFixed(1)} moves per application and day`;
  const result = points >= 0 && cost <= 0 ? 'better and cheaper' : points >= 0 ? 'better, and dearer' : cost <= 0 ? 'cheaper, and less often in time' : 'WORSE AND DEARER';
  return `ours against ${p.policy}: ${points >= 0 ? '+' : ''}${points.toFixed(2)} points within the goal, ${cost >= 0 ? '+' : ''}${cost.toFixed(0)} % cost, ${moves}: ${result}`;
}

/** The same applications as if none of them had weights of its own. */
function withDefaultWeights(loaded: Loaded): Loaded {
  const applications = loaded.world.applications.map((a) => ({ ...a, policy: { ...a.policy, cost: {} } }));
  return { ...loaded, world: { ...loaded.world, applications } };
}

if (!existsSync(join(root, '..', 'shared', 'data', 'dev-40'))) {
  console.log('skipped: ../shared/data/dev-40 is not there');
} else {
  const policies = valueOf('--policies')?.split(',');
  const loaded = loadScenario(join(import.meta.dirname, 'flapping.yaml'));
  const onProgress = (policy: string, part: number): unknown => part === 1 && console.error(`${policy} done`);
  const results = runScenario(loaded, { ...(policies === undefined ? {} : { policies }), onProgress });
  const own = results.policies.map((p) => p.policy).filter((p) => p.startsWith('ours'));
  const plain = runScenario(withDefaultWeights(loaded), { policies: own, onProgress }).policies.map((p) => ({ ...p, policy: `${p.policy}, default weights` }));
  const all = [...results.policies.slice(0, own.length), ...plain, ...results.policies.slice(own.length)];
  const out = valueOf('--out');
  if (out !== undefined) await writeReport(results, out);
  const isJson = process.argv.includes('--json');
  if (isJson) console.log(JSON.stringify(all.map(({ regions: _r, points: _p, ...f }) => f)));
  else console.log(table(HEAD, all.map(rowOf)));
  const ours = results.policies.find((p) => p.policy === 'ours');
  for (const p of all) if (!isJson && ours !== undefined && p !== ours) console.log(verdict(ours, p));
}
