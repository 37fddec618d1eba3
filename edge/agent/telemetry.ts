/**
 * What this node reports over MQTT, at least once: counters of the front, round-trip times, the site's capacity. A cut broker delays counts,
 * and neither loses nor doubles any.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { PeerCertificate } from 'node:tls';
import { connect, type MqttClient } from 'mqtt';
import { MeshError } from '../../api/errors.ts';
import { topics, type CapacitySample } from '../../api/telemetry.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { identityOf } from '../../certs/names.ts';
import type { LatencyProbes } from './latency.ts';
import { TrafficReports, type Names } from './traffic.ts';
import type { FrontCount } from './transit.ts';

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

const TRAFFIC_MS = 1000;
const CAPACITY_MS = 5000;
/** Between two rounds of probes. */
const LEAST_PAUSE_MS = 50;

function checkBroker(_host: string, certificate: PeerCertificate): Error | undefined {
  try {
    const id = identityOf(certificate);
    return id.kind === 'gateway' || id.kind === 'cloud-gateway' ? undefined : new MeshError('unauthenticated', `${id.uri} answered where a gateway's broker should`);
  } catch (error) {
    return error as Error;
  }
}

export class Telemetry implements Service {
  readonly name = 'telemetry';
  readonly #o: TelemetryOptions;
  readonly #loop: Loop;
  readonly #reports: TrafficReports;
  #mqtt: MqttClient | null = null;

  constructor(options: TelemetryOptions) {
    this.#o = options;
    this.#reports = new TrafficReports(join(options.dir, 'telemetry.json'), { epoch: randomUUID(), now: options.clock.now() });
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

  /** From the next connection on. */
  renew(tls: { readonly key: string; readonly cert: string; readonly ca: string }): void {
    if (this.#mqtt !== null) Object.assign(this.#mqtt.options, tls);
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
    const sample = this.#reports.next(await counters(), names, site, clock.now());
    if (sample !== null && (await this.#publish(topics.traffic(site), [sample]))) this.#reports.acknowledged();
    return TRAFFIC_MS;
  }

  async #probes(): Promise<number> {
    const { latency, site, clock, probePeriodMs } = this.#o;
    if (latency.isEmpty) return 60_000;
    const began = clock.now();
    const rows = await latency.round();
    await this.#publish(topics.probes(site), [{ site, at: clock.now(), rows }]);
    // a round that waits for who does not answer must not make the next one late: two lost in a row are what a loss is known by
    return Math.min(probePeriodMs, Math.max(LEAST_PAUSE_MS, probePeriodMs - (clock.now() - began)));
  }

  async #capacity(): Promise<number> {
    const { capacity, site } = this.#o;
    if (capacity !== null) await this.#publish(topics.capacity(site), await capacity());
    return CAPACITY_MS;
  }
}
