/**
 * Which site serves which client region of one application, for one set of open sites after another: each region its best site, or, where a site is
 * too small for all that would go there, a split. Flat arrays, used again for the next set and the next application.
 */
import { MOST } from './candidates.ts';
import type { Flow } from './entry.ts';
import type { Problem } from './problem.ts';
import { splitDemand, splitting } from './split.ts';

const EPSILON = 1e-9;

export class Routing {
  /** By candidate, of the last set: requests per second. */
  readonly load = new Float64Array(MOST);
  unserved = 0;
  /** Is some demand not at its best site, for lack of room? */
  isBound = false;
  /** Rows x open sites visited so far: how much work was done. */
  work = 0;
  #p!: Problem;
  /** By row: the site that serves it, and of the prepared set the two best sites and their points. */
  #by = new Int32Array(MOST);
  #first = new Int32Array(MOST);
  #second = new Int32Array(MOST);
  #firstUnit = new Float64Array(MOST);
  #secondUnit = new Float64Array(MOST);
  readonly #split = splitting(this.load);

  begin(problem: Problem): void {
    this.#p = problem;
    if (this.#by.length >= problem.regions) return;
    const size = problem.regions * 2;
    [this.#by, this.#first, this.#second] = [new Int32Array(size), new Int32Array(size), new Int32Array(size)];
    [this.#firstUnit, this.#secondUnit] = [new Float64Array(size), new Float64Array(size)];
  }

  /** Everyone is at the best site. */
  settle(open: readonly number[]): void {
    this.isBound = false;
    this.unserved = open.length === 0 ? this.#p.total : 0;
  }

  /** Remembers the two best sites of every row among `open`, so that `changed` looks at no others. */
  prepare(open: readonly number[]): void {
    const { regions, candidates, unit } = this.#p;
    this.work += regions * open.length;
    for (let r = 0; r < regions; r++) {
      let [first, second] = [-1, -1];
      let [least, next] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
      for (let i = 0; i < open.length; i++) {
        const c = open[i] as number;
        const u = unit[r * candidates + c] as number;
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
      this.#firstUnit[r] = least;
      this.#secondUnit[r] = next;
    }
  }

  /** Everyone to the best site; returns its points. The loads are those of that. */
  nearest(open: readonly number[]): number {
    const { regions, candidates, unit, rps } = this.#p;
    const count = open.length;
    this.work += regions * count + 4;
    let points = 0;
    for (let r = 0; r < regions; r++) {
      let best = -1;
      let least = Number.POSITIVE_INFINITY;
      for (let i = 0; i < count; i++) {
        const c = open[i] as number;
        const u = unit[r * candidates + c] as number;
        if (u < least) {
          least = u;
          best = c;
        }
      }
      this.#by[r] = best;
      if (best >= 0) points += (rps[r] as number) * least;
    }
    this.sum(open);
    return this.#share(points);
  }

  /** Loads of the sites, by who goes where. */
  sum(open: readonly number[]): void {
    const { regions, rps } = this.#p;
    const { load } = this;
    for (let i = 0; i < open.length; i++) load[open[i] as number] = 0;
    for (let r = 0; r < regions; r++) {
      const best = this.#by[r] as number;
      if (best >= 0) load[best] = (load[best] as number) + (rps[r] as number);
    }
  }

  /** As `nearest`, for what was prepared without site `out` and with site `added` (-1 = none): `open` sites. The loads are left for `sum`. */
  changed(open: number, out: number, added: number): number {
    const { regions, candidates, unit, rps } = this.#p;
    const by = this.#by;
    const first = this.#first;
    const second = this.#second;
    const firstUnit = this.#firstUnit;
    const secondUnit = this.#secondUnit;
    this.work += regions + open;
    let points = 0;
    for (let r = 0; r < regions; r++) {
      let best = first[r] as number;
      let u = firstUnit[r] as number;
      if (best === out) {
        best = second[r] as number;
        u = secondUnit[r] as number;
      }
      if (added >= 0) {
        const there = unit[r * candidates + added] as number;
        if (there < u) {
          u = there;
          best = added;
        }
      }
      by[r] = best;
      if (best >= 0) points += (rps[r] as number) * u;
    }
    return this.#share(points);
  }

  /** Where not everyone fits: who gains most goes first; returns points of all demand. `most`: instances per site, of `packed` requests per second; only what fits nowhere else fills them. */
  squeeze(open: readonly number[], most: Int32Array, packed: number): number {
    const p = this.#p;
    const s = this.#begin(open);
    for (const c of open) s.limit[c] = (most[c] as number) * packed;
    splitDemand(p, open, s, true);
    if (s.unserved > EPSILON) {
      for (const c of open) s.limit[c] = (most[c] as number) * p.perInstance;
      splitDemand(p, open, s, false);
    }
    this.unserved = s.unserved;
    return this.#flowing(open, p.unit);
  }

  /** All demand over sites that take no more than `limit` (by candidate, requests per second), at the least points; Infinity = it does not fit. */
  within(open: readonly number[], limit: Float64Array): number {
    const p = this.#p;
    const s = this.#begin(open);
    for (const c of open) s.limit[c] = limit[c] as number;
    splitDemand(p, open, s, true);
    this.unserved = s.unserved > EPSILON ? s.unserved : 0;
    return this.unserved > 0 ? Number.POSITIVE_INFINITY : this.#share(this.#flowing(open, p.unit));
  }

  /** Demand is about to be split: nobody is served yet. */
  #begin(open: readonly number[]): ReturnType<typeof splitting> {
    this.isBound = true;
    this.work += 6 * this.#p.regions * open.length;
    for (const c of open) this.load[c] = 0;
    return this.#split;
  }

  /** Mean latency of the last evaluated set, ms. */
  latencyOf(open: readonly number[]): number {
    const { regions, candidates, total, rps, rtt } = this.#p;
    if (open.length === 0 || total === 0) return 0;
    if (this.isBound) return this.#flowing(open, rtt) / total;
    let latency = 0;
    for (let r = 0; r < regions; r++) latency += (rps[r] as number) * (rtt[r * candidates + (this.#by[r] as number)] as number);
    return latency / total;
  }

  /** Flows of the last evaluated set. */
  flows(open: readonly number[]): Flow[] {
    const p = this.#p;
    const out: Flow[] = [];
    for (const r of p.order) {
      if (!this.isBound) {
        const c = this.#by[r] as number;
        if (c >= 0) out.push({ r, c, rps: p.rps[r] as number });
        continue;
      }
      for (let i = 0; i < open.length; i++) {
        const rps = this.#split.flow[r * open.length + i] as number;
        if (rps > EPSILON) out.push({ r, c: open[i] as number, rps });
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

  #share(points: number): number {
    const { total } = this.#p;
    return total === 0 ? 0 : points / total;
  }

  /** Sum over the split flows, each times its number of `by`. */
  #flowing(open: readonly number[], by: Float64Array): number {
    const { regions, candidates } = this.#p;
    let sum = 0;
    for (let r = 0; r < regions; r++) {
      for (let i = 0; i < open.length; i++) {
        const rps = this.#split.flow[r * open.length + i] as number;
        if (rps !== 0) sum += rps * (by[r * candidates + (open[i] as number)] as number);
      }
    }
    return sum;
  }
}
