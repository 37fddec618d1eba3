/** Room at sites in every dimension: CPU, memory, and whatever further ones the sites name. */
import type { ApplicationModel, InstanceSize, Model } from './model.ts';

const UNITS: Readonly<Record<string, string>> = { cpu: 'mCPU', memory: 'MiB' };

export class Capacity {
  /** cpu, memory, then the further names in order of the alphabet. */
  readonly dimensions: readonly string[];
  readonly width: number;
  /** `[site * width + dimension]` */
  readonly total: Float64Array;
  readonly #sites: Model['sites'];

  constructor(model: Model) {
    const further = new Set(model.sites.flatMap((s) => (s.resources === undefined ? [] : Object.keys(s.resources))));
    for (const a of model.applications) for (const name of Object.keys(a.resources ?? {})) further.add(name);
    this.dimensions = ['cpu', 'memory', ...[...further].sort()];
    this.width = this.dimensions.length;
    this.#sites = model.sites;
    this.total = new Float64Array(model.sites.length * this.width);
    for (const [s, site] of model.sites.entries()) this.total.set([site.cpuMilli, site.memoryMiB, ...this.dimensions.slice(2).map((d) => site.resources?.[d] ?? 0)], s * this.width);
  }

  /** What one instance takes at a site, by dimension. */
  sizeOf(app: ApplicationModel, site: number): Float64Array {
    return this.#vector(app.sizeAt?.[this.#sites[site]?.name ?? ''] ?? app);
  }

  /** By site, when it differs between them; else one for all. */
  sizesOf(app: ApplicationModel): (site: number) => Float64Array {
    const plain = this.#vector(app);
    return app.sizeAt === undefined ? () => plain : (site) => this.sizeOf(app, site);
  }

  /** `size[from]` and the numbers after it are what one instance takes. */
  take(used: Float64Array, site: number, size: Float64Array, instances: number, from = 0): void {
    for (let k = 0; k < this.width; k++) used[site * this.width + k] = (used[site * this.width + k] as number) + instances * (size[from + k] as number);
  }

  /** How many instances of a size still fit. */
  fits(used: Float64Array, site: number, size: Float64Array, from = 0): number {
    let n = 10_000;
    const at = site * this.width;
    for (let k = 0; k < this.width; k++) {
      const one = size[from + k] as number;
      if (one <= 0) continue;
      const room = ((this.total[at + k] as number) - (used[at + k] as number)) / one;
      if (room < n) n = room;
    }
    return n < 1e-9 ? 0 : Math.floor(n + 1e-9);
  }

  /** Does one more fit? As `fits`, for the many times when the number does not matter. */
  hasRoom(used: Float64Array, site: number, size: Float64Array): boolean {
    const at = site * this.width;
    for (let k = 0; k < this.width; k++) {
      const one = size[k] as number;
      if (one > 0 && (this.total[at + k] as number) - (used[at + k] as number) < one * (1 - 1e-9)) return false;
    }
    return true;
  }

  /** "50 mCPU of 2000 free, an instance needs 250", of the dimension that lacks most; null = one more fits. */
  lack(used: Float64Array, site: number, size: Float64Array): string | null {
    const at = site * this.width;
    let [worst, found] = [1, -1];
    for (let k = 0; k < this.width; k++) {
      const free = (this.total[at + k] as number) - (used[at + k] as number);
      const one = size[k] as number;
      if (one > 0 && free / one < worst - 1e-9) [worst, found] = [free / one, k];
    }
    if (found < 0) return null;
    const name = this.dimensions[found] as string;
    const unit = UNITS[name] ?? name;
    const [free, total] = [(this.total[at + found] as number) - (used[at + found] as number), this.total[at + found] as number];
    return `has ${Math.max(0, Math.round(free * 10) / 10)} of ${total} ${unit} free, one instance needs ${size[found] as number}`;
  }

  #vector(size: InstanceSize): Float64Array {
    const v = new Float64Array(this.width);
    v[0] = size.cpuMilli;
    v[1] = size.memoryMiB;
    for (let k = 2; k < this.width; k++) v[k] = size.resources?.[this.dimensions[k] as string] ?? 0;
    return v;
  }
}
