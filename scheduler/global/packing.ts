/**
 * Instances are whole, and each that is begun is paid: of demand that goes to its best sites, a little at each may begin more instances than all of
 * it asks for. Here some of it goes to instances with room instead, where that costs less than an instance: one instance fewer at a site, or one
 * that changes its site, as long as something improves. What cannot be better is known by what the demand loses at least, and not worked out.
 */
import { MOST } from './candidates.ts';
import { TARGET_LOAD } from './objective.ts';
import type { Problem } from './problem.ts';
import type { Routing } from './routing.ts';
import type { Staffing } from './staffing.ts';

const GAIN = 1e-9;
/** Sets of more sites are not packed: what a whole instance more is worth shrinks with their number, and the work grows with its third power. */
const MOST_PACKED = 8;

export class Packing {
  readonly #routing: Routing;
  readonly #staff: Staffing;
  /** By candidate: paid instances, what they serve at most, the load if all had room, and what a request loses at least that leaves. */
  readonly #paid = new Int32Array(MOST);
  readonly #limit = new Float64Array(MOST);
  readonly #wanted = new Float64Array(MOST);
  readonly #regret = new Float64Array(MOST);
  #p!: Problem;
  /** Fewest instances that a set has, and what its score must be below. */
  #whole = 0;
  #most = Number.POSITIVE_INFINITY;
  /** Was another routing worked out? Then the one of before has to be again. */
  #isTried = false;

  constructor(routing: Routing, staff: Staffing) {
    this.#routing = routing;
    this.#staff = staff;
  }

  begin(problem: Problem): void {
    this.#p = problem;
  }

  /** Is more paid for than all demand asks for at one site? */
  mayGain(open: readonly number[]): boolean {
    let paid = 0;
    for (let i = 0; i < open.length; i++) paid += this.#pays(open[i] as number);
    this.#whole = Math.max(Math.ceil(this.#p.total / (TARGET_LOAD * this.#p.perInstance) - GAIN), open.length, this.#p.min);
    return open.length <= MOST_PACKED && paid > this.#whole;
  }

  /**
   * `nearest`, `points`: of everyone at the best site, and of the routing as it is; what cannot get below `limit` is not tried. The routing and its loads are then the better ones; returns its
   * points, or null where nothing is better, and then nothing has changed.
   */
  pack(open: readonly number[], nearest: number, points: number, limit: number): number | null {
    const p = this.#p;
    this.#look(open);
    let money = 0;
    let served = points;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      this.#paid[c] = this.#pays(c);
      this.#limit[c] = this.#serves(c);
      money += (this.#paid[c] as number) * (p.points[c] as number);
    }
    this.#isTried = false;
    let isBetter = false;
    this.#most = limit;
    for (let next = this.#step(open, nearest, served + money, money); next !== null; next = this.#step(open, nearest, served + money, money)) {
      isBetter = true;
      this.#change(next.from, -1);
      money -= p.points[next.from] as number;
      if (next.to >= 0) {
        this.#change(next.to, 1);
        money += p.points[next.to] as number;
      }
      served = next.served;
    }
    if (isBetter || (this.#isTried && points !== nearest)) return this.#routing.within(open, this.#limit);
    if (this.#isTried) {
      this.#routing.sum(open);
      this.#routing.settle(open);
    }
    return null;
  }

  /** The best of one instance fewer, or at another site; null = none is better. */
  #step(open: readonly number[], nearest: number, score: number, money: number): { readonly from: number; readonly to: number; readonly served: number } | null {
    const { points } = this.#p;
    let best: { readonly from: number; readonly to: number; readonly served: number } | null = null;
    let least = score - GAIN;
    for (const from of open) {
      if ((this.#paid[from] as number) <= 1) continue;
      this.#change(from, -1);
      const left = money - (points[from] as number);
      for (let i = -1; i < open.length; i++) {
        const to = i < 0 ? -1 : (open[i] as number);
        if (to === from) continue;
        const now = to < 0 ? left : left + (points[to] as number);
        if (nearest + now >= least || nearest + now - this.#mayStillSave(open) >= this.#most) continue;
        if (to >= 0 && !this.#change(to, 1)) continue;
        const bound = nearest + now + this.#loses(open);
        if (bound < least && bound - this.#mayStillSave(open) < this.#most) {
          this.#isTried = true;
          const served = this.#routing.within(open, this.#limit);
          if (served + now < least) [best, least] = [{ from, to, served }, served + now];
        }
        if (to >= 0) this.#change(to, -1);
      }
      this.#change(from, 1);
    }
    return best;
  }

  /** At most, by further steps. */
  #mayStillSave(open: readonly number[]): number {
    let [paid, most] = [0, 0];
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      paid += this.#paid[c] as number;
      most = Math.max(most, this.#p.points[c] as number);
    }
    return Math.max(0, paid - this.#whole) * most;
  }

  /** Points that the demand of a set loses at least because its sites have too little room for it; 0 where that is broken in any case. */
  losesAtLeast(open: readonly number[]): number {
    this.#look(open);
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      this.#limit[c] = (this.#staff.room[c] as number) * this.#staff.packed;
    }
    const lost = this.#loses(open);
    return lost === Number.POSITIVE_INFINITY ? 0 : lost;
  }

  /** One instance more or fewer is paid for; false = the site has no room for what it would serve. */
  #change(c: number, by: 1 | -1): boolean {
    const before = this.#limit[c] as number;
    this.#paid[c] = (this.#paid[c] as number) + by;
    this.#limit[c] = this.#serves(c);
    if (by < 0 || (this.#limit[c] as number) > before) return true;
    this.#change(c, -1);
    return false;
  }

  #pays(c: number): number {
    return Math.max(this.#staff.n[c] as number, this.#staff.asked[c] as number);
  }

  #serves(c: number): number {
    return Math.min(TARGET_LOAD * this.#p.perInstance * (this.#paid[c] as number), this.#staff.packed * (this.#staff.room[c] as number));
  }

  /** What goes where if all had room, and the least that a request loses at another open site. */
  #look(open: readonly number[]): void {
    const { regions, candidates, unit, rps } = this.#p;
    for (const c of open) {
      this.#wanted[c] = 0;
      this.#regret[c] = Number.POSITIVE_INFINITY;
    }
    this.#routing.work += regions * open.length;
    for (let r = 0; r < regions; r++) {
      let [best, least, second] = [-1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
      for (let i = 0; i < open.length; i++) {
        const c = open[i] as number;
        const u = unit[r * candidates + c] as number;
        if (u < least) {
          second = least;
          least = u;
          best = c;
        } else if (u < second) second = u;
      }
      this.#wanted[best] = (this.#wanted[best] as number) + (rps[r] as number);
      this.#regret[best] = Math.min(this.#regret[best] as number, second - least);
    }
  }

  /** Points that the demand loses at least for what the sites now serve at most; Infinity = it does not fit. */
  #loses(open: readonly number[]): number {
    const { total } = this.#p;
    let [sum, lost] = [0, 0];
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      const over = (this.#wanted[c] as number) - (this.#limit[c] as number);
      sum += this.#limit[c] as number;
      if (over > 0) lost += over * (this.#regret[c] as number);
    }
    return sum < total - GAIN ? Number.POSITIVE_INFINITY : lost / total;
  }
}
