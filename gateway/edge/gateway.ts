/** A site's gateway: dials its region, offers presences on the site's side, keeps telemetry until the region has it. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../api/errors.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { ENDPOINTS_FILE, loadIdentity, renewIfDue } from '../../certs/enrol.ts';
import type { LoadedIdentity, RegionEndpoints } from '../../certs/enrol.ts';
import { readText } from '../../certs/files.ts';
import type { Bridge } from '../broker/bridge.ts';
import type { Broker } from '../broker/broker.ts';
import type { DiskQueue } from '../broker/disk-queue.ts';
import type { EdgeGatewayConfig } from '../config.ts';
import { ControlStream, decodeGoal } from '../control.ts';
import type { GatewayGoal, GatewayStatus } from '../control.ts';
import { duplexOf } from '../mux/duplex.ts';
import type { MuxSession } from '../mux/session.ts';
import type { MuxStream } from '../mux/stream.ts';
import { Calls } from '../presence/calls.ts';
import { Listeners } from '../presence/listeners.ts';
import type { ListenSpec, TlsIdentity } from '../presence/listeners.ts';
import type { PresenceRule } from '../presence/policy.ts';
import { Refusals } from '../presence/refusals.ts';
import { StreamServer } from '../presence/serve.ts';
import { isAgentName } from '../presence/agent-name.ts';
import { Agents } from './agents.ts';
import { loadGoal, saveGoal } from './goal-file.ts';
import { Uplink } from './uplink.ts';

export interface EdgeGatewayDeps {
  readonly log: Logger;
  readonly clock: Clock;
  readonly pingMs?: number;
  readonly deadMs?: number;
}

const RENEW_CHECK_MS = 60_000;
const DRAIN_MS = 30_000;

export class EdgeGateway {
  readonly #config: EdgeGatewayConfig;
  readonly #d: EdgeGatewayDeps;
  readonly #refusals: Refusals;
  readonly #listeners: Listeners;
  readonly #server: StreamServer;
  readonly #agents: Agents;
  readonly #uplink: Uplink;
  readonly #renewal: Loop;
  readonly #endpoints: RegionEndpoints;
  #identity: LoadedIdentity;
  #goal: GatewayGoal;
  #rules = new Map<string, PresenceRule>();
  #revoked: ReadonlySet<string> = new Set();
  #control: ControlStream | null = null;
  #status: GatewayStatus = { type: 'status', presences: {} };
  #converging: Promise<void> = Promise.resolve();
  #mqtt: { readonly broker: Broker; readonly bridge: Bridge; readonly queue: DiskQueue } | null = null;

  constructor(config: EdgeGatewayConfig, deps: EdgeGatewayDeps) {
    this.#config = config;
    this.#d = deps;
    const { log, clock } = deps;
    this.#identity = loadIdentity(config.identity.dir, config.identity.use);
    if (this.#identity.identity.site !== config.site) throw new MeshError('invalid', `site: the certificate in ${config.identity.dir} is of site ${this.#identity.identity.site}, not ${config.site}`, { fields: { path: 'site' } });
    this.#endpoints = endpointsOf(config);
    mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
    this.#goal = loadGoal(config.stateDir, log);
    const isRevoked = (serial: string): boolean => this.#revoked.has(serial);
    const rules = (key: string): PresenceRule | undefined => this.#rules.get(key);
    this.#refusals = new Refusals({ log, where: 'edge', now: () => clock.now(), onRecord: (r) => this.#control?.send({ type: 'refusal', refusal: { at: r.at, target: r.target, caller: r.caller, code: r.code, reason: r.reason } }) });
    const calls = new Calls({ direction: 'edge-to-cloud', ownSite: config.site, rules, sessionOf: () => this.#uplink.current(), isRevoked, refusals: this.#refusals });
    this.#listeners = new Listeners({
      log,
      tls: this.#tls(),
      onConnection: (spec, socket, caller) => calls.connection(spec, socket, caller),
      onRefused: (spec, caller, code, reason) => this.#refusals.record({ site: config.site, target: spec.key, caller, code, reason }),
    });
    this.#server = new StreamServer({ direction: 'cloud-to-edge', rules, services: {}, isRevoked, refusals: this.#refusals });
    this.#agents = new Agents({ site: config.site, lanAddress: config.lanAddress, agents: config.agents, isRevoked, refusals: this.#refusals });
    this.#uplink = new Uplink({
      log,
      gateways: this.#endpoints.gateways,
      tls: () => this.#tls(),
      onOpen: (stream) => this.#opened(stream),
      onConnected: (session) => this.#connected(session),
      onLost: () => this.#lost(),
      ...(deps.pingMs === undefined ? {} : { pingMs: deps.pingMs }),
      ...(deps.deadMs === undefined ? {} : { deadMs: deps.deadMs }),
    });
    this.#renewal = new Loop({ name: 'certificate renewal', log, run: () => this.#renew(), resyncMs: 0, firstRetryMs: 5_000, maxRetryMs: 300_000 });
  }

  async start(signal: AbortSignal): Promise<void> {
    if (this.#config.mqtt !== null) await this.#startMqtt(this.#config.mqtt);
    this.#apply(this.#goal);
    await this.#converging;
    // The gateway's own addresses have to be there from the start; a presence that cannot listen is reported and the rest goes on.
    const own = this.#own().find((o) => this.#listeners.portOf(o.key) === null);
    if (own !== undefined) throw new MeshError('port-in-use', `${own.key} cannot listen at ${own.address}:${own.port}`, { fields: { path: own.key }, next: `ss -ltnp 'sport = :${own.port}' shows who has the port` });
    await this.#renewal.start(signal);
    await this.#uplink.start(signal);
    this.#renewal.trigger('own');
    this.#d.log.info('edge gateway ready', { site: this.#config.site, gateways: this.#endpoints.gateways });
  }

  async stop(): Promise<void> {
    await this.#listeners.close();
    await this.#renewal.stop();
    this.#mqtt?.bridge.disconnect();
    await this.#uplink.stop();
    await this.#mqtt?.broker.stop();
    await this.#mqtt?.queue.close();
    await this.#server.close();
  }

  /** For tests: the port that a presence, `@service`, `@entry` got. */
  portOf(key: string): number | null {
    return this.#listeners.portOf(key);
  }

  mqttPort(index: number): number {
    return this.#mqtt?.broker.portOf(index) ?? 0;
  }

  get isConnected(): boolean {
    return this.#uplink.current() !== null;
  }

  /** Renews now, whatever the date. */
  async rotate(): Promise<void> {
    await this.#renew(true);
  }

  #tls(): TlsIdentity {
    return { key: this.#identity.keyPem, cert: this.#identity.chainPem, ca: this.#identity.trustPem };
  }

  async #startMqtt(mqtt: NonNullable<EdgeGatewayConfig['mqtt']>): Promise<void> {
    const [{ Broker: B }, { Bridge: Br }, { DiskQueue: Q }] = await Promise.all([import('../broker/broker.ts'), import('../broker/bridge.ts'), import('../broker/disk-queue.ts')]);
    const queue = new Q({ dir: join(this.#config.stateDir, 'queue'), maxBytes: mqtt.queueBytes });
    const broker = new B({
      log: this.#d.log,
      tls: this.#tls(),
      refusals: this.#refusals,
      isRevoked: (serial) => this.#revoked.has(serial),
      own: this.#identity.identity,
      accept: async (topic, payload) => void (await queue.append(topic, payload)),
    });
    const bridge = new Br({ site: this.#config.site, queue, log: this.#d.log, onCommand: (topic, payload) => void broker.publish(topic, payload).catch((error: unknown) => this.#d.log.warn('a command was not passed on', { topic, err: error })) });
    await broker.start(mqtt.listen);
    this.#mqtt = { broker, bridge, queue };
  }

  #opened(stream: MuxStream): void {
    if (stream.open.kind === 'control') this.#control = new ControlStream(stream, (line) => this.#told(line));
    else if (isAgentName(stream.open.name)) this.#agents.serve(stream);
    else this.#server.serve(stream, this.#config.site);
  }

  #connected(session: MuxSession): void {
    session.openStream({ kind: 'mqtt', name: '@mqtt', caller: '', serial: '' }, (stream) => {
      const duplex = duplexOf(stream);
      duplex.on('error', (error) => this.#d.log.debug('telemetry connection broke', { err: error }));
      if (this.#mqtt === null) duplex.destroy();
      else void this.#mqtt.bridge.connect(duplex).catch((error: unknown) => this.#d.log.error('telemetry bridge cannot start', { err: error }));
    });
  }

  #lost(): void {
    if (this.#uplink.current() !== null) return;
    this.#control = null;
    this.#mqtt?.bridge.disconnect();
  }

  #told(line: string): void {
    let goal: GatewayGoal;
    try {
      goal = decodeGoal(line);
    } catch (error) {
      this.#d.log.error('the region sent a goal that this version does not know; the last one stays', { err: error });
      return;
    }
    saveGoal(this.#config.stateDir, goal);
    this.#apply(goal);
  }

  #own(): ListenSpec[] {
    const services = Object.entries(this.#config.services).map(([name, l]) => ({ key: `@${name}`, address: l.address, port: l.port, plain: true, kind: 'tcp' as const }));
    const { entry } = this.#config;
    return entry === null ? services : [...services, { key: '@entry', address: entry.address, port: entry.port, plain: false, kind: 'entry' }];
  }

  #apply(goal: GatewayGoal): void {
    this.#goal = goal;
    this.#rules = new Map(goal.presences.map((p) => [p.key, p]));
    this.#revoked = new Set(goal.revoked);
    this.#mqtt?.broker.cutRevoked();
    const mine = goal.presences.filter((p) => p.direction === 'edge-to-cloud').map((p): ListenSpec => ({ key: p.key, address: p.listen.address ?? this.#config.lanAddress, port: p.listen.port, plain: false, kind: p.protocol }));
    this.#converging = this.#converging.then(async () => {
      const errors = await this.#listeners.converge([...this.#own(), ...mine]);
      for (const [key, error] of errors) this.#d.log.error('presence cannot listen', { presence: key, err: error });
      const state = (s: ListenSpec): GatewayStatus['presences'][string] => (errors.has(s.key) ? { ready: false, message: errors.get(s.key)?.message ?? '' } : { ready: true, address: `${s.address}:${s.port}` });
      this.#status = { type: 'status', presences: Object.fromEntries(mine.map((m) => [m.key, state(m)])) };
      this.#control?.send(this.#status);
    });
  }

  async #renew(force = false): Promise<number> {
    const { dir, use } = this.#config.identity;
    const changed = await renewIfDue({ dir, use, gateway: this.#config.enrol ?? this.#endpoints.enrol, now: this.#d.clock.now(), force });
    if (!changed) return RENEW_CHECK_MS;
    this.#identity = loadIdentity(dir, use);
    this.#listeners.renew(this.#tls());
    this.#mqtt?.broker.renew(this.#tls());
    await this.#uplink.redial(DRAIN_MS);
    this.#d.log.info('certificate renewed', { serial: this.#identity.identity.serial, until: new Date(this.#identity.identity.notAfter).toISOString() });
    return RENEW_CHECK_MS;
  }
}

function endpointsOf(config: EdgeGatewayConfig): RegionEndpoints {
  if (config.gateways !== undefined && config.enrol !== undefined) return { region: '', gateways: config.gateways, enrol: config.enrol };
  const path = join(config.identity.dir, ENDPOINTS_FILE);
  const known = JSON.parse(readText(path, 'endpoints of the region')) as RegionEndpoints;
  return { ...known, ...(config.gateways === undefined ? {} : { gateways: config.gateways }), ...(config.enrol === undefined ? {} : { enrol: config.enrol }) };
}
