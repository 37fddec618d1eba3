/**
 * What this node reports over MQTT, at least once: counters of the front, round-trip times, the site's capacity. Counters are totals in
 * the kernel; a sample is the difference to what was last acknowledged, so a cut broker delays counts and loses none.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerCertificate } from 'node:tls';
import { connect, type MqttClient } from 'mqtt';
import { MeshError } from '../../api/errors.ts';
import { topics, type CapacitySample, type TrafficSample } from '../../api/telemetry.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { identityOf } from '../../certs/names.ts';
import type { LatencyProbes } from './latency.ts';
import type { FrontCount } from './transit.ts';

export interface Names {
  application(id: number): string | null;
  clientRegion(id: number): string | null;
}

export interface TelemetryOptions {
  readonly site: string;
  readonly node: string;
  /** Where what was last reported is kept. */
  readonly dir: string;
  readonly broker: { readonly url: string; readonly serverName?: string; readonly key: string; readonly cert: string; readonly ca: string };
  /** Totals of the front's counters; null = this node is no front. */
  readonly counters: (() => Promise<readonly FrontCount[]>) | null;
  readonly names: Names;
  readonly latency: LatencyProbes;
  readonly probePeriodMs: number;
  /** null = another node of the site reports it. */
  readonly capacity: (() => Promise<CapacitySample>) | null;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Reported {
  readonly epoch: string;
  readonly sequence: number;
  readonly at: number;
  readonly totals: Readonly<Record<string, readonly [connections: number, bytesIn: number, bytesOut: number]>>;
}

const TRAFFIC_MS = 1000;
const CAPACITY_MS = 5000;

function checkBroker(_host: string, certificate: PeerCertificate): Error | undefined {
  try {
    const id = identityOf(certificate);
    return id.kind === 'gateway' || id.kind === 'cloud-gateway' ? undefined : new MeshError('unauthenticated', `${id.uri} answered where a gateway's broker should`);
  } catch (error) {
    return error as Error;
  }
}

/** The difference between two readings; a total that went back means that the counters began again. Pure. */
export function trafficSince(last: Reported, counts: readonly FrontCount[], names: Names, site: string, now: number): { readonly sample: TrafficSample | null; readonly next: Reported } {
  const totals: Record<string, readonly [number, number, number]> = {};
  for (const c of counts) totals[`${c.application}/${c.clientRegion}`] = [c.connections, c.bytesIn, c.bytesOut];
  const restarted = Object.entries(last.totals).some(([key, old]) => (totals[key]?.[0] ?? 0) < old[0]);
  const epoch = restarted ? `${last.epoch.split('#')[0]}#${now}` : last.epoch;
  const rows: TrafficSample['rows'][number][] = [];
  for (const c of counts) {
    const old = restarted ? [0, 0, 0] as const : (last.totals[`${c.application}/${c.clientRegion}`] ?? [0, 0, 0] as const);
    const row = { application: names.application(c.application) ?? `#${c.application}`, clientRegion: names.clientRegion(c.clientRegion) ?? `#${c.clientRegion}`, connections: c.connections - old[0], bytesIn: c.bytesIn - old[1], bytesOut: c.bytesOut - old[2], rttMs: c.rttMs };
    if (row.connections > 0 || row.bytesIn > 0 || row.bytesOut > 0) rows.push(row);
  }
  const sequence = last.sequence + 1;
  const sample = rows.length === 0 ? null : { site, epoch, sequence, at: now, periodMs: Math.max(1, now - last.at), rows };
  return { sample, next: { epoch, sequence: sample === null ? last.sequence : sequence, at: now, totals } };
}

export class Telemetry implements Service {
  readonly name = 'telemetry';
  readonly #o: TelemetryOptions;
  readonly #loop: Loop;
  readonly #file: string;
  #mqtt: MqttClient | null = null;
  #reported: Reported;

  constructor(options: TelemetryOptions) {
    this.#o = options;
    this.#file = join(options.dir, 'telemetry.json');
    this.#reported = existsSync(this.#file) ? (JSON.parse(readFileSync(this.#file, 'utf8')) as Reported) : { epoch: randomUUID(), sequence: 0, at: options.clock.now(), totals: {} };
    const work: Readonly<Record<string, () => Promise<number>>> = { traffic: () => this.#traffic(), probes: () => this.#probes(), capacity: () => this.#capacity() };
    this.#loop = new Loop({ name: 'telemetry', log: options.log, clock: options.clock, firstRetryMs: 1000, maxRetryMs: 2000, run: (key) => work[key]?.() ?? Promise.resolve() });
  }

  async start(signal: AbortSignal): Promise<void> {
    const { url, serverName, key, cert, ca } = this.#o.broker;
    // Reconnects by itself for ever. Who the broker is follows from its certificate's URI, not from the address that was dialled.
    const tls = { key, cert, ca, rejectUnauthorized: true, checkServerIdentity: checkBroker, ...(serverName === undefined ? {} : { servername: serverName }) };
    this.#mqtt = connect(url, { ...tls, clientId: `agent-${this.#o.site}-${this.#o.node}`, reconnectPeriod: 1000, connectTimeout: 5000, queueQoSZero: false, clean: true });
    this.#mqtt.on('error', (error) => this.#o.log.warn('broker connection failed', { err: error }));
    await this.#loop.start(signal);
    if (this.#o.counters !== null) this.#loop.trigger('traffic');
    this.#loop.trigger('probes');
    if (this.#o.capacity !== null) this.#loop.trigger('capacity');
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    await this.#mqtt?.endAsync(true);
  }

  async #publish(topic: string, payload: unknown): Promise<boolean> {
    if (this.#mqtt?.connected !== true) return false;
    await this.#mqtt.publishAsync(topic, JSON.stringify(payload), { qos: 1 });
    return true;
  }

  async #traffic(): Promise<number> {
    const { counters, names, site, clock } = this.#o;
    if (counters === null || this.#mqtt?.connected !== true) return TRAFFIC_MS;
    const { sample, next } = trafficSince(this.#reported, await counters(), names, site, clock.now());
    if (sample === null) return TRAFFIC_MS;
    if (!(await this.#publish(topics.traffic(site), [sample]))) return TRAFFIC_MS;
    this.#reported = next;
    writeFileSync(`${this.#file}.tmp`, JSON.stringify(next));
    renameSync(`${this.#file}.tmp`, this.#file);
    return TRAFFIC_MS;
  }

  async #probes(): Promise<number> {
    const { latency, site, clock, probePeriodMs } = this.#o;
    if (latency.isEmpty) return 60_000;
    const rows = await latency.round();
    await this.#publish(topics.probes(site), [{ site, at: clock.now(), rows }]);
    return probePeriodMs;
  }

  async #capacity(): Promise<number> {
    const { capacity, site } = this.#o;
    if (capacity !== null) await this.#publish(topics.capacity(site), await capacity());
    return CAPACITY_MS;
  }
}
