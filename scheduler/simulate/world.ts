/** From a scenario to numbers: sites, client regions, round trips, who asks for how much when, and what fails. Everything is sorted by name. */
import { MeshError } from '../../api/errors.ts';
import type { PolicySpec } from '../../api/kinds/mesh.ts';
import { goalsOf } from '../global/objective.ts';
import { plainSite, type SiteModel } from '../global/model.ts';
import { distanceKm } from '../global/distance.ts';
import { CITIES } from './cities.ts';
import { demandOf, type Demand } from './demand.ts';
import { Random, noise } from './random.ts';
import type { Scenario } from './scenario.ts';
import { numberTable, type Table } from './tables.ts';

export interface Place {
  readonly latitude: number;
  readonly longitude: number;
}

export interface ClientRegion {
  readonly name: string;
  readonly location: Place;
  readonly millions: number;
}

export interface SimApplication {
  readonly key: string;
  readonly policy: PolicySpec;
  readonly perInstance: number;
  /** Requests that one instance works on at once. */
  readonly workers: number;
  readonly cpuMilli: number;
  readonly memoryMiB: number;
  readonly startMs: number;
  /** Indexes of the client regions that use it. */
  readonly regions: Int32Array;
  /** ms within which a request of each of them should be served; Infinity = no goal. */
  readonly goals: Float64Array;
  readonly share: number;
}

export interface Failure {
  readonly kind: 'down' | 'uplink' | 'gateway';
  readonly sites: ReadonlySet<number>;
  readonly from: number;
  readonly to: number;
}

export interface SimWorld {
  readonly name: string;
  readonly description: string;
  readonly seed: number;
  readonly start: number;
  readonly end: number;
  /** What is before is not counted. */
  readonly countFrom: number;
  readonly stepMs: number;
  readonly sites: readonly SiteModel[];
  readonly regions: readonly ClientRegion[];
  /** `[region * sites + site]` ms */
  readonly rtt: Float64Array;
  readonly applications: readonly SimApplication[];
  readonly demand: Demand;
  readonly failures: readonly Failure[];
}

/** The text of a file that the scenario names. */
export type ReadText = (path: string) => string;

const byName = (a: { readonly name: string }, b: { readonly name: string }): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
const slug = (text: string): string => text.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-|-$/g, '');

interface Located {
  readonly sites: readonly (SiteModel & { readonly location: Place })[];
  /** Of the file: its rows, for `atSites`. */
  readonly cities: readonly ClientRegion[];
}

export function buildWorld(scenario: Scenario, readText: ReadText): SimWorld {
  const start = Date.parse(scenario.start);
  const located = sitesOf(scenario, readText);
  const sites = located.sites.toSorted(byName);
  const regions = regionsOf(scenario, located).toSorted(byName);
  const hour = (h: number): number => start + h * 3_600_000;
  const { failures } = scenario;
  return {
    name: scenario.name,
    description: scenario.description,
    seed: scenario.seed,
    start,
    end: hour(scenario.hours),
    countFrom: hour(scenario.warmUpHours),
    stepMs: scenario.stepSeconds * 1000,
    sites,
    regions,
    rtt: rttOf(scenario, sites, regions, readText),
    applications: applicationsOf(scenario, regions),
    demand: demandOf(scenario, regions, start, readText),
    failures: failures.map((f, i) => ({ kind: f.kind, sites: failing(scenario, f, i, sites), from: hour(f.fromHour), to: hour(f.toHour) })),
  };
}

const CPU = 250;
const MEMORY = 256;

function sitesOf(scenario: Scenario, readText: ReadText): Located {
  const { sites } = scenario;
  if ('list' in sites) return { sites: sites.list.map((s) => ({ ...plainSite, ...s })), cities: [] };
  if ('file' in sites) return fromFile(sites.file, readText);
  const { zones, edges, zoneCost, edgeCost, zoneInstances, edgeInstances } = sites.world;
  const random = new Random(scenario.seed);
  const cities = CITIES.toSorted((a, b) => b.millions - a.millions || byName(a, b));
  const total = cities.reduce((sum, c) => sum + c.millions, 0);
  const out: (SiteModel & { location: Place })[] = cities.slice(0, zones).map((c) => ({ ...plainSite, name: `${c.name}-zone`, region: c.name, kind: 'zone', cost: zoneCost, cpuMilli: CPU * zoneInstances, memoryMiB: MEMORY * zoneInstances, location: c }));
  const cloud = cities.slice(0, Math.max(1, zones));
  for (const c of cities) {
    const many = Math.round((edges * c.millions) / total);
    const region = cloud.toSorted((a, b) => (distanceKm(a, c) ?? 0) - (distanceKm(b, c) ?? 0))[0]?.name ?? c.name;
    for (let i = 0; i < many; i++) {
      const location = { latitude: Math.max(-85, Math.min(85, c.latitude + random.normal() * 0.4)), longitude: c.longitude + random.normal() * 0.5 };
      out.push({ ...plainSite, name: `${c.name}-edge-${String(i).padStart(3, '0')}`, region, kind: 'edge', cost: edgeCost * random.between(0.9, 1.1), cpuMilli: CPU * edgeInstances, memoryMiB: MEMORY * edgeInstances, location });
    }
  }
  return { sites: out, cities: [] };
}

function fromFile(file: { readonly path: string; readonly zones: number; readonly zoneCost: number; readonly edgeCost: number; readonly instances: number }, readText: ReadText): Located {
  const rows = readText(file.path).trim().split('\n').slice(1).map((line, i) => {
    const [name = '', latitude, longitude, population] = line.split(',');
    const city = { name: slug(name), location: { latitude: Number(latitude), longitude: Number(longitude) }, millions: Number(population) / 1e6 };
    if (city.name === '' || !Number.isFinite(city.location.latitude) || !Number.isFinite(city.location.longitude) || !Number.isFinite(city.millions)) throw new MeshError('invalid', `${file.path}: line ${i + 2}: expected site,lat,lng,population`, { fields: { path: 'sites.file.path' } });
    return city;
  });
  const room = { cpuMilli: CPU * file.instances, memoryMiB: MEMORY * file.instances };
  const zones = rows.toSorted((a, b) => b.millions - a.millions || byName(a, b)).slice(0, file.zones);
  const sites = [
    ...zones.map((c) => ({ ...plainSite, ...room, name: `${c.name}-zone`, region: c.name, kind: 'zone' as const, cost: file.zoneCost, location: c.location })),
    ...rows.map((c) => ({ ...plainSite, ...room, name: c.name, region: c.name, kind: 'edge' as const, cost: file.edgeCost, location: c.location })),
  ];
  return { sites, cities: rows };
}

function regionsOf(scenario: Scenario, located: Located): readonly ClientRegion[] {
  const { clientRegions } = scenario;
  if ('list' in clientRegions) return clientRegions.list;
  if ('atSites' in clientRegions) return located.cities;
  const random = new Random(scenario.seed + 1);
  const cities = CITIES.toSorted((a, b) => b.millions - a.millions || byName(a, b));
  return Array.from({ length: clientRegions.count }, (_, i): ClientRegion => {
    const c = cities[i % cities.length] as (typeof cities)[number];
    const of = Math.ceil((clientRegions.count - (i % cities.length)) / cities.length);
    const location = i < cities.length ? c : { latitude: c.latitude + random.normal() * 0.8, longitude: c.longitude + random.normal() };
    return { name: `${c.name}-${Math.floor(i / cities.length)}`, location, millions: c.millions / of };
  });
}

function rttOf(scenario: Scenario, sites: Located['sites'], regions: readonly ClientRegion[], readText: ReadText): Float64Array {
  const rtt = new Float64Array(regions.length * sites.length);
  const { rtt: how } = scenario;
  const table = 'file' in how ? numberTable(readText(how.file), how.file) : null;
  for (const [r, region] of regions.entries()) {
    for (const [s, site] of sites.entries()) rtt[r * sites.length + s] = table === null || !('file' in how) ? rule(how as Extract<typeof how, { readonly baseMs: number }>, region.location, site.location, [scenario.seed, r, s]) : fromTable(table, region.name, site.name.replace(/-zone$/, ''), how.localMs);
  }
  return rtt;
}

function rule(how: { readonly baseMs: number; readonly msPer1000Km: number; readonly detourPercent: number }, a: Place, b: Place, seed: readonly number[]): number {
  return how.baseMs + ((distanceKm(a, b) ?? 0) / 1000) * how.msPer1000Km * (1 + (noise(...seed) * how.detourPercent) / 100);
}

/** A hole is filled with the way back, else it is not known. */
function fromTable(table: Table, from: string, to: string, localMs: number): number {
  if (from === to) return localMs;
  const one = (a: string, b: string): number => {
    const [row, column] = [table.rows.findIndex((n) => slug(n) === a), table.columns.findIndex((n) => slug(n) === b)];
    const v = row < 0 || column < 0 ? Number.NaN : (table.values[row]?.[column] ?? Number.NaN);
    return v > 0 ? v : Number.NaN;
  };
  const there = one(from, to);
  return Number.isNaN(there) ? one(to, from) : there;
}

function applicationsOf(scenario: Scenario, regions: readonly ClientRegion[]): readonly SimApplication[] {
  let n = 0;
  const all = scenario.applications.flatMap((a) =>
    Array.from({ length: a.count }, (_, i): SimApplication => {
      n += 1;
      const using = regions.map((_r, r) => r).filter((r) => noise(scenario.seed, 77, n, r) * 100 < a.regionsPercent);
      const list = using.length === 0 ? [Math.floor(noise(scenario.seed, 78, n) * regions.length)] : using;
      const goals = list.map((r) => goalsOf(a.policy, regions[r]?.name ?? '')[0]?.milliseconds ?? Number.POSITIVE_INFINITY);
      return { key: `sim/default/${a.name}${a.count === 1 ? '' : `-${String(i).padStart(4, '0')}`}`, policy: a.policy, perInstance: a.perInstance, workers: a.workers, cpuMilli: a.cpuMilli, memoryMiB: a.memoryMiB, startMs: a.startSeconds * 1000, regions: Int32Array.from(list), goals: Float64Array.from(goals), share: a.share };
    }),
  );
  return all.sort((a, b) => (a.key < b.key ? -1 : 1));
}

function failing(scenario: Scenario, f: Scenario['failures'][number], i: number, sites: readonly SiteModel[]): ReadonlySet<number> {
  const chosen = new Set<number>();
  const bad = (path: string, message: string): MeshError => new MeshError('invalid', `failures.${i}.${path}: ${message}`, { fields: { path: `failures.${i}.${path}` } });
  for (const [k, name] of (f.sites ?? []).entries()) {
    const s = sites.findIndex((x) => x.name === name);
    if (s < 0) throw bad(`sites.${k}`, `no site "${name}"; there are ${sites.slice(0, 12).map((x) => x.name).join(', ')}`);
    chosen.add(s);
  }
  for (const [s, site] of sites.entries()) {
    if (f.region === site.region || (f.randomPercent !== undefined && noise(scenario.seed, 99, i, s) * 100 < f.randomPercent)) chosen.add(s);
  }
  if (f.region !== undefined && chosen.size === 0) throw bad('region', `no site is in region "${f.region}"`);
  return chosen;
}
