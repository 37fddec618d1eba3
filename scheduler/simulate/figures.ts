/** What is counted while a policy runs: every request is within its goal, late, or failed, and never more than one of them. */
import { meanWaitMs, slicesOf, type Waiting, withinWait } from './waiting.ts';

/** Bins of 2 %, from a tenth of a millisecond. */
const RATIO = Math.log(1.02);
const LOW_MS = 0.1;
const BINS = 700;

export class Histogram {
  readonly #bins: Float64Array;
  readonly #rows: number;

  constructor(rows: number) {
    this.#rows = rows;
    this.#bins = new Float64Array(rows * BINS);
  }

  add(row: number, ms: number, count: number): void {
    const bin = Math.min(BINS - 1, Math.max(0, Math.round(Math.log(ms / LOW_MS) / RATIO)));
    this.#bins[row * BINS + bin] = (this.#bins[row * BINS + bin] as number) + count;
  }

  /** Of one row, or of all; null = nothing was served. */
  quantile(q: number, row: number | null = null): number | null {
    const sums = new Float64Array(BINS);
    for (let r = row ?? 0; r < (row === null ? this.#rows : row + 1); r++) for (let b = 0; b < BINS; b++) sums[b] = (sums[b] as number) + (this.#bins[r * BINS + b] as number);
    const total = sums.reduce((a, b) => a + b, 0);
    if (total === 0) return null;
    let seen = 0;
    for (let b = 0; b < BINS; b++) {
      seen += sums[b] as number;
      if (seen >= q * total - 1e-9) return LOW_MS * Math.exp(b * RATIO);
    }
    return null;
  }
}

export interface Point {
  readonly at: number;
  readonly requests: number;
  readonly within: number;
  readonly failed: number;
  readonly cost: number;
  readonly instanceHours: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const SLOT_MS = 15 * 60_000;

export class Counts {
  /** From the client until an instance works on it: round trip and waiting. */
  readonly latency: Histogram;
  readonly requests: Float64Array;
  readonly within: Float64Array;
  readonly failed: Float64Array;
  /** Request x ms, of those served; `waitSum`: what of it they waited at the instance. */
  latencySum = 0;
  waitSum = 0;
  /** Round trip and waiting together within the goal. */
  answered = 0;
  cost = 0;
  instanceHours = 0;
  /** A site where the application was not before, after its first placement. */
  moves = 0;
  /** More or fewer at a site. */
  scalings = 0;
  undone = 0;
  /** Application x client region x hours in which less than 95 % of the requests were within the goal. */
  unmetHours = 0;
  readonly #points = new Map<number, Mutable<Point>>();

  constructor(regions: number) {
    this.latency = new Histogram(regions);
    this.requests = new Float64Array(regions);
    this.within = new Float64Array(regions);
    this.failed = new Float64Array(regions);
  }

  /** Requests of a client region that are served after a round trip of `ms` and a wait. */
  add(region: number, ms: number, wait: Waiting, requests: number, goalMs: number): void {
    const mean = meanWaitMs(wait);
    this.latencySum += requests * (ms + mean);
    this.waitSum += requests * mean;
    this.answered += requests * withinWait(wait, goalMs - ms);
    for (const [share, waitMs] of slicesOf(wait)) this.latency.add(region, ms + waitMs, requests * share);
  }

  point(at: number): Mutable<Point> {
    const slot = Math.floor(at / SLOT_MS) * SLOT_MS;
    let p = this.#points.get(slot);
    if (p === undefined) this.#points.set(slot, (p = { at: slot, requests: 0, within: 0, failed: 0, cost: 0, instanceHours: 0 }));
    return p;
  }

  get points(): readonly Point[] {
    return [...this.#points.values()].sort((a, b) => a.at - b.at);
  }
}

export interface RegionFigures {
  readonly region: string;
  readonly requests: number;
  readonly within: number;
  readonly failed: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

export interface PolicyFigures {
  readonly policy: string;
  readonly requests: number;
  /** Served by a site whose round trip is within the goal of their client region, as a policy defines it. */
  readonly within: number;
  /** And the time that they waited at the instance together with it. */
  readonly answered: number;
  /** Served, but later than that. */
  readonly late: number;
  /** Not served: no instance, a dead one, or one too busy. */
  readonly failed: number;
  /** within / requests */
  readonly attainment: number;
  /** Round trip and waiting; so are the quantiles. */
  readonly meanMs: number | null;
  readonly meanWaitMs: number | null;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** Instance-hours x the site's cost. */
  readonly cost: number;
  readonly instanceHours: number;
  readonly moves: number;
  readonly movesPerApplicationPerDay: number;
  readonly scalings: number;
  readonly undone: number;
  readonly unmetHours: number;
  readonly regions: readonly RegionFigures[];
  readonly points: readonly Point[];
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);

export function figuresOf(policy: string, c: Counts, regions: readonly string[], applications: number, days: number): PolicyFigures {
  const [requests, within, failed] = [sum(c.requests), sum(c.within), Math.max(0, sum(c.failed))];
  const served = requests - failed;
  return {
    policy, requests, within, answered: c.answered, late: Math.max(0, served - within), failed,
    attainment: requests === 0 ? 1 : within / requests,
    meanMs: served <= 0 ? null : c.latencySum / served,
    meanWaitMs: served <= 0 ? null : c.waitSum / served,
    p50Ms: c.latency.quantile(0.5), p99Ms: c.latency.quantile(0.99),
    cost: c.cost, instanceHours: c.instanceHours,
    moves: c.moves, movesPerApplicationPerDay: c.moves / applications / days, scalings: c.scalings, undone: c.undone, unmetHours: c.unmetHours,
    regions: regions.map((region, r): RegionFigures => ({ region, requests: c.requests[r] as number, within: c.within[r] as number, failed: c.failed[r] as number, p50Ms: c.latency.quantile(0.5, r), p99Ms: c.latency.quantile(0.99, r) })),
    points: c.points,
  };
}
