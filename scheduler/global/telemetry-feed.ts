/** The MQTT edge of telemetry: one persistent session per region's broker, so that nothing acknowledged is lost while we restart. */
import { readFileSync } from 'node:fs';
import { connect, type MqttClient } from 'mqtt';
import { MeshError } from '../../api/errors.ts';
import type { CapacitySample, ProbeSample, TrafficSample } from '../../api/telemetry.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { RepairLog } from './telemetry-said.ts';
import type { Telemetry } from './telemetry.ts';

export interface BrokerConfig {
  /** mqtts://host:port */
  readonly url: string;
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

const MAX_BYTES = 4 * 1024 * 1024;

/** The topic says which site speaks: the broker lets a certificate publish only under its own site's name. The payload's word is not taken. */
export function receive(telemetry: Telemetry, topic: string, payload: Uint8Array, now: number): void {
  const [root, site, kind, extra] = topic.split('/');
  if (root !== 'telemetry' || site === undefined || kind === undefined || extra !== undefined) throw new MeshError('invalid', `not a telemetry topic: ${topic}`);
  if (payload.length > MAX_BYTES) throw new MeshError('too-large', `${topic}: ${payload.length} bytes, at most ${MAX_BYTES}`);
  let body: unknown;
  try {
    body = JSON.parse(Buffer.from(payload).toString('utf8'));
  } catch (error) {
    throw new MeshError('invalid', `${topic}: not JSON`, { cause: error });
  }
  for (const sample of Array.isArray(body) ? (body as unknown[]) : [body]) take(telemetry, kind, site, sample, now);
}

const isNumber = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v);

function take(telemetry: Telemetry, kind: string, site: string, sample: unknown, now: number): void {
  const bad = (what: string): MeshError => new MeshError('invalid', `telemetry/${site}/${kind}: ${what}`, { fields: { path: what.split(':')[0] } });
  if (sample === null || typeof sample !== 'object') throw bad('expected an object');
  const s = sample as Record<string, unknown>;
  if (!isNumber(s['at'])) throw bad('at: expected a number of ms');
  if (kind === 'capacity') {
    for (const f of ['cpuMilli', 'memoryMiB', 'usedCpuMilli', 'usedMemoryMiB']) if (!isNumber(s[f])) throw bad(`${f}: expected a number`);
    return telemetry.capacity({ ...(s as unknown as CapacitySample), site }, now);
  }
  const rows = s['rows'];
  if (!Array.isArray(rows) || rows.length > 100_000) throw bad('rows: expected a list of at most 100,000');
  for (const [i, r] of (rows as unknown[]).entries()) {
    const row = (r ?? {}) as Record<string, unknown>;
    const names = kind === 'traffic' ? ['application', 'clientRegion'] : ['to', 'kind'];
    for (const f of names) if (typeof row[f] !== 'string' || row[f].length > 512) throw bad(`rows[${i}].${f}: expected a string`);
    for (const f of kind === 'traffic' ? ['connections', 'bytesIn', 'bytesOut'] : ['loss']) if (!isNumber(row[f])) throw bad(`rows[${i}].${f}: expected a number`);
    for (const f of ['handshakes', 'mbps']) if (row[f] !== undefined && row[f] !== null && !isNumber(row[f])) throw bad(`rows[${i}].${f}: expected a number or null`);
    if (kind === 'probes' && row['kind'] !== 'site' && row['kind'] !== 'client-region') throw bad(`rows[${i}].kind: expected site or client-region`);
    if (row['rttMs'] !== null && !isNumber(row['rttMs'])) throw bad(`rows[${i}].rttMs: expected a number or null`);
  }
  if (kind === 'traffic') {
    if (typeof s['epoch'] !== 'string' || !isNumber(s['sequence']) || !isNumber(s['periodMs'])) throw bad('epoch, sequence, periodMs: expected');
    return telemetry.traffic({ ...(s as unknown as TrafficSample), site }, now);
  }
  if (kind !== 'probes') throw bad('expected traffic, probes or capacity');
  telemetry.probes({ ...(s as unknown as ProbeSample), site }, now);
}

export class TelemetryFeed implements Service {
  readonly name: string;
  readonly #region: string;
  readonly #broker: BrokerConfig;
  readonly #clientId: string;
  readonly #d: { readonly telemetry: Telemetry; readonly log: Logger; readonly clock?: Clock };
  readonly #said: RepairLog;
  #client: MqttClient | null = null;
  #complained = 0;

  constructor(region: string, broker: BrokerConfig, clientId: string, deps: { readonly telemetry: Telemetry; readonly log: Logger; readonly clock?: Clock }) {
    this.name = `telemetry of ${region}`;
    this.#region = region;
    this.#broker = broker;
    this.#clientId = clientId;
    this.#d = deps;
    this.#said = new RepairLog(deps.log);
  }

  /** Does not wait for the broker: a region that is away must not keep the others from being heard. */
  async start(): Promise<void> {
    const { url, key, cert, ca } = this.#broker;
    const clock = this.#d.clock ?? systemClock;
    const options = { clientId: this.#clientId, clean: false, reconnectPeriod: 1_000, connectTimeout: 5_000, keepalive: 15, key: readFileSync(key), cert: readFileSync(cert), ca: readFileSync(ca), rejectUnauthorized: true, checkServerIdentity: (_host: string, peer: { readonly subjectaltname?: string }) => checkBroker(peer, this.#region) };
    const client = connect(url, options);
    this.#client = client;
    client.on('connect', ({ sessionPresent }) => {
      this.#d.log.info('broker answers', { region: this.#region, sessionPresent });
      client.subscribe('telemetry/#', { qos: 1 }, (error) => {
        if (error !== null && error !== undefined) this.#d.log.error('cannot subscribe to telemetry', { region: this.#region, err: error });
      });
    });
    client.on('error', (error) => this.#complain('broker error', error, clock.now()));
    client.on('message', (topic, payload) => {
      try {
        receive(this.#d.telemetry, topic, payload, clock.now());
        this.#said.note(this.#d.telemetry.takeNews(), clock.now());
      } catch (error) {
        this.#complain('telemetry refused', error, clock.now());
      }
    });
  }

  async stop(): Promise<void> {
    await this.#client?.endAsync(true);
    this.#client = null;
  }

  #complain(event: string, error: unknown, now: number): void {
    if (now - this.#complained < 10_000) return;
    this.#complained = now;
    this.#d.log.warn(event, { region: this.#region, err: error });
  }
}

/** The address proves nothing; the certificate must be that of the region's gateway. */
function checkBroker(peer: { readonly subjectaltname?: string }, region: string): Error | undefined {
  const uris = (peer.subjectaltname ?? '').split(', ').filter((n) => n.startsWith('URI:spiffe://proxima/region/')).map((n) => n.slice('URI:spiffe://proxima/region/'.length));
  if (uris.some((u) => u === region || u.startsWith(`${region}/`))) return undefined;
  return new MeshError('unauthenticated', `the broker's certificate is not of region ${region}`);
}
