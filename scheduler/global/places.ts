/** Where sites and client regions are, by their coordinates. */
import { lightMs, type Location } from './distance.ts';
import type { ClientRegionConfig } from './scheduler-options.ts';
import type { Sites } from './sites.ts';

export class Places {
  readonly #clientRegions: ReadonlyMap<string, Location | null>;
  readonly #sites: Sites;

  constructor(clientRegions: readonly ClientRegionConfig[], sites: Sites) {
    this.#clientRegions = new Map(clientRegions.map((r) => [r.name, r.location ?? null]));
    this.#sites = sites;
  }

  of(kind: 'site' | 'client-region', name: string): Location | null {
    return kind === 'client-region' ? (this.#clientRegions.get(name) ?? null) : (this.#sites.find(name)?.spec.location ?? null);
  }

  /** ms that no way between the two can be below. */
  floor(clientRegion: string, site: string): number | null {
    return lightMs(this.of('client-region', clientRegion), this.of('site', site));
  }
}
