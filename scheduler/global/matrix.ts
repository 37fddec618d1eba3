/**
 * The latency matrix that plans are made with. Measurements wander all the time; a cell is changed when it is off by enough to matter, and a
 * pass looks at a part of the matrix only, so that a thousand by a thousand costs no more than a small one.
 */
export interface MatrixOptions {
  /** Cells looked at in one pass. @default 20000 */
  readonly cellsPerPass?: number;
  /** What a measurement must be off by, of the value in use. @default 0.1 */
  readonly tolerance?: number;
}

/** Below this no difference matters, ms. */
const LEAST_MS = 0.5;

export class Matrix {
  readonly #cells: number;
  readonly #tolerance: number;
  #sites: readonly string[] = [];
  #regions: readonly string[] = [];
  #rtt: Float64Array = new Float64Array(0);
  #next = 0;

  constructor(options: MatrixOptions = {}) {
    this.#cells = options.cellsPerPass ?? 20_000;
    this.#tolerance = options.tolerance ?? 0.1;
  }

  /** A value: what was handed out does not change. */
  get rtt(): Float64Array {
    return this.#rtt;
  }

  /** Both sorted. Returns the indexes of the client regions whose row is another now; a change of the lists changes all of them. */
  update(sites: readonly string[], regions: readonly string[], rtt: (region: string, site: string) => number | null): ReadonlySet<number> {
    const isSame = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((x, i) => x === b[i]);
    if (!isSame(sites, this.#sites) || !isSame(regions, this.#regions)) {
      this.#reshape(sites, regions, rtt);
      return new Set(regions.keys());
    }
    const changed = new Set<number>();
    let copy: Float64Array | null = null;
    const [S, R] = [sites.length, regions.length];
    for (let n = Math.min(R, Math.max(1, Math.floor(this.#cells / Math.max(1, S)))); n > 0; n--) {
      const r = this.#next;
      this.#next = (r + 1) % R;
      for (let s = 0; s < S; s++) {
        const fresh = rtt(regions[r] as string, sites[s] as string) ?? Number.NaN;
        const used = this.#rtt[r * S + s] as number;
        if (!this.#isOther(used, fresh)) continue;
        copy ??= this.#rtt.slice();
        copy[r * S + s] = fresh;
        changed.add(r);
      }
    }
    if (copy !== null) this.#rtt = copy;
    return changed;
  }

  #isOther(used: number, fresh: number): boolean {
    if (Number.isNaN(used) || Number.isNaN(fresh)) return Number.isNaN(used) !== Number.isNaN(fresh);
    return Math.abs(fresh - used) > Math.max(LEAST_MS, this.#tolerance * used);
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
    this.#next = 0;
  }
}
