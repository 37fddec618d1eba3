/**
 * The calling end: local addresses that stand for remote services. What should listen is decided from the presence list; a caller is known by
 * its certificate, and one that the policy refuses hears so here, before anything crosses the connection.
 */
import { createServer as createTcpServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import type { Logger } from '../../base/log.ts';
import { MeshError } from '../../api/errors.ts';
import { identityOf } from '../../certs/names.ts';
import type { CodeName } from '../mux/frames.ts';
import { answer } from './answers.ts';
import type { Caller } from './policy.ts';

export interface TlsIdentity {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

/** One local address. `plain` = no certificate is asked for: only for services that authenticate callers themselves. */
export interface ListenSpec {
  readonly key: string;
  readonly address: string;
  readonly port: number;
  readonly plain: boolean;
  readonly kind: 'tcp' | 'http' | 'entry';
}

export type ListenStep = { readonly kind: 'close'; readonly key: string } | { readonly kind: 'listen'; readonly spec: ListenSpec };

export function decideListeners(desired: readonly ListenSpec[], observed: ReadonlyMap<string, ListenSpec>): ListenStep[] {
  const wanted = new Map(desired.map((d) => [d.key, d]));
  const same = (a: ListenSpec, b: ListenSpec | undefined): boolean => b !== undefined && a.address === b.address && a.port === b.port && a.plain === b.plain && a.kind === b.kind;
  const close = [...observed].filter(([key, spec]) => !same(spec, wanted.get(key))).map(([key]) => ({ kind: 'close', key }) as const);
  const listen = [...wanted.values()].filter((spec) => !same(spec, observed.get(spec.key))).map((spec) => ({ kind: 'listen', spec }) as const);
  return [...close, ...listen];
}

export interface ListenersOptions {
  readonly log: Logger;
  readonly tls: TlsIdentity;
  readonly onConnection: (spec: ListenSpec, socket: Socket, caller: Caller) => void;
  readonly onRefused: (spec: ListenSpec, caller: string, code: CodeName, reason: string) => void;
}

export class Listeners {
  readonly #o: ListenersOptions;
  #tls: TlsIdentity;
  readonly #servers = new Map<string, { readonly spec: ListenSpec; readonly server: Server; readonly sockets: Set<Socket> }>();

  constructor(options: ListenersOptions) {
    this.#o = options;
    this.#tls = options.tls;
  }

  /** Brings the listeners to what is desired; the result says per key what went wrong, and nothing stops the others. */
  async converge(desired: readonly ListenSpec[]): Promise<ReadonlyMap<string, MeshError>> {
    const errors = new Map<string, MeshError>();
    const observed = new Map([...this.#servers].map(([key, s]) => [key, s.spec]));
    for (const step of decideListeners(desired, observed)) {
      if (step.kind === 'close') await this.#close(step.key);
      else {
        try {
          await this.#listen(step.spec);
        } catch (error) {
          errors.set(step.spec.key, error as MeshError);
        }
      }
    }
    return errors;
  }

  /** The address that a listener really has (port 0 in tests). */
  portOf(key: string): number | null {
    const address = this.#servers.get(key)?.server.address();
    return typeof address === 'object' && address !== null ? address.port : null;
  }

  /** New connections get the new certificate, open ones go on. */
  renew(tls: TlsIdentity): void {
    this.#tls = tls;
    for (const { spec, server } of this.#servers.values()) if (!spec.plain) (server as TlsServer).setSecureContext({ ...tls, minVersion: 'TLSv1.2' });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#servers.keys()].map((key) => this.#close(key)));
  }

  async #listen(spec: ListenSpec): Promise<void> {
    const sockets = new Set<Socket>();
    const accept = (socket: Socket): void => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => undefined); // whoever has the socket hears of it through 'close'
      if (spec.plain) return this.#o.onConnection(spec, socket, { uri: '', serial: '' });
      this.#identify(spec, socket as TLSSocket);
    };
    const server = spec.plain
      ? createTcpServer({ noDelay: true, allowHalfOpen: true }, accept)
      : createTlsServer({ ...this.#tls, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2', noDelay: true, allowHalfOpen: true }, accept);
    server.on('tlsClientError', (error) => this.#o.log.debug('presence handshake failed', { presence: spec.key, err: error }));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => {
        const inUse = error.code === 'EADDRINUSE';
        reject(new MeshError(inUse ? 'port-in-use' : 'io', `presence ${spec.key} cannot listen at ${spec.address}:${spec.port}: ${error.message}`, { cause: error, ...(inUse ? { next: `ss -ltnp 'sport = :${spec.port}' shows who has the port` } : {}) }));
      });
      server.listen(spec.port, spec.address, resolve);
    });
    this.#servers.set(spec.key, { spec, server, sockets });
    this.#o.log.info('presence listens', { presence: spec.key, address: spec.address, port: spec.port, tls: !spec.plain });
  }

  /** The handshake asks for a certificate without insisting, so that the refusal can be said in words. */
  #identify(spec: ListenSpec, socket: TLSSocket): void {
    const refuse = (reason: string, caller = ''): void => {
      this.#o.onRefused(spec, caller, 'caller', reason);
      refuseSocket(socket, spec.kind, 'caller', reason);
    };
    const certificate = socket.getPeerCertificate();
    if (Object.keys(certificate).length === 0) return refuse(`presence ${spec.key} needs a client certificate`);
    if (!socket.authorized) return refuse(`the client certificate is not accepted: ${String(socket.authorizationError)}`);
    try {
      const id = identityOf(certificate);
      this.#o.onConnection(spec, socket, { uri: id.uri, serial: id.serial });
    } catch (error) {
      refuse((error as Error).message);
    }
  }

  async #close(key: string): Promise<void> {
    const entry = this.#servers.get(key);
    if (entry === undefined) return;
    this.#servers.delete(key);
    const closed = new Promise<void>((resolve) => entry.server.close(() => resolve()));
    for (const socket of entry.sockets) socket.destroy();
    await closed;
    this.#o.log.info('presence closed', { presence: key });
  }
}

export function refuseSocket(socket: Socket, kind: ListenSpec['kind'], code: CodeName, reason: string): void {
  if (kind === 'tcp') return void socket.destroy();
  socket.end(answer(code, reason));
  socket.resume(); // what the caller still sends is not wanted, but a reset would cost it the answer
  setTimeout(() => socket.destroy(), 2_000).unref();
}
