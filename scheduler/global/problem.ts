/** From the model to one application's small problem: which sites are worth looking at, and the numbers of each. */
import { avoided, refusedByPolicy, selects, standingOf } from './eligible.ts';
import type { ApplicationModel, Model, SiteInstances } from './model.ts';
import type { Problem } from './search.ts';

const NEAREST_KEPT = 32;
const PER_REGION = 5;
const CHEAPEST = 2;
const MAX_CANDIDATES = 48;
/** What an unmeasured way is taken for: never better than anything that was measured on Earth. */
export const UNKNOWN_RTT_MS = 500;
/** A goal is still met from the site that serves a region today when it is missed by no more than this: noise moves nothing. */
export const GOAL_TOLERANCE = 1.15;

/** The nearest sites of every client region, once per plan. */
export class Nearest {
  readonly kept: number;
  readonly sites: Int32Array;
  readonly cheapest: readonly number[];

  constructor(model: Model) {
    const [S, R] = [model.sites.length, model.clientRegions.length];
    this.kept = Math.min(NEAREST_KEPT, S);
    this.sites = new Int32Array(R * this.kept);
    const [ids, ms] = [new Int32Array(this.kept), new Float64Array(this.kept)];
    for (let r = 0; r < R; r++) {
      let n = 0;
      for (let s = 0; s < S; s++) {
        const raw = model.rtt[r * S + s] as number;
        const v = raw === raw ? raw : UNKNOWN_RTT_MS;
        if (n === this.kept && v >= (ms[n - 1] as number)) continue;
        let i = n < this.kept ? n++ : n - 1;
        for (; i > 0 && (ms[i - 1] as number) > v; i--) {
          ms[i] = ms[i - 1] as number;
          ids[i] = ids[i - 1] as number;
        }
        ms[i] = v;
        ids[i] = s;
      }
      this.sites.set(ids, r * this.kept);
    }
    this.cheapest = model.sites.map((_, i) => i).sort((a, b) => (model.sites[a]?.cost ?? 0) - (model.sites[b]?.cost ?? 0) || a - b);
  }
}

export interface SmallProblem {
  readonly problem: Problem;
  /** Site index of each candidate. */
  readonly sites: readonly number[];
  /** Index of the client region of each row. */
  readonly regions: readonly number[];
  /** No demand was seen: rows stand for possible clients. */
  readonly isPrior: boolean;
}

interface Surroundings {
  readonly now: number;
  readonly used: Float64Array;
  readonly placed: ReadonlyMap<string, readonly SiteInstances[]>;
}

export class Problems {
  readonly #model: Model;
  readonly #index: ReadonlyMap<string, number>;
  readonly #nearest: Nearest;

  constructor(model: Model, siteIndex: ReadonlyMap<string, number>, nearest: Nearest) {
    this.#model = model;
    this.#index = siteIndex;
    this.#nearest = nearest;
  }

  /** `serving`: sites in use that count; they are always candidates. */
  of(app: ApplicationModel, serving: readonly SiteInstances[], around: Surroundings): SmallProblem {
    const seen = app.demand.filter((d) => d.rps > 0);
    const isPrior = seen.length === 0;
    const rows = isPrior ? this.#prior() : seen;
    const sites = this.#candidates(app, serving, rows.map((d) => d.region), around);
    const now = new Map(serving.map((s) => [this.#index.get(s.site) ?? -1, s.instances]));
    const C = sites.length;
    const rtt = new Float64Array(rows.length * C);
    const S = this.#model.sites.length;
    for (const [i, row] of rows.entries()) {
      for (const [c, s] of sites.entries()) {
        const ms = this.#model.rtt[row.region * S + s] as number;
        rtt[i * C + c] = ms === ms ? ms : UNKNOWN_RTT_MS;
      }
    }
    const weights = app.policy.cost?.weights;
    const problem: Problem = {
      regions: rows.length,
      candidates: C,
      rps: Float64Array.from(rows, (d) => d.rps),
      goal: Float64Array.from(rows, (d) => goalOf(app, this.#model.clientRegions[d.region] ?? '')),
      rtt,
      room: Int32Array.from(sites, (s) => this.#room(app, s, now.get(s) ?? 0, around)),
      cost: Float64Array.from(sites, (s) => this.#model.sites[s]?.cost ?? 0),
      carbon: Float64Array.from(sites, (s) => this.#model.sites[s]?.carbon ?? 0),
      preference: Float64Array.from(sites, (s) => this.#preference(app, s, around)),
      group: this.#groups(app, sites),
      tolerance: new Float64Array(rows.length * C).fill(1),
      perInstance: app.perInstance,
      min: app.policy.instances.min,
      max: app.policy.instances.max,
      groups: app.policy.spread?.min ?? 1,
      ceiling: app.policy.cost?.ceiling ?? Number.POSITIVE_INFINITY,
      weightLatency: weights?.latency ?? 1,
      weightMoney: weights?.money ?? 1,
      weightCarbon: weights?.carbon ?? 0,
    };
    return { problem, sites, regions: rows.map((d) => d.region), isPrior };
  }

  /** Without any demand yet, clients may come from anywhere: a few regions spread over the list stand for all. */
  #prior(): readonly { readonly region: number; readonly rps: number }[] {
    const R = this.#model.clientRegions.length;
    const step = Math.max(1, Math.floor(R / 8));
    return Array.from({ length: Math.min(8, R) }, (_, i) => ({ region: i * step, rps: 1e-3 }));
  }

  #candidates(app: ApplicationModel, serving: readonly SiteInstances[], regions: readonly number[], around: Surroundings): number[] {
    const chosen = new Set<number>(serving.flatMap((s) => this.#index.get(s.site) ?? []));
    const perRegion = Math.max(2, Math.min(PER_REGION, Math.floor(MAX_CANDIDATES / 2 / Math.max(1, regions.length))));
    const allows = (s: number): boolean => this.#allows(app, s, around);
    for (const r of regions) {
      if (chosen.size >= MAX_CANDIDATES - 2 * CHEAPEST) break;
      let found = 0;
      for (let i = 0; i < this.#nearest.kept && found < perRegion; i++) {
        const s = this.#nearest.sites[r * this.#nearest.kept + i] as number;
        if (!allows(s)) continue;
        chosen.add(s);
        found += 1;
      }
      if (found === 0) for (const s of this.#byLatency(r).filter(allows).slice(0, perRegion)) chosen.add(s);
    }
    let cheap = 0;
    for (const s of this.#nearest.cheapest) {
      if (cheap >= CHEAPEST || chosen.size >= MAX_CANDIDATES) break;
      if (!allows(s)) continue;
      chosen.add(s);
      cheap += 1;
    }
    for (const s of this.#forSpread(app, chosen).filter(allows)) if (chosen.size < 64) chosen.add(s);
    return [...chosen].sort((a, b) => a - b).slice(0, 64);
  }

  #byLatency(region: number): number[] {
    const S = this.#model.sites.length;
    const ms = (s: number): number => {
      const v = this.#model.rtt[region * S + s] as number;
      return v === v ? v : UNKNOWN_RTT_MS;
    };
    return Array.from({ length: S }, (_, s) => s).sort((a, b) => ms(a) - ms(b) || a - b);
  }

  /** The cheapest sites of groups that no candidate is in, so that a spread can be reached. */
  #forSpread(app: ApplicationModel, chosen: ReadonlySet<number>): number[] {
    const over = app.policy.spread?.over;
    if (over !== 'region') return [];
    const have = new Set([...chosen].map((s) => this.#model.sites[s]?.region));
    return this.#nearest.cheapest.filter((s) => {
      const region = this.#model.sites[s]?.region;
      return !have.has(region) && have.add(region) !== undefined;
    });
  }

  #allows(app: ApplicationModel, s: number, around: Surroundings): boolean {
    const site = this.#model.sites[s];
    if (site === undefined || refusedByPolicy(app.policy, site) !== null) return false;
    if (standingOf(app.policy, site, around.now) !== 'open' || avoided(app, site.name, around.now) !== null) return false;
    if (app.policy.antiAffinity !== undefined && this.#neighbours(app.policy.antiAffinity, app.key, around).has(site.name)) return false;
    return this.#room(app, s, 0, around) > 0;
  }

  #neighbours(names: readonly string[] | undefined, key: string, around: Surroundings): ReadonlySet<string> {
    if (names === undefined) return new Set();
    const space = key.slice(0, key.lastIndexOf('/') + 1);
    return new Set(names.flatMap((n) => (around.placed.get(`${space}${n}`) ?? []).map((p) => p.site)));
  }

  #room(app: ApplicationModel, s: number, has: number, around: Surroundings): number {
    const site = this.#model.sites[s];
    if (site === undefined) return 0;
    const cpu = app.cpuMilli <= 0 ? Number.POSITIVE_INFINITY : (site.cpuMilli - (around.used[s * 2] as number)) / app.cpuMilli;
    const memory = app.memoryMiB <= 0 ? Number.POSITIVE_INFINITY : (site.memoryMiB - (around.used[s * 2 + 1] as number)) / app.memoryMiB;
    const fits = Math.max(0, Math.floor(Math.min(cpu, memory, 10_000) + 1e-9));
    const standing = standingOf(app.policy, site, around.now);
    if (standing !== 'open') return Math.min(fits, has);
    const rate = app.policy.failback?.maxPerMinute;
    if (rate === undefined || site.since <= 0) return fits;
    const since = around.now - site.since - (app.policy.failback?.stabilisationSeconds ?? 10) * 1000;
    return Math.min(fits, has + 1 + Math.floor((Math.max(0, since) / 60_000) * rate));
  }

  #preference(app: ApplicationModel, s: number, around: Surroundings): number {
    const site = this.#model.sites[s];
    if (site === undefined) return 0;
    let worth = 0;
    for (const p of app.policy.sites?.preferred ?? []) if (selects(p, site)) worth += p.weight / 10;
    if (app.policy.affinity !== undefined && this.#neighbours(app.policy.affinity, app.key, around).has(site.name)) worth += 20;
    return worth;
  }

  #groups(app: ApplicationModel, sites: readonly number[]): Int32Array {
    const over = app.policy.spread?.over ?? 'site';
    const names = sites.map((s) => {
      const site = this.#model.sites[s];
      if (over === 'region') return site?.region ?? '';
      return over === 'zone' ? (site?.labels['topology.kubernetes.io/zone'] ?? site?.name ?? '') : (site?.name ?? '');
    });
    return Int32Array.from(names, (n) => names.indexOf(n));
  }
}

/** The strictest goal that applies to clients of a region. */
export function goalOf(app: ApplicationModel, clientRegion: string): number {
  let goal = Number.POSITIVE_INFINITY;
  for (const g of app.policy.latency ?? []) if (g.clientRegion === undefined || g.clientRegion === clientRegion) goal = Math.min(goal, g.milliseconds);
  return goal;
}
