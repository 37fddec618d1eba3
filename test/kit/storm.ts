/** The reconnect storm: every site vanishes from view and comes back within seconds, and nothing may be decided from that. A test at few sites, a benchmark at many. */
import assert from 'node:assert/strict';
import type { Deployment } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import type { ProbeSample } from '../../api/telemetry.ts';
import type { MemoryMesh } from './memory-mesh.ts';
import type { Run } from './memory-run.ts';

/** What the regions are told to run, with the versions: any write shows. */
export async function deployments(mesh: MemoryMesh): Promise<readonly string[]> {
  const all = await Promise.all(mesh.regions.map((c) => c.list<Deployment>(Resources.Deployment, { tenant: 'all' })));
  return all.flatMap((l) => l.items).map((d) => `${d.metadata.name} ${d.spec.replicas ?? 0} ${d.metadata.resourceVersion ?? ''}`).sort();
}

export interface Storm {
  /** ms of processor time of each pass while it lasted. */
  readonly passMs: readonly number[];
  /** Rows of telemetry before and after. */
  readonly rows: readonly [number, number];
}

/**
 * Brokers and gateways restart: every region says that it lost every site, a quarter of the regions does not answer for 2 s, then the sites come
 * back in any order, all within 10 s, with late, repeated and reordered samples. Throws when anything was decided from it. The mesh is settled.
 */
export async function reconnectStorm(mesh: MemoryMesh, { scheduler, forMs, passMs }: Run): Promise<Storm> {
  const count = mesh.sites.length;
  const reachable = (): number => [...scheduler.states.values()].filter((s) => s.reach === 'reachable').length;
  assert.equal(reachable(), count);
  const before = await deployments(mesh);
  const rows = scheduler.telemetry.sizes;
  const say = (i: number, isUp: boolean): Promise<unknown> => (mesh.regions[mesh.sites[i]?.region ?? 0] as (typeof mesh.regions)[number]).patch<Site>(Resources.Site, { tenant: null, namespace: null }, mesh.sites[i]?.name ?? '', { status: { phase: isUp ? 'Ready' : 'Unreachable', gateway: { connected: isUp } } }, { subresource: 'status' });
  for (const [i, s] of mesh.sites.entries()) {
    s.isMute = true;
    s.diedAt = mesh.now + 1e9; // the region's word is given here
    await say(i, false);
  }
  for (const r of mesh.regions.slice(0, mesh.regions.length / 4)) r.isDown = true;
  const order = mesh.sites.map((_, i) => i).sort(() => mesh.random() - 0.5);
  const worst = new Set<string>();
  passMs.length = 0;
  const [backFrom, backBy] = [mesh.now + 2_000, mesh.now + 12_000];
  await forMs(16_000, async () => {
    if (mesh.now >= backFrom) for (const r of mesh.regions) r.isDown = false;
    const due = Math.ceil(count * Math.min(1, Math.max(0, (mesh.now - backFrom) / (backBy - backFrom))));
    for (const i of order.splice(0, due - (count - order.length))) {
      const s = mesh.sites[i] as (typeof mesh.sites)[number];
      s.isMute = false;
      await say(i, true);
      const sample = (at: number): ProbeSample => ({ site: s.name, at, rows: s.neighbours.map((j) => ({ to: mesh.sites[j]?.name ?? '', kind: 'site' as const, rttMs: at < mesh.now - 4_000 ? null : 30, loss: 0 })) });
      for (const at of [mesh.now - 9_000, mesh.now - 100, mesh.now - 100, mesh.now - 5_000, mesh.now - 7_000]) scheduler.telemetry.probes(sample(at), mesh.now);
    }
    for (const [, state] of scheduler.states) worst.add(state.reach);
  });
  assert.deepEqual([...worst].sort(), ['reachable', 'suspect'], 'suspect is all that anybody became');
  assert.equal(reachable(), count);
  assert.deepEqual(await deployments(mesh), before, 'nothing was moved');
  const after = scheduler.telemetry.sizes;
  for (const kind of ['traffic', 'siteWays', 'clientWays'] as const) assert.ok(after[kind] <= rows[kind] * 1.1 + 100, `${kind}: ${after[kind]} rows after ${rows[kind]}`);
  const sum = (s: typeof rows): number => s.traffic + s.siteWays + s.clientWays;
  return { passMs, rows: [sum(rows), sum(after)] };
}
