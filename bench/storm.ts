/**
 * Reconnect storms at full size, in virtual time, with the real global scheduler and its default options (test/kit/storm.ts). First every site of
 * 1,000 vanishes from view and comes back within 12 s; then the same again, and a few sites really died in it. Fails when any site that lives was
 * taken for more than suspect, anything of it was moved, one that died was not noticed, telemetry grew, or a lease was lost for want of time.
 * The processor time that passes take passes on the virtual clock too: who cannot keep up falls behind here as well.
 *   node24 bench/storm.ts [--sites 1000] [--applications 200] [--regions 20] [--client-regions 100] [--dead 0.02]
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { MemoryMesh } from '../test/kit/memory-mesh.ts';
import { percentile, runMesh } from '../test/kit/memory-run.ts';
import { reconnectStorm, settle, type Storm } from '../test/kit/storm.ts';

const { values } = parseArgs({ options: { sites: { type: 'string', default: '1000' }, applications: { type: 'string', default: '200' }, regions: { type: 'string', default: '20' }, 'client-regions': { type: 'string', default: '100' }, dead: { type: 'string', default: '0.02' }, seed: { type: 'string', default: '3' } } });
const [S, A, R, C] = [Number(values.sites), Number(values.applications), Number(values.regions), Number(values['client-regions'])];

const started = performance.now();
const mesh = new MemoryMesh({ regions: R, sites: S, clientRegions: C, applications: A, seed: Number(values.seed), now: Date.parse('2030-01-01T00:00:00Z') });
const from = mesh.now;
await mesh.start();
const mine = runMesh(mesh, { stepMs: 250, isCharged: true });
await settle(mesh, mine, { leastMs: 90_000, quietMs: 30_000, mostMs: 600_000 });
const all = await reconnectStorm(mesh, mine);
await settle(mesh, mine, { leastMs: 0, quietMs: 10_000, mostMs: 200_000 });
const dead = new Set<number>();
while (dead.size < Math.round(S * Number(values.dead))) dead.add(Math.floor(mesh.random() * S));
const some = await reconnectStorm(mesh, mine, { dead: [...dead] });
await mine.stop();

const ms = (v: number): string => `${v.toFixed(0)} ms`;
const both = (v: readonly number[]): string => `p50 ${ms(percentile(v, 0.5))}   p99 ${ms(percentile(v, 0.99))}`;
function print(title: string, s: Storm): void {
  const busy = s.passMs.reduce((sum, v) => sum + v, 0);
  console.log(title);
  console.log(`  living taken for lost  0; 0 of their instances moved; no lease lost`);
  console.log(`  back until reachable   ${both(s.absorbedMs)}   (${s.absorbedMs.length} sites in 10 s)`);
  if (s.lostMs.length > 0) console.log(`  dead until cut-off     ${both(s.lostMs)}   (${s.lostMs.length} sites)`);
  console.log(`  a pass, CPU time       ${both(s.passMs)}   max ${ms(Math.max(...s.passMs))}, the writes to the APIs in memory included; ${((100 * busy) / s.lastedMs).toFixed(0)} % of the time`);
  console.log(`  rows of telemetry      ${s.rows[0]} before, ${s.rows[1]} after`);
}
console.log(`${S} sites in ${R} regions, ${A} applications, ${C} client regions`);
print('all sites vanish and return within 12 s', all);
print(`the same, and ${dead.size} of them died`, some);
const ratio = (performance.now() - started) / (mesh.now - from);
console.log(`  real / virtual time    ${ratio.toFixed(2)}, APIs and sites played in the same process`);
const figures = (s: Storm): object => ({ passMs: { p50: percentile(s.passMs, 0.5), p99: percentile(s.passMs, 0.99) }, absorbedMs: { p50: percentile(s.absorbedMs, 0.5), p99: percentile(s.absorbedMs, 0.99) }, rows: s.rows });
console.log(JSON.stringify({ bench: 'storm', node: process.version, sites: S, applications: A, storm: figures(all), withDead: { ...figures(some), lostMs: { p50: percentile(some.lostMs, 0.5), p99: percentile(some.lostMs, 0.99) } }, ratio }));
for (const s of [all, some]) {
  assert.ok(percentile(s.passMs, 0.5) < 500, 'a pass in the storm takes less than half a second');
  assert.ok(percentile(s.passMs, 0.99) < 2_500, 'no pass comes near the time after which a lease is lost');
}
