/**
 * Where one application's instances go: capacitated facility location over a few candidate sites, by greedy opening and then dropping and
 * swapping until nothing improves. All numbers of one application are in flat arrays that are used again for the next one.
 *
 * Score = latency weight x mean ms + money weight x cost per hour + carbon weight x carbon + penalties. Penalties order what must be:
 * never above max or the cost ceiling, then demand that nobody can serve, instances below min, a spread not reached, then latency goals.
 */
export interface Problem {
  readonly regions: number;
  readonly candidates: number;
  /** [region] requests per second, and the goal in ms (Infinity = none). */
  readonly rps: Float64Array;
  readonly goal: Float64Array;
  /** [region * candidates + candidate] ms */
  readonly rtt: Float64Array;
  /** [candidate] how many instances fit, cost and carbon of one, preference (ms it is worth), group for spread. */
  readonly room: Int32Array;
  readonly cost: Float64Array;
  readonly carbon: Float64Array;
  readonly preference: Float64Array;
  readonly group: Int32Array;
  /** [region * candidates + candidate] factor on the goal. */
  readonly tolerance: Float64Array;
  readonly perInstance: number;
  readonly min: number;
  readonly max: number;
  readonly groups: number;
  readonly ceiling: number;
  readonly weightLatency: number;
  readonly weightMoney: number;
  readonly weightCarbon: number;
}

export interface Outcome {
  readonly score: number;
  /** What must not be: > 0 when a hard constraint is broken. */
  readonly broken: number;
  readonly latencyMs: number;
  readonly money: number;
  readonly unserved: number;
}

/** Share of an instance's capacity that is planned for; the rest is for bursts and for noise. */
export const TARGET_LOAD = 0.7;
const UNSERVED = 1e7;
const BELOW_MIN = 1e6;
const OVER = 1e9;
const SPREAD = 1e4;
const GOAL_PENALTY = 50;
/** Below so many requests per second a goal counts in proportion: a region that fades away releases its site. */
export const GOAL_FLOOR_RPS = 0.5;

export class Search {
  readonly load = new Float64Array(64);
  readonly n = new Int32Array(64);
  readonly wanted = new Int32Array(64);
  #p!: Problem;
  #open = new Uint8Array(64);
  #order: number[] = [];
  #total = 0;

  begin(problem: Problem): void {
    this.#p = problem;
    this.#order = Array.from({ length: problem.regions }, (_, i) => i).sort((a, b) => (problem.rps[b] ?? 0) - (problem.rps[a] ?? 0) || a - b);
    this.#total = 0;
    for (let r = 0; r < problem.regions; r++) this.#total += problem.rps[r] ?? 0;
  }

  /** Fills `load` and `n`. `visit` sees every flow of demand to a site. */
  evaluate(open: readonly number[], visit?: (region: number, candidate: number, rps: number) => void): Outcome {
    const p = this.#p;
    const count = open.length;
    for (let i = 0; i < count; i++) this.load[open[i] as number] = 0;
    let latency = 0;
    let goals = 0;
    let unserved = 0;
    for (let k = 0; k < this.#order.length; k++) {
      const r = this.#order[k] as number;
      let rest = p.rps[r] as number;
      const row = r * p.candidates;
      while (rest > 1e-9) {
        let best = -1;
        let bestMs = Number.POSITIVE_INFINITY;
        let bestRoom = 0;
        for (let i = 0; i < count; i++) {
          const c = open[i] as number;
          const ms = p.rtt[row + c] as number;
          if (ms >= bestMs) continue;
          const room = (p.room[c] as number) * p.perInstance - (this.load[c] as number);
          if (room <= 1e-9) continue;
          best = c;
          bestMs = ms;
          bestRoom = room;
        }
        if (best < 0) break;
        const taken = Math.min(rest, bestRoom);
        this.load[best] = (this.load[best] as number) + taken;
        rest -= taken;
        latency += taken * bestMs;
        const goal = (p.goal[r] as number) * (p.tolerance[row + best] as number);
        if (bestMs > goal) goals += GOAL_PENALTY * Math.min(1, taken / GOAL_FLOOR_RPS) * (1 + (bestMs - goal) / goal);
        visit?.(r, best, taken);
      }
      unserved += rest;
    }
    return this.#sum(open, this.#total === 0 ? 0 : latency / this.#total, goals, unserved);
  }

  #sum(open: readonly number[], latencyMs: number, goals: number, unserved: number): Outcome {
    const p = this.#p;
    let broken = this.#total === 0 ? 0 : (unserved / this.#total) * UNSERVED;
    broken += this.#count(open);
    let spent = 0;
    let money = 0; // of what the load asks for: too little room must not look cheap
    let carbon = 0;
    let liked = 0;
    let total = 0;
    let groups = 0;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      const n = this.n[c] as number;
      total += n;
      spent += n * (p.cost[c] as number);
      money += Math.max(n, this.wanted[c] as number) * (p.cost[c] as number);
      carbon += n * (p.carbon[c] as number);
      liked += n * (p.preference[c] as number);
      let isNew = true;
      for (let j = 0; j < i; j++) if (p.group[open[j] as number] === p.group[c]) isNew = false;
      if (isNew) groups += 1;
    }
    if (groups < p.groups) broken += SPREAD * (p.groups - groups);
    if (spent > p.ceiling + 1e-9) broken += OVER * (1 + spent - p.ceiling);
    const soft = p.weightLatency * latencyMs + p.weightMoney * money + p.weightCarbon * carbon - (total === 0 ? 0 : liked / total) + goals;
    return { score: soft + broken, broken, latencyMs, money: spent, unserved };
  }

  /** Instances per site for its load, then within min and max of the application. Returns the penalty for what cannot be. */
  #count(open: readonly number[]): number {
    const p = this.#p;
    let total = 0;
    for (const c of open) {
      const wanted = Math.max(1, Math.ceil((this.load[c] as number) / (TARGET_LOAD * p.perInstance) - 1e-9));
      const n = Math.min(p.room[c] as number, wanted);
      this.wanted[c] = wanted;
      this.n[c] = n;
      total += n;
    }
    for (; total > p.max; total--) {
      const c = this.#extreme(open, (i) => ((this.n[i] as number) > 1 ? -(this.load[i] as number) / ((this.n[i] as number) - 1) : null));
      if (c < 0) return OVER * (total - p.max);
      this.n[c] = (this.n[c] as number) - 1;
    }
    for (; total < p.min; total++) {
      const c = this.#extreme(open, (i) => ((this.n[i] as number) < (p.room[i] as number) ? ((this.load[i] as number) + 1e-6) / (this.n[i] as number) : null));
      if (c < 0) return BELOW_MIN * (p.min - total);
      this.n[c] = (this.n[c] as number) + 1;
    }
    let over = 0;
    for (const c of open) over += Math.max(0, (this.load[c] as number) - (this.n[c] as number) * p.perInstance);
    return this.#total === 0 ? 0 : (over / this.#total) * UNSERVED;
  }

  #extreme(open: readonly number[], value: (c: number) => number | null): number {
    let best = -1;
    let bestValue = Number.NEGATIVE_INFINITY;
    for (const c of open) {
      const v = value(c);
      if (v !== null && v > bestValue) {
        best = c;
        bestValue = v;
      }
    }
    return best;
  }

  /** Improves `start` by opening, closing and swapping until nothing helps. */
  improve(start: readonly number[]): number[] {
    const p = this.#p;
    let open = [...start];
    let score = Number.POSITIVE_INFINITY;
    const by = new Int32Array(p.regions);
    for (let round = 0; round < 64; round++) {
      this.#open.fill(0);
      for (const c of open) this.#open[c] = 1;
      let next: number[] | null = null;
      const offer = (set: number[]): void => {
        const s = this.evaluate(set).score;
        if (s < score - 1e-9) {
          score = s;
          next = set.slice();
        }
      };
      by.fill(-1);
      const now = open.length === 0 ? null : this.evaluate(open, (r, c) => void (by[r] = c));
      if (now !== null) score = now.score;
      // a site that is nearer to nobody, cheaper than none and not liked cannot help, unless something is broken
      const isSound = now !== null && now.broken === 0 && p.weightCarbon === 0;
      const mayHelp = (c: number, instead: number): boolean => {
        if (!isSound || (p.preference[c] as number) > 0 || (instead >= 0 && (p.cost[c] as number) < (p.cost[instead] as number))) return true;
        for (let r = 0; r < p.regions; r++) {
          const s = by[r] as number;
          if ((instead < 0 || s === instead) && (s < 0 || (p.rtt[r * p.candidates + c] as number) < (p.rtt[r * p.candidates + s] as number))) return true;
        }
        return false;
      };
      const trial = [...open, 0];
      const offerEach = (position: number): void => {
        const instead = position < open.length ? (open[position] as number) : -1;
        for (let c = 0; c < p.candidates; c++) {
          if (this.#open[c] !== 0 || (p.room[c] as number) <= 0 || !mayHelp(c, instead)) continue;
          trial[position] = c;
          offer(trial);
        }
      };
      offerEach(open.length);
      if (next === null && open.length > 1) for (const c of open) offer(open.filter((x) => x !== c));
      trial.length = open.length;
      for (let i = 0; next === null && i < open.length; i++) {
        offerEach(i);
        trial[i] = open[i] as number;
      }
      if (next === null) return open;
      open = next;
    }
    return open;
  }
}
