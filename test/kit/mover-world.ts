/**
 * A world for the mover without a scheduler around it: deployments, pods and fronts of some sites, and what the store keeps. A pass is a list of
 * single writes, so that a kill -9 may come between any two; after it nothing is left but the world and the store.
 */
import { backendsOf, frontShares, type Instances } from '../../scheduler/global/fronts.ts';
import type { Migration, ObservedInstance } from '../../scheduler/global/instances.ts';
import { decideMoves, isUsable, type MoveDecision, type MoveInput, type MoverOptions, type MoveStep, type ObservedSite } from '../../scheduler/global/mover.ts';
import type { PlannedSite } from '../../scheduler/global/planner.ts';

export interface WorldPod {
  readonly name: string;
  readonly site: string;
  readonly createdAt: number;
  readyAt: number;
  isReady: boolean;
  isMarked: boolean;
  sendTo: string | null;
  migration: Migration | null;
  readonly restoreFrom: string | null;
}

/** mulberry32: the same seed, the same life. */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d_2b_79_f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class MoverWorld {
  now = 1_000_000;
  readonly sites: readonly string[];
  readonly deployments = new Map<string, { replicas: number; readonly restoreFrom: string | null }>();
  readonly fronts = new Map<string, ReadonlyMap<string, number>>();
  pods: WorldPod[] = [];
  wanted: readonly PlannedSite[] = [];
  readonly broken = new Set<string>();
  readonly history: string[] = [];
  /** What a pod that ended had at the fronts in that moment. */
  onEnd: (pod: WorldPod, weight: number) => void = () => undefined;
  readonly #random: () => number;
  readonly #options: MoverOptions;
  readonly #more: Partial<MoveInput>;
  #stored = '{}';
  #made = 0;

  constructor(sites: readonly string[], seed: number, options: MoverOptions = {}, more: Partial<MoveInput> = {}) {
    this.sites = sites;
    this.#random = random(seed);
    this.#options = options;
    this.#more = more;
    for (const s of sites) this.fronts.set(s, new Map());
  }

  plan(counts: Readonly<Record<string, number>>): void {
    this.wanted = Object.entries(counts).map(([site, instances]) => ({ site, instances, isHeld: false, reason: `wanted at ${site}` }));
  }

  weightOf(pod: string): number {
    return Math.max(0, ...[...this.fronts.values()].map((f) => f.get(pod) ?? 0));
  }

  observe(): ObservedSite[] {
    return this.sites.map((site) => ({ site, region: 'west', reach: 'reachable', canAct: true, replicas: this.deployments.get(site)?.replicas ?? null, instances: this.pods.filter((p) => p.site === site).map((p) => this.#seen(p)) }));
  }

  #seen(p: WorldPod): ObservedInstance {
    return { name: p.name, uid: p.name, isReady: p.isReady, isLeaving: false, createdAt: p.createdAt, weight: this.weightOf(p.name), isMarked: p.isMarked, sendTo: p.sendTo, migration: p.migration };
  }

  decide(): MoveDecision {
    return decideMoves({ wanted: this.wanted, observed: this.observe(), traffic: JSON.parse(this.#stored) as MoveDecision['traffic'], min: this.wanted.reduce((n, w) => n + w.instances, 0), now: this.now, ...this.#more }, this.#options);
  }

  /** Everything that one pass writes, in the order in which it does. */
  writes(): (() => void)[] {
    const decision = this.decide();
    const seen = this.pods.filter((p) => p.isReady).map((p) => ({ name: p.name, site: p.site }));
    return [
      () => {
        this.#stored = JSON.stringify(decision.traffic);
        for (const e of decision.events) this.history.push(`${e.site} ${e.phase}`);
      },
      ...decision.steps.map((s) => () => this.#carryOut(s)),
      ...this.sites.map((front) => () => void this.fronts.set(front, this.#weights(front, decision, seen))),
    ];
  }

  #weights(front: string, decision: MoveDecision, seen: readonly { readonly name: string; readonly site: string }[]): ReadonlyMap<string, number> {
    const instances = this.sites.flatMap((site): Instances[] => {
      const t = decision.traffic[site];
      const addresses = seen.filter((p) => p.site === site).map((p) => ({ address: p.name, factor: t?.instances === undefined ? 100 : (t.instances[p.name]?.factor ?? 0) }));
      return addresses.length === 0 ? [] : [{ site, addresses, leaving: [], factor: t?.factor ?? 0, isPlanned: this.wanted.some((w) => w.site === site), wanted: this.wanted.find((w) => w.site === site)?.instances ?? 0, isReachable: isUsable('reachable') }];
    });
    const serves = this.wanted.map((w) => ({ clientRegion: w.site, site: w.site, rps: w.instances, rttMs: 1 }));
    const shares = frontShares({ front, serves, instances, frontOf: () => front, rtt: (a, b) => (a === b ? 0 : 10) });
    return new Map(backendsOf(shares, instances, 80).map((b) => [b.address, b.weight]));
  }

  #carryOut(step: MoveStep): void {
    if (step.kind === 'stop') this.deployments.delete(step.site);
    else if (step.kind === 'scale') {
      const d = this.deployments.get(step.site);
      if (d === undefined) this.deployments.set(step.site, { replicas: step.replicas, restoreFrom: step.restoreFrom ?? null });
      else d.replicas = step.replicas;
    } else {
      const pod = this.pods.find((p) => p.name === step.pod);
      if (pod === undefined) return;
      if (step.kind === 'mark') pod.isMarked = step.isMarked;
      else if (step.kind === 'send') pod.sendTo = step.to;
    }
  }

  /** What replica sets and nodes do meanwhile. */
  live(ms: number): void {
    this.now += ms;
    for (const site of this.sites) {
      const { replicas = 0, restoreFrom = null } = this.deployments.get(site) ?? {};
      const mine = this.pods.filter((p) => p.site === site);
      for (let i = mine.length; i < replicas; i++) this.pods.push({ name: `${site}-${++this.#made}`, site, createdAt: this.now, readyAt: this.now + Math.floor(this.#random() * 6_000), isReady: false, isMarked: false, sendTo: null, migration: null, restoreFrom });
      const rank = (p: WorldPod): number => (p.isReady ? 4 : 0) + (p.isMarked ? 0 : 2) + (1 - p.createdAt / 1e12);
      for (const p of mine.toSorted((a, b) => rank(a) - rank(b)).slice(0, Math.max(0, mine.length - replicas))) this.end(p);
    }
    for (const p of this.pods) if (p.restoreFrom === null && !this.broken.has(p.site) && this.now >= p.readyAt) p.isReady = true;
  }

  end(p: WorldPod): void {
    this.onEnd(p, p.isReady ? this.weightOf(p.name) : 0);
    this.pods = this.pods.filter((x) => x !== p);
  }

  get serving(): number {
    return this.pods.filter((p) => p.isReady && this.weightOf(p.name) > 0).length;
  }

  get counts(): Record<string, number> {
    return Object.fromEntries([...this.deployments].map(([s, d]) => [s, d.replicas] as const).sort((a, b) => (a[0] < b[0] ? -1 : 1)));
  }
}
