/** Round trips, loss and bandwidth of ways, cleaned: what cannot be is dropped, what is odd is held back, and each is counted by its kind. */
import { Column, type Names, SparseTable } from './sparse.ts';

export type WayRepair = 'absurd' | 'below-light-speed' | 'outlier' | 'asymmetric' | 'evicted';

export interface WaySample {
  readonly rttMs: number;
  /** 0..1; absent = not measured. */
  readonly loss?: number | undefined;
  readonly mbps?: number | null | undefined;
}

export const WAY_KEPT_MS = 600_000;
const MAX_RTT_MS = 60_000;
const MAX_MBPS = 1_000_000;
/** Round trips of one way and of its reverse are the same two cables: further apart than this, one of them is wrong. */
const ASYMMETRIC = 2;
const ASYMMETRIC_MS = 10;
/** A sample counts as no more than this many times what was known, and this many ms. */
const OUTLIER = 3;
const OUTLIER_MS = 50;

/** Rows are (from, to), numbers of names in two lists that may be the same one. */
export class Ways {
  readonly #from: Names;
  readonly #to: Names;
  readonly #max: number;
  readonly #ms = new Column(Float32Array);
  readonly #loss = new Column(Float32Array);
  readonly #mbps = new Column(Float32Array);
  readonly #at = new Column(Float64Array);
  /** Next row of the same `from`; row + 1. */
  readonly #next = new Column(Int32Array);
  readonly #table = new SparseTable([this.#ms, this.#loss, this.#mbps, this.#at, this.#next]);
  readonly #heads = new Map<number, number>();

  constructor(from: Names, to: Names, max: number) {
    this.#from = from;
    this.#to = to;
    this.#max = max;
  }

  get size(): number {
    return this.#table.size;
  }

  /** What had to be repaired. `floor`: the least ms that light needs. `mayMirror`: the reverse way is in here too. */
  observe(from: string, to: string, s: WaySample, floor: number, now: number, mayMirror: boolean): readonly WayRepair[] {
    if (!(s.rttMs > 0 && s.rttMs < MAX_RTT_MS)) return ['absurd'];
    if (s.rttMs < floor) return ['below-light-speed'];
    const repairs: WayRepair[] = [];
    const known = this.#find(from, to);
    const row = known < 0 ? this.#add(from, to, repairs) : known;
    if (row < 0) return ['evicted'];
    if (known < 0 || now - this.#at.get(row) > WAY_KEPT_MS) this.#ms.set(row, s.rttMs);
    else this.#smooth(row, s.rttMs, repairs);
    this.#at.set(row, Math.max(now, this.#at.get(row)));
    this.#extras(row, s, known < 0, repairs);
    if (mayMirror && this.#isAsymmetric(row, this.#find(to, from), now)) repairs.push('asymmetric');
    return repairs;
  }

  /** ms; null = not measured in the last ten minutes. */
  ms(from: string, to: string, now: number): number | null {
    const row = this.#fresh(from, to, now);
    return row < 0 ? null : this.#ms.get(row);
  }

  /** Of two ways of one pair: each its own, unless they cannot both be true; then the shorter, for a queue makes slow and nothing makes fast. */
  either(from: string, to: string, now: number): number | null {
    const [there, back] = [this.#fresh(from, to, now), this.#fresh(to, from, now)];
    if (there < 0) return back < 0 ? null : this.#ms.get(back);
    return this.#isAsymmetric(there, back, now) ? Math.min(this.#ms.get(there), this.#ms.get(back)) : this.#ms.get(there);
  }

  quality(from: string, to: string, now: number): { readonly loss: number; readonly mbps: number | null } | null {
    const row = this.#fresh(from, to, now);
    if (row < 0) return null;
    const mbps = this.#mbps.get(row);
    return { loss: this.#loss.get(row), mbps: mbps === 0 ? null : mbps };
  }

  /** Everything that starts at `from` and was measured in the last ten minutes. */
  each(from: string, now: number, visit: (to: string, ms: number, at: number) => void): void {
    const id = this.#from.find(from);
    for (let row = (id < 0 ? 0 : (this.#heads.get(id) ?? 0)) - 1; row >= 0; row = this.#next.get(row) - 1) {
      const at = this.#at.get(row);
      if (now - at <= WAY_KEPT_MS) visit(this.#to.name(this.#table.b(row)), this.#ms.get(row), at);
    }
  }

  /** Rows of what was not measured any more are given back. */
  sweep(now: number): void {
    for (let row = 0; row < this.#table.end; row++) if (this.#table.isUsed(row) && now - this.#at.get(row) > WAY_KEPT_MS) this.#remove(row);
  }

  #find(from: string, to: string): number {
    const [a, b] = [this.#from.find(from), this.#to.find(to)];
    return a < 0 || b < 0 ? -1 : this.#table.find(a, b);
  }

  /** -1 = no room for its names. */
  #add(from: string, to: string, repairs: WayRepair[]): number {
    if (this.#table.size >= this.#max) {
      this.#evict();
      repairs.push('evicted');
    }
    const [a, b] = [this.#from.add(from), this.#to.add(to)];
    if (a < 0 || b < 0) {
      this.#from.drop(a);
      this.#to.drop(b);
      return -1;
    }
    const row = this.#table.add(a, b);
    this.#from.hold(a);
    this.#to.hold(b);
    this.#next.set(row, this.#heads.get(a) ?? 0);
    this.#heads.set(a, row + 1);
    return row;
  }

  /** Down at once, up with patience: a queue makes a sample slow, nothing makes it fast. */
  #smooth(row: number, rttMs: number, repairs: WayRepair[]): void {
    const ms = this.#ms.get(row);
    const most = ms * OUTLIER + OUTLIER_MS;
    if (rttMs > most) repairs.push('outlier');
    const taken = Math.min(rttMs, most);
    this.#ms.set(row, ms + (taken < ms ? 0.5 : 0.1) * (taken - ms));
  }

  #extras(row: number, s: WaySample, isNew: boolean, repairs: WayRepair[]): void {
    if (s.loss !== undefined) {
      if (s.loss >= 0 && s.loss <= 1) this.#loss.set(row, isNew ? s.loss : this.#loss.get(row) + 0.2 * (s.loss - this.#loss.get(row)));
      else repairs.push('absurd');
    }
    if (s.mbps === undefined || s.mbps === null) return;
    if (!(s.mbps > 0 && s.mbps < MAX_MBPS)) return void repairs.push('absurd');
    const old = this.#mbps.get(row);
    // other traffic makes a train look slow: up at once, down with patience
    this.#mbps.set(row, old === 0 ? s.mbps : old + (s.mbps > old ? 0.5 : 0.1) * (s.mbps - old));
  }

  #isAsymmetric(there: number, back: number, now: number): boolean {
    if (there < 0 || back < 0 || now - this.#at.get(back) > WAY_KEPT_MS) return false;
    const [a, b] = [this.#ms.get(there), this.#ms.get(back)];
    return Math.max(a, b) > ASYMMETRIC * Math.min(a, b) && Math.abs(a - b) > ASYMMETRIC_MS;
  }

  #fresh(from: string, to: string, now: number): number {
    const row = this.#find(from, to);
    return row < 0 || now - this.#at.get(row) > WAY_KEPT_MS ? -1 : row;
  }

  /** The one measured longest ago of a few that the size of the table picks. */
  #evict(): void {
    let oldest = -1;
    for (let i = 0; i < 64; i++) {
      const row = (this.#cursor++ * 7919) % this.#table.end;
      if (this.#table.isUsed(row) && (oldest < 0 || this.#at.get(row) < this.#at.get(oldest))) oldest = row;
    }
    if (oldest >= 0) this.#remove(oldest);
  }
  #cursor = 1;

  #remove(row: number): void {
    const a = this.#table.a(row);
    let before = -1;
    for (let r = (this.#heads.get(a) ?? 0) - 1; r !== row && r >= 0; r = this.#next.get(r) - 1) before = r;
    const next = this.#next.get(row);
    if (before >= 0) this.#next.set(before, next);
    else if (next > 0) this.#heads.set(a, next);
    else this.#heads.delete(a);
    this.#to.release(this.#table.b(row));
    this.#from.release(a);
    this.#table.remove(row);
  }
}
