/**
 * Where the region's API asks for a connection to an agent at an edge site: `CONNECT <agent's LAN address>:<port>` with `x-proxima-site`, over mTLS,
 * for the certificate of this region and nobody else's. What goes through is the agent's own TLS: the gateway carries it and cannot read it.
 */
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { MeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import { identityOf } from '../../certs/names.ts';
import type { PeerIdentity } from '../../certs/names.ts';
import type { CodeName } from '../mux/frames.ts';
import { joinSocket } from '../mux/pipe.ts';
import type { MuxSession } from '../mux/session.ts';
import { agentName, parseAgentAddress } from '../presence/agent-name.ts';
import { answer } from '../presence/answers.ts';
import type { TlsIdentity } from '../presence/listeners.ts';
import type { Refusals } from '../presence/refusals.ts';

export interface AgentWayOptions {
  readonly region: string;
  readonly log: Logger;
  readonly tls: TlsIdentity;
  readonly sessionOf: (site: string) => MuxSession | null;
  readonly isRevoked: (serial: string) => boolean;
  readonly refusals: Refusals;
  /** `reached`, or the code of what went wrong. */
  readonly onCall: (outcome: CodeName | 'reached') => void;
}

const REACHED = 'HTTP/1.1 200 Connection established\r\n\r\n';

export class AgentWay {
  readonly #o: AgentWayOptions;
  readonly #sockets = new Set<Duplex>();
  #server: Server | null = null;

  constructor(options: AgentWayOptions) {
    this.#o = options;
  }

  async listen(address: string, port: number): Promise<number> {
    const server = createServer({ ...this.#o.tls, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3', noDelay: true }, (_, response) => {
      response.writeHead(405, { 'content-type': 'text/plain' }).end('CONNECT is what is served here\n');
    });
    server.on('connect', (request, socket, head) => this.#connect(request, socket as Socket, head));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(new MeshError(error.code === 'EADDRINUSE' ? 'port-in-use' : 'io', `agents: cannot listen at ${address}:${port}: ${error.message}`, { cause: error, fields: { path: 'agents.port' }, next: `ss -ltnp 'sport = :${port}' shows who has the port` })));
      server.listen(port, address, resolve);
    });
    this.#server = server;
    return (server.address() as AddressInfo).port;
  }

  renew(tls: TlsIdentity): void {
    this.#server?.setSecureContext({ ...tls, minVersion: 'TLSv1.3' });
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #connect(request: IncomingMessage, socket: Socket, head: Buffer): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket)).on('error', () => undefined); // whoever has the socket hears of it through 'close'
    const site = String(request.headers['x-proxima-site'] ?? '');
    const target = request.url ?? '';
    let caller: PeerIdentity | null = null;
    const refuse = (code: CodeName, reason: string): void => {
      this.#o.onCall(code);
      if (code !== 'unavailable') this.#o.refusals.record({ site, target: `@agent/${target}`, caller: caller?.uri ?? '', code, reason });
      socket.end(answer(code, reason));
    };
    try {
      caller = identityOf((socket as TLSSocket).getPeerCertificate());
    } catch (error) {
      return refuse('caller', (error as Error).message);
    }
    if (caller.kind !== 'region' || caller.region !== this.#o.region) return refuse('caller', `${caller.uri} is not the region ${this.#o.region}`);
    if (this.#o.isRevoked(caller.serial)) return refuse('revoked', `the certificate ${caller.serial} of ${caller.uri} is revoked`);
    const at = parseAgentAddress(target);
    if (at === null) return refuse('malformed', `"${target}" is not the address and port of an agent`);
    const session = this.#o.sessionOf(site);
    if (session === null) return refuse('unavailable', `site ${site} is not connected`);
    this.#open(session, { name: agentName(at), uri: caller.uri, serial: caller.serial }, socket, head, refuse);
  }

  #open(session: MuxSession, to: { readonly name: string; readonly uri: string; readonly serial: string }, socket: Socket, head: Buffer, refuse: (code: CodeName, reason: string) => void): void {
    let isReached = false;
    const opened = session.openStream({ kind: 'tcp', name: to.name, caller: to.uri, serial: to.serial }, (stream) => {
      const events = joinSocket(socket, stream, { onReset: (code, reason) => (isReached ? void socket.destroy() : refuse(code, reason)) });
      stream.attach({
        ...events,
        data: (bytes) => {
          if (isReached) return events.data(bytes);
          isReached = true;
          this.#o.onCall('reached');
          stream.consumed(1);
          socket.write(REACHED);
          if (bytes.length > 1) events.data(bytes.subarray(1));
        },
      });
      if (head.length > 0) stream.write(head);
      socket.resume();
    });
    if (opened === null) refuse('unavailable', 'the site’s connection is closing');
  }
}
