import { createModel, plainSite, type ApplicationModel, type Model, type Placements, type SiteModel } from '../../../../scheduler/global/model.ts';
import type { Plan } from '../../../../scheduler/global/planner.ts';

export const site = (name: string, o: Partial<SiteModel> = {}): SiteModel => ({ ...plainSite, name, region: name.split('-')[0] ?? 'west', ...o });

export type Asked = Omit<ApplicationModel, 'demand'> & { readonly demand: ReadonlyMap<string, number> };

export const app = (name: string, demand: Readonly<Record<string, number>>, o: Partial<Omit<ApplicationModel, 'demand'>> = {}): Asked => ({
  key: `acme/default/${name}`,
  policy: { instances: { min: 1, max: 8 }, latency: [{ percentile: 95, milliseconds: 10 }] },
  perInstance: 50,
  cpuMilli: 100,
  memoryMiB: 64,
  avoid: [],
  movedAt: [],
  demand: new Map(Object.entries(demand)),
  ...o,
});

/** Two regions' zones and two edge sites; clients in three metros. */
export const SITES = [site('west-zone'), site('east-zone'), site('west-edge-a', { kind: 'edge' }), site('west-edge-b', { kind: 'edge' })];
const RTT: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  west: { 'west-zone': 3, 'east-zone': 33, 'west-edge-a': 39, 'west-edge-b': 45 },
  a: { 'west-zone': 39, 'east-zone': 45, 'west-edge-a': 3, 'west-edge-b': 57 },
  b: { 'west-zone': 45, 'east-zone': 51, 'west-edge-a': 57, 'west-edge-b': 3 },
};

export function world(applications: readonly Asked[], sites: readonly SiteModel[] = SITES, rtt: (r: string, s: string) => number | null = (r, s) => RTT[r]?.[s] ?? null): Model {
  return createModel({ sites, clientRegions: Object.keys(RTT), rtt, applications });
}

export const placed = (p: Plan): Placements => new Map([...p.applications].map(([k, a]) => [k, a.sites]));

export const where = (p: Plan, name: string): Record<string, number> => Object.fromEntries((p.applications.get(`acme/default/${name}`)?.sites ?? []).map((s) => [s.site, s.instances]));
