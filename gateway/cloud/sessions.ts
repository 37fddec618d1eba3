/** The edge gateways that are connected: who may connect, which session speaks for a site now, and what each is told. */
import { createServer } from 'node:tls';
import type { Server, TLSSocket } from 'node:tls';
import { MeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import { identityOf } from '../../certs/names.ts';
import type { PeerIdentity } from '../../certs/names.ts';
import { ControlStream, decodeFromEdge } from '../control.ts';
import type { FromEdge, GatewayGoal } from '../control.ts';
import type { CodeName } from '../mux/frames.ts';
import { MuxSession } from '../mux/session.ts';
import type { MuxStream } from '../mux/stream.ts';
import type { TlsIdentity } from '../presence/listeners.ts';

export interface SessionsOptions {
  readonly log: Logger;
  readonly tls: TlsIdentity;
  readonly isRevoked: (serial: string) => boolean;
  readonly onRefused: (site: string | null, caller: string, code: CodeName, reason: string) => void;
  readonly onStream: (stream: MuxStream, site: string, peer: PeerIdentity) => void;
  readonly onMessage: (site: string, message: FromEdge) => void;
  /** A site has gained its first or lost its last session. */
  readonly onSite: (site: string, connected: boolean, peer: PeerIdentity, message: string) => void;
  readonly goalOf: (site: string) => GatewayGoal;
  readonly pingMs?: number;
  readonly deadMs?: number;
}

interface SiteSession {
  readonly site: string;
  readonly peer: PeerIdentity;
  readonly session: MuxSession;
  readonly control: ControlStream | null;
  sent: string;
}

export class Sessions {
  readonly #o: SessionsOptions;
  /** Newest last: a gateway that rotates its certificate has two for a while. */
  #sessions: SiteSession[] = [];
  #server: Server | null = null;

  constructor(options: SessionsOptions) {
    this.#o = options;
  }

  async listen(address: string, port: number): Promise<number> {
    const server = createServer({ ...this.#o.tls, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3', noDelay: true }, (socket) => this.#accept(socket));
    server.on('tlsClientError', (error) => this.#o.onRefused(null, '', 'caller', `TLS: ${error.message}`));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(new MeshError(error.code === 'EADDRINUSE' ? 'port-in-use' : 'io', `mux: cannot listen at ${address}:${port}: ${error.message}`, { cause: error, fields: { path: 'mux.port' } })));
      server.listen(port, address, resolve);
    });
    this.#server = server;
    const bound = server.address();
    return typeof bound === 'object' && bound !== null ? bound.port : port;
  }

  /** The session to open a stream of this site on. */
  current(site: string): MuxSession | null {
    return this.#sessions.findLast((s) => s.site === site && s.session.isOpen)?.session ?? null;
  }

  get count(): number {
    return this.#sessions.length;
  }

  get streamCount(): number {
    return this.#sessions.reduce((n, s) => n + s.session.streamCount, 0);
  }

  /** Sends each site its goal if it is another than the last, and ends sessions whose certificate is refused by now. */
  refresh(): void {
    for (const s of this.#sessions) {
      if (this.#o.isRevoked(s.peer.serial)) this.#refuse(s.session, s.peer, 'revoked', `the certificate ${s.peer.serial} of ${s.peer.uri} is revoked`);
      else this.#tell(s);
    }
  }

  renew(tls: TlsIdentity): void {
    this.#server?.setSecureContext({ ...tls, minVersion: 'TLSv1.3' });
  }

  async stop(drainMs: number): Promise<void> {
    const server = this.#server;
    const closed = server === null ? null : new Promise<void>((resolve) => server.close(() => resolve()));
    await Promise.all(this.#sessions.map((s) => s.session.drain(drainMs)));
    await closed;
  }

  #accept(socket: TLSSocket): void {
    let peer: PeerIdentity;
    try {
      peer = identityOf(socket.getPeerCertificate());
    } catch (error) {
      this.#o.onRefused(null, '', 'caller', (error as Error).message);
      socket.destroy();
      return;
    }
    const session = new MuxSession(socket, {
      isDialler: false,
      log: this.#o.log,
      onOpen: (stream) => this.#o.onStream(stream, peer.site ?? '', peer),
      ...(this.#o.pingMs === undefined ? {} : { pingMs: this.#o.pingMs }),
      ...(this.#o.deadMs === undefined ? {} : { deadMs: this.#o.deadMs }),
    });
    if (peer.kind !== 'gateway' || peer.site === null) return this.#refuse(session, peer, 'caller', `${peer.uri} is not the gateway of a site`);
    if (this.#o.isRevoked(peer.serial)) return this.#refuse(session, peer, 'revoked', `the certificate ${peer.serial} of ${peer.uri} is revoked`);
    this.#admit(session, peer, peer.site);
  }

  #refuse(session: MuxSession, peer: PeerIdentity, code: CodeName, reason: string): void {
    this.#o.onRefused(peer.site, peer.uri, code, reason);
    session.close(code, reason);
  }

  #admit(session: MuxSession, peer: PeerIdentity, site: string): void {
    let control: ControlStream | null = null;
    session.openStream({ kind: 'control', name: '@control', caller: '', serial: '' }, (stream) => {
      control = new ControlStream(stream, (line) => this.#message(site, line));
    });
    const entry: SiteSession = { site, peer, session, control, sent: '' };
    const isFirst = !this.#sessions.some((s) => s.site === site);
    this.#sessions.push(entry);
    this.#o.log.info('site connected', { site, serial: peer.serial, sessions: this.#sessions.length });
    if (isFirst) this.#o.onSite(site, true, peer, 'connected');
    this.#tell(entry);
    void session.closed.then(({ code, reason }) => {
      this.#sessions = this.#sessions.filter((s) => s !== entry);
      this.#o.log.info('site session ended', { site, code, reason });
      if (!this.#sessions.some((s) => s.site === site)) this.#o.onSite(site, false, peer, reason);
    });
  }

  #tell(entry: SiteSession): void {
    const goal = this.#o.goalOf(entry.site);
    const text = JSON.stringify(goal);
    if (text === entry.sent) return;
    entry.sent = text;
    entry.control?.send(goal);
  }

  #message(site: string, line: string): void {
    try {
      this.#o.onMessage(site, decodeFromEdge(line));
    } catch (error) {
      this.#o.log.warn('a site sent a control message that was not understood', { site, err: error });
    }
  }
}
