/**
 * What a set of open sites is worth for one application: its demand flows to them (`routing.ts`), the flows ask for instances (`staffing.ts`), and
 * the instances cost.
 */
import type { Flow } from './entry.ts';
import { SPREAD, TARGET_LOAD, UNSERVED } from './objective.ts';
import { Packing } from './packing.ts';
import type { Problem } from './problem.ts';
import { Routing } from './routing.ts';
import { Staffing } from './staffing.ts';

/** What must not be left for gain, such as a place while migration is not allowed, is left only for what is worse than this. */
const PINNED = 1_000;
/** Points of all demand, if it were beyond what instances take at most. */
const CROWDED = 10_000;
/** A bound is summed in another order than what it bounds. */
const ROUNDING = 1e-6;

export class Evaluation {
  readonly #routing = new Routing();
  readonly #staff = new Staffing(this.#routing.load);
  readonly #packing = new Packing(this.#routing, this.#staff);
  /** Of the last evaluated set, by candidate: fewest instances that serve the load, and instances to have. */
  readonly least = this.#staff.least;
  readonly n = this.#staff.n;
  /** By candidate, set by the caller: how many instances fit. */
  readonly room = this.#staff.room;
  /** Objective of the last set, what of it must not be, and the sum with moves and prices that the search makes small. */
  points = 0;
  broken = 0;
  score = 0;
  /** Is demand moved to fill instances? A plan takes some times as long then: for small models. */
  isPacking = false;
  /** Is some site fuller than planned at most, because nothing else was left? */
  isCrowded = false;
  #p!: Problem;
  #flat = 0;
  #isPinned = false;
  /** Points of the instances that are missing. */
  #short = 0;
  /** Candidates that serve today; empty while moves are not counted. */
  readonly #base: number[] = [];
  /** Instances that all demand asks for at one site; at several it is never fewer. */
  #asked = 0;

  begin(problem: Problem): void {
    this.#p = problem;
    this.#routing.begin(problem);
    this.#staff.begin(problem);
    this.#packing.begin(problem);
    this.#base.length = 0;
    this.#asked = Math.ceil(problem.total / (TARGET_LOAD * problem.perInstance) - ROUNDING);
  }

  /** From here on, leaving today's sites costs. `flat`: points that opening any site must gain first; `isPinned`: nothing is left for gain. */
  countMoves(flat: number, isPinned: boolean): void {
    const { base, candidates } = this.#p;
    this.#base.length = 0;
    for (let c = 0; c < candidates; c++) if (base[c] === 1) this.#base.push(c);
    this.#flat = flat;
    this.#isPinned = isPinned;
  }

  get problem(): Problem {
    return this.#p;
  }

  /** Rows x open sites visited so far: how much work was done. */
  get work(): number {
    return this.#routing.work;
  }

  /** Of the last evaluated set: demand that nobody serves, and whether some is not at its best site, for lack of room. */
  get unserved(): number {
    return this.#routing.unserved;
  }

  get isBound(): boolean {
    return this.#routing.isBound;
  }

  evaluate(open: readonly number[]): number {
    const served = this.#routing.nearest(open);
    return this.#finish(open, served, this.#moves(open), Number.POSITIVE_INFINITY);
  }

  /** Remembers what `evaluateWith` needs of the set that the next ones differ from by one site. */
  prepare(open: readonly number[]): void {
    this.#routing.prepare(open);
  }

  /**
   * `open` is what was prepared without site `out` and with site `added`; -1 = none. Infinity = the score is not below `limit`: then the set is not
   * worked out. Most sets are given up like this, by what they cost if there were room for everyone.
   */
  evaluateWith(open: readonly number[], out: number, added: number, limit: number): number {
    const served = this.#routing.changed(open.length, out, added);
    const moves = this.#moves(open);
    if (served + this.#moneyAtLeast(open) + moves >= limit + ROUNDING) return Number.POSITIVE_INFINITY;
    this.#routing.sum(open);
    return this.#finish(open, served, moves, limit + ROUNDING);
  }

  /** Flows of the last evaluated set. */
  flows(open: readonly number[]): Flow[] {
    return this.#routing.flows(open);
  }

  worstOf(row: number, open: readonly number[]): number {
    return this.#routing.worstOf(row, open);
  }

  /** Mean latency of the last evaluated set, ms. */
  latencyOf(open: readonly number[]): number {
    return this.#routing.latencyOf(open);
  }

  /** What the last evaluated set spends on instances. */
  spentOn(open: readonly number[]): number {
    let spent = 0;
    for (const c of open) spent += (this.n[c] as number) * (this.#p.cost[c] as number);
    return spent;
  }

  /** Points of the instances that any split of the demand over these sites asks for: one each, and as many together as all of it asks for. */
  #moneyAtLeast(open: readonly number[]): number {
    const p = this.#p;
    let each = 0;
    let cheapest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < open.length; i++) {
      const points = p.points[open[i] as number] as number;
      each += points;
      if (points < cheapest) cheapest = points;
    }
    // where instances.max or the ceiling cut the counts, the load asks for less in the end
    const isCut = this.#asked + open.length > p.max || p.ceiling !== Number.POSITIVE_INFINITY;
    return isCut || this.#asked <= open.length ? each : each + (this.#asked - open.length) * cheapest;
  }

  /** Some site is too small for all that would go there. `most`: instances that there are at most. */
  #crowded(open: readonly number[], most: Int32Array): number {
    const p = this.#p;
    const { packed } = this.#staff;
    const { load } = this.#routing;
    let points = this.#routing.squeeze(open, most, packed);
    // beyond what is planned at most only where nothing else is left; what runs already may be that busy as long as it stays as it is
    this.isCrowded = false;
    for (const c of open) {
      const over = (load[c] as number) - (most[c] as number) * packed;
      if (over <= 1e-6) continue;
      this.isCrowded = true;
      if (!this.#isBase(open)) points += CROWDED * over;
    }
    return points / p.total;
  }

  #isBase(open: readonly number[]): boolean {
    const { base } = this.#p;
    let count = 0;
    for (const b of base) count += b;
    return count === open.length && open.every((c) => base[c] === 1);
  }

  /** `nearest`: points of everyone at the best site; the loads are those of that. */
  #finish(open: readonly number[], nearest: number, moves: number, limit: number): number {
    const p = this.#p;
    if (this.isPacking && !this.#staff.fits(open) && nearest + this.#packing.losesAtLeast(open) + this.#moneyAtLeast(open) + moves >= limit) return Number.POSITIVE_INFINITY;
    let points = this.#staffed(open, nearest);
    if (this.isPacking && this.#short === 0 && open.length > 1 && this.unserved === 0 && !this.isCrowded && this.#packing.mayGain(open)) {
      const packed = this.#packing.pack(open, nearest, points, limit - moves);
      if (packed !== null) {
        const short = this.#staff.count(open);
        if (short >= 0) [points, this.#short] = [packed, short];
        else {
          // instances.max or the ceiling leave fewer than were filled
          this.#routing.sum(open);
          points = this.#staffed(open, nearest);
        }
      }
    }
    this.broken = this.#short + (p.total === 0 ? 0 : (this.unserved / p.total) * UNSERVED);
    const { asked } = this.#staff;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      points += Math.max(this.n[c] as number, asked[c] as number) * (p.points[c] as number);
    }
    if (open.length === 0 || p.groups > 1) this.broken += SPREAD * Math.max(0, p.groups - this.#places(open));
    this.points = points + this.broken;
    this.score = this.points + moves;
    return this.score;
  }

  /** Points of the demand where it has room, and the instances for it; the loads are those of everyone at the best site. */
  #staffed(open: readonly number[], nearest: number): number {
    const staff = this.#staff;
    let points = nearest;
    if (staff.fits(open)) {
      this.#routing.settle(open);
      this.isCrowded = false;
    } else points = this.#crowded(open, this.room);
    this.#short = staff.count(open);
    if (this.#short >= 0) return points;
    // more than instances.max or the ceiling allow: what is left of them decides who serves how much
    points = this.#crowded(open, this.n);
    this.#short = Math.max(0, staff.recount(open));
    return points;
  }

  #places(open: readonly number[]): number {
    const { group } = this.#p;
    let places = 0;
    for (let i = 0; i < open.length; i++) {
      let isNew = true;
      for (let j = 0; j < i; j++) if (group[open[j] as number] === group[open[i] as number]) isNew = false;
      if (isNew) places += 1;
    }
    return places;
  }

  /** What leaving today's sites for these must gain. */
  #moves(open: readonly number[]): number {
    const base = this.#base;
    if (base.length === 0) return 0;
    const p = this.#p;
    let points = 0;
    let kept = 0;
    let opened = 0;
    let left = 0;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      if (p.base[c] === 1) kept += 1;
      else {
        opened += 1;
        points += p.opening * (p.cost[c] as number);
      }
    }
    for (let i = 0; i < base.length; i++) {
      const c = base[i] as number;
      if ((this.room[c] as number) === 0 || open.includes(c)) continue;
      left += 1;
      points += p.closing * (p.cost[c] as number);
    }
    if (opened > 0) points += this.#flat;
    // each of them by itself: who must open a site for want of room does not leave another for gain
    return points + (this.#isPinned ? PINNED * Math.max(opened + left, kept === 0 ? 1 : 0) : 0);
  }
}
