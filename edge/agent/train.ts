/**
 * A light estimate of a way's bandwidth: a few datagrams sent at once come back spread out by the narrowest link (packet-pair dispersion; Dovrolis
 * et al., "What do packet dispersion techniques measure?", 2001). 5 KB a minute and target; other traffic makes it look narrower, never wider, so
 * who collects the estimates believes the larger ones sooner. Needs somebody who echoes: `echo` of another agent's configuration.
 */
import { createSocket, type Socket } from 'node:dgram';
import { performance } from 'node:perf_hooks';
import { MeshError } from '../../api/errors.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';

const TRAIN = 5;
const BYTES = 1000;
/** IPv4 and UDP. */
const HEADERS = 28;
const TIMEOUT_MS = 900;
/** Closer together than the clock of a busy machine can tell. */
const LEAST_MS = 0.02;

/** Mbit/s, both ways together; null = too few came back to tell. */
export function measureBandwidth(address: string, port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const arrived: number[] = [];
    const done = (): void => {
      clearTimeout(timer);
      socket.close();
      const spread = (arrived.at(-1) ?? 0) - (arrived[0] ?? 0);
      resolve(arrived.length < 3 || spread < LEAST_MS ? null : ((arrived.length - 1) * (BYTES + HEADERS) * 8) / 1000 / spread);
    };
    const timer = setTimeout(done, TIMEOUT_MS);
    socket.on('message', (m) => {
      if (m.length === BYTES) arrived.push(performance.now());
      if (arrived.length === TRAIN) done();
    });
    socket.once('error', () => {
      arrived.length = 0;
      done();
    });
    for (let i = 0; i < TRAIN; i++) socket.send(Buffer.alloc(BYTES, i), port, address);
  });
}

const MAX_BYTES = 1200;
/** Of all who ask together; a site's neighbours need a few. */
const MAX_PER_SECOND = 500;

/** Sends datagrams back as they are: what comes out is never more than what came in, and no more than so many a second. */
export class Echo implements Service {
  readonly name = 'echo';
  readonly #at: { readonly address: string; readonly port: number };
  readonly #log: Logger;
  #socket: Socket | null = null;
  #second = 0;
  #sent = 0;

  constructor(at: { readonly address: string; readonly port: number }, log: Logger) {
    this.#at = at;
    this.#log = log;
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#socket?.address().port ?? 0;
  }

  async start(): Promise<void> {
    const { address, port } = this.#at;
    const socket = createSocket('udp4');
    this.#socket = socket;
    socket.on('message', (message, from) => this.#answer(socket, message, from));
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (cause: NodeJS.ErrnoException) => reject(cause.code === 'EADDRINUSE' ? new MeshError('port-in-use', `echo.port: UDP ${address}:${port} is in use`, { cause, next: 'choose another echo.port' }) : cause));
      socket.bind(port, address, resolve);
    });
    socket.on('error', (error) => this.#log.warn('echo failed', { err: error }));
  }

  async stop(): Promise<void> {
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null) await new Promise<void>((resolve) => socket.close(resolve));
  }

  #answer(socket: Socket, message: Uint8Array, from: { readonly address: string; readonly port: number }): void {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) [this.#second, this.#sent] = [second, 0];
    if (message.length > MAX_BYTES || this.#sent >= MAX_PER_SECOND) return;
    this.#sent += 1;
    socket.send(message, from.port, from.address);
  }
}
