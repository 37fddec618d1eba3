/**
 * The latency matrix that plans are made with. Measurements wander all the time; a cell is changed when it is off by enough to matter. What was
 * measured is looked at often; what must be worked out from other ways, which is dear, little by little.
 */
export interface Ways {
  /** The best that is known. */
  readonly rtt: (region: string, site: string) => number | null;
  /** Only what was measured between the two. */
  readonly measured: (region: string, site: string) => number | null;
}

export interface MatrixOptions {
  /** Cells whose measurement is looked at in a second. @default 20000 */
  readonly cellsPerSecond?: number;
  /** ms in a second for cells that must be worked out. @default 5 */
  readonly budgetMs?: number;
  /** What a measurement must be off by, of the value in use. @default 0.1 */
  readonly tolerance?: number;
  /** Time is measured by it. @default the processor's; a simulation says that nothing takes time */
  readonly stopwatch?: () => number;
}

/** Below this no difference matters, ms. */
const LEAST_MS = 0.5;
const EVERY_MS = 1_000;

export class Matrix {
  readonly #o: Required<MatrixOptions>;
  #sites: readonly string[] = [];
  #regions: readonly string[] = [];
  #rtt: Float64Array = new Float64Array(0);
  /** Next row of each of the two rounds. */
  #measuredNext = 0;
  #allNext = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(options: MatrixOptions = {}) {
    this.#o = { cellsPerSecond: 20_000, budgetMs: 5, tolerance: 0.1, stopwatch: () => performance.now(), ...options };
  }

  /** A value: what was handed out does not change. */
  get rtt(): Float64Array {
    return this.#rtt;
  }

  /** Both sorted. Returns the indexes of the client regions whose row is another now; a change of the lists changes all of them. */
  update(sites: readonly string[], regions: readonly string[], ways: Ways, now: number): ReadonlySet<number> {
    const isSame = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((x, i) => x === b[i]);
    if (!isSame(sites, this.#sites) || !isSame(regions, this.#regions)) {
      this.#reshape(sites, regions, ways.rtt);
      return new Set(regions.keys());
    }
    const changed = new Set<number>();
    if (now - this.#lookedAt < EVERY_MS || regions.length === 0) return changed;
    this.#lookedAt = now;
    const before = this.#rtt;
    const [R, rows] = [regions.length, Math.max(1, Math.floor(this.#o.cellsPerSecond / Math.max(1, sites.length)))];
    for (let n = Math.min(R, rows); n > 0; n--) {
      if (this.#row(this.#measuredNext, before, ways.measured, true)) changed.add(this.#measuredNext);
      this.#measuredNext = (this.#measuredNext + 1) % R;
    }
    const began = this.#o.stopwatch();
    for (let n = R; n > 0 && this.#o.stopwatch() - began < this.#o.budgetMs; n--) {
      if (this.#row(this.#allNext, before, ways.rtt, false)) changed.add(this.#allNext);
      this.#allNext = (this.#allNext + 1) % R;
    }
    return changed;
  }

  /** true = the row is another now. `before` is not touched. */
  #row(r: number, before: Float64Array, rtt: (region: string, site: string) => number | null, isMeasured: boolean): boolean {
    const S = this.#sites.length;
    let isChanged = false;
    for (let s = 0; s < S; s++) {
      const fresh = rtt(this.#regions[r] as string, this.#sites[s] as string) ?? Number.NaN;
      if ((isMeasured && Number.isNaN(fresh)) || !this.#isOther(this.#rtt[r * S + s] as number, fresh)) continue;
      if (this.#rtt === before) this.#rtt = before.slice();
      this.#rtt[r * S + s] = fresh;
      isChanged = true;
    }
    return isChanged;
  }

  #isOther(used: number, fresh: number): boolean {
    if (Number.isNaN(used) || Number.isNaN(fresh)) return Number.isNaN(used) !== Number.isNaN(fresh);
    return Math.abs(fresh - used) > Math.max(LEAST_MS, this.#o.tolerance * used);
  }

  /** What is known of the sites that stay is kept. */
  #reshape(sites: readonly string[], regions: readonly string[], rtt: (region: string, site: string) => number | null): void {
    const before = { sites: new Map(this.#sites.map((n, i) => [n, i])), regions: new Map(this.#regions.map((n, i) => [n, i])), rtt: this.#rtt, S: this.#sites.length };
    const out = new Float64Array(regions.length * sites.length);
    for (const [r, region] of regions.entries()) {
      const oldRow = before.regions.get(region);
      for (const [s, site] of sites.entries()) {
        const oldColumn = before.sites.get(site);
        out[r * sites.length + s] = oldRow === undefined || oldColumn === undefined ? (rtt(region, site) ?? Number.NaN) : (before.rtt[oldRow * before.S + oldColumn] as number);
      }
    }
    this.#sites = sites;
    this.#regions = regions;
    this.#rtt = out;
    this.#measuredNext = this.#allNext = 0;
  }
}
