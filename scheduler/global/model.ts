/**
 * What the planner knows at one moment: sites, client regions, measured latency, demand. A Model is a value; everything in it is sorted by
 * name, so that equal input gives equal plans whatever order it was learned in.
 */
import type { PolicySpec } from '../../api/kinds/mesh.ts';

/** returning: reachable again, but not yet for as long as fail-back asks. */
export type Reach = 'reachable' | 'returning' | 'suspect' | 'cut-off' | 'down';

export interface SiteModel {
  readonly name: string;
  readonly region: string;
  readonly kind: 'zone' | 'edge';
  readonly labels: Readonly<Record<string, string>>;
  readonly cost: number;
  readonly carbon: number;
  readonly trust: number;
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  /** Further dimensions by name, such as GPUs; a dimension that is not named has no room. */
  readonly resources?: Readonly<Record<string, number>>;
  readonly reach: Reach;
  /** Since when the site is as `reach` says. */
  readonly since: number;
  /** Where clients enter; null = the site has no front. */
  readonly front: string | null;
}

/** What one instance takes of a site. */
export interface InstanceSize {
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  readonly resources?: Readonly<Record<string, number>>;
}

export interface ApplicationModel extends InstanceSize {
  /** `<tenant>/<namespace>/<name>` */
  readonly key: string;
  readonly policy: PolicySpec;
  /** Requests per second that one instance serves. */
  readonly perInstance: number;
  /** By site name, where an instance takes another amount for the same requests: a slower processor needs more of it. */
  readonly sizeAt?: Readonly<Record<string, InstanceSize>>;
  /** Sorted by index of the client region; requests per second. */
  readonly demand: readonly { readonly region: number; readonly rps: number }[];
  /** Sites where a move was undone, and why not yet again. */
  readonly avoid: readonly { readonly site: string; readonly until: number; readonly reason: string }[];
  /** When it was moved in the last hour. */
  readonly movedAt: readonly number[];
}

export interface Model {
  readonly sites: readonly SiteModel[];
  readonly clientRegions: readonly string[];
  /** ms from client region r to an instance at site s: `rtt[r * sites.length + s]`; NaN = not known. */
  readonly rtt: Float64Array;
  readonly applications: readonly ApplicationModel[];
}

export interface SiteInstances {
  readonly site: string;
  readonly instances: number;
}

/** By application key: what is wanted now, as the last plan said. */
export type Placements = ReadonlyMap<string, readonly SiteInstances[]>;

/** Sorts everything by name and moves the matrix and the demand along. */
export function createModel(parts: {
  readonly sites: readonly SiteModel[];
  readonly clientRegions: readonly string[];
  readonly rtt: (clientRegion: string, site: string) => number | null;
  readonly applications: readonly (Omit<ApplicationModel, 'demand'> & { readonly demand: ReadonlyMap<string, number> })[];
}): Model {
  const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  const sites = parts.sites.toSorted((a, b) => byName(a.name, b.name));
  const clientRegions = parts.clientRegions.toSorted(byName);
  const rtt = new Float64Array(clientRegions.length * sites.length);
  for (const [r, region] of clientRegions.entries()) {
    for (const [s, site] of sites.entries()) rtt[r * sites.length + s] = parts.rtt(region, site.name) ?? Number.NaN;
  }
  const index = new Map(clientRegions.map((name, i) => [name, i]));
  const applications = parts.applications
    .map((a): ApplicationModel => ({
      ...a,
      demand: [...a.demand]
        .flatMap(([name, rps]) => (index.has(name) && rps > 0 ? [{ region: index.get(name) as number, rps }] : []))
        .sort((x, y) => x.region - y.region),
    }))
    .sort((a, b) => byName(a.key, b.key));
  return { sites, clientRegions, rtt, applications };
}

/** What a site with no better knowledge is: tests and simulations start from it. */
export const plainSite: Omit<SiteModel, 'name' | 'region'> = { kind: 'zone', labels: {}, cost: 1, carbon: 0, trust: 1, cpuMilli: 8000, memoryMiB: 16_384, reach: 'reachable', since: 0, front: null };
