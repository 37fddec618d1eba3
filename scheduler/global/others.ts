/**
 * Joint capacity over shards: each scheduler plans its own applications, and what the others' Placements say is room taken. Two that take the
 * last room at the same moment see it in both Placements: the one planned earlier stays (`plannedAt`, then key), the other is planned again
 * without that room. Both schedulers decide so from the same objects, whatever their clocks say.
 */
import { Capacity } from './capacity.ts';
import type { ApplicationModel, Model, Placements, SiteInstances, SiteModel } from './model.ts';

/** What an application holds, by its Placement. */
export interface Holding {
  readonly app: ApplicationModel;
  readonly sites: readonly SiteInstances[];
  /** When its Placement was decided last; '' = not recorded yet. */
  readonly plannedAt: string;
}

export interface Room {
  /** The sites with the room that is left by the applications of other shards. */
  readonly sites: readonly SiteModel[];
  /** Keys of own applications that must give way somewhere. */
  readonly yielding: ReadonlySet<string>;
}

const byRight = (a: Holding, b: Holding): number => (a.plannedAt < b.plannedAt ? -1 : a.plannedAt > b.plannedAt ? 1 : a.app.key < b.app.key ? -1 : 1);

/** What the applications of the model use of each site by these placements; laid out as in a plan. */
export function usedBy(model: Model, placements: Placements): Float64Array {
  const capacity = new Capacity(model);
  const used = new Float64Array(model.sites.length * capacity.width);
  const index = new Map(model.sites.map((s, i) => [s.name, i]));
  for (const app of model.applications) {
    for (const { site, instances } of placements.get(app.key) ?? []) {
      const s = index.get(site);
      if (s !== undefined) capacity.take(used, s, capacity.sizeOf(app, s), instances);
    }
  }
  return used;
}

/** Sites are handed back as they are where nobody else holds anything. */
export function roomFor(sites: readonly SiteModel[], own: readonly Holding[], others: readonly Holding[]): Room {
  const yielding = new Set<string>();
  if (others.length === 0) return { sites, yielding };
  const capacity = new Capacity({ sites, clientRegions: [], rtt: new Float64Array(0), applications: [...own, ...others].map((h) => h.app) });
  const index = new Map(sites.map((s, i) => [s.name, i]));
  const at = new Map<number, { readonly holding: Holding; readonly instances: number; readonly isOwn: boolean }[]>();
  const add = (holding: Holding, isOwn: boolean): void => {
    for (const { site, instances } of holding.sites) {
      const s = index.get(site);
      if (s === undefined || instances <= 0) continue;
      const there = at.get(s) ?? [];
      at.set(s, there);
      there.push({ holding, instances, isOwn });
    }
  };
  for (const h of others) add(h, false);
  for (const h of own) add(h, true);
  const out = [...sites];
  const [all, taken] = [new Float64Array(sites.length * capacity.width), new Float64Array(sites.length * capacity.width)];
  for (const [s, there] of at) {
    if (!there.some((t) => !t.isOwn)) continue;
    for (const t of there.toSorted((a, b) => byRight(a.holding, b.holding))) {
      const size = capacity.sizeOf(t.holding.app, s);
      const isRight = capacity.fits(all, s, size) >= t.instances;
      if (isRight) capacity.take(all, s, size, t.instances);
      else if (t.isOwn) yielding.add(t.holding.app.key);
      if (!t.isOwn && isRight) capacity.take(taken, s, size, t.instances);
    }
    out[s] = less(sites[s] as SiteModel, capacity, taken, s);
  }
  return { sites: out, yielding };
}

function less(site: SiteModel, capacity: Capacity, taken: Float64Array, s: number): SiteModel {
  const left = (k: number, total: number): number => Math.max(0, total - (taken[s * capacity.width + k] as number));
  const resources = site.resources === undefined ? undefined : Object.fromEntries(Object.entries(site.resources).map(([name, total]) => [name, left(capacity.dimensions.indexOf(name), total)]));
  return { ...site, cpuMilli: left(0, site.cpuMilli), memoryMiB: left(1, site.memoryMiB), ...(resources === undefined ? {} : { resources }) };
}
