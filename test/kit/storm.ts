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
  return (await placed(mesh)).map((d) => `${d.metadata.name} ${d.spec.replicas ?? 0} ${d.metadata.resourceVersion ?? ''}`).sort();
}

async function placed(mesh: MemoryMesh): Promise<readonly Deployment[]> {
  const all = await Promise.all(mesh.regions.map((c) => c.list<Deployment>(Resources.Deployment, { tenant: 'all' })));
  return all.flatMap((l) => l.items);
}

/**
 * What demand asks for at first must have been done, or it would look like the storm's doing: it rises for `leastMs`, until hardly anything of it is
 * missing in a window that decays; then nothing is moved for `quietMs`. Throws when that is not so within `mostMs`.
 */
export async function settle(mesh: MemoryMesh, { forMs }: Run, { leastMs, quietMs, mostMs }: { readonly leastMs: number; readonly quietMs: number; readonly mostMs: number }): Promise<void> {
  await forMs(leastMs);
  let [seen, since, isQuiet] = ['', mesh.now, false];
  await forMs(mostMs, async () => {
    const now = (await deployments(mesh)).join();
    if (now !== seen) [seen, since] = [now, mesh.now];
    return (isQuiet = mesh.now - since >= quietMs);
  });
  assert.ok(isQuiet, `nothing is moved any more for ${quietMs} ms`);
}

export interface StormOptions {
  /** Indexes of sites that do not come back: they really died. @default none */
  readonly dead?: readonly number[];
}

export interface Storm {
  /** ms of processor time of each pass while it lasted. */
  readonly passMs: readonly number[];
  /** How long it lasted by the mesh's clock, ms. */
  readonly lastedMs: number;
  /** Rows of telemetry before and after. */
  readonly rows: readonly [number, number];
  /** By site that came back: ms until it was taken for reachable. */
  readonly absorbedMs: readonly number[];
  /** By site that did not come back: ms, from the moment when it fell silent, until it was taken for lost. */
  readonly lostMs: readonly number[];
}

const RETURN_FROM_MS = 2_000;
const RETURN_BY_MS = 12_000;
const STORM_MS = 16_000;
/** A loss among many waits longer; then `suspect` has its own patience. */
const DEAD_BY_MS = 40_000;

/**
 * Brokers and gateways restart: every region says that it lost every site, a quarter of the regions does not answer for 2 s, then the sites come
 * back in any order, all within 10 s, with late, repeated and reordered samples. Throws when anything was decided from it, or, of sites that died
 * meanwhile, when it was not. The mesh is settled.
 */
export async function reconnectStorm(mesh: MemoryMesh, run: Run, { dead = [] }: StormOptions = {}): Promise<Storm> {
  const { scheduler, forMs, passMs } = run;
  const [began, before, rows] = [mesh.now, await placed(mesh), scheduler.telemetry.sizes];
  const reachable = (): number => [...scheduler.states.values()].filter((s) => s.reach === 'reachable').length;
  assert.equal(reachable(), mesh.sites.length);
  await vanish(mesh, dead);
  passMs.length = 0;
  const seen = new Watched(mesh, run, new Set(dead));
  const back = returning(mesh, run, dead, (i) => seen.cameBack(i));
  await forMs(STORM_MS, async () => {
    await back();
    seen.look();
  });
  if (dead.length > 0) await forMs(DEAD_BY_MS, async () => (seen.look(), seen.lostMs.length === dead.length));
  assert.deepEqual([...seen.worst].sort(), ['reachable', 'suspect'], 'suspect is all that anybody who lives became');
  assert.equal(reachable(), mesh.sites.length - dead.length);
  assert.equal(seen.absorbedMs.length, mesh.sites.length - dead.length, 'every site that came back was seen to');
  assert.equal(seen.lostMs.length, dead.length, 'every site that died was taken for lost');
  await assertPlaces(mesh, before, dead);
  const after = scheduler.telemetry.sizes;
  for (const kind of ['traffic', 'siteWays', 'clientWays'] as const) assert.ok(after[kind] <= rows[kind] * 1.1 + 100, `${kind}: ${after[kind]} rows after ${rows[kind]}`);
  const sum = (s: typeof rows): number => s.traffic + s.siteWays + s.clientWays;
  return { passMs: [...passMs], lastedMs: mesh.now - began, rows: [sum(rows), sum(after)], absorbedMs: seen.absorbedMs, lostMs: seen.lostMs };
}

const say = (mesh: MemoryMesh, i: number, isUp: boolean): Promise<unknown> => (mesh.regions[mesh.sites[i]?.region ?? 0] as (typeof mesh.regions)[number]).patch<Site>(Resources.Site, { tenant: null, namespace: null }, mesh.sites[i]?.name ?? '', { status: { phase: isUp ? 'Ready' : 'Unreachable', gateway: { connected: isUp } } }, { subresource: 'status' });

async function vanish(mesh: MemoryMesh, dead: readonly number[]): Promise<void> {
  for (const [i, s] of mesh.sites.entries()) {
    s.isMute = true;
    s.diedAt = mesh.now + 1e9; // the region's word is given here
    await say(mesh, i, false);
  }
  for (const i of dead) mesh.kill(i);
  for (const r of mesh.regions.slice(0, mesh.regions.length / 4)) r.isDown = true;
}

/** The sites come back one by one, each with what it has kept to say. */
function returning(mesh: MemoryMesh, { scheduler }: Run, dead: readonly number[], cameBack: (site: number) => void): () => Promise<void> {
  const order = mesh.sites.map((_, i) => i).filter((i) => !dead.includes(i)).sort(() => mesh.random() - 0.5);
  const [count, from, by] = [order.length, mesh.now + RETURN_FROM_MS, mesh.now + RETURN_BY_MS];
  return async () => {
    if (mesh.now >= from) for (const r of mesh.regions) r.isDown = false;
    const due = Math.ceil(count * Math.min(1, Math.max(0, (mesh.now - from) / (by - from))));
    for (const i of order.splice(0, due - (count - order.length))) {
      const s = mesh.sites[i] as (typeof mesh.sites)[number];
      s.isMute = false;
      await say(mesh, i, true);
      cameBack(i);
      const sample = (at: number): ProbeSample => ({ site: s.name, at, rows: s.neighbours.map((j) => ({ to: mesh.sites[j]?.name ?? '', kind: 'site' as const, rttMs: at < mesh.now - 4_000 || mesh.sites[j]?.isDead === true ? null : 30, loss: 0 })) });
      for (const at of [mesh.now - 9_000, mesh.now - 100, mesh.now - 100, mesh.now - 5_000, mesh.now - 7_000]) scheduler.telemetry.probes(sample(at), mesh.now);
    }
  };
}

/** How the scheduler takes each site, from step to step; and that it holds what it held. */
class Watched {
  readonly worst = new Set<string>();
  readonly absorbedMs: number[] = [];
  readonly lostMs: number[] = [];
  readonly #mesh: MemoryMesh;
  readonly #run: Run;
  readonly #began: number;
  readonly #waiting = new Map<string, number>();
  readonly #dying: Set<string>;
  readonly #dead: ReadonlySet<string>;

  constructor(mesh: MemoryMesh, run: Run, dead: ReadonlySet<number>) {
    [this.#mesh, this.#run, this.#began] = [mesh, run, mesh.now];
    this.#dead = new Set(mesh.sites.flatMap((s, i) => (dead.has(i) ? [s.name] : [])));
    this.#dying = new Set(this.#dead);
  }

  cameBack(site: number): void {
    this.#waiting.set(this.#mesh.sites[site]?.name ?? '', this.#mesh.now);
  }

  look(): void {
    const { scheduler } = this.#run;
    const { now } = this.#mesh;
    for (const [name, { reach }] of scheduler.states) if (!this.#dead.has(name)) this.worst.add(reach);
    for (const [name, at] of this.#waiting) {
      // what was done since the last step may have been before the pass: the next one sees it
      if (at === now || scheduler.states.get(name)?.reach !== 'reachable') continue;
      this.absorbedMs.push(now - at);
      this.#waiting.delete(name);
    }
    for (const name of this.#dying) {
      const reach = scheduler.states.get(name)?.reach;
      if (reach !== 'cut-off' && reach !== 'down') continue;
      this.lostMs.push(now - this.#began);
      this.#dying.delete(name);
    }
    assert.ok(scheduler.leads, 'no lease was lost for want of time');
    const stray = new Set(this.#mesh.demand.map((d) => d.application)).values().find((key) => !scheduler.holds(key));
    assert.equal(stray, undefined, 'no application was lost for want of time');
  }
}

/** Nothing is another than before; where sites died, only what their applications start elsewhere. */
async function assertPlaces(mesh: MemoryMesh, before: readonly Deployment[], dead: readonly number[]): Promise<void> {
  const idOf = (d: Deployment): string => d.metadata.name;
  const died = new Set(dead.map((i) => mesh.sites[i]?.name));
  const hit = new Set(before.filter((d) => died.has(siteOf(d))).map(applicationOf));
  const now = new Map((await placed(mesh)).map((d) => [idOf(d), d]));
  const moved = before.filter((d) => (hit.has(applicationOf(d)) ? (now.get(idOf(d))?.spec.replicas ?? 0) < (d.spec.replicas ?? 0) && !died.has(siteOf(d)) : now.get(idOf(d))?.metadata.resourceVersion !== d.metadata.resourceVersion));
  const known = new Set(before.map(idOf));
  const made = [...now.values()].filter((d) => !known.has(idOf(d)) && !hit.has(applicationOf(d)));
  assert.deepEqual([...moved, ...made].map(idOf), [], 'nothing was moved');
}

const applicationOf = (d: Deployment): string => d.metadata.labels?.['mesh.proxima.io/application'] ?? '';
const siteOf = (d: Deployment): string => d.metadata.labels?.['mesh.proxima.io/site'] ?? '';
