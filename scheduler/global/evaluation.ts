/**
 * What a set of open sites is worth for one application: its demand flows to them, the flows ask for instances, and the instances cost. All
 * numbers are in flat arrays that are used again for the next set and the next application.
 */
import { MOST } from './candidates.ts';
import { asksFor, BELOW_MIN, OVER, PACKED_LOAD, SPREAD, UNSERVED } from './objective.ts';
import type { Problem } from './problem.ts';
import { splitDemand, type Split } from './split.ts';

/** What must not be left for gain, such as a place while migration is not allowed, is left only for what is worse than this. */
const PINNED = 1_000;
/** Points of all demand, if it were beyond what instances take at most. */
const CROWDED = 10_000;
const EPSILON = 1e-9;

export class Evaluation {
  /** Of the last evaluated set, by candidate: load, fewest instances that serve it, instances to have, and what the load asks for. */
  readonly load = new Float64Array(MOST);
  readonly least = new Int32Array(MOST);
  readonly n = new Int32Array(MOST);
  readonly asked = new Int32Array(MOST);
  /** By candidate, set by the caller: how many instances fit. */
  readonly room = new Int32Array(MOST);
  /** Objective of the last set, what of it must not be, and the sum with moves and prices that the search makes small. */
  points = 0;
  broken = 0;
  score = 0;
  unserved = 0;
  latencyMs = 0;
  spent = 0;
  /** Is some demand not at its best site, for lack of room? */
  isBound = false;
  /** Is some site fuller than planned at most, because nothing else was left? */
  isCrowded = false;
  /** Rows x open sites visited so far: how much work was done. */
  work = 0;
  #p!: Problem;
  /** Requests per second of one instance where room is short. */
  #packed = 0;
  #flat = 0;
  #isPinned = false;
  #hasMoves = false;
  #by = new Int32Array(MOST);
  #first = new Int32Array(MOST);
  #second = new Int32Array(MOST);
  readonly #split: Split = { limit: new Float64Array(MOST), load: this.load, flow: new Float64Array(MOST * MOST), unserved: 0 };

  begin(problem: Problem): void {
    this.#p = problem;
    this.#packed = PACKED_LOAD * problem.perInstance;
    this.#hasMoves = false;
    if (this.#by.length < problem.regions) {
      this.#by = new Int32Array(problem.regions * 2);
      this.#first = new Int32Array(problem.regions * 2);
      this.#second = new Int32Array(problem.regions * 2);
    }
  }

  /** From here on, leaving today's sites costs. `flat`: points that opening any site must gain first; `isPinned`: nothing is left for gain. */
  countMoves(flat: number, isPinned: boolean): void {
    this.#hasMoves = this.#p.base.includes(1);
    this.#flat = flat;
    this.#isPinned = isPinned;
  }

  get problem(): Problem {
    return this.#p;
  }

  evaluate(open: readonly number[]): number {
    return this.#finish(open, this.#nearest(open) ?? this.#crowded(open, null));
  }

  /** Remembers the two best sites of every row among `open`, so that `evaluateWith` looks at no others. */
  prepare(open: readonly number[]): void {
    const p = this.#p;
    this.work += p.regions * open.length;
    for (let r = 0; r < p.regions; r++) {
      let [first, second] = [-1, -1];
      let [least, next] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
      for (let i = 0; i < open.length; i++) {
        const c = open[i] as number;
        const u = p.unit[r * p.candidates + c] as number;
        if (u < least) {
          next = least;
          second = first;
          least = u;
          first = c;
        } else if (u < next) {
          next = u;
          second = c;
        }
      }
      this.#first[r] = first;
      this.#second[r] = second;
    }
  }

  /** `open` is what was prepared without site `out` and with site `added`; -1 = none. */
  evaluateWith(open: readonly number[], out: number, added: number): number {
    return this.#finish(open, this.#changed(open, out, added) ?? this.#crowded(open, null));
  }

  #finish(open: readonly number[], served: number): number {
    const p = this.#p;
    let short = this.#count(open);
    let points = served;
    if (short < 0) {
      // more than instances.max or the ceiling allow: what is left of them decides who serves how much
      points = this.#crowded(open, this.n);
      short = Math.max(0, this.#recount(open));
    }
    this.broken = short + (p.total === 0 ? 0 : (this.unserved / p.total) * UNSERVED);
    this.spent = 0;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      points += Math.max(this.n[c] as number, this.asked[c] as number) * (p.points[c] as number);
      this.spent += (this.n[c] as number) * (p.cost[c] as number);
    }
    if (open.length === 0 || p.groups > 1) this.broken += SPREAD * Math.max(0, p.groups - this.#places(open));
    this.points = points + this.broken;
    this.score = this.points + this.#moves(open);
    return this.score;
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

  /** Flows of the last evaluated set. */
  flows(open: readonly number[]): { readonly r: number; readonly c: number; readonly rps: number }[] {
    const p = this.#p;
    const out: { r: number; c: number; rps: number }[] = [];
    for (const r of p.order) {
      if (!this.isBound) {
        const c = this.#by[r] as number;
        if (c >= 0) out.push({ r, c, rps: p.rps[r] as number });
        continue;
      }
      for (const [i, c] of open.entries()) {
        const rps = this.#split.flow[r * open.length + i] as number;
        if (rps > EPSILON) out.push({ r, c, rps });
      }
    }
    return out;
  }

  /** The worst of the sites that serve a row of the last evaluated set; -1 = nobody. */
  worstOf(row: number, open: readonly number[]): number {
    if (!this.isBound) return this.#by[row] as number;
    const p = this.#p;
    let worst = -1;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      if ((this.#split.flow[row * open.length + i] as number) > EPSILON && (worst < 0 || (p.unit[row * p.candidates + c] as number) > (p.unit[row * p.candidates + worst] as number))) worst = c;
    }
    return worst;
  }

  #changed(open: readonly number[], out: number, added: number): number | null {
    const p = this.#p;
    this.work += p.regions + open.length;
    for (let i = 0; i < open.length; i++) this.load[open[i] as number] = 0;
    let [points, latency] = [0, 0];
    for (let r = 0; r < p.regions; r++) {
      const row = r * p.candidates;
      let best = this.#first[r] as number;
      if (best === out) best = this.#second[r] as number;
      if (added >= 0 && (best < 0 || (p.unit[row + added] as number) < (p.unit[row + best] as number))) best = added;
      this.#by[r] = best;
      if (best < 0) continue;
      const rps = p.rps[r] as number;
      this.load[best] = (this.load[best] as number) + rps;
      points += rps * (p.unit[row + best] as number);
      latency += rps * (p.rtt[row + best] as number);
    }
    return this.#fitted(open, points, latency);
  }

  /** Everyone to the best site; null = some site has no room for that. */
  #nearest(open: readonly number[]): number | null {
    const p = this.#p;
    const count = open.length;
    this.work += p.regions * count + 4;
    for (let i = 0; i < count; i++) this.load[open[i] as number] = 0;
    let [points, latency] = [0, 0];
    for (let r = 0; r < p.regions; r++) {
      const row = r * p.candidates;
      let best = -1;
      let least = Number.POSITIVE_INFINITY;
      for (let i = 0; i < count; i++) {
        const c = open[i] as number;
        const u = p.unit[row + c] as number;
        if (u < least) {
          least = u;
          best = c;
        }
      }
      this.#by[r] = best;
      if (best < 0) continue;
      const rps = p.rps[r] as number;
      this.load[best] = (this.load[best] as number) + rps;
      points += rps * least;
      latency += rps * (p.rtt[row + best] as number);
    }
    return this.#fitted(open, points, latency);
  }

  #fitted(open: readonly number[], points: number, latency: number): number | null {
    const { total } = this.#p;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      if ((this.load[c] as number) > (this.room[c] as number) * this.#packed + EPSILON) return null;
    }
    this.isBound = false;
    this.isCrowded = false;
    this.unserved = open.length === 0 ? total : 0;
    this.latencyMs = total === 0 ? 0 : latency / total;
    return total === 0 ? 0 : points / total;
  }

  /** Some site is too small for all that would go there: who gains most goes first. `counts`: instances that there are at most. */
  #crowded(open: readonly number[], counts: Int32Array | null): number {
    const p = this.#p;
    this.isBound = true;
    this.work += 6 * p.regions * open.length;
    const s = this.#split;
    if (s.flow.length < p.regions * open.length) s.flow = new Float64Array(p.regions * open.length * 2);
    const most = (c: number): number => (counts === null ? (this.room[c] as number) : (counts[c] as number));
    for (const c of open) {
      this.load[c] = 0;
      s.limit[c] = most(c) * this.#packed;
    }
    splitDemand(p, open, s, true);
    if (s.unserved > EPSILON) {
      for (const c of open) s.limit[c] = most(c) * p.perInstance;
      splitDemand(p, open, s, false);
    }
    this.unserved = s.unserved;
    let [points, latency] = [0, 0];
    for (let r = 0; r < p.regions; r++) {
      for (let i = 0; i < open.length; i++) {
        const rps = s.flow[r * open.length + i] as number;
        if (rps === 0) continue;
        const at = r * p.candidates + (open[i] as number);
        points += rps * (p.unit[at] as number);
        latency += rps * (p.rtt[at] as number);
      }
    }
    this.latencyMs = latency / p.total;
    // beyond what is planned at most only where nothing else is left; what runs already may be that busy as long as it stays as it is
    this.isCrowded = false;
    for (const c of open) {
      const over = (this.load[c] as number) - most(c) * this.#packed;
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

  /** Instances per site. Returns points of what is missing; < 0 = the flows ask for more than instances.max or the ceiling allow. */
  #count(open: readonly number[]): number {
    const p = this.#p;
    let [total, least, spent] = [0, 0, 0];
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      const load = this.load[c] as number;
      const asked = asksFor(load, p.perInstance);
      const few = Math.min(Math.max(1, Math.ceil(load / this.#packed - EPSILON)), this.room[c] as number);
      this.asked[c] = asked;
      this.least[c] = few;
      const n = Math.max(few, Math.min(this.room[c] as number, asked));
      this.n[c] = n;
      total += n;
      least += few;
      spent += n * (p.cost[c] as number);
    }
    let isShort = false;
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
    if (isShort) return -1;
    return least < p.min ? this.#fill(open, least, total) : 0;
  }

  /** Loads have changed, counts stay. */
  #recount(open: readonly number[]): number {
    let total = 0;
    for (const c of open) {
      this.asked[c] = Math.max(this.n[c] as number, Math.min(this.asked[c] as number, asksFor(this.load[c] as number, this.#p.perInstance)));
      this.least[c] = Math.min(this.n[c] as number, Math.max(1, Math.ceil((this.load[c] as number) / this.#packed - EPSILON)));
      total += this.n[c] as number;
    }
    return total < this.#p.min ? BELOW_MIN * (this.#p.min - total) : 0;
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

  /** Up to the minimum, where they are busiest. */
  #fill(open: readonly number[], least: number, total: number): number {
    const p = this.#p;
    let [have, all] = [least, total];
    while (have < p.min) {
      let [best, value] = [-1, Number.NEGATIVE_INFINITY];
      for (const c of open) {
        const few = this.least[c] as number;
        if (few >= (this.room[c] as number)) continue;
        if (few >= (this.n[c] as number) && all >= p.max) continue;
        const v = ((this.load[c] as number) + 1e-6) / few;
        if (v > value) [best, value] = [c, v];
      }
      if (best < 0) return BELOW_MIN * (p.min - have);
      this.least[best] = (this.least[best] as number) + 1;
      have += 1;
      if ((this.least[best] as number) > (this.n[best] as number)) {
        this.n[best] = this.least[best] as number;
        all += 1;
      }
    }
    return 0;
  }

  /** What leaving today's sites for these must gain. */
  #moves(open: readonly number[]): number {
    if (!this.#hasMoves) return 0;
    const p = this.#p;
    let points = 0;
    let kept = 0;
    let isOpening = false;
    for (const c of open) {
      if (p.base[c] === 1) kept += 1;
      else {
        isOpening = true;
        points += p.opening * (p.cost[c] as number);
      }
    }
    let leaves = false;
    for (let c = 0, seen = 0; c < p.candidates; c++) {
      if (p.base[c] !== 1 || (this.room[c] as number) === 0) continue;
      seen += 1;
      if (open.includes(c)) continue;
      leaves = true;
      points += p.closing * (p.cost[c] as number);
    }
    if (isOpening) points += this.#flat;
    return points + (this.#isPinned && (isOpening || leaves || kept === 0) ? PINNED : 0);
  }
}
