/** A region's gateway: sites connect here, callers of both sides are checked here, and a node gets its first certificate here. */
import type { Socket } from 'node:net';
import type { Client } from '../../api/client.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { loadAuthority } from '../../certs/authority.ts';
import { loadIdentity } from '../../certs/enrol.ts';
import type { LoadedIdentity } from '../../certs/enrol.ts';
import { Enrolment } from '../../certs/enrolment.ts';
import type { TokenPort } from '../../certs/enrolment.ts';
import { ApiTokenPort } from '../../certs/token-store.ts';
import { Broker } from '../broker/broker.ts';
import type { CloudGatewayConfig } from '../config.ts';
import type { FromEdge } from '../control.ts';
import { duplexOf } from '../mux/duplex.ts';
import type { CodeName } from '../mux/frames.ts';
import { Calls } from '../presence/calls.ts';
import { Listeners } from '../presence/listeners.ts';
import type { ListenSpec, TlsIdentity } from '../presence/listeners.ts';
import { rulesFor } from '../presence/policy.ts';
import { Refusals } from '../presence/refusals.ts';
import { StreamServer } from '../presence/serve.ts';
import { AgentWay } from './agent-way.ts';
import { EnrolServer } from './enrol-server.ts';
import { createMetrics } from './metrics.ts';
import type { GatewayMetrics } from './metrics.ts';
import { OwnCertificate } from './own-certificate.ts';
import { RegionState } from './region-state.ts';
import { Sessions } from './sessions.ts';
import { SiteStatus } from './site-status.ts';

export interface CloudGatewayDeps {
  readonly log: Logger;
  readonly clock: Clock;
  readonly client: Client;
  /** Default: JoinToken objects of the region's API. */
  readonly tokens?: TokenPort;
  /** The gateway's own certificate is another now. */
  readonly onRenewed?: () => void;
  readonly pingMs?: number;
  readonly deadMs?: number;
}

export interface CloudPorts {
  readonly mux: number;
  readonly enrol: number;
  readonly mqtt: number | null;
  /** Connections to agents at edge sites. */
  readonly agents: number | null;
}

export const tlsOf = (id: LoadedIdentity): TlsIdentity => ({ key: id.keyPem, cert: id.chainPem, ca: id.trustPem });

export class CloudGateway {
  readonly #config: CloudGatewayConfig;
  readonly #d: CloudGatewayDeps;
  readonly #state: RegionState;
  readonly #status: SiteStatus;
  readonly #refusals: Refusals;
  readonly #metrics: GatewayMetrics;
  readonly #server: StreamServer;
  readonly #listeners: Listeners;
  readonly #sessions: Sessions;
  readonly #broker: Broker;
  readonly #agents: AgentWay;
  readonly #identity: LoadedIdentity;
  #enrol: EnrolServer | null = null;
  #own: OwnCertificate | null = null;
  #converging: Promise<void> = Promise.resolve();
  #isReady = false;

  constructor(config: CloudGatewayConfig, deps: CloudGatewayDeps) {
    this.#config = config;
    this.#d = deps;
    const { log, clock, client } = deps;
    this.#identity = loadIdentity(config.identity.dir, config.identity.use);
    const tls = tlsOf(this.#identity);
    const isRevoked = (serial: string): boolean => this.#state.isRevoked(serial);
    this.#state = new RegionState({ client, log, onChange: () => this.#changed() });
    this.#status = new SiteStatus({ client, log, now: () => clock.now() });
    this.#refusals = new Refusals({ log, where: 'cloud', now: () => clock.now(), onRecord: (r) => this.#metrics.refused(r.code) });
    this.#server = new StreamServer({ direction: 'edge-to-cloud', rules: (key) => this.#state.rule(key), services: config.services, isRevoked, refusals: this.#refusals, onStream: (kind) => this.#metrics.stream(kind) });
    const calls = new Calls({ direction: 'cloud-to-edge', ownSite: null, rules: (key) => this.#state.rule(key), sessionOf: (site) => this.#sessions.current(site ?? ''), isRevoked, refusals: this.#refusals });
    this.#listeners = new Listeners({
      log,
      tls,
      onConnection: (spec: ListenSpec, socket: Socket, caller) => calls.connection(spec, socket, caller),
      onRefused: (spec, caller, code, reason) => this.#refusals.record({ site: null, target: spec.key, caller, code, reason }),
    });
    this.#broker = new Broker({ log, tls, refusals: this.#refusals, isRevoked, own: this.#identity.identity });
    this.#sessions = new Sessions({
      log,
      tls,
      isRevoked,
      onRefused: (site, caller, code: CodeName, reason) => this.#refusals.record({ site, target: 'session', caller, code, reason }),
      onStream: (stream, site, peer) => {
        if (stream.open.kind === 'mqtt') this.#broker.handle(duplexOf(stream), peer, peer.serial);
        else if (stream.open.kind === 'control') stream.reset('protocol', 'the cloud opens the control stream');
        else this.#server.serve(stream, site);
      },
      onMessage: (site, message) => this.#message(site, message),
      onSite: (site, connected, peer, message) => this.#status.setSite(site, { connected, since: new Date(clock.now()).toISOString(), serial: peer.serial, message }),
      goalOf: (site) => ({ type: 'goal', presences: rulesFor(site, this.#state.rules), revoked: [...this.#state.revoked].sort() }),
      ...(deps.pingMs === undefined ? {} : { pingMs: deps.pingMs }),
      ...(deps.deadMs === undefined ? {} : { deadMs: deps.deadMs }),
    });
    this.#agents = new AgentWay({ region: config.region, log, tls, sessionOf: (site) => this.#sessions.current(site), isRevoked, refusals: this.#refusals, onCall: (outcome) => this.#metrics.agentCall(outcome) });
    this.#metrics = createMetrics({ sessions: () => this.#sessions.count, streams: () => this.#sessions.streamCount, messages: () => this.#broker.received });
  }

  async start(signal: AbortSignal): Promise<CloudPorts> {
    const { config, log, clock } = { config: this.#config, log: this.#d.log, clock: this.#d.clock };
    await this.#status.start(signal);
    await this.#state.start(signal);
    await this.#broker.start(config.mqtt === null ? [] : [{ ...config.mqtt, tls: true }]);
    const mux = await this.#sessions.listen(config.mux.address, config.mux.port);
    const agents = config.agents === null ? null : await this.#agents.listen(config.agents.address, config.agents.port);
    let enrol = config.enrol.port;
    const authority = loadAuthority(config.authority.cert, config.authority.key);
    this.#own = new OwnCertificate({ ...config.identity, authority, lifetimeMs: config.certificateSeconds * 1000, clock, log, onRenewed: (identity) => this.#renewed(tlsOf(identity)) });
    const enrolment = new Enrolment({
      authority,
      tokens: this.#d.tokens ?? new ApiTokenPort(this.#d.client, { now: () => clock.now() }),
      endpoints: () => ({ region: config.region, gateways: [config.advertise?.mux ?? `${config.mux.address}:${mux}`], enrol: config.advertise?.enrol ?? `${config.enrol.address}:${enrol}` }),
      isRevoked: (serial) => this.#state.isRevoked(serial),
      lifetimeMs: config.certificateSeconds * 1000,
      now: () => clock.now(),
    });
    this.#enrol = new EnrolServer({ log, tls: tlsOf(this.#identity), enrolment, refusals: this.#refusals, metrics: this.#metrics, sites: () => Object.fromEntries(this.#status.sites), isRevoked: (s) => this.#state.isRevoked(s) });
    enrol = await this.#enrol.listen(config.enrol.address, config.enrol.port);
    await this.#own.start(signal);
    this.#isReady = true;
    this.#changed();
    const ports = { mux, enrol, agents, mqtt: config.mqtt === null ? null : this.#broker.portOf(0) };
    log.info('cloud gateway ready', { region: config.region, ...ports });
    return ports;
  }

  async stop(): Promise<void> {
    await this.#own?.stop();
    await this.#enrol?.stop();
    await this.#agents.stop();
    await this.#listeners.close();
    await this.#sessions.stop(1_000);
    await this.#broker.stop();
    await this.#server.close();
    await this.#state.stop();
    await this.#status.stop();
  }

  /** For tests: the port that a cloud-to-edge presence got. */
  portOf(presence: string): number | null {
    return this.#listeners.portOf(presence);
  }

  /** New handshakes get the new certificate; nothing that is connected notices. */
  #renewed(tls: TlsIdentity): void {
    this.#sessions.renew(tls);
    this.#listeners.renew(tls);
    this.#broker.renew(tls);
    this.#enrol?.renew(tls);
    this.#agents.renew(tls);
    this.#d.onRenewed?.();
  }

  #changed(): void {
    if (!this.#isReady) return;
    this.#sessions.refresh();
    this.#broker.cutRevoked();
    const desired: ListenSpec[] = [...this.#state.rules].filter((r) => r.direction === 'cloud-to-edge').map((r) => ({ key: r.key, address: r.listen.address ?? this.#config.presences.address, port: r.listen.port, plain: false, kind: r.protocol }));
    // One after the other, so that two changes at once cannot both open the same port.
    this.#converging = this.#converging.then(async () => {
      const errors = await this.#listeners.converge(desired);
      this.#status.setPresences(this.#config.region, Object.fromEntries(desired.map((d) => [d.key, presenceState(d, errors.get(d.key))])));
    });
  }

  #message(site: string, message: FromEdge): void {
    if (message.type === 'status') this.#status.setPresences(site, message.presences);
    else this.#refusals.add({ ...message.refusal, code: message.refusal.code as CodeName, where: 'edge', site });
  }
}

export function presenceState(spec: ListenSpec, error: Error | undefined): { ready: boolean; address?: string; message?: string } {
  return error === undefined ? { ready: true, address: `${spec.address}:${spec.port}` } : { ready: false, message: error.message };
}

