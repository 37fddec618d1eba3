/**
 * How soon clients are served again when a tenth of all sites fails at one moment: the real global scheduler with its default options, over regions
 * whose APIs are in memory and sites that are played (test/kit/memory-mesh.ts): a probe round each second, 900 ms until a probe counts as lost,
 * gateways that notice after 7 s, pods that are Ready 0.5 to 1 s after their deployment. The clock is the simulation's; the processor time that
 * passes take, with the writes to the in-memory APIs, passes on it too. Measured with the policy's default and with `duplicate` after 0 s.
 *   node24 bench/failover.ts [--sites 1000] [--applications 200] [--regions 20] [--client-regions 100] [--share 0.1] [--after default,0]
 * Detect is from the moment when a site stops answering until it is taken for lost. Served again is, per application that lost instances or a front,
 * when every one of its client regions has a front, at a site that lives, that sends to Ready instances at sites that live and to nothing else:
 * counted from the failure, and from when the last of the sites that it lost was taken for lost.
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { MemoryMesh } from '../test/kit/memory-mesh.ts';
import { percentile, type Run, runMesh } from '../test/kit/memory-run.ts';
import { DEFAULT_UNREACHABLE } from '../scheduler/global/unreachable.ts';

const { values } = parseArgs({ options: { sites: { type: 'string', default: '1000' }, applications: { type: 'string', default: '200' }, regions: { type: 'string', default: '20' }, 'client-regions': { type: 'string', default: '100' }, share: { type: 'string', default: '0.1' }, after: { type: 'string', default: 'default,0' }, seed: { type: 'string', default: '1' } } });
const [S, A, R, C] = [Number(values.sites), Number(values.applications), Number(values.regions), Number(values['client-regions'])];

interface Outcome {
  readonly detected: readonly number[];
  /** Since the failure, and since the sites were taken for lost; infinite = not served again. */
  readonly served: readonly number[];
  readonly restored: readonly number[];
  readonly failing: number;
  readonly quiet: readonly number[];
  readonly passMs: readonly number[];
}

/** null = the policy does not say. */
async function measure(afterSeconds: number | null): Promise<Outcome> {
  const unreachable = afterSeconds === null ? {} : { unreachable: { action: 'duplicate', afterSeconds } as const };
  const mesh = new MemoryMesh({ regions: R, sites: S, clientRegions: C, applications: A, seed: Number(values.seed), now: Date.parse('2030-01-01T00:00:00Z'), policyOf: (a) => ({ instances: { min: a % 2 === 0 ? 1 : 2, max: 8 }, ...(a % 2 === 0 ? {} : { spread: { over: 'site', min: 2 } }), ...unreachable }) });
  await mesh.start();
  const run = runMesh(mesh, { stepMs: 50, isCharged: true });
  const quiet = await servedAndQuiet(mesh, run);
  const failing = new Set<number>();
  while (failing.size < S * Number(values.share)) failing.add(Math.floor(mesh.random() * S));
  const hostsBefore = await hosts(mesh);
  for (const s of failing) mesh.kill(s);
  const [at, lost, first] = [mesh.now, new Set([...failing].map((i) => mesh.sites[i]?.name as string)), await unserved(mesh)];
  const [detected, served, affected] = [new Map<string, number>(), new Map<number, number>(), new Set(first)];
  run.passMs.length = 0;
  await run.forMs(30_000, async () => {
    for (const [name, { reach }] of run.scheduler.states) if (!detected.has(name) && (reach === 'cut-off' || reach === 'down')) detected.set(name, mesh.now - at);
    const still = await unserved(mesh);
    for (const a of still) {
      affected.add(a);
      served.delete(a);
    }
    for (const a of affected) if (!still.has(a) && !served.has(a)) served.set(a, mesh.now - at);
    return served.size === affected.size && detected.size >= failing.size && mesh.now - at > 15_000;
  });
  await run.stop();
  assert.deepEqual([...detected.keys()].filter((name) => !lost.has(name)), [], 'no site that lives is taken for lost');
  const ms = [...affected].map((a) => ({ served: served.get(a) ?? Number.POSITIVE_INFINITY, seen: Math.max(0, ...(hostsBefore.get(a) ?? []).map((s) => detected.get(s) ?? 0)) }));
  return { detected: [...detected.values()], served: ms.map((m) => m.served), restored: ms.map((m) => Math.max(0, m.served - m.seen)), failing: failing.size, quiet, passMs: [...run.passMs] };
}

async function unserved(mesh: MemoryMesh): Promise<Set<number>> {
  const addresses = await mesh.addresses();
  const out = new Set<number>();
  for (let a = 0; a < A; a++) if ((await mesh.unserved(a, addresses)).length > 0) out.add(a);
  return out;
}

/** By application: the sites of its fronts and of the instances that these send to. */
async function hosts(mesh: MemoryMesh): Promise<ReadonlyMap<number, readonly string[]>> {
  const addresses = await mesh.addresses();
  const out = new Map<number, string[]>();
  for (const d of mesh.demand) {
    const [a, front] = [Number(d.application.split('/a')[1]), mesh.frontOf(d.region)];
    const used = front === null ? [] : [front, ...(await mesh.backends(a, front)).map((b) => addresses.get(b.address) ?? -1)];
    out.set(a, [...(out.get(a) ?? []), ...used.map((i) => mesh.sites[i]?.name ?? '')]);
  }
  return out;
}

/** ms of the last passes. Throws when not every application is served at last. */
async function servedAndQuiet(mesh: MemoryMesh, { forMs, passMs }: Run): Promise<readonly number[]> {
  let [quietSince, lookedAt] = [0, 0];
  await forMs(400_000, async () => {
    if (mesh.now - lookedAt < 1_000) return false;
    lookedAt = mesh.now;
    if ((await unserved(mesh)).size > 0 || percentile(passMs.slice(-15), 0.8) > 100) quietSince = 0;
    else if (quietSince === 0) quietSince = mesh.now;
    return quietSince > 0 && mesh.now - quietSince > 20_000;
  });
  assert.ok(quietSince > 0, 'every application is served before anything fails');
  return passMs.slice(-200);
}

const s = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
const three = (v: readonly number[]): string => `p50 ${s(percentile(v, 0.5))}   p99 ${s(percentile(v, 0.99))}   max ${s(Math.max(...v))}`;
const figures = (v: readonly number[]): object => ({ p50: percentile(v, 0.5), p99: percentile(v, 0.99) });
for (const text of values.after.split(',')) {
  const afterSeconds = text === 'default' ? null : Number(text);
  const o = await measure(afterSeconds);
  const policy = afterSeconds === null ? `the default, ${DEFAULT_UNREACHABLE.map((u) => `${u.action} after ${u.afterSeconds} s`).join(', ')}` : `duplicate after ${afterSeconds} s`;
  console.log(`${S} sites in ${R} regions, ${A} applications, ${C} client regions; ${o.failing} sites fail at once; unreachable: ${policy}`);
  console.log(`  detect              ${three(o.detected)}   ${o.detected.length} of ${o.failing} sites taken for lost, no other`);
  console.log(`  detect -> restored  ${three(o.restored)}   ${o.served.filter(Number.isFinite).length} of ${o.served.length} applications affected`);
  console.log(`  failure -> restored ${three(o.served)}`);
  console.log(`  a pass, CPU time    nothing changed p50 ${percentile(o.quiet, 0.5).toFixed(1)} ms; meanwhile p50 ${percentile(o.passMs, 0.5).toFixed(1)} ms   p99 ${percentile(o.passMs, 0.99).toFixed(0)} ms   max ${Math.max(...o.passMs).toFixed(0)} ms; RSS of this process, APIs and played sites included: ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB`);
  console.log(JSON.stringify({ bench: 'failover', node: process.version, sites: S, applications: A, failing: o.failing, afterSeconds, detectedMs: figures(o.detected), restoredMs: figures(o.restored), servedMs: figures(o.served) }));
  assert.ok(percentile(o.restored, 0.99) < 5_000, 'served again within 5 s of the detection at the 99th percentile, the delay of the policy included');
}
console.log('baseline: Karmada, measured on the same machine with three members: 37 s until a dead member is noticed, 38 to 50 s with failover on, nothing comes back');
