/** From the model to one application's small problem: which sites are worth looking at, and the numbers of each. */
import { candidatesOf, MOST, type Nearest } from './candidates.ts';
import type { Capacity } from './capacity.ts';
import { avoided, refusedByPolicy, selects, standingOf } from './eligible.ts';
import type { ApplicationModel, Model, Placements, SiteInstances, SiteModel } from './model.ts';
import { AFFINITY_MS, goalPenalty, goalsOf, goalWeight, groupOf, UNKNOWN_RTT_MS, weightsOf } from './objective.ts';

/** A goal is still met from the site that serves a region today when it is missed by no more than this: noise moves nothing. */
export const GOAL_TOLERANCE = 1.15;

/** All numbers of one application, by row (client region) and candidate (site). */
export interface Problem {
  readonly regions: number;
  readonly candidates: number;
  /** [row] requests per second, and the rows from most to least. */
  readonly rps: Float64Array;
  readonly order: readonly number[];
  readonly total: number;
  /** [row * candidates + candidate] measured ms, and points of all demand if it were served like this: latency, preference, goals. */
  readonly rtt: Float64Array;
  readonly unit: Float64Array;
  /** [candidate] instances that the site may get for reasons other than its capacity, cost and carbon points of one, plain cost, place of a spread. */
  readonly allowed: Int32Array;
  readonly points: Float64Array;
  readonly cost: Float64Array;
  readonly group: Int32Array;
  /** [candidate] 1 = serves today. */
  readonly base: Uint8Array;
  /** What opening or closing a site must gain first, as a share of its cost. */
  readonly opening: number;
  readonly closing: number;
  /** [candidate * dimensions + dimension] what one instance takes. */
  readonly size: Float64Array;
  readonly perInstance: number;
  readonly min: number;
  readonly max: number;
  readonly groups: number;
  readonly ceiling: number;
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

/** Opening must pay for its instances so many times over; closing must save this share of theirs. */
const OPEN_PAYS = 1;
const CLOSE_SAVES = 0.25;
const EVER = 10_000;
/** Of the candidates of before; others are to be found as well. */
const MOST_KEPT = 32;
const NONE: ReadonlyMap<number, number> = new Map();
const NOBODY = new Float64Array(0);

type Row = ApplicationModel['demand'][number];

const CHUNK = 1 << 16;

/** Many small arrays in few large ones: those that live as long as a plan are no work for the garbage collector. */
class Arena {
  #chunk = new Float64Array(CHUNK);
  #at = 0;

  /** Zeroes. */
  take(length: number): Float64Array {
    if (this.#at + length > this.#chunk.length) {
      this.#chunk = new Float64Array(Math.max(CHUNK, length));
      this.#at = 0;
    }
    const out = this.#chunk.subarray(this.#at, this.#at + length);
    this.#at += length;
    return out;
  }

  reset(): void {
    this.#chunk.fill(0, 0, this.#at);
    this.#at = 0;
  }
}

export class Problems {
  readonly model: Model;
  readonly capacity: Capacity;
  readonly #index: ReadonlyMap<string, number>;
  readonly #nearest: Nearest;
  readonly #reported: Placements;
  #arena = new Arena();
  /** Without a spread every site is a place of its own. */
  readonly #alone = Int32Array.from({ length: MOST }, (_, i) => i);

  /** `reported`: what there is, though a plan may begin with something else: what was there may come back where nothing new may. */
  constructor(model: Model, capacity: Capacity, siteIndex: ReadonlyMap<string, number>, nearest: Nearest, reported: Placements) {
    this.model = model;
    this.#reported = reported;
    this.capacity = capacity;
    this.#index = siteIndex;
    this.#nearest = nearest;
  }

  /**
   * `serving`: sites in use that count; they are always candidates. `used`: what is taken of every site without this application. `beside`:
   * sites of applications that it wants to share with. `keep`: candidates of before that stay ones, though they may be full.
   */
  of(app: ApplicationModel, serving: readonly SiteInstances[], used: Float64Array, beside: ReadonlySet<number>, now: number, keep: readonly number[] = []): SmallProblem {
    const isPrior = app.demand.length === 0;
    const rows = isPrior ? this.#prior() : app.demand;
    const R = rows.length;
    const sizes = this.capacity.sizesOf(app);
    const today = serving.length === 0 ? NONE : new Map(serving.map((s) => [this.#index.get(s.site) ?? -1, s.instances]));
    const order = rows.map((_, i) => i).sort((a, b) => (rows[b] as Row).rps - (rows[a] as Row).rps || a - b);
    const rps = this.#arena.take(R);
    const regions: number[] = [];
    let total = 0;
    for (let r = 0; r < R; r++) {
      const row = rows[r] as Row;
      rps[r] = row.rps;
      regions.push(row.region);
      total += row.rps;
    }
    const allows = (s: number): boolean => this.#mayOpen(app, s, now) && this.capacity.hasRoom(used, s, sizes(s));
    const always = keep.slice(0, MOST_KEPT);
    for (const s of today.keys()) if (s >= 0) always.push(s);
    const sites = candidatesOf(this.model, this.#nearest, { app, always, regions: order.map((r) => regions[r] as number), allows });
    const [rtt, unit] = this.#ways(app, isPrior ? NOBODY : rps, total, regions, sites, beside);
    const { instances, spread, cost } = app.policy;
    const limits = { perInstance: app.perInstance, min: instances.min, max: instances.max, groups: spread?.min ?? 1, ceiling: cost?.ceiling ?? Number.POSITIVE_INFINITY };
    const problem: Problem = { regions: R, candidates: sites.length, rps, order, total, rtt, unit, ...this.#perSite(app, sites, sizes, today, now), ...limits };
    return { problem, sites, regions, isPrior };
  }

  #perSite(app: ApplicationModel, sites: readonly number[], sizes: (site: number) => Float64Array, today: ReadonlyMap<number, number>, now: number): Pick<Problem, 'allowed' | 'points' | 'cost' | 'group' | 'base' | 'opening' | 'closing' | 'size'> {
    const C = sites.length;
    const K = this.capacity.width;
    const weights = weightsOf(app.policy);
    const [points, cost, size] = [this.#arena.take(C), this.#arena.take(C), this.#arena.take(C * K)];
    const [allowed, base] = [new Int32Array(C), new Uint8Array(C)];
    for (let c = 0; c < C; c++) {
      const s = sites[c] as number;
      const site = this.model.sites[s] as SiteModel;
      cost[c] = site.cost;
      points[c] = weights.money * site.cost + weights.carbon * site.carbon;
      const has = today.get(s);
      base[c] = has === undefined ? 0 : 1;
      allowed[c] = this.#allowed(app, site, has ?? 0, now);
      const one = sizes(s);
      for (let k = 0; k < K; k++) size[c * K + k] = one[k] as number;
    }
    return { allowed, points, cost, group: this.#groups(app, sites), base, opening: OPEN_PAYS * weights.money, closing: CLOSE_SAVES * weights.money, size };
  }

  /** Problems made so far are not looked at any more: their memory is used again. */
  forget(): void {
    this.#arena.reset();
  }

  /** Goals count with tolerance for the ways that are in use: `ways` are [row, candidate]. */
  tolerate(app: ApplicationModel, small: SmallProblem, ways: readonly (readonly [number, number])[], beside: ReadonlySet<number>): void {
    if (app.policy.latency === undefined || small.isPrior) return;
    const C = small.problem.candidates;
    const weight = weightsOf(app.policy).latency;
    const { rps, total } = small.problem;
    for (const [r, c] of ways) {
      const ms = small.problem.rtt[r * C + c] as number;
      const goals = goalsOf(app.policy, this.model.clientRegions[small.regions[r] as number] ?? '');
      small.problem.unit[r * C + c] = weight * ms - this.#liking(app, small.sites[c] as number, beside) + goalPenalty(goals, ms, GOAL_TOLERANCE, goalWeight(rps[r] as number, total, app.perInstance));
    }
  }

  /** `rps` by row; empty = nobody was seen, and nobody has a goal. */
  #ways(app: ApplicationModel, rps: Float64Array, total: number, regions: readonly number[], sites: readonly number[], beside: ReadonlySet<number>): [Float64Array, Float64Array] {
    const [C, S] = [sites.length, this.model.sites.length];
    const [rtt, unit] = [this.#arena.take(regions.length * C), this.#arena.take(regions.length * C)];
    const weight = weightsOf(app.policy).latency;
    const likes = app.policy.sites?.preferred === undefined && beside.size === 0 ? null : sites.map((s) => this.#liking(app, s, beside));
    for (let i = 0; i < regions.length; i++) {
      const region = regions[i] as number;
      const goals = rps.length === 0 ? [] : goalsOf(app.policy, this.model.clientRegions[region] ?? '');
      const late = goals.length === 0 ? 0 : goalWeight(rps[i] as number, total, app.perInstance);
      for (let c = 0; c < C; c++) {
        const raw = this.model.rtt[region * S + (sites[c] as number)] as number;
        const ms = raw === raw ? raw : UNKNOWN_RTT_MS;
        rtt[i * C + c] = ms;
        unit[i * C + c] = weight * ms - (likes === null ? 0 : (likes[c] as number)) + (goals.length === 0 ? 0 : goalPenalty(goals, ms, 1, late));
      }
    }
    return [rtt, unit];
  }

  /** Without any demand yet, clients may come from anywhere: a few regions spread over the list stand for all. */
  #prior(): readonly Row[] {
    const R = this.model.clientRegions.length;
    const step = Math.max(1, Math.floor(R / 8));
    return Array.from({ length: Math.min(8, R) }, (_, i) => ({ region: i * step, rps: 1e-3 }));
  }

  #mayOpen(app: ApplicationModel, s: number, now: number): boolean {
    const site = this.model.sites[s];
    if (site === undefined || refusedByPolicy(app.policy, site) !== null) return false;
    return standingOf(app.policy, site, now) === 'open' && avoided(app, site.name, now) === null;
  }

  /** A site that only keeps what it has gets nothing new; one that is back gets its instances at the rate of the policy. */
  #allowed(app: ApplicationModel, site: SiteModel, planned: number, now: number): number {
    const rate = app.policy.failback?.maxPerMinute;
    const isOpen = standingOf(app.policy, site, now) === 'open';
    if (isOpen && (rate === undefined || site.since <= 0)) return EVER;
    const has = Math.max(planned, this.#reported.get(app.key)?.find((s) => s.site === site.name)?.instances ?? 0);
    if (!isOpen || rate === undefined) return has;
    const since = now - site.since - (app.policy.failback?.stabilisationSeconds ?? 10) * 1000;
    // counted from when it came back, not from the plan before: otherwise each plan would add some
    return Math.min(EVER, Math.max(has, 1 + Math.floor((Math.max(0, since) / 60_000) * rate)));
  }

  #liking(app: ApplicationModel, s: number, beside: ReadonlySet<number>): number {
    const site = this.model.sites[s];
    if (site === undefined) return 0;
    let worth = beside.has(s) ? AFFINITY_MS : 0;
    for (const p of app.policy.sites?.preferred ?? []) if (selects(p, site)) worth += p.weight / 10;
    return worth;
  }

  #groups(app: ApplicationModel, sites: readonly number[]): Int32Array {
    if (app.policy.spread === undefined) return this.#alone;
    const names = sites.map((s) => groupOf(app.policy, this.model.sites[s] as Model['sites'][number]));
    return Int32Array.from(names, (n) => names.indexOf(n));
  }
}
