/**
 * The gRPC end of the goal state feed. A client is the node that its certificate names and may follow that node's droplet only; the
 * connection is TLS with certificates of the mesh on both sides.
 */
import type { PeerCertificate } from 'node:tls';
import { join } from 'node:path';
import type { handleBidiStreamingCall, ServerDuplexStream, ServiceDefinition } from '@grpc/grpc-js';
import { Server, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { MeshError } from '../../api/errors.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { identityOf } from '../../certs/names.ts';
import type { Follower, GoalFeed } from './goal-feed.ts';
import { GrpcCertificates, type GrpcTls } from './grpc-certificates.ts';

export interface GoalServerOptions {
  readonly host: string;
  /** 0 = any free one; see `port` after start. */
  readonly port: number;
  readonly tls: GrpcTls;
  readonly feed: GoalFeed;
  readonly log: Logger;
  /** Why this node may not follow the droplet; null = it may. */
  readonly refuse: (droplet: string, caller: Caller) => string | null;
  /** A droplet connected: the feed wants its goal now. */
  readonly onFollow: (droplet: string) => void;
}

export interface Caller {
  readonly node: string;
  /** null where the certificate names only the node. */
  readonly site: string | null;
  readonly serial: string;
}

interface ClientMessage {
  readonly droplet: string;
  readonly version: number;
  readonly ok: boolean;
  readonly message: string;
  readonly session: string;
}
interface GoalMessage {
  readonly goal: Buffer;
}
type Call = ServerDuplexStream<ClientMessage, GoalMessage>;

/** The service definition out of `api/goal.proto`; 64-bit numbers arrive as numbers, which hold our versions exactly. */
export function goalService(): ServiceDefinition {
  const loaded = loadSync(join(import.meta.dirname, '../../api/goal.proto'), { longs: Number, defaults: true, keepCase: true });
  const name = Object.keys(loaded).find((n) => n === 'GoalStates' || n.endsWith('.GoalStates'));
  if (name === undefined) throw new MeshError('internal', 'api/goal.proto has no service GoalStates');
  return loaded[name] as unknown as ServiceDefinition;
}

export class GoalServer implements Service {
  readonly name = 'goal-server';
  readonly #o: GoalServerOptions;
  readonly #server = new Server({ 'grpc.keepalive_time_ms': 10_000, 'grpc.keepalive_timeout_ms': 5_000, 'grpc.keepalive_permit_without_calls': 1 });
  readonly #certificates: GrpcCertificates;
  #port = 0;
  #isStopped = false;

  constructor(options: GoalServerOptions) {
    this.#o = options;
    this.#certificates = new GrpcCertificates(options.tls);
  }

  renew(tls: GrpcTls): void {
    this.#certificates.renew(tls);
  }

  get port(): number {
    return this.#port;
  }

  async start(): Promise<void> {
    const { host, port } = this.#o;
    const follow: handleBidiStreamingCall<ClientMessage, GoalMessage> = (call) => this.#follow(call);
    this.#server.addService(goalService(), { Follow: follow as never });
    const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    this.#port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(address, this.#certificates.credentials, (error, bound) => {
        if (error === null) return resolve(bound);
        const isTaken = error.message.includes('EADDRINUSE') || error.message.includes('No address added');
        reject(new MeshError(isTaken ? 'port-in-use' : 'io', `the goal state server cannot listen on ${address}: ${error.message}`, { fields: { host, port }, cause: error, next: `see who has it with: ss -ltnp sport = :${port}` }));
      });
    });
    this.#o.log.info('goal state server listens', { host, port: this.#port });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#server.forceShutdown();
  }

  #follow(call: Call): void {
    // A connection that was shaking hands while the server shut down outlives it.
    if (this.#isStopped) return refuseCall(call, status.UNAVAILABLE, 'the network plane stops');
    let hello: ClientMessage | null = null;
    const follower: Follower = {
      send: (goal) => void call.write({ goal: Buffer.from(JSON.stringify(goal)) }),
      replaced: () => refuseCall(call, status.ABORTED, 'this droplet has connected again'),
    };
    const end = (): void => {
      if (hello !== null) this.#o.feed.disconnect(hello.droplet, follower);
    };
    call.on('data', (message: ClientMessage) => {
      if (hello !== null && message.session === hello.session) {
        this.#o.feed.answer(hello.droplet, follower, { version: message.version, ok: message.ok, message: message.message });
        return;
      }
      const problem = hello !== null && hello.droplet !== message.droplet ? 'one stream follows one droplet' : this.#refusal(call, message.droplet);
      if (problem !== null) {
        this.#o.log.warn('goal state refused', { droplet: message.droplet, reason: problem, peer: call.getPeer() });
        end();
        return refuseCall(call, status.PERMISSION_DENIED, problem);
      }
      if (hello !== null) end();
      hello = message;
      this.#o.feed.connect(message.droplet, message.version, follower);
      this.#o.onFollow(message.droplet);
      this.#o.log.info('droplet follows', { droplet: message.droplet, version: message.version });
    });
    call.on('end', () => {
      end();
      call.end();
    });
    call.on('cancelled', end);
    call.on('error', (error: Error) => {
      end();
      this.#o.log.debug('goal state stream broke', { droplet: hello?.droplet, err: error });
    });
  }

  #refusal(call: Call, droplet: string): string | null {
    const caller = callerOf(call.getAuthContext().sslPeerCertificate);
    if (caller === null) return 'the certificate names no node';
    if (caller.node !== droplet) return `node ${caller.node} may not follow droplet ${droplet}`;
    return this.#o.refuse(droplet, caller);
  }
}

/** From `spiffe://proxima/site/<s>/node/<n>`, or CN=system:node:<n> in a certificate without a mesh URI. */
function callerOf(certificate: PeerCertificate | undefined): Caller | null {
  if (certificate === undefined || certificate.serialNumber === undefined) return null;
  if ((certificate.subjectaltname ?? '').includes('URI:')) {
    try {
      const id = identityOf(certificate);
      return id.kind === 'node' && id.node !== null ? { node: id.node, site: id.site, serial: id.serial } : null;
    } catch {
      return null; // a certificate with a URI that is not exactly one of ours names nobody
    }
  }
  const node = /^system:node:(.+)$/.exec(String(certificate.subject.CN))?.[1];
  return node === undefined ? null : { node, site: null, serial: certificate.serialNumber };
}

function refuseCall(call: Call, code: status, details: string): void {
  call.emit('error', Object.assign(new Error(details), { code, details }));
}
