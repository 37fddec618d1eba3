/**
 * Follows this droplet's goal state over gRPC (`api/goal.proto`): says hello with the version that the kernel has, brings each goal into the
 * kernel and answers it. Reconnects for ever; traffic does not depend on it.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Client, credentials, type ClientDuplexStream, type MethodDefinition, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { MeshError } from '../../api/errors.ts';
import type { GoalAck, GoalState } from '../../api/goal.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { backoff } from '../../base/retry.ts';

export interface GoalClientOptions {
  readonly droplet: string;
  /** host:port of the network plane, or of the local presence that stands for it. */
  readonly target: string;
  /** Read at each connection, so that a rotated certificate is used from the next one on. PEM. */
  readonly tls: () => { readonly ca: string; readonly cert: string; readonly key: string; readonly serverName?: string };
  readonly version: () => number;
  readonly apply: (goal: GoalState) => Promise<GoalAck>;
  readonly log: Logger;
}

interface ClientMessage {
  readonly droplet: string;
  readonly version: number;
  readonly ok: boolean;
  readonly message: string;
  readonly session: string;
}
type Stream = ClientDuplexStream<ClientMessage, { readonly goal: Buffer }>;

const MAX_GOAL_BYTES = 64 * 1024 * 1024;

function followMethod(): MethodDefinition<ClientMessage, { goal: Buffer }> {
  const loaded = loadSync(join(import.meta.dirname, '../../api/goal.proto'), { longs: Number, defaults: true, keepCase: true });
  const name = Object.keys(loaded).find((n) => n.endsWith('GoalStates'));
  if (name === undefined) throw new MeshError('internal', 'api/goal.proto has no service GoalStates');
  return (loaded[name] as unknown as ServiceDefinition)['Follow'] as unknown as MethodDefinition<ClientMessage, { goal: Buffer }>;
}

export class GoalClient implements Service {
  readonly name = 'goal-client';
  readonly #o: GoalClientOptions;
  readonly #method = followMethod();
  readonly #session = randomUUID();
  readonly #abort = new AbortController();
  #delays = backoff({ firstMs: 200, maxMs: 5_000 });
  #client: Client | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: GoalClientOptions) {
    this.#o = options;
  }

  async start(): Promise<void> {
    this.#connect();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#client?.close();
  }

  #connect(): void {
    let tls;
    try {
      tls = this.#o.tls();
    } catch (error) {
      return this.#again(error as Error); // being replaced at this very moment
    }
    this.#client?.close();
    const secure = credentials.createSsl(Buffer.from(tls.ca), Buffer.from(tls.key), Buffer.from(tls.cert));
    const client = new Client(this.#o.target, secure, {
      'grpc.max_receive_message_length': MAX_GOAL_BYTES,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 5_000,
      'grpc.initial_reconnect_backoff_ms': 200,
      'grpc.max_reconnect_backoff_ms': 2_000,
      ...(tls.serverName === undefined ? {} : { 'grpc.ssl_target_name_override': tls.serverName, 'grpc.default_authority': tls.serverName }),
    });
    this.#client = client;
    const stream = client.makeBidiStreamRequest(this.#method.path, this.#method.requestSerialize, this.#method.responseDeserialize) as Stream;
    const send = (ok: boolean, message: string): void => {
      stream.write({ droplet: this.#o.droplet, version: this.#o.version(), ok, message, session: this.#session });
    };
    send(true, '');
    stream.on('data', (m: { readonly goal: Buffer }) => void this.#receive(m.goal, send));
    stream.on('error', (error: Error) => this.#again(error));
    stream.on('end', () => this.#again(new Error('the network plane closed the stream')));
  }

  async #receive(bytes: Buffer, send: (ok: boolean, message: string) => void): Promise<void> {
    this.#delays = backoff({ firstMs: 200, maxMs: 5_000 });
    let ack: GoalAck;
    try {
      ack = await this.#o.apply(JSON.parse(bytes.toString('utf8')) as GoalState);
    } catch (error) {
      ack = { droplet: this.#o.droplet, version: this.#o.version(), ok: false, message: (error as Error).message };
    }
    if (ack.message !== '') this.#o.log.warn('goal state answered with a remark', { ok: ack.ok, version: ack.version, remark: ack.message });
    send(ack.ok, ack.message);
  }

  #again(error: Error): void {
    if (this.#abort.signal.aborted) return;
    const delayMs = this.#delays.next().value;
    this.#o.log.info('goal state stream ended', { target: this.#o.target, delayMs, reason: error.message });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), delayMs);
  }
}
