/**
 * The shape of the day, per application x client region: what usually comes within the next half hour. Bookkeeping in memory like telemetry.ts:
 * demand and times come in, demand comes out; no clock of its own. A profile has a mean and a mean deviation for each slot of the day, newer days
 * count more. Prediction only ever raises demand, and only where the days agreed: less demand is believed when it is measured.
 */
import { Column, Names, SparseTable } from './sparse.ts';

export type DemandMap = ReadonlyMap<string, ReadonlyMap<string, number>>;

export interface ForecastOptions {
  /** Instances are started for what comes within so long. @default 1800000 */
  readonly leadMs?: number;
  /** Application x client region. What asks for least goes first. @default 200000 */
  readonly maxRows?: number;
}

export const SLOTS = 48;
const DAY_MS = 86_400_000;
const SLOT_MS = DAY_MS / SLOTS;
/** Of the newest day at least. */
const NEWEST = 0.3;
/** What a slot that was seen once may be off by. */
const UNKNOWN = 0.3;
/** Today may be busier or quieter than usual by so much; beyond, the profile is not of today. */
const [QUIETER, BUSIER] = [0.5, 1.3];
/** Less than this above what is measured is not worth an instance; the planner has room for it anyway. */
const WORTH = 1.1;
/** Demand is added to the slot, and expected anew, this often at most. */
const EVERY_MS = 10_000;
const MAX_NAMES = 1_000_000;

/** One row of a profile as it is kept: `mean` and `deviation` in requests/s, `days` = how often each slot was seen. */
export interface ProfileRow {
  readonly clientRegion: string;
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
  readonly days: readonly number[];
}

export class Forecast {
  readonly #leadMs: number;
  readonly #max: number;
  readonly #applications = new Names(MAX_NAMES);
  readonly #regions = new Names(MAX_NAMES);
  readonly #mean = new Column(Float32Array, SLOTS);
  readonly #deviation = new Column(Float32Array, SLOTS);
  readonly #days = new Column(Float32Array, SLOTS);
  readonly #sum = new Column(Float64Array);
  readonly #rows = new SparseTable([this.#mean, this.#deviation, this.#days, this.#sum]);
  /** The slot, since the epoch, that is being filled; how often, and since when. */
  #slot = -1;
  #ticks = 0;
  #since = 0;
  #learnedAt = Number.NEGATIVE_INFINITY;
  #expectedAt = Number.NEGATIVE_INFINITY;
  #raised: { readonly application: string; readonly clientRegion: string; readonly rps: number }[] = [];

  constructor(options: ForecastOptions = {}) {
    this.#leadMs = options.leadMs ?? 1_800_000;
    this.#max = options.maxRows ?? 200_000;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Rows that are expected to need more than they do. */
  get raised(): number {
    return this.#raised.length;
  }

  learn(demand: DemandMap, now: number): void {
    if (now - this.#learnedAt < EVERY_MS) return;
    this.#learnedAt = now;
    const slot = Math.floor(now / SLOT_MS);
    if (slot !== this.#slot) {
      this.#fold();
      this.#slot = slot;
      this.#since = now;
      this.#ticks = 0;
    }
    this.#ticks += 1;
    for (const [application, regions] of demand) {
      for (const [region, rps] of regions) {
        const row = this.#row(application, region);
        if (row >= 0) this.#sum.set(row, this.#sum.get(row) + rps);
      }
    }
  }

  /**
   * What is measured, or what is expected within the lead when that is more. `isFull`: the application may have no further instance anyway; to
   * plan it for those who come later would only take from those who are there.
   */
  expect(measured: DemandMap, now: number, isFull: (application: string) => boolean = () => false): DemandMap {
    if (now - this.#expectedAt >= EVERY_MS) {
      this.#expectedAt = now;
      this.#raised = this.#look(measured, now);
    }
    if (this.#raised.length === 0) return measured;
    const out = new Map(measured);
    for (const { application, clientRegion, rps } of this.#raised) {
      const before = out.get(application) ?? new Map<string, number>();
      if (rps <= (before.get(clientRegion) ?? 0) || isFull(application)) continue;
      const own = before === measured.get(application) ? new Map(before) : (before as Map<string, number>);
      out.set(application, own.set(clientRegion, rps));
    }
    return out;
  }

  /** For the store: an application's rows, those that ask for most first. */
  profileOf(application: string, most = 64): readonly ProfileRow[] {
    const id = this.#applications.find(application);
    const rows: { readonly total: number; readonly profile: ProfileRow }[] = [];
    for (let row = 0; id >= 0 && row < this.#rows.end; row++) {
      if (this.#rows.a(row) !== id || !this.#rows.isUsed(row)) continue;
      const of = (c: Column<Float32Array>): number[] => Array.from({ length: SLOTS }, (_, i) => c.get(row, i));
      const profile = { clientRegion: this.#regions.name(this.#rows.b(row)), mean: of(this.#mean), deviation: of(this.#deviation), days: of(this.#days) };
      if (profile.days.some((d) => d > 0)) rows.push({ total: profile.mean.reduce((a, b) => a + b, 0), profile });
    }
    return rows.sort((a, b) => b.total - a.total || (a.profile.clientRegion < b.profile.clientRegion ? -1 : 1)).slice(0, most).map((r) => r.profile);
  }

  /** What an earlier process had learned. */
  restore(application: string, profile: readonly ProfileRow[]): void {
    for (const p of profile) {
      const row = this.#row(application, p.clientRegion);
      if (row < 0) continue;
      for (let i = 0; i < SLOTS; i++) {
        this.#mean.set(row, p.mean[i] ?? 0, i);
        this.#deviation.set(row, p.deviation[i] ?? 0, i);
        this.#days.set(row, p.days[i] ?? 0, i);
      }
    }
  }

  forget(application: string): void {
    const id = this.#applications.find(application);
    for (let row = 0; id >= 0 && row < this.#rows.end; row++) if (this.#rows.a(row) === id && this.#rows.isUsed(row)) this.#remove(row);
  }

  #look(measured: DemandMap, now: number): { readonly application: string; readonly clientRegion: string; readonly rps: number }[] {
    const out: { readonly application: string; readonly clientRegion: string; readonly rps: number }[] = [];
    for (let row = 0; row < this.#rows.end; row++) {
      if (!this.#rows.isUsed(row)) continue;
      const application = this.#applications.name(this.#rows.a(row));
      const clientRegion = this.#regions.name(this.#rows.b(row));
      const is = measured.get(application)?.get(clientRegion) ?? 0;
      const rps = this.#expected(row, is, now);
      if (rps > is * WORTH) out.push({ application, clientRegion, rps });
    }
    return out;
  }

  /** The highest of the next slots, at the level of today, less what the days differed by. */
  #expected(row: number, measured: number, now: number): number {
    const usual = this.#at(this.#mean, row, now);
    if (!(usual > 0)) return 0;
    // before a steep rise the line between two slots is above what comes: quieter than usual is who is below the slot's mean too
    const low = Math.min(usual, this.#mean.get(row, Math.floor(now / SLOT_MS) % SLOTS) || usual);
    const level = measured >= usual ? Math.min(BUSIER, measured / usual) : Math.max(QUIETER, Math.min(1, measured / low));
    let most = 0;
    for (let t = SLOT_MS / 2; t <= this.#leadMs; t += SLOT_MS / 2) {
      const [mean, deviation] = [this.#at(this.#mean, row, now + t), this.#at(this.#deviation, row, now + t)];
      if (mean === mean) most = Math.max(most, (mean - deviation) * level);
    }
    return most;
  }

  /** Between the middles of two slots; NaN = one of them was never seen. */
  #at(column: Column<Float32Array>, row: number, at: number): number {
    const x = (at / SLOT_MS) - 0.5;
    const k = Math.floor(x);
    const [a, b] = [((k % SLOTS) + SLOTS) % SLOTS, (((k + 1) % SLOTS) + SLOTS) % SLOTS];
    if (this.#days.get(row, a) === 0 || this.#days.get(row, b) === 0) return Number.NaN;
    return column.get(row, a) * (1 - (x - k)) + column.get(row, b) * (x - k);
  }

  /** The slot that ended, if most of it was seen, goes into the profile of its time of day. */
  #fold(): void {
    const isWhole = this.#slot >= 0 && this.#since - this.#slot * SLOT_MS < SLOT_MS / 2 && this.#learnedAt >= (this.#slot + 1) * SLOT_MS;
    const i = this.#slot % SLOTS;
    for (let row = 0; row < this.#rows.end; row++) {
      if (!this.#rows.isUsed(row)) continue;
      const rps = this.#sum.get(row) / Math.max(1, this.#ticks);
      this.#sum.set(row, 0);
      if (isWhole) this.#learnSlot(row, i, rps);
    }
  }

  #learnSlot(row: number, i: number, rps: number): void {
    const days = this.#days.get(row, i);
    const [mean, deviation] = [this.#mean.get(row, i), this.#deviation.get(row, i)];
    const weight = days === 0 ? 1 : Math.max(NEWEST, 1 / (days + 1));
    this.#mean.set(row, mean + weight * (rps - mean), i);
    this.#deviation.set(row, days === 0 ? rps * UNKNOWN : deviation + weight * (Math.abs(rps - mean) - deviation), i);
    this.#days.set(row, Math.min(255, days + 1), i);
  }

  /** -1 = no room for its names. */
  #row(application: string, region: string): number {
    const [a, r] = [this.#applications.find(application), this.#regions.find(region)];
    const known = a < 0 || r < 0 ? -1 : this.#rows.find(a, r);
    if (known >= 0) return known;
    if (this.#rows.size >= this.#max && !this.#evict()) return -1;
    const [x, y] = [this.#applications.add(application), this.#regions.add(region)];
    if (x < 0 || y < 0) {
      this.#applications.drop(x);
      this.#regions.drop(y);
      return -1;
    }
    this.#applications.hold(x);
    this.#regions.hold(y);
    return this.#rows.add(x, y);
  }

  #cursor = 1;
  #evict(): boolean {
    let [least, value] = [-1, Number.POSITIVE_INFINITY];
    for (let i = 0; i < 32; i++) {
      const row = (this.#cursor++ * 7919) % this.#rows.end;
      if (!this.#rows.isUsed(row)) continue;
      let total = this.#sum.get(row);
      for (let s = 0; s < SLOTS; s++) total += this.#mean.get(row, s);
      if (total < value) [least, value] = [row, total];
    }
    if (least >= 0) this.#remove(least);
    return least >= 0;
  }

  #remove(row: number): void {
    const [a, r] = [this.#rows.a(row), this.#rows.b(row)];
    this.#rows.remove(row);
    this.#applications.release(a);
    this.#regions.release(r);
  }
}
