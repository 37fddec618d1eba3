/**
 * Traffic by application x client region x front site, in two windows: a decaying one (what the planner calls demand) and the last minute in
 * slices of five seconds (what the mover asks: how do clients fare since a moment).
 */
import { Column, type Names, SparseTable } from './sparse.ts';

export interface TrafficRow {
  readonly application: string;
  readonly clientRegion: string;
  readonly site: string;
  readonly connections: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Handshakes that ended well, and the mean ms between client and front over them; null = the front does not count them. */
  readonly handshakes: number | null;
  readonly rttMs: number | null;
}

export interface Rates {
  readonly clientRegion: string;
  /** Whose front counted it. */
  readonly site: string;
  /** Per second. */
  readonly connections: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface Slices {
  readonly connections: number;
  /** null = none of the fronts' samples said. */
  readonly handshakes: number | null;
  readonly rttMs: number | null;
}

const SLICE_MS = 5_000;
const SLICES = 12;
/** Per slice: connections, connections of samples that count handshakes, handshakes, sum of ms, of how many. */
const FIELDS = 5;
/** Less than a request in a quarter of an hour is nothing. */
const GONE_PER_SECOND = 1e-3;
const MAX_NAMES = 65_536;

const cell = (slice: number, field: number): number => (((slice % SLICES) + SLICES) % SLICES) * FIELDS + field;

export class TrafficWindows {
  readonly #applications: Names;
  readonly #regions: Names;
  readonly #sites: Names;
  readonly #halfLifeMs: number;
  readonly #max: number;
  /** Decayed connections, bytes in, bytes out. */
  readonly #values = new Column(Float64Array, 3);
  readonly #at = new Column(Float64Array);
  readonly #slices = new Column(Float32Array, SLICES * FIELDS);
  readonly #newest = new Column(Int32Array);
  /** Next row of the same application and region; row + 1. */
  readonly #next = new Column(Int32Array);
  readonly #rows = new SparseTable([this.#values, this.#at, this.#slices, this.#newest, this.#next]);
  readonly #head = new Column(Int32Array);
  readonly #pairs = new SparseTable([this.#head]);
  #cursor = 1;

  constructor(names: { readonly applications: Names; readonly regions: Names; readonly sites: Names }, o: { readonly halfLifeMs: number; readonly max: number }) {
    this.#applications = names.applications;
    this.#regions = names.regions;
    this.#sites = names.sites;
    this.#halfLifeMs = o.halfLifeMs;
    this.#max = o.max;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** What was counted in `periodMs`, which ended `ageMs` ago. Returns how many rows had to be given up for it; null = there was no room. */
  observe(row: TrafficRow, periodMs: number, ageMs: number, now: number): number | null {
    let evicted = 0;
    let at = this.#find(row.application, row.clientRegion, row.site);
    if (at < 0) {
      if (this.#rows.size >= this.#max) evicted = this.#evict(now);
      at = this.#add(row, now);
      if (at < 0) return null;
    }
    const keep = this.#decay(now - this.#at.get(at));
    // counted over a period: the mean of what each moment of it still weighs
    const k = (Math.LN2 * periodMs) / this.#halfLifeMs;
    const weight = this.#decay(ageMs) * (k < 1e-6 ? 1 : (1 - Math.exp(-k)) / k);
    for (const [i, count] of [row.connections, row.bytesIn, row.bytesOut].entries()) this.#values.set(at, this.#values.get(at, i) * keep + count * weight, i);
    this.#at.set(at, Math.max(now, this.#at.get(at)));
    this.#slice(at, row, Math.floor((now - ageMs) / SLICE_MS));
    return evicted;
  }

  /** Requests per second of an application by client region, over all the sites where they arrived; each as of when its front is known. */
  demand(now: number, knownAt: (site: string) => number = () => now): Map<string, Map<string, number>> {
    const out = new Map<string, Map<string, number>>();
    const asOf = this.#perSite(knownAt);
    for (let pair = 0; pair < this.#pairs.end; pair++) {
      if (!this.#pairs.isUsed(pair)) continue;
      let rps = 0;
      for (let row = this.#head.get(pair) - 1; row >= 0; row = this.#next.get(row) - 1) rps += this.#perSecond(row, 0, asOf(row));
      if (rps < GONE_PER_SECOND) continue;
      const application = this.#applications.name(this.#pairs.a(pair));
      let regions = out.get(application);
      if (regions === undefined) out.set(application, (regions = new Map()));
      regions.set(this.#regions.name(this.#pairs.b(pair)), rps);
    }
    return out;
  }

  /** Per second, of one application, by client region and front; what decayed to nothing is left out. */
  rates(application: string, now: number): readonly Rates[] {
    const id = this.#applications.find(application);
    const out: Rates[] = [];
    for (let row = 0; id >= 0 && row < this.#rows.end; row++) {
      if (this.#rows.a(row) !== id || !this.#rows.isUsed(row) || this.#perSecond(row, 0, now) < GONE_PER_SECOND) continue;
      const b = this.#rows.b(row);
      out.push({ clientRegion: this.#regions.name((b >>> 16) & 0xffff), site: this.#sites.name(b & 0xffff), connections: this.#perSecond(row, 0, now), bytesIn: this.#perSecond(row, 1, now), bytesOut: this.#perSecond(row, 2, now) });
    }
    return out;
  }

  /** By front: what arrived there of a region for an application since a moment of the last minute. A slice counts if it began then. */
  since(application: string, clientRegion: string, sinceMs: number, now: number, visit: (site: string, s: Slices) => void): void {
    const [a, r] = [this.#applications.find(application), this.#regions.find(clientRegion)];
    const pair = a < 0 || r < 0 ? -1 : this.#pairs.find(a, r);
    if (pair < 0) return;
    const first = Math.max(Math.ceil(sinceMs / SLICE_MS), Math.floor(now / SLICE_MS) - SLICES + 1);
    for (let row = this.#head.get(pair) - 1; row >= 0; row = this.#next.get(row) - 1) {
      const sum = [0, 0, 0, 0, 0];
      for (let slice = first; slice <= this.#newest.get(row); slice++) {
        if (slice <= this.#newest.get(row) - SLICES) continue;
        for (let f = 0; f < FIELDS; f++) sum[f] = (sum[f] as number) + this.#slices.get(row, cell(slice, f));
      }
      const [connections = 0, counted = 0, handshakes = 0, ms = 0, of = 0] = sum;
      // scaled to all connections, should only some samples say how many ended well
      if (connections > 0) visit(this.#sites.name(this.#rows.b(row) & 0xffff), { connections, handshakes: counted === 0 ? null : Math.min(connections, (handshakes / counted) * connections), rttMs: of === 0 ? null : ms / of });
    }
  }

  /** Rows that decayed to nothing are given back. */
  sweep(now: number, knownAt: (site: string) => number = () => now): void {
    const asOf = this.#perSite(knownAt);
    for (let row = 0; row < this.#rows.end; row++) {
      if (this.#rows.isUsed(row) && this.#perSecond(row, 0, asOf(row)) < GONE_PER_SECOND && now - this.#at.get(row) > SLICES * SLICE_MS) this.#remove(row);
    }
  }

  /** By row; each site is asked once. */
  #perSite(knownAt: (site: string) => number): (row: number) => number {
    const known: number[] = [];
    return (row) => {
      const site = this.#rows.b(row) & 0xffff;
      return (known[site] ??= knownAt(this.#sites.name(site)));
    };
  }

  #slice(row: number, t: TrafficRow, slice: number): void {
    const newest = this.#newest.get(row);
    if (slice <= newest - SLICES) return;
    if (slice > newest) {
      for (let i = Math.max(newest + 1, slice - SLICES + 1); i <= slice; i++) for (let f = 0; f < FIELDS; f++) this.#slices.set(row, 0, cell(i, f));
      this.#newest.set(row, slice);
    }
    const add = (f: number, value: number): void => this.#slices.set(row, this.#slices.get(row, cell(slice, f)) + value, cell(slice, f));
    add(0, t.connections);
    if (t.handshakes !== null) {
      add(1, t.connections);
      add(2, t.handshakes);
    }
    if (t.rttMs === null) return;
    const of = Math.max(1, t.handshakes ?? t.connections);
    add(3, t.rttMs * of);
    add(4, of);
  }

  #decay(ms: number): number {
    return 2 ** (-Math.max(0, ms) / this.#halfLifeMs);
  }

  #perSecond(row: number, i: number, now: number): number {
    return (this.#values.get(row, i) * this.#decay(now - this.#at.get(row)) * Math.LN2 * 1000) / this.#halfLifeMs;
  }

  #find(application: string, clientRegion: string, site: string): number {
    const [a, r, s] = [this.#applications.find(application), this.#regions.find(clientRegion), this.#sites.find(site)];
    return a < 0 || r < 0 || s < 0 ? -1 : this.#rows.find(a, (r << 16) | s);
  }

  #add(t: TrafficRow, now: number): number {
    const [a, r, s] = [this.#applications.add(t.application), this.#regions.add(t.clientRegion), this.#sites.add(t.site)];
    if (a < 0 || r < 0 || s < 0 || r >= MAX_NAMES || s >= MAX_NAMES) {
      this.#applications.drop(a);
      this.#regions.drop(r);
      this.#sites.drop(s);
      return -1;
    }
    const known = this.#pairs.find(a, r);
    const pair = known < 0 ? this.#pairs.add(a, r) : known;
    const row = this.#rows.add(a, (r << 16) | s);
    this.#at.set(row, now);
    this.#newest.set(row, Math.floor(now / SLICE_MS) - SLICES);
    this.#next.set(row, this.#head.get(pair));
    this.#head.set(pair, row + 1);
    this.#applications.hold(a);
    this.#regions.hold(r);
    this.#sites.hold(s);
    return row;
  }

  /** The least used of a few rows. */
  #evict(now: number): number {
    let least = -1;
    for (let i = 0; i < 64; i++) {
      const row = (this.#cursor++ * 7919) % this.#rows.end;
      if (this.#rows.isUsed(row) && (least < 0 || this.#perSecond(row, 0, now) < this.#perSecond(least, 0, now))) least = row;
    }
    if (least < 0) return 0;
    this.#remove(least);
    return 1;
  }

  #remove(row: number): void {
    const [a, r, s] = [this.#rows.a(row), (this.#rows.b(row) >>> 16) & 0xffff, this.#rows.b(row) & 0xffff];
    const pair = this.#pairs.find(a, r);
    let before = -1;
    for (let i = this.#head.get(pair) - 1; i !== row; i = this.#next.get(i) - 1) before = i;
    if (before < 0) this.#head.set(pair, this.#next.get(row));
    else this.#next.set(before, this.#next.get(row));
    if (this.#head.get(pair) === 0) this.#pairs.remove(pair);
    this.#rows.remove(row);
    this.#applications.release(a);
    this.#regions.release(r);
    this.#sites.release(s);
  }
}
