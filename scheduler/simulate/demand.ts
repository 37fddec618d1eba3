/** Who asks for how much when: a table of hours, or a daily shape by the sun, with noise that is the same in every run. */
import { MeshError } from '../../api/errors.ts';
import { noise } from './random.ts';
import type { Scenario } from './scenario.ts';
import { numberTable } from './tables.ts';
import type { ClientRegion, ReadText } from './world.ts';

/** Requests per second of client region `r` for an application with this share, before chance. */
export type Demand = (application: number, region: number, share: number, at: number) => number;

const HOUR_MS = 3_600_000;
const NOISE_MS = 15 * 60_000;

/** A factor around 1 that wanders: it is another one every quarter of an hour. */
function wander(seed: number, application: number, region: number, at: number, percent: number): number {
  if (percent === 0) return 1;
  const k = Math.floor(at / NOISE_MS);
  const part = at / NOISE_MS - k;
  const one = (i: number): number => noise(seed, application, region, i) * 2 - 1;
  return 1 + (percent / 100) * (one(k) * (1 - part) + one(k + 1) * part);
}

export function demandOf(scenario: Scenario, regions: readonly ClientRegion[], start: number, readText: ReadText): Demand {
  const { demand, seed } = scenario;
  const base = 'file' in demand ? fromFile(demand, regions, start, readText) : daily(demand, regions);
  return (application, region, share, at) => base(region, at) * share * wander(seed, application, region, at, demand.noisePercent);
}

function fromFile(demand: { readonly file: string; readonly scale: number }, regions: readonly ClientRegion[], start: number, readText: ReadText): (region: number, at: number) => number {
  const table = numberTable(readText(demand.file), demand.file);
  const slug = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-|-$/g, '');
  const columns = table.columns.map(slug);
  const of = regions.map((r) => {
    const column = columns.indexOf(r.name);
    if (column < 0) throw new MeshError('invalid', `${demand.file}: has no column for client region "${r.name}"`, { fields: { path: 'demand.file' } });
    return column;
  });
  const hours = table.values.length;
  return (region, at) => {
    const h = (at - start) / HOUR_MS;
    const k = Math.floor(h);
    const one = (i: number): number => (table.values[((i % hours) + hours) % hours]?.[of[region] as number] ?? 0) * demand.scale;
    return one(k) * (1 - (h - k)) + one(k + 1) * (h - k);
  };
}

interface Daily {
  readonly perMillion: number;
  readonly nightPercent: number;
  readonly peakHour: number;
  readonly weekendPercent: number;
}

function daily(d: Daily, regions: readonly ClientRegion[]): (region: number, at: number) => number {
  const night = d.nightPercent / 100;
  return (region, at) => {
    const { location, millions } = regions[region] as ClientRegion;
    const local = at + (location.longitude / 15) * HOUR_MS; // by the sun
    const hour = (local / HOUR_MS) % 24;
    const wave = (1 + Math.cos(((hour - d.peakHour) / 12) * Math.PI)) / 2;
    const day = new Date(local).getUTCDay();
    return millions * d.perMillion * (night + (1 - night) * wave) * (day === 0 || day === 6 ? d.weekendPercent / 100 : 1);
  };
}
