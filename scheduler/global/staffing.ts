/**
 * How many instances each open site of one application has, for the load that goes there: as many as the load asks for, fewer where the site,
 * instances.max or the ceiling leave no room for them, more where instances.min wants them. Flat arrays by candidate, used again for every set.
 */
import { MOST } from './candidates.ts';
import { asksFor, BELOW_MIN, OVER, PACKED_LOAD } from './objective.ts';
import type { Problem } from './problem.ts';

const EPSILON = 1e-9;
const NO_TRADE = [-1, -1] as const;

export class Staffing {
  /** By candidate: load, fewest instances that serve it, instances to have, and what the load asks for. */
  readonly load: Float64Array;
  readonly least = new Int32Array(MOST);
  readonly n = new Int32Array(MOST);
  readonly asked = new Int32Array(MOST);
  /** How many instances fit. */
  readonly room = new Int32Array(MOST);
  /** Requests per second of one instance where room is short. */
  packed = 0;
  #p!: Problem;

  constructor(load: Float64Array) {
    this.load = load;
  }

  begin(problem: Problem): void {
    this.#p = problem;
    this.packed = PACKED_LOAD * problem.perInstance;
  }

  /** Has every open site room for its load? */
  fits(open: readonly number[]): boolean {
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      if ((this.load[c] as number) > (this.room[c] as number) * this.packed + EPSILON) return false;
    }
    return true;
  }

  /** Instances per site. Returns points of what is missing; < 0 = the loads ask for more than instances.max or the ceiling allow. */
  count(open: readonly number[]): number {
    const p = this.#p;
    let total = 0;
    let least = 0;
    let spent = 0;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      const load = this.load[c] as number;
      const room = this.room[c] as number;
      const asked = asksFor(load, p.perInstance);
      const few = Math.min(Math.max(1, Math.ceil(load / this.packed - EPSILON)), room);
      const n = Math.max(few, Math.min(room, asked));
      this.asked[c] = asked;
      this.least[c] = few;
      this.n[c] = n;
      total += n;
      least += few;
      spent += n * (p.cost[c] as number);
    }
    if (total > p.max || spent > p.ceiling + EPSILON) return this.#fewer(open, total, least, spent);
    return least < p.min ? this.#fill(open, least, total, spent) : 0;
  }

  /** The loads have changed, the counts stay. */
  recount(open: readonly number[]): number {
    let total = 0;
    for (const c of open) {
      this.asked[c] = Math.max(this.n[c] as number, Math.min(this.asked[c] as number, asksFor(this.load[c] as number, this.#p.perInstance)));
      this.least[c] = Math.min(this.n[c] as number, Math.max(1, Math.ceil((this.load[c] as number) / this.packed - EPSILON)));
      total += this.n[c] as number;
    }
    return total < this.#p.min ? BELOW_MIN * (this.#p.min - total) : 0;
  }

  /** Down to instances.max and the ceiling; < 0 = then too few are left for the loads. */
  #fewer(open: readonly number[], count: number, few: number, money: number): number {
    const p = this.#p;
    let [total, least, spent, isShort] = [count, few, money, false];
    while (total > p.max || spent > p.ceiling + EPSILON) {
      const c = this.#leastHurt(open, total <= p.max);
      if (c < 0) return OVER * (total > p.max ? total - p.max : 1 + spent - p.ceiling);
      const n = (this.n[c] as number) - 1;
      if (n < (this.least[c] as number)) {
        isShort = true;
        this.least[c] = n;
        least -= 1;
      }
      this.n[c] = n;
      total -= 1;
      spent -= p.cost[c] as number;
    }
    if (isShort) {
      this.#spend(open, total, spent);
      return -1;
    }
    return least < p.min ? this.#fill(open, least, total, spent) : 0;
  }

  /** A dear instance that had to go may leave money for cheaper ones, also where the loads did not ask for them: where they are busiest. */
  #spend(open: readonly number[], count: number, money: number): void {
    const p = this.#p;
    const least = Math.max(p.min, Math.ceil(p.total / this.packed - EPSILON));
    for (let [total, spent] = [count, money]; total < Math.min(p.max, least); total++) {
      let [best, value] = [-1, Number.NEGATIVE_INFINITY];
      for (const c of open) {
        const n = this.n[c] as number;
        if (n >= (this.room[c] as number) || spent + (p.cost[c] as number) > p.ceiling + EPSILON) continue;
        if ((this.load[c] as number) / n > value) [best, value] = [c, (this.load[c] as number) / n];
      }
      if (best < 0) {
        const [dear, cheap] = this.#trade(open, p.ceiling - spent);
        if (dear < 0) break;
        this.n[dear] = (this.n[dear] as number) - 1;
        this.n[cheap] = (this.n[cheap] as number) + 1;
        spent += (p.cost[cheap] as number) - (p.cost[dear] as number);
        best = cheap;
      }
      this.n[best] = (this.n[best] as number) + 1;
      spent += p.cost[best] as number;
    }
  }

  /** A site where one instance less pays, with what is left, for two more at another; -1 = there is none. */
  #trade(open: readonly number[], left: number): readonly [dear: number, cheap: number] {
    const { cost } = this.#p;
    for (const dear of open) {
      if ((this.n[dear] as number) <= 1) continue;
      for (const cheap of open) {
        if (cheap !== dear && (this.n[cheap] as number) + 2 <= (this.room[cheap] as number) && 2 * (cost[cheap] as number) <= left + (cost[dear] as number) + EPSILON) return [dear, cheap];
      }
    }
    return NO_TRADE;
  }

  /** Where an instance less leaves the others least busy; for money, per unit of it. */
  #leastHurt(open: readonly number[], isForMoney: boolean): number {
    let [best, value] = [-1, Number.POSITIVE_INFINITY];
    for (const c of open) {
      const n = this.n[c] as number;
      const cost = this.#p.cost[c] as number;
      if (n <= 1 || (isForMoney && cost <= 0)) continue;
      const v = (this.load[c] as number) / (n - 1) / (isForMoney ? cost : 1);
      if (v < value) [best, value] = [c, v];
    }
    return best;
  }

  /** Up to the minimum, where they are busiest, as far as the ceiling goes. */
  #fill(open: readonly number[], least: number, total: number, money: number): number {
    const p = this.#p;
    let [have, all, spent] = [least, total, money];
    while (have < p.min) {
      let [best, value] = [-1, Number.NEGATIVE_INFINITY];
      for (const c of open) {
        const few = this.least[c] as number;
        if (few >= (this.room[c] as number)) continue;
        if (few >= (this.n[c] as number) && (all >= p.max || spent + (p.cost[c] as number) > p.ceiling + EPSILON)) continue;
        const v = ((this.load[c] as number) + 1e-6) / few;
        if (v > value) [best, value] = [c, v];
      }
      if (best < 0) return BELOW_MIN * (p.min - have);
      this.least[best] = (this.least[best] as number) + 1;
      have += 1;
      if ((this.least[best] as number) > (this.n[best] as number)) {
        this.n[best] = this.least[best] as number;
        all += 1;
        spent += p.cost[best] as number;
      }
    }
    return 0;
  }
}
