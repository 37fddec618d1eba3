/**
 * The MQTT 3.1.1 broker of a gateway: aedes behind mTLS. Who a client is follows from its certificate, or from the gateway's own session
 * that its bytes came over; user names and passwords are not looked at.
 */
import type { Duplex } from 'node:stream';
import { createServer as createTcpServer } from 'node:net';
import type { Server } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import { Aedes } from 'aedes';
import type { Client as MqttClient } from 'aedes';
import { MeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import { identityOf } from '../../certs/names.ts';
import type { Identity } from '../../certs/names.ts';
import type { TlsIdentity } from '../presence/listeners.ts';
import type { Refusals } from '../presence/refusals.ts';
import { mayPublish, maySubscribe, rightsOf } from './rights.ts';

export interface BrokerListen {
  readonly address: string;
  readonly port: number;
  /** False only on a loopback address: whoever reaches it speaks for the gateway's own site. */
  readonly tls: boolean;
}

export interface BrokerOptions {
  readonly log: Logger;
  readonly tls: TlsIdentity;
  readonly refusals: Refusals;
  readonly isRevoked: (serial: string) => boolean;
  /** Identity of clients on a listener without TLS. */
  readonly own: Identity;
  /** Called before a publish is acknowledged; a rejection refuses it (the client is disconnected: MQTT 3.1.1 knows no negative answer). */
  readonly accept?: (topic: string, payload: Buffer, qos: number) => Promise<void>;
}

interface Peer {
  readonly identity: Identity;
  readonly serial: string;
}

export class Broker {
  readonly #o: BrokerOptions;
  readonly #peers = new WeakMap<object, Peer>();
  readonly #conns = new Map<Duplex, Peer>();
  readonly #servers: { readonly server: Server; readonly tls: boolean }[] = [];
  #aedes: Aedes | null = null;
  #received = 0;

  constructor(options: BrokerOptions) {
    this.#o = options;
  }

  get received(): number {
    return this.#received;
  }

  async start(listen: readonly BrokerListen[]): Promise<void> {
    this.#aedes = await Aedes.createBroker({
      connectTimeout: 10_000,
      queueLimit: 1_000,
      authenticate: (client, _user, _password, done) => {
        const peer = this.#peers.get(client.conn);
        done(null, peer !== undefined && !this.#o.isRevoked(peer.serial));
      },
      authorizePublish: (client, packet, done) => void this.#publish(client, packet.topic, toBuffer(packet.payload), packet.qos).then(() => done(null), done),
      authorizeSubscribe: (client, subscription, done) => {
        const peer = this.#peers.get(client.conn);
        if (peer !== undefined && maySubscribe(rightsOf(peer.identity), subscription.topic)) return done(null, subscription);
        this.#refuse(peer, subscription.topic, 'subscribe to');
        done(null, null);
      },
    });
    this.#aedes.on('clientError', (client, error) => this.#o.log.debug('mqtt client failed', { client: client.id, err: error }));
    this.#aedes.on('connectionError', (client, error) => this.#o.log.debug('mqtt connection failed', { client: client.id, err: error }));
    for (const l of listen) await this.#listen(l);
  }

  portOf(index: number): number {
    const address = this.#servers[index]?.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** MQTT bytes that came another way, e.g. a stream of a session, for an identity that is already known. */
  handle(conn: Duplex, identity: Identity, serial: string): void {
    const peer = { identity, serial };
    this.#peers.set(conn, peer);
    this.#conns.set(conn, peer);
    conn.on('close', () => this.#conns.delete(conn));
    conn.on('error', (error) => this.#o.log.debug('mqtt connection broke', { err: error }));
    this.#aedes?.handle(conn);
  }

  /** From the gateway itself, to local subscribers. */
  publish(topic: string, payload: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#aedes?.publish({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false }, (error?: Error | null) => (error ? reject(error) : resolve()));
    });
  }

  /** Disconnects everyone whose certificate is refused by now. */
  cutRevoked(): void {
    for (const [conn, peer] of this.#conns) if (this.#o.isRevoked(peer.serial)) conn.destroy();
  }

  renew(tls: TlsIdentity): void {
    for (const s of this.#servers) if (s.tls) (s.server as TlsServer).setSecureContext({ ...tls, minVersion: 'TLSv1.2' });
  }

  async stop(): Promise<void> {
    const closed = this.#servers.map(({ server }) => new Promise<void>((resolve) => server.close(() => resolve())));
    await new Promise<void>((resolve) => (this.#aedes === null ? resolve() : this.#aedes.close(() => resolve())));
    for (const conn of this.#conns.keys()) conn.destroy();
    await Promise.all(closed);
  }

  async #publish(client: MqttClient | null, topic: string, payload: Buffer, qos: number): Promise<void> {
    if (client === null) return; // the gateway's own, or the broker's $SYS
    const peer = this.#peers.get(client.conn);
    if (peer === undefined || !mayPublish(rightsOf(peer.identity), topic)) {
      this.#refuse(peer, topic, 'publish on');
      throw new MeshError('forbidden', `no right to publish on ${topic}`);
    }
    this.#received += 1;
    try {
      await this.#o.accept?.(topic, payload, qos);
    } catch (error) {
      this.#o.refusals.record({ site: peer.identity.site, target: topic, caller: peer.identity.uri, code: 'limit', reason: (error as Error).message });
      throw error;
    }
  }

  #refuse(peer: Peer | undefined, topic: string, verb: string): void {
    const caller = peer?.identity.uri ?? '';
    this.#o.refusals.record({ site: peer?.identity.site ?? null, target: topic, caller, code: 'rights', reason: `${caller} may not ${verb} ${topic}` });
  }

  async #listen(l: BrokerListen): Promise<void> {
    if (!l.tls && !l.address.startsWith('127.') && l.address !== '::1') throw new MeshError('invalid', `mqtt.listen: ${l.address} without TLS would let anyone speak for this site; only loopback may`, { fields: { path: 'mqtt.listen' } });
    const server = l.tls
      ? createTlsServer({ ...this.#o.tls, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2', noDelay: true }, (socket) => this.#accept(socket))
      : createTcpServer({ noDelay: true }, (socket) => this.handle(socket, this.#o.own, ''));
    server.on('tlsClientError', (error: Error) => this.#o.refusals.record({ site: null, target: 'mqtt', caller: '', code: 'caller', reason: `TLS: ${error.message}` }));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(new MeshError(error.code === 'EADDRINUSE' ? 'port-in-use' : 'io', `MQTT broker cannot listen at ${l.address}:${l.port}: ${error.message}`, { cause: error })));
      server.listen(l.port, l.address, resolve);
    });
    this.#servers.push({ server, tls: l.tls });
  }

  #accept(socket: TLSSocket): void {
    try {
      const id = identityOf(socket.getPeerCertificate());
      if (this.#o.isRevoked(id.serial)) throw new MeshError('unauthenticated', `the certificate ${id.serial} of ${id.uri} is revoked`);
      this.handle(socket, id, id.serial);
    } catch (error) {
      this.#o.refusals.record({ site: null, target: 'mqtt', caller: '', code: 'revoked', reason: (error as Error).message });
      socket.destroy();
    }
  }
}

function toBuffer(payload: string | Buffer): Buffer {
  return typeof payload === 'string' ? Buffer.from(payload) : payload;
}
