/**
 * What sites report, made into demand, latency and capacity. Pure bookkeeping in memory: samples and times come in, numbers come out.
 * Nothing is believed blindly: duplicates, late, absurd and foreign samples are dropped or repaired, and each kind of repair is counted.
 * Memory is bounded by the limits below; what is least in use goes first.
 */
import type { CapacitySample, ProbeSample, TrafficSample } from '../../api/telemetry.ts';

export interface TelemetryOptions {
  /** Half of an observation's weight is gone after so long. @default 10000 */
  readonly halfLifeMs?: number;
  readonly maxRows?: number;
  /** Coordinates of sites and client regions, for ways that nobody measured. */
  readonly locationOf?: (kind: 'site' | 'client-region', name: string) => { readonly latitude: number; readonly longitude: number } | null;
}

interface Rate {
  value: number;
  at: number;
}

interface Way {
  ms: number;
  at: number;
}

export type Repair = 'duplicate' | 'late' | 'clock-off' | 'absurd' | 'below-light-speed' | 'malformed' | 'evicted';

const LATE_MS = 60_000;
const CLOCK_OFF_MS = 10_000;
const MAX_CONNECTIONS_PER_SECOND = 10_000_000;
const MAX_RTT_MS = 60_000;
const SEQUENCES_KEPT = 128;
const WAY_KEPT_MS = 600_000;
/** Light in fibre: 200 km a ms, there and back. */
const KM_PER_RTT_MS = 100;
/** Fibre is not laid straight. */
const DETOUR = 1.5;

export class Telemetry {
  readonly #o: Required<Omit<TelemetryOptions, 'locationOf'>> & Pick<TelemetryOptions, 'locationOf'>;
  /** application NUL client region NUL site */
  readonly #rates = new Map<string, Rate>();
  readonly #ways = new Map<string, Way>();
  readonly #capacity = new Map<string, CapacitySample & { readonly received: number }>();
  readonly #seen = new Map<string, { readonly epoch: string; readonly sequences: Set<number>; highest: number }>();
  readonly #heard = new Map<string, number>();
  readonly #repairs = new Map<string, number>();

  constructor(options: TelemetryOptions = {}) {
    this.#o = { halfLifeMs: 10_000, maxRows: 2_000_000, ...options };
  }

  traffic(sample: TrafficSample, now: number): void {
    this.#heard.set(sample.site, now);
    if (!this.#isNew(sample)) return this.#repair(sample.site, 'duplicate');
    if (now - sample.at > LATE_MS) return this.#repair(sample.site, 'late');
    if (sample.at - now > CLOCK_OFF_MS) this.#repair(sample.site, 'clock-off'); // counted by the time of arrival instead
    if (!(sample.periodMs > 0 && sample.periodMs <= 3_600_000)) return this.#repair(sample.site, 'absurd');
    for (const row of sample.rows) {
      const rps = (row.connections * 1000) / sample.periodMs;
      if (!(rps >= 0 && rps <= MAX_CONNECTIONS_PER_SECOND)) {
        this.#repair(sample.site, 'absurd');
        continue;
      }
      this.#observe(`${row.application}\0${row.clientRegion}\0${sample.site}`, row.connections, now);
      if (row.rttMs !== null) this.#way(`r\0${row.clientRegion}\0${sample.site}`, row.rttMs, now, sample.site, this.#floor('client-region', row.clientRegion, sample.site));
    }
  }

  probes(sample: ProbeSample, now: number): void {
    this.#heard.set(sample.site, now);
    if (Math.abs(now - sample.at) > LATE_MS) this.#repair(sample.site, 'clock-off'); // a round trip needs no common clock
    for (const row of sample.rows) {
      if (row.rttMs === null) continue;
      const key = row.kind === 'site' ? `s\0${sample.site}\0${row.to}` : `r\0${row.to}\0${sample.site}`;
      this.#way(key, row.rttMs, now, sample.site, this.#floor(row.kind, row.to, sample.site));
    }
  }

  capacity(sample: CapacitySample, now: number): void {
    this.#heard.set(sample.site, now);
    if (!(sample.cpuMilli >= 0 && sample.memoryMiB >= 0 && sample.cpuMilli < 1e9 && sample.memoryMiB < 1e9)) return this.#repair(sample.site, 'absurd');
    const last = this.#capacity.get(sample.site);
    if (last !== undefined && sample.at < last.at && last.at - now < CLOCK_OFF_MS) return this.#repair(sample.site, 'late');
    this.#capacity.set(sample.site, { ...sample, received: now });
  }

  /** Requests per second of an application by client region, over all the sites where they arrived. */
  demand(now: number): ReadonlyMap<string, ReadonlyMap<string, number>> {
    const out = new Map<string, Map<string, number>>();
    for (const [key, rate] of this.#rates) {
      const rps = this.#perSecond(rate, now);
      if (rps < 1e-3) {
        this.#rates.delete(key);
        continue;
      }
      const [application = '', region = ''] = key.split('\0');
      const regions = out.get(application) ?? new Map<string, number>();
      out.set(application, regions.set(region, (regions.get(region) ?? 0) + rps));
    }
    return out;
  }

  /** Measured; the other way round when only that was measured; an estimate from coordinates when nothing was; else null. */
  siteRtt(a: string, b: string, now: number): number | null {
    if (a === b) return 0.2;
    return this.#read(`s\0${a}\0${b}`, now) ?? this.#read(`s\0${b}\0${a}`, now) ?? this.#estimate(this.#o.locationOf?.('site', a), this.#o.locationOf?.('site', b));
  }

  measuredSiteRtt(a: string, b: string, now: number): number | null {
    return this.#read(`s\0${a}\0${b}`, now);
  }

  /** From clients of a region to an instance at `site`: measured, else over the best front that was measured, else estimated. */
  clientRtt(region: string, site: string, fronts: readonly string[], now: number): number | null {
    const direct = this.#read(`r\0${region}\0${site}`, now);
    if (direct !== null) return direct;
    let best: number | null = null;
    for (const f of fronts) {
      const first = this.#read(`r\0${region}\0${f}`, now);
      const second = first === null ? null : (this.#read(`s\0${f}\0${site}`, now) ?? this.#read(`s\0${site}\0${f}`, now));
      if (first !== null && second !== null && (best === null || first + second < best)) best = first + second;
    }
    return best ?? this.#estimate(this.#o.locationOf?.('client-region', region), this.#o.locationOf?.('site', site));
  }

  capacityOf(site: string): CapacitySample | null {
    return this.#capacity.get(site) ?? null;
  }

  /** When a sample of the site arrived last. */
  heardFrom(site: string): number | null {
    return this.#heard.get(site) ?? null;
  }

  /** Who measured an answer from `site` since a moment: witnesses that it lives. */
  witnesses(site: string, since: number): readonly string[] {
    const out: string[] = [];
    for (const [key, way] of this.#ways) {
      const [kind, from = '', to = ''] = key.split('\0');
      if (kind === 's' && to === site && way.at >= since) out.push(from);
    }
    return out;
  }

  /** `<site> <kind of repair>` to how often. */
  get repairs(): ReadonlyMap<string, number> {
    return this.#repairs;
  }

  #isNew(sample: TrafficSample): boolean {
    const known = this.#seen.get(sample.site);
    if (known === undefined || known.epoch !== sample.epoch) {
      this.#seen.set(sample.site, { epoch: sample.epoch, sequences: new Set([sample.sequence]), highest: sample.sequence });
      return true;
    }
    if (known.sequences.has(sample.sequence) || sample.sequence <= known.highest - SEQUENCES_KEPT) return false;
    known.sequences.add(sample.sequence);
    known.highest = Math.max(known.highest, sample.sequence);
    for (const s of known.sequences) if (s <= known.highest - SEQUENCES_KEPT) known.sequences.delete(s);
    return true;
  }

  /** An exponentially decaying count: requests of the last windows, the newest with most weight. */
  #observe(key: string, count: number, now: number): void {
    const rate = this.#rates.get(key);
    if (rate === undefined) {
      if (this.#rates.size >= this.#o.maxRows) this.#evict();
      this.#rates.set(key, { value: count, at: now });
      return;
    }
    rate.value = rate.value * this.#decay(now - rate.at) + count;
    rate.at = Math.max(rate.at, now);
  }

  #decay(ms: number): number {
    return 2 ** (-Math.max(0, ms) / this.#o.halfLifeMs);
  }

  #perSecond(rate: Rate, now: number): number {
    return (rate.value * this.#decay(now - rate.at) * Math.LN2 * 1000) / this.#o.halfLifeMs;
  }

  #evict(): void {
    const oldest = this.#rates.keys().next().value;
    if (oldest === undefined) return;
    this.#rates.delete(oldest);
    this.#repair('all', 'evicted');
  }

  #way(key: string, rttMs: number, now: number, reporter: string, floor: number): void {
    if (!(rttMs > 0 && rttMs < MAX_RTT_MS)) return this.#repair(reporter, 'absurd');
    if (rttMs < floor) return this.#repair(reporter, 'below-light-speed');
    const way = this.#ways.get(key);
    if (way === undefined || now - way.at > WAY_KEPT_MS) {
      this.#ways.set(key, { ms: rttMs, at: now });
      return;
    }
    // a queue makes a sample slow, nothing makes it fast: down at once, up with patience
    way.ms += (rttMs < way.ms ? 0.5 : 0.1) * (rttMs - way.ms);
    way.at = now;
  }

  #read(key: string, now: number): number | null {
    const way = this.#ways.get(key);
    return way === undefined || now - way.at > WAY_KEPT_MS ? null : way.ms;
  }

  #floor(kind: 'site' | 'client-region', name: string, site: string): number {
    const km = distanceKm(this.#o.locationOf?.(kind, name), this.#o.locationOf?.('site', site));
    return km === null ? 0 : (km / KM_PER_RTT_MS) * 0.9; // coordinates are of a city, not of a rack
  }

  #estimate(a: Parameters<typeof distanceKm>[0], b: Parameters<typeof distanceKm>[1]): number | null {
    const km = distanceKm(a, b);
    return km === null ? null : 1 + (km / KM_PER_RTT_MS) * DETOUR;
  }

  #repair(site: string, repair: Repair): void {
    const key = `${site} ${repair}`;
    this.#repairs.set(key, (this.#repairs.get(key) ?? 0) + 1);
  }
}

type Location = { readonly latitude: number; readonly longitude: number };

export function distanceKm(a: Location | null | undefined, b: Location | null | undefined): number | null {
  if (a === null || a === undefined || b === null || b === undefined) return null;
  const rad = Math.PI / 180;
  const h = Math.sin(((b.latitude - a.latitude) * rad) / 2) ** 2 + Math.cos(a.latitude * rad) * Math.cos(b.latitude * rad) * Math.sin(((b.longitude - a.longitude) * rad) / 2) ** 2;
  return 12_742 * Math.asin(Math.min(1, Math.sqrt(h)));
}
