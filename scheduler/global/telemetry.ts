/**
 * What sites report, made into demand, latency and capacity. Pure bookkeeping in memory: samples and times come in, numbers come out.
 * Nothing is believed blindly: duplicates, late, absurd and foreign samples are dropped or repaired, and each kind of repair is counted.
 * Memory is bounded by the limits below; what is least in use goes first, what decayed to nothing is given back.
 */
import type { CapacitySample, ProbeSample, TrafficSample } from '../../api/telemetry.ts';
import { Hearing } from './hearing.ts';
import { Neighbours } from './neighbours.ts';
import { SampleLog } from './sample-log.ts';
import { Names } from './sparse.ts';
import { type Rates, TrafficWindows } from './traffic-windows.ts';
import { type WayRepair, Ways, type WaySample } from './ways.ts';
import { lightMs, type Location } from './distance.ts';

export interface TelemetryOptions {
  /** Half of an observation's weight is gone after so long. @default 10000 */
  readonly halfLifeMs?: number;
  /** Application x client region x site. @default 2000000 */
  readonly maxRows?: number;
  /** Site x site, and client region x site. @default 2000000 */
  readonly maxWays?: number;
  /** Coordinates of sites and client regions, for ways that nobody measured. */
  readonly locationOf?: (kind: 'site' | 'client-region', name: string) => { readonly latitude: number; readonly longitude: number } | null;
  /** Is a silent site given up, so that its clients ask elsewhere? @default always: what is not counted again fades */
  readonly isLost?: (site: string) => boolean;
}

/** How clients of one region fared with instances at one site. */
export interface Observed {
  /** Counted by the fronts, times the share that they give to the site. */
  readonly connections: number;
  /** Connections that no handshake ended well, 0..1; null = the fronts did not count handshakes (UDP, or an older agent). */
  readonly failed: number | null;
  /** ms: client to front as the handshakes measured it, and front to site as probes did; null = neither is known. */
  readonly latencyMs: number | null;
}

export interface Link {
  readonly from: string;
  readonly to: string;
  readonly rttMs: number;
  /** 0..1 */
  readonly loss: number;
  /** null = no estimate. */
  readonly mbps: number | null;
}

export interface Hole {
  readonly clientRegion: string;
  /** ms; null = nothing is known, it counts as 500. */
  readonly takenMs: number | null;
}

export type Repair = 'duplicate' | 'late' | 'missing' | 'clock-off' | 'malformed' | WayRepair;

/** Older samples say nothing of now. */
const LATE_MS = 60_000;
const MAX_CONNECTIONS_PER_SECOND = 10_000_000;
const MAX_BYTES_PER_SECOND = 1e12;
const MAX_PERIOD_MS = 3_600_000;
const MAX_NAMES = 1_000_000;
const SWEEP_MS = 60_000;
/** Fibre is not laid straight. */
const DETOUR = 1.5;
const SAME_SITE_MS = 0.2;

export class Telemetry {
  readonly #locationOf: TelemetryOptions['locationOf'];
  readonly #sites = new Names(MAX_NAMES);
  readonly #regions = new Names(MAX_NAMES);
  readonly #traffic: TrafficWindows;
  readonly #siteWays: Ways;
  readonly #clientWays: Ways;
  readonly #log = new SampleLog();
  readonly #capacity = new Map<string, CapacitySample>();
  readonly #hearing: Hearing;
  readonly #neighbours = new Neighbours();
  readonly #repairs = new Map<string, number>();
  #news = new Map<string, number>();
  #fronts: { readonly of: readonly string[]; readonly set: ReadonlySet<string> } = { of: [], set: new Set() };
  #sweptAt = 0;

  constructor(options: TelemetryOptions = {}) {
    const { halfLifeMs = 10_000, maxRows = 2_000_000, maxWays = 2_000_000 } = options;
    this.#locationOf = options.locationOf;
    this.#hearing = new Hearing(options.isLost ?? (() => true));
    this.#traffic = new TrafficWindows({ applications: new Names(MAX_NAMES), regions: this.#regions, sites: this.#sites }, { halfLifeMs, max: maxRows });
    this.#siteWays = new Ways(this.#sites, this.#sites, maxWays);
    this.#clientWays = new Ways(this.#regions, this.#sites, maxWays);
  }

  traffic(sample: TrafficSample, now: number): void {
    this.#hearing.hear(sample.site, now);
    if (!Number.isSafeInteger(sample.sequence)) return this.#repair(sample.site, 'malformed');
    const { isNew, missing } = this.#log.take(sample);
    if (!isNew) return this.#repair(sample.site, 'duplicate');
    if (missing > 0) this.#repair(sample.site, 'missing', missing);
    const age = this.#age(sample.site, sample.at, now);
    if (age > LATE_MS) return this.#repair(sample.site, 'late');
    if (!(sample.periodMs > 0 && sample.periodMs <= MAX_PERIOD_MS)) return this.#repair(sample.site, 'absurd');
    for (const row of sample.rows) this.#trafficRow(sample, row, age, now);
  }

  probes(sample: ProbeSample, now: number): void {
    this.#hearing.hear(sample.site, now);
    if (this.#age(sample.site, sample.at, now) > LATE_MS) return this.#repair(sample.site, 'late');
    this.#neighbours.observe(sample, now);
    for (const row of sample.rows) {
      const isSite = row.kind === 'site';
      const { rttMs, loss, mbps } = row;
      if (rttMs === null) continue;
      const from = isSite ? sample.site : row.to;
      this.#way(isSite ? this.#siteWays : this.#clientWays, from, isSite ? row.to : sample.site, { rttMs, loss, mbps }, sample.site, row.kind, now);
    }
  }

  capacity(sample: CapacitySample, now: number): void {
    this.#hearing.hear(sample.site, now);
    const isPossible = (v: number): boolean => v >= 0 && v < 1e9;
    if (![sample.cpuMilli, sample.memoryMiB, sample.usedCpuMilli, sample.usedMemoryMiB].every(isPossible)) return this.#repair(sample.site, 'absurd');
    const last = this.#capacity.get(sample.site);
    this.#age(sample.site, sample.at, now);
    // of two samples of one clock the later counts; a clock that was set back does not stop them for ever
    if (last !== undefined && sample.at < last.at && last.at - sample.at < LATE_MS) return this.#repair(sample.site, 'late');
    this.#capacity.set(sample.site, sample);
  }

  /** Requests per second of an application by client region, over all the sites where they arrived. */
  demand(now: number): ReadonlyMap<string, ReadonlyMap<string, number>> {
    if (now - this.#sweptAt >= SWEEP_MS) this.#sweep(now);
    return this.#traffic.demand(now, (site) => this.#hearing.knownAt(site, now));
  }

  /** Per second, of one application, by client region and the site whose front counted it; with the round trip between the two. */
  rates(application: string, now: number): readonly (Rates & { readonly rttMs: number | null })[] {
    return this.#traffic.rates(application, now).map((r) => ({ ...r, rttMs: this.#clientWays.ms(r.clientRegion, r.site, now) }));
  }

  /**
   * How clients of a region fare with an application's instances at `site` since a moment of the last minute. Fronts count by region, not by
   * the instance that they chose: `shareAt` says which part (0..1) of a front's connections goes to the site. null = nothing arrived.
   */
  observed(application: string, site: string, clientRegion: string, sinceMs: number, now: number, shareAt: (front: string) => number = () => 1): Observed | null {
    let [connections, counted, failed, timed, ms] = [0, 0, 0, 0, 0];
    this.#traffic.since(application, clientRegion, sinceMs, now, (front, s) => {
      const weight = s.connections * Math.min(1, Math.max(0, shareAt(front)));
      if (weight <= 0) return;
      connections += weight;
      if (s.handshakes !== null) {
        counted += weight;
        failed += weight * (1 - s.handshakes / s.connections);
      }
      const first = s.rttMs ?? this.#clientWays.ms(clientRegion, front, now);
      const second = this.siteRtt(front, site, now);
      if (first === null || second === null) return;
      timed += weight;
      ms += weight * (first + (front === site ? 0 : second));
    });
    if (connections === 0) return null;
    return { connections, failed: counted === 0 ? null : failed / counted, latencyMs: timed === 0 ? null : ms / timed };
  }

  /** Measured; the other way round when only that was measured, or when both cannot be true; an estimate from coordinates when nothing was; else null. */
  siteRtt(a: string, b: string, now: number): number | null {
    if (a === b) return SAME_SITE_MS;
    return this.#siteWays.either(a, b, now) ?? this.#estimate(this.#locationOf?.('site', a), this.#locationOf?.('site', b));
  }

  measuredSiteRtt(a: string, b: string, now: number): number | null {
    return this.#siteWays.ms(a, b, now);
  }

  /** From clients of a region to an instance at `site`: measured, else over the best front that was measured, else estimated. */
  clientRtt(region: string, site: string, fronts: readonly string[], now: number): number | null {
    const direct = this.#clientWays.ms(region, site, now);
    if (direct !== null) return direct;
    if (fronts.length === 0) return this.#estimate(this.#locationOf?.('client-region', region), this.#locationOf?.('site', site));
    if (this.#fronts.of !== fronts) this.#fronts = { of: fronts, set: new Set(fronts) };
    let best: number | null = null;
    this.#clientWays.each(region, now, (front, first) => {
      if ((best !== null && first >= best) || !this.#fronts.set.has(front)) return;
      const second = this.#siteWays.either(front, site, now);
      if (second !== null && (best === null || first + second < best)) best = first + second;
    });
    return best ?? this.#estimate(this.#locationOf?.('client-region', region), this.#locationOf?.('site', site));
  }

  measuredClientRtt(region: string, site: string, now: number): number | null {
    return this.#clientWays.ms(region, site, now);
  }

  /** Every way between sites that was measured in the last ten minutes, from `site`. */
  links(site: string, now: number): readonly Link[] {
    const out: Link[] = [];
    this.#siteWays.each(site, now, (to, rttMs) => out.push({ from: site, to, rttMs, ...(this.#siteWays.quality(site, to, now) ?? { loss: 0, mbps: null }) }));
    return out.sort((a, b) => (a.to < b.to ? -1 : 1));
  }

  capacityOf(site: string): CapacitySample | null {
    return this.#capacity.get(site) ?? null;
  }

  /** When a sample of the site arrived last. */
  heardFrom(site: string): number | null {
    return this.#hearing.at(site);
  }

  /** Who measured an answer from `site` since a moment: witnesses that it lives. */
  witnesses(site: string, since: number): readonly string[] {
    return this.#neighbours.witnesses(site, since);
  }

  /** Who had an answer from `site` before, and reported since a moment that it gets none any more. */
  deniers(site: string, since: number): readonly string[] {
    return this.#neighbours.deniers(site, since);
  }

  /** `<site> <kind of repair>` to how often. */
  get repairs(): ReadonlyMap<string, number> {
    return this.#repairs;
  }

  /** The repairs since it was asked last. */
  takeNews(): ReadonlyMap<string, number> {
    const news = this.#news;
    if (news.size > 0) this.#news = new Map();
    return news;
  }

  /** Client regions whose way to a site nobody measured in the last ten minutes, and what it is taken for: worked out (ms), or null = not known. */
  holes(site: string, clientRegions: readonly string[], fronts: readonly string[], now: number): readonly Hole[] {
    return clientRegions.flatMap((clientRegion) => (this.measuredClientRtt(clientRegion, site, now) === null ? [{ clientRegion, takenMs: this.clientRtt(clientRegion, site, fronts, now) }] : []));
  }

  /** Rows in use, for the metrics. */
  get sizes(): { readonly traffic: number; readonly siteWays: number; readonly clientWays: number } {
    return { traffic: this.#traffic.size, siteWays: this.#siteWays.size, clientWays: this.#clientWays.size };
  }

  #trafficRow(sample: TrafficSample, row: TrafficSample['rows'][number], age: number, now: number): void {
    const perSecond = (count: number): number => (count * 1000) / sample.periodMs;
    const isPossible = (count: number, most: number): boolean => perSecond(count) >= 0 && perSecond(count) <= most;
    if (!isPossible(row.connections, MAX_CONNECTIONS_PER_SECOND) || !isPossible(row.bytesIn, MAX_BYTES_PER_SECOND) || !isPossible(row.bytesOut, MAX_BYTES_PER_SECOND)) return this.#repair(sample.site, 'absurd');
    const { application, clientRegion, connections, bytesIn, bytesOut, rttMs } = row;
    const isGood = rttMs !== null && this.#way(this.#clientWays, clientRegion, sample.site, { rttMs }, sample.site, 'client-region', now);
    const handshakes = row.handshakes === undefined || row.handshakes === null || !(row.handshakes >= 0) ? null : row.handshakes;
    const evicted = this.#traffic.observe({ application, clientRegion, site: sample.site, connections, bytesIn, bytesOut, handshakes, rttMs: isGood ? rttMs : null }, sample.periodMs, age, now);
    if (evicted !== 0) this.#repair('all', 'evicted', evicted ?? 1);
  }

  /** Was the sample believed? */
  #way(ways: Ways, from: string, to: string, s: WaySample, reporter: string, kind: 'site' | 'client-region', now: number): boolean {
    const isSite = kind === 'site';
    const floor = this.#floor(kind, from, to);
    const repairs = ways.observe(from, to, s, floor, now, isSite);
    for (const r of repairs) this.#repair(reporter, r);
    return !repairs.some((r) => r === 'absurd' || r === 'below-light-speed');
  }

  /** ms since the sample was taken, by the site's own clock as far as it can be trusted. */
  #age(site: string, at: number, now: number): number {
    const { ageMs, isOff } = this.#log.age(site, at, now);
    if (isOff) this.#repair(site, 'clock-off');
    return ageMs;
  }

  #sweep(now: number): void {
    this.#sweptAt = now;
    this.#traffic.sweep(now, (site) => this.#hearing.knownAt(site, now));
    this.#siteWays.sweep(now);
    this.#clientWays.sweep(now);
  }

  #floor(kind: 'site' | 'client-region', from: string, site: string): number {
    const floor = lightMs(this.#locationOf?.(kind, from), this.#locationOf?.('site', site));
    return floor === null ? 0 : floor * 0.9; // coordinates are of a city, not of a rack
  }

  #estimate(a: Location | null | undefined, b: Location | null | undefined): number | null {
    const floor = lightMs(a, b);
    return floor === null ? null : 1 + floor * DETOUR;
  }

  #repair(site: string, repair: Repair, times = 1): void {
    const key = `${site} ${repair}`;
    this.#repairs.set(key, (this.#repairs.get(key) ?? 0) + times);
    this.#news.set(key, (this.#news.get(key) ?? 0) + times);
  }
}
