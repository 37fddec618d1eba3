/**
 * How soon clients are served again when a tenth of all sites fails at one moment: the real global scheduler with its default options, over regions
 * whose APIs are in memory and sites that are played (test/kit/memory-mesh.ts): a probe round each second, 900 ms until a probe counts as lost,
 * gateways that notice after 7 s, pods that are Ready 0.5 to 1 s after their deployment. The clock is the simulation's; the processor time that
 * passes take, with the writes to the in-memory APIs, passes on it too.
 *   node24 bench/failover.ts [--sites 1000] [--applications 200] [--regions 20] [--client-regions 100] [--share 0.1] [--after 0]
 * Counted from the moment when the sites stop answering until, per application that lost instances or a front, every one of its client regions has
 * a front, at a site that lives, that sends to Ready instances at sites that live and to nothing else.
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { MemoryMesh } from '../test/kit/memory-mesh.ts';
import { percentile, runMesh } from '../test/kit/memory-run.ts';

const { values } = parseArgs({ options: { sites: { type: 'string', default: '1000' }, applications: { type: 'string', default: '200' }, regions: { type: 'string', default: '20' }, 'client-regions': { type: 'string', default: '100' }, share: { type: 'string', default: '0.1' }, after: { type: 'string', default: '0' }, seed: { type: 'string', default: '1' } } });
const [S, A, R, C, afterSeconds] = [Number(values.sites), Number(values.applications), Number(values.regions), Number(values['client-regions']), Number(values.after)];

const mesh = new MemoryMesh({ regions: R, sites: S, clientRegions: C, applications: A, seed: Number(values.seed), now: Date.now(), policyOf: (a) => ({ instances: { min: a % 2 === 0 ? 1 : 2, max: 8 }, ...(a % 2 === 0 ? {} : { spread: { over: 'site', min: 2 } }), unreachable: { action: 'duplicate', afterSeconds } }) });
await mesh.start();
const { scheduler, passMs, stop, forMs } = runMesh(mesh, { stepMs: 50, isCharged: true });

async function unserved(): Promise<Set<number>> {
  const addresses = await mesh.addresses();
  const out = new Set<number>();
  for (let a = 0; a < A; a++) if ((await mesh.unserved(a, addresses)).length > 0) out.add(a);
  return out;
}

let quietSince = 0;
let lookedAt = 0;
await forMs(400_000, async () => {
  if (mesh.now - lookedAt < 1_000) return false;
  lookedAt = mesh.now;
  if ((await unserved()).size > 0 || percentile(passMs.slice(-15), 0.8) > 100) quietSince = 0;
  else if (quietSince === 0) quietSince = mesh.now;
  return quietSince > 0 && mesh.now - quietSince > 20_000;
});
assert.ok(quietSince > 0, 'every application is served before anything fails');
const quiet = passMs.slice(-200);
const failing = new Set<number>();
while (failing.size < S * Number(values.share)) failing.add(Math.floor(mesh.random() * S));
for (const s of failing) mesh.kill(s);
const at = mesh.now;
const affected = await unserved();
const restored = new Map<number, number>();
const detected = new Map<string, number>();
passMs.length = 0;
await forMs(20_000 + afterSeconds * 1_000, async () => {
  for (const [name, state] of scheduler.states) if (!detected.has(name) && (state.reach === 'cut-off' || state.reach === 'down')) detected.set(name, mesh.now - at);
  const still = await unserved();
  for (const a of still) {
    affected.add(a);
    restored.delete(a);
  }
  for (const a of affected) if (!still.has(a) && !restored.has(a)) restored.set(a, mesh.now - at);
  return restored.size === affected.size && detected.size >= failing.size && mesh.now - at > 12_000;
});
const wrong = [...detected.keys()].filter((name) => ![...failing].some((i) => mesh.sites[i]?.name === name));
assert.deepEqual(wrong, [], 'no site that lives is taken for lost');
const took = [...affected].map((a) => restored.get(a) ?? Number.POSITIVE_INFINITY);
const s = (ms: number): string => (ms / 1000).toFixed(2);
const seen = [...detected.values()];
console.log(`${S} sites in ${R} regions, ${A} applications, ${C} client regions; ${failing.size} sites fail at once; unreachable: duplicate after ${afterSeconds} s`);
console.log(`  taken for lost      ${seen.length} of ${failing.size}   p50 ${s(percentile(seen, 0.5))} s   p99 ${s(percentile(seen, 0.99))} s`);
console.log(`  served again        ${restored.size} of ${affected.size} applications affected   p50 ${s(percentile(took, 0.5))} s   p99 ${s(percentile(took, 0.99))} s   max ${s(Math.max(...took))} s`);
console.log(`  a pass, CPU time    nothing changed p50 ${percentile(quiet, 0.5).toFixed(1)} ms; meanwhile p50 ${percentile(passMs, 0.5).toFixed(1)} ms   p99 ${percentile(passMs, 0.99).toFixed(0)} ms   max ${Math.max(...passMs).toFixed(0)} ms; RSS of this process, APIs and played sites included: ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB`);
console.log('  baseline            Karmada, measured on the same machine with three members: 37 s until a dead member is noticed, 38 to 50 s with failover on, nothing comes back');
console.log(JSON.stringify({ bench: 'failover', node: process.version, sites: S, applications: A, failing: failing.size, afterSeconds, detectedMs: { p50: percentile(seen, 0.5), p99: percentile(seen, 0.99) }, servedMs: { p50: percentile(took, 0.5), p99: percentile(took, 0.99) } }));
await stop();
assert.ok(percentile(took, 0.99) < 5_000 + afterSeconds * 1_000, 'served again within 5 s at the 99th percentile');
