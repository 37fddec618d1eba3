/**
 * A reconnect storm at full size: every site of 1,000 vanishes from view and comes back within 12 s (test/kit/storm.ts), in virtual time, with the
 * real global scheduler and its default options. Fails when any site was taken for more than suspect, anything was moved, or telemetry grew.
 * The whole takes minutes at this size: most of it plays the sites.
 *   node24 bench/storm.ts [--sites 1000] [--applications 4] [--regions 20] [--client-regions 100]
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { MemoryMesh } from '../test/kit/memory-mesh.ts';
import { percentile, runMesh } from '../test/kit/memory-run.ts';
import { deployments, reconnectStorm } from '../test/kit/storm.ts';

const { values } = parseArgs({ options: { sites: { type: 'string', default: '1000' }, applications: { type: 'string', default: '4' }, regions: { type: 'string', default: '20' }, 'client-regions': { type: 'string', default: '100' }, seed: { type: 'string', default: '3' } } });
const [S, A, R, C] = [Number(values.sites), Number(values.applications), Number(values.regions), Number(values['client-regions'])];

const mesh = new MemoryMesh({ regions: R, sites: S, clientRegions: C, applications: A, seed: Number(values.seed), now: Date.parse('2030-01-01T00:00:00Z') });
await mesh.start();
const mine = runMesh(mesh, { stepMs: 500 });
// what demand asks for at first must have been done, or it would look like the storm's doing
let [seen, since] = ['', mesh.now];
await mine.forMs(90_000, async () => {
  const now = (await deployments(mesh)).join();
  if (now !== seen) [seen, since] = [now, mesh.now];
  return mesh.now - since >= 12_000;
});
const { passMs, rows } = await reconnectStorm(mesh, mine);
await mine.stop();
const [p50, p99] = [percentile(passMs, 0.5), percentile(passMs, 0.99)];
console.log(`${S} sites in ${R} regions, ${A} applications, ${C} client regions; all sites vanish and return within 12 s`);
console.log(`  taken for lost      0 of ${S}; 0 moves`);
console.log(`  a pass, CPU time    p50 ${p50.toFixed(0)} ms   p99 ${p99.toFixed(0)} ms, the writes to the APIs in memory included`);
console.log(`  rows of telemetry   ${rows[0]} before, ${rows[1]} after`);
console.log(JSON.stringify({ bench: 'storm', node: process.version, sites: S, applications: A, passMs: { p50, p99 }, rows }));
assert.ok(p50 < 500, 'a pass in the storm takes less than half a second');
