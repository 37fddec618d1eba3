/**
 * The traffic counters' reports. Counters are totals in the kernel; a sample is the difference to what was last acknowledged. A sample that
 * was sent and not acknowledged is sent again as it was: who takes samples knows them by epoch and sequence and drops the second of two, so one
 * that had grown meanwhile would lose what it grew by.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { TrafficSample } from '../../api/telemetry.ts';
import type { FrontCount } from './transit.ts';

export interface Names {
  application(id: number): string | null;
  clientRegion(id: number): string | null;
}

export interface Reported {
  readonly epoch: string;
  readonly sequence: number;
  readonly at: number;
  readonly totals: Readonly<Record<string, Totals>>;
}

type Totals = readonly [connections: number, bytesIn: number, bytesOut: number, handshakes?: number, handshakeMs?: number];

const NOTHING: Totals = [0, 0, 0, 0, 0];

/** The difference between two readings; a total that went back means that the counters began again. Pure. */
export function trafficSince(last: Reported, counts: readonly FrontCount[], names: Names, site: string, now: number): { readonly sample: TrafficSample | null; readonly next: Reported } {
  const totals: Record<string, Totals> = {};
  for (const c of counts) totals[`${c.application}/${c.clientRegion}`] = [c.connections, c.bytesIn, c.bytesOut, c.handshakes, (c.rttMs ?? 0) * c.handshakes];
  const restarted = Object.entries(last.totals).some(([key, old]) => (totals[key]?.[0] ?? 0) < old[0]);
  const epoch = restarted ? `${last.epoch.split('#')[0]}#${now}` : last.epoch;
  const rows: TrafficSample['rows'][number][] = [];
  for (const c of counts) {
    const old = restarted ? NOTHING : (last.totals[`${c.application}/${c.clientRegion}`] ?? NOTHING);
    const row = { application: names.application(c.application) ?? `#${c.application}`, clientRegion: names.clientRegion(c.clientRegion) ?? `#${c.clientRegion}`, connections: c.connections - old[0], bytesIn: c.bytesIn - old[1], bytesOut: c.bytesOut - old[2], ...handshakesSince(c, old) };
    if (row.connections > 0 || row.bytesIn > 0 || row.bytesOut > 0) rows.push(row);
  }
  const sequence = last.sequence + 1;
  const sample = rows.length === 0 ? null : { site, epoch, sequence, at: now, periodMs: Math.max(1, now - last.at), rows };
  return { sample, next: { epoch, sequence: sample === null ? last.sequence : sequence, at: now, totals } };
}

/** The kernel keeps sums since the maps were made; of interest is the mean of this period. Where none ever ended well, they are not counted (UDP). */
function handshakesSince(c: FrontCount, [, , , handshakes = 0, ms = 0]: Totals): { readonly rttMs: number | null; readonly handshakes: number | null } {
  if (c.handshakes === 0) return { rttMs: null, handshakes: null };
  const ended = c.handshakes - handshakes;
  return { rttMs: ended <= 0 ? null : Math.max(0, (c.rttMs ?? 0) * c.handshakes - ms) / ended, handshakes: Math.max(0, ended) };
}

interface Sent {
  readonly sample: TrafficSample;
  /** What is reported once it is acknowledged. */
  readonly next: Reported;
}

/** Kept in a file, so that neither a killed agent nor a lost acknowledgement changes what is counted. */
export class TrafficReports {
  readonly #file: string;
  #reported: Reported;
  #sent: Sent | null;

  constructor(file: string, fresh: { readonly epoch: string; readonly now: number }) {
    this.#file = file;
    const saved = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Reported & { readonly sent?: Sent | null }) : null;
    this.#reported = saved === null ? { epoch: fresh.epoch, sequence: 0, at: fresh.now, totals: {} } : { epoch: saved.epoch, sequence: saved.sequence, at: saved.at, totals: saved.totals };
    this.#sent = saved?.sent ?? null;
  }

  /** What to send now: the sample that nobody acknowledged, else a new one; null = nothing was counted. */
  next(counts: readonly FrontCount[], names: Names, site: string, now: number): TrafficSample | null {
    if (this.#sent !== null) return this.#sent.sample;
    const { sample, next } = trafficSince(this.#reported, counts, names, site, now);
    if (sample === null) return null;
    this.#sent = { sample, next };
    this.#save(); // before it can arrive anywhere
    return sample;
  }

  acknowledged(): void {
    if (this.#sent === null) return;
    this.#reported = this.#sent.next;
    this.#sent = null;
    this.#save();
  }

  #save(): void {
    writeFileSync(`${this.#file}.tmp`, JSON.stringify({ ...this.#reported, sent: this.#sent }));
    renameSync(`${this.#file}.tmp`, this.#file);
  }
}
