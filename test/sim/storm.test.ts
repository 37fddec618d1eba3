/** Everything vanishes from view and comes back within seconds: nothing may be decided from that; and who really was lost comes back at a rate. */
import assert from 'node:assert/strict';
import { Resources } from '../../api/resources.ts';
import type { Deployment } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import type { ProbeSample } from '../../api/telemetry.ts';
import { MemoryMesh } from '../kit/memory-mesh.ts';
import { percentile, runMesh } from '../kit/memory-run.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('storms', { timeoutMs: 100_000 });
const NOW = Date.parse('2030-01-01T00:00:00Z');

/** What the regions are told to run, with the versions: any write shows. */
async function deployments(mesh: MemoryMesh): Promise<readonly string[]> {
  const all = await Promise.all(mesh.regions.map((c) => c.list<Deployment>(Resources.Deployment, { tenant: 'all' })));
  return all.flatMap((l) => l.items).map((d) => `${d.metadata.name} ${d.spec.replicas ?? 0} ${d.metadata.resourceVersion ?? ''}`).sort();
}

it('absorbs every site that vanish and return in any order, with late, repeated and reordered samples', async (t) => {
  const mesh = new MemoryMesh({ regions: 20, sites: 200, clientRegions: 20, applications: 4, seed: 3, now: NOW });
  await mesh.start();
  const { scheduler, forMs, passMs, stop } = runMesh(mesh, { stepMs: 500 });
  t.after(stop);
  await forMs(12_000);
  assert.equal([...scheduler.states.values()].filter((s) => s.reach === 'reachable').length, 200);
  const before = await deployments(mesh);
  const rows = scheduler.telemetry.sizes;
  const say = (i: number, isUp: boolean): Promise<unknown> => (mesh.regions[mesh.sites[i]?.region ?? 0] as (typeof mesh.regions)[number]).patch<Site>(Resources.Site, { tenant: null, namespace: null }, mesh.sites[i]?.name ?? '', { status: { phase: isUp ? 'Ready' : 'Unreachable', gateway: { connected: isUp } } }, { subresource: 'status' });
  // brokers and gateways restart: every region says that it lost every site, some regions do not answer at all
  for (const [i, s] of mesh.sites.entries()) {
    s.isMute = true;
    s.diedAt = mesh.now + 1e9; // the region's word is given here
    await say(i, false);
  }
  for (const r of mesh.regions.slice(0, 5)) r.isDown = true;
  const order = mesh.sites.map((_, i) => i).sort(() => mesh.random() - 0.5);
  const worst = new Map<string, number>();
  passMs.length = 0;
  let left = 4;
  await forMs(16_000, async () => {
    left -= 1;
    if (left <= 0) for (const r of mesh.regions) r.isDown = false;
    const back = left > 0 ? [] : order.splice(0, 10);
    for (const i of back) {
      const s = mesh.sites[i] as (typeof mesh.sites)[number];
      s.isMute = false;
      await say(i, true);
      const sample = (at: number): ProbeSample => ({ site: s.name, at, rows: s.neighbours.map((j) => ({ to: mesh.sites[j]?.name ?? '', kind: 'site' as const, rttMs: at < mesh.now - 4_000 ? null : 30, loss: 0 })) });
      for (const at of [mesh.now - 9_000, mesh.now - 100, mesh.now - 100, mesh.now - 5_000, mesh.now - 7_000]) scheduler.telemetry.probes(sample(at), mesh.now);
    }
    for (const [, state] of scheduler.states) worst.set(state.reach, (worst.get(state.reach) ?? 0) + 1);
  });
  assert.deepEqual([...worst.keys()].sort(), ['reachable', 'suspect'], 'suspect is all that anybody became');
  assert.equal([...scheduler.states.values()].filter((s) => s.reach === 'reachable').length, 200);
  assert.deepEqual(await deployments(mesh), before, 'nothing was moved');
  const after = scheduler.telemetry.sizes;
  for (const kind of ['traffic', 'siteWays', 'clientWays'] as const) assert.ok(after[kind] <= rows[kind] * 1.1 + 100, `${kind}: ${after[kind]} rows after ${rows[kind]}`);
  console.error(`    a pass in the storm: p50 ${percentile(passMs, 0.5).toFixed(0)} ms, p99 ${percentile(passMs, 0.99).toFixed(0)} ms of processor time`);
  assert.ok(percentile(passMs, 0.5) < 500);
});

it('brings instances back to a hundred sites that return no faster than the policy says', async (t) => {
  const mesh = new MemoryMesh({ regions: 4, sites: 120, clientRegions: 12, applications: 5, seed: 5, now: NOW, policyOf: () => ({ instances: { min: 2, max: 8 }, unreachable: { action: 'move', afterSeconds: 0 }, failback: { automatic: true, stabilisationSeconds: 5, maxPerMinute: 2 }, sites: { preferred: [{ weight: 60, names: ['s0000', 's0001', 's0002'] }] } }) });
  await mesh.start();
  const { scheduler, forMs, stop } = runMesh(mesh, { stepMs: 1_000, scheduler: { mover: { stepMs: 500, drainMs: 1_000 } } });
  t.after(stop);
  await forMs(30_000);
  const first = await mesh.addresses();
  const running = new Set(first.values());
  const failing = [...running, ...mesh.sites.map((_, i) => i).filter((i) => !running.has(i))].slice(0, 100);
  for (const i of failing) mesh.kill(i);
  await forMs(30_000);
  const isIn = (name: string): boolean => failing.some((i) => mesh.sites[i]?.name === name);
  const wantedThere = async (): Promise<number> => (await Promise.all(mesh.regions.map((c) => c.list<Deployment>(Resources.Deployment, { tenant: 'all' })))).flatMap((l) => l.items).reduce((sum, d) => sum + (isIn(d.metadata.labels?.['mesh.proxima.io/site'] ?? '') ? (d.spec.replicas ?? 0) : 0), 0);
  assert.equal([...scheduler.states.values()].filter((s) => s.reach !== 'reachable').length, 100);
  for (let a = 0; a < 5; a++) assert.deepEqual(await mesh.unserved(a, await mesh.addresses()), [], 'served from elsewhere');
  for (const i of failing) mesh.revive(i);
  const perMinute: number[] = [];
  for (let minute = 0; minute < 3; minute++) {
    await forMs(60_000);
    perMinute.push(await wantedThere());
    for (let a = 0; a < 5; a++) assert.deepEqual(await mesh.unserved(a, await mesh.addresses()), [], 'served all the time');
  }
  assert.equal([...scheduler.states.values()].filter((s) => s.reach !== 'reachable').length, 0, 'all are back');
  assert.ok((perMinute[2] ?? 0) > 0, `instances come back by themselves: ${perMinute.join(', ')}`);
});

run();
