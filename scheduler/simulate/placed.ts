/**
 * One application while it is simulated: its instances at sites, the real mover's decisions about them, and which share of each client region's
 * requests goes where meanwhile.
 */
import type { ApplicationModel, SiteInstances } from '../global/model.ts';
import { decideMoves, isUsable, type MoveDecision, type ObservedSite, type Traffic } from '../global/mover.ts';
import type { ApplicationPlan } from '../global/planner.ts';
import type { SimSites } from './sites.ts';
import type { SimApplication, SimWorld } from './world.ts';

interface Instance {
  readonly name: string;
  readonly createdAt: number;
  readyAt: number;
  isMarked: boolean;
}

/** `[site, share]`, shares add up to 1; empty = nobody serves. */
export type Shares = readonly (readonly [site: number, share: number])[];

/** What is slow to start is given longer, as an operator would. */
const START_TIMEOUT_MS = 120_000;

interface View {
  /** Sites with a Ready instance, in reach. */
  readonly may: readonly number[];
  readonly factors: ReadonlyMap<number, number>;
  /** By client region: what the plan gives to each of them. */
  readonly serves: ReadonlyMap<string, readonly (readonly [site: number, rps: number])[]>;
  readonly planned: ReadonlySet<number>;
}

export class PlacedApplication {
  readonly app: SimApplication;
  readonly #world: SimWorld;
  readonly #sites: SimSites;
  readonly #siteIndex: ReadonlyMap<string, number>;
  readonly #instances = new Map<number, Instance[]>();
  #traffic: Readonly<Record<string, Traffic>> = {};
  #plan: ApplicationPlan | null = null;
  #avoid: { readonly site: string; readonly until: number; readonly reason: string }[] = [];
  #movedAt: number[] = [];
  #wakeAt = Number.NEGATIVE_INFINITY;
  #shares: (Shares | undefined)[] = [];
  #view: View | null = null;
  #made = 0;

  constructor(app: SimApplication, world: SimWorld, sites: SimSites, siteIndex: ReadonlyMap<string, number>) {
    this.app = app;
    this.#world = world;
    this.#sites = sites;
    this.#siteIndex = siteIndex;
  }

  get avoid(): ApplicationModel['avoid'] {
    return this.#avoid;
  }

  get movedAt(): readonly number[] {
    return this.#movedAt;
  }

  get placement(): readonly SiteInstances[] {
    return this.#plan?.sites.filter((s) => s.instances > 0) ?? [];
  }

  get isFull(): boolean {
    return this.placement.reduce((sum, p) => sum + p.instances, 0) >= this.app.policy.instances.max;
  }

  take(plan: ApplicationPlan, now: number): { readonly moves: number; readonly scalings: number } {
    const hadPlace = this.#plan !== null && this.#plan.sites.length > 0;
    const moves = hadPlace ? plan.changes.filter((c) => c.from === 0).length : 0;
    const scalings = hadPlace ? plan.changes.length - moves : 0;
    this.#plan = plan;
    this.#wakeAt = now;
    this.#forgetShares();
    if (moves > 0) this.#movedAt = [...this.#movedAt.filter((t) => now - t < 3_600_000), now];
    return { moves, scalings };
  }

  /** A site was lost or came back: what it had is dead, or begins again. */
  siteChanged(site: number, isDead: boolean, now: number): void {
    for (const i of this.#instances.get(site) ?? []) i.readyAt = isDead ? Number.POSITIVE_INFINITY : Math.min(i.readyAt, now + this.app.startMs);
    this.#wakeAt = now;
    this.#forgetShares();
  }

  /** Decides if it is time to; returns when something may be different, at `until` at the latest. */
  advance(now: number, until: number): { readonly at: number; readonly undone: number } {
    let undone = 0;
    if (this.#plan !== null && now >= this.#wakeAt) undone = this.#decide(now);
    const times = [...this.#instances.values()].flatMap((list) => list.flatMap((i) => (i.readyAt > now && i.readyAt < until ? [i.readyAt] : [])));
    const at = Math.min(until, this.#wakeAt > now ? this.#wakeAt : until, ...times);
    if (times.includes(at)) this.#wakeAt = at;
    return { at, undone };
  }

  ready(site: number, now: number): number {
    return (this.#instances.get(site) ?? []).filter((i) => i.readyAt <= now).length;
  }

  /** Everything that is paid for, by site. */
  *running(): Iterable<readonly [site: number, instances: number]> {
    for (const [site, list] of this.#instances) if (list.length > 0) yield [site, list.length];
  }

  /** `index` of the client region among those of the application. */
  sharesOf(index: number, now: number): Shares {
    return (this.#shares[index] ??= this.#share(this.app.regions[index] as number, now));
  }

  #observed(now: number): ObservedSite[] {
    const names = new Set([...(this.#plan?.sites ?? []).map((s) => s.site), ...Object.keys(this.#traffic), ...[...this.#instances].flatMap(([s, l]) => (l.length > 0 ? [this.#world.sites[s]?.name ?? ''] : []))]);
    return [...names].sort().map((site): ObservedSite => {
      const s = this.#siteIndex.get(site) ?? -1;
      const list = this.#instances.get(s) ?? [];
      const t = this.#traffic[site];
      const weight = (name: string): number => (t === undefined ? 0 : (t.factor * (t.instances?.[name]?.factor ?? 100)) / 100);
      const instances = list.map((i) => ({ name: i.name, uid: i.name, isReady: i.readyAt <= now, isLeaving: false, createdAt: i.createdAt, weight: weight(i.name), isMarked: i.isMarked, sendTo: null, migration: null }));
      return { site, region: this.#world.sites[s]?.region ?? '', reach: this.#sites.reach(s), canAct: true, replicas: list.length === 0 ? null : list.length, instances };
    });
  }

  #decide(now: number): number {
    const avoid = new Set(this.#avoid.filter((a) => a.until > now).map((a) => a.site));
    const decision = decideMoves({ wanted: this.#plan?.sites ?? [], observed: this.#observed(now), traffic: this.#traffic, min: this.app.policy.instances.min, now, avoid }, { startTimeoutMs: Math.max(START_TIMEOUT_MS, 2 * this.app.startMs) });
    for (const step of decision.steps) this.#act(step, now);
    this.#traffic = decision.traffic;
    this.#avoid = [...this.#avoid.filter((a) => a.until > now), ...decision.undone.map((u) => ({ site: u.site, reason: u.reason, until: now + 600_000 }))];
    // until the next plan, which avoids it too
    if (decision.undone.length > 0 && this.#plan !== null) this.#plan = { ...this.#plan, sites: this.#plan.sites.filter((p) => !decision.undone.some((u) => u.site === p.site)) };
    this.#forgetShares();
    const again = decision.steps.length > 0 || decision.events.length > 0; // what was done is observed at once
    this.#wakeAt = again ? now + 1_000 : (decision.nextAt ?? Number.POSITIVE_INFINITY);
    return decision.undone.length;
  }

  #act(step: MoveDecision['steps'][number], now: number): void {
    const s = this.#siteIndex.get(step.site) ?? -1;
    const list = this.#instances.get(s) ?? [];
    const cannot = this.#sites.failureOf(s, now) !== null; // nobody there hears it: it takes effect once the site is back
    switch (step.kind) {
      case 'scale':
        this.#instances.set(s, scaled(list, step.replicas, () => ({ name: `i${this.#made++}`, createdAt: now, readyAt: cannot ? Number.POSITIVE_INFINITY : now + this.app.startMs, isMarked: false })));
        break;
      case 'stop':
        this.#instances.delete(s);
        break;
      case 'mark':
        for (const i of list) if (i.name === step.pod) i.isMarked = step.isMarked;
        break;
      case 'send':
        break; // only VMs with state are sent
    }
  }

  /** As the fronts do it: what the plan gives each site, times how far its ramp is; the rest to the nearest that has all of its traffic. */
  #share(region: number, now: number): Shares {
    const { may, factors, serves, planned } = (this.#view ??= this.#look(now));
    const at = region * this.#world.sites.length;
    const near = (is: (s: number) => boolean): number | undefined => {
      let best: number | undefined;
      for (const s of may) if (is(s) && (best === undefined || (this.#world.rtt[at + s] as number) < (this.#world.rtt[at + best] as number))) best = s;
      return best;
    };
    const factor = (s: number): number => factors.get(s) ?? 0;
    const wanted = new Map<number, number>();
    for (const [s, rps] of serves.get(this.#world.regions[region]?.name ?? '') ?? []) if (factor(s) > 0) wanted.set(s, (wanted.get(s) ?? 0) + rps);
    if (wanted.size === 0) {
      const s = near((x) => planned.has(x) && factor(x) > 0);
      if (s !== undefined) wanted.set(s, 1);
    }
    const total = [...wanted.values()].reduce((x, y) => x + y, 0);
    const shares = new Map([...wanted].map(([s, rps]) => [s, (rps / total) * (factor(s) / 100)]));
    const rest = 1 - [...shares.values()].reduce((x, y) => x + y, 0);
    const other = near((s) => factor(s) === 100) ?? near((s) => wanted.has(s)) ?? near(() => true);
    if (rest > 1e-9 && other !== undefined) shares.set(other, (shares.get(other) ?? 0) + rest);
    return [...shares];
  }

  /** What all client regions see alike until the next change. */
  #look(now: number): View {
    const may = [...this.#instances.keys()].filter((s) => this.ready(s, now) > 0 && isUsable(this.#sites.reach(s))).sort((x, y) => x - y);
    const isThere = new Set(may);
    const serves = new Map<string, [number, number][]>();
    for (const serve of this.#plan?.serves ?? []) {
      const s = this.#siteIndex.get(serve.site) ?? -1;
      if (serve.rps <= 0 || !isThere.has(s)) continue;
      const list = serves.get(serve.clientRegion);
      if (list === undefined) serves.set(serve.clientRegion, [[s, serve.rps]]);
      else list.push([s, serve.rps]);
    }
    return { may, serves, factors: new Map(may.map((s) => [s, this.#traffic[this.#world.sites[s]?.name ?? '']?.factor ?? 0])), planned: new Set(this.#plan?.sites.map((p) => this.#siteIndex.get(p.site) ?? -1)) };
  }

  #forgetShares(): void {
    this.#shares = [];
    this.#view = null;
  }
}

/** Marked ones leave first, then the youngest. */
function scaled(list: readonly Instance[], replicas: number, make: () => Instance): Instance[] {
  if (replicas >= list.length) return [...list, ...Array.from({ length: replicas - list.length }, make)];
  return list.toSorted((a, b) => Number(a.isMarked) - Number(b.isMarked) || a.createdAt - b.createdAt).slice(0, replicas);
}

