/**
 * The one connection that an edge gateway has with each cloud gateway of its region: dialled from here, dialled again with back-off when it
 * breaks, and replaced without a gap when the certificate changes. Nothing listens on the uplink.
 */
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { MeshError } from '../../api/errors.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { checkCloudGateway, splitHostPort } from '../../certs/https.ts';
import { MuxSession } from '../mux/session.ts';
import type { MuxStream } from '../mux/stream.ts';
import type { TlsIdentity } from '../presence/listeners.ts';

export interface UplinkOptions {
  readonly log: Logger;
  /** host:port */
  readonly gateways: readonly string[];
  readonly tls: () => TlsIdentity;
  readonly onOpen: (stream: MuxStream) => void;
  readonly onConnected: (session: MuxSession) => void;
  readonly onLost: (session: MuxSession) => void;
  readonly pingMs?: number;
  readonly deadMs?: number;
}

const CONNECT_MS = 5_000;
/** A session that lasted is no failure: the next dial comes at once. */
const STEADY_MS = 10_000;

export class Uplink implements Service {
  readonly name = 'uplink';
  readonly #o: UplinkOptions;
  readonly #loop: Loop;
  readonly #sessions = new Map<string, MuxSession>();
  #isStopping = false;

  constructor(options: UplinkOptions) {
    this.#o = options;
    this.#loop = new Loop({ name: 'uplink', log: options.log, run: (gateway) => this.#keep(gateway), resyncMs: 0, firstRetryMs: 200, maxRetryMs: 5_000, concurrency: options.gateways.length });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    for (const gateway of this.#o.gateways) this.#loop.trigger(gateway);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all([...this.#sessions.values()].map((s) => s.drain(1_000)));
    await this.#loop.stop();
  }

  /** Where to open a stream now; null while the uplink is down. */
  current(): MuxSession | null {
    return this.#sessions.values().find((s) => s.isOpen) ?? null;
  }

  /** Fresh sessions with the present certificate; the old ones take no new streams and end when theirs have. */
  async redial(drainMs: number): Promise<void> {
    for (const [gateway, old] of this.#sessions) {
      this.#take(gateway, await this.#dial(gateway));
      void old.drain(drainMs);
    }
  }

  async #keep(gateway: string): Promise<number> {
    const startedAt = performance.now();
    let session = this.#take(gateway, await this.#dial(gateway));
    let end = await session.closed;
    // After a redial the one to wait for is another.
    for (let next = this.#sessions.get(gateway); next !== undefined && next !== session; next = this.#sessions.get(gateway)) {
      session = next;
      end = await session.closed;
    }
    this.#sessions.delete(gateway);
    if (this.#isStopping) return 60_000;
    if (end.code === 'revoked' || end.code === 'caller') this.#o.log.error('the region refuses this gateway', { gateway, code: end.code, reason: end.reason });
    else this.#o.log.warn('uplink lost', { gateway, code: end.code, reason: end.reason });
    if (performance.now() - startedAt > STEADY_MS) return 100;
    throw new MeshError('unavailable', `session with ${gateway} ended: ${end.reason}`);
  }

  #take(gateway: string, session: MuxSession): MuxSession {
    this.#sessions.set(gateway, session);
    void session.closed.then(() => this.#o.onLost(session));
    this.#o.log.info('uplink connected', { gateway });
    this.#o.onConnected(session);
    return session;
  }

  async #dial(gateway: string): Promise<MuxSession> {
    const { host, port } = splitHostPort(gateway);
    const socket = await new Promise<TLSSocket>((resolve, reject) => {
      const s = connect({ host, port, ...this.#o.tls(), minVersion: 'TLSv1.3', checkServerIdentity: checkCloudGateway });
      const timer = setTimeout(() => s.destroy(new Error(`no answer in ${CONNECT_MS} ms`)), CONNECT_MS);
      s.once('error', (error) => {
        clearTimeout(timer);
        reject(new MeshError('unavailable', `cloud gateway ${gateway}: ${error.message}`, { cause: error, next: `check that TCP port ${port} of ${host} can be reached from here` }));
      });
      s.once('secureConnect', () => {
        clearTimeout(timer);
        s.removeAllListeners('error');
        resolve(s);
      });
    });
    socket.setNoDelay(true);
    return new MuxSession(socket, {
      isDialler: true,
      log: this.#o.log,
      onOpen: this.#o.onOpen,
      ...(this.#o.pingMs === undefined ? {} : { pingMs: this.#o.pingMs }),
      ...(this.#o.deadMs === undefined ? {} : { deadMs: this.#o.deadMs }),
    });
  }
}
