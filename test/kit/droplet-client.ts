/** A transit daemon as the network plane sees it: follows a droplet's goal state over gRPC and TLS and keeps what it was given in a map. */
import { credentials, type ClientDuplexStream, Client, type ServiceError } from '@grpc/grpc-js';
import type { GoalState } from '../../api/goal.ts';
import { applyGoal, type GoalMap } from '../../cloud/mizar/goal.ts';
import { goalService } from '../../cloud/mizar/goal-server.ts';

export interface DropletClientOptions {
  readonly port: number;
  readonly droplet: string;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  /** What the kernel has from before: a daemon that restarted. */
  readonly from?: { readonly version: number; readonly goal: GoalMap };
  /** Return a message to refuse a goal. @default accepts all */
  readonly judge?: (goal: GoalState) => string | null;
}

interface Outgoing {
  readonly droplet: string;
  readonly version: number;
  readonly ok: boolean;
  readonly message: string;
  readonly session: string;
}

export class DropletClient {
  version = 0;
  goal: GoalMap = new Map();
  readonly received: GoalState[] = [];
  readonly ended: Promise<ServiceError | null>;
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Outgoing, { readonly goal: Buffer }>;
  readonly #o: DropletClientOptions;

  constructor(options: DropletClientOptions) {
    this.#o = options;
    this.version = options.from?.version ?? 0;
    this.goal = options.from?.goal ?? new Map();
    const { ca, cert, key } = options.tls;
    // The region's certificate names an identity, not this address: whom it has to name is the wire's business and tested there.
    const secure = credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert), { checkServerIdentity: () => undefined });
    this.#client = new Client(`127.0.0.1:${options.port}`, secure, { 'grpc.ssl_target_name_override': 'region' });
    const method = goalService()['Follow']!;
    this.#call = this.#client.makeBidiStreamRequest(method.path, method.requestSerialize as (m: Outgoing) => Buffer, method.responseDeserialize as (b: Buffer) => { goal: Buffer });
    this.ended = new Promise((resolve) => {
      this.#call.on('error', (error: ServiceError) => resolve(error));
      this.#call.on('end', () => resolve(null));
    });
    this.#call.on('data', (m: { readonly goal: Buffer }) => this.#take(JSON.parse(m.goal.toString()) as GoalState));
    this.#say(this.version, true, '');
  }

  close(): void {
    this.#call.cancel();
    this.#client.close();
  }

  #take(goal: GoalState): void {
    this.received.push(goal);
    const base = goal.base !== 0 && goal.base !== this.version ? `a delta against ${goal.base} does not fit version ${this.version}` : null;
    const problem = base ?? this.#o.judge?.(goal) ?? null;
    if (problem === null) {
      this.goal = applyGoal(this.goal, goal);
      this.version = goal.version;
    }
    this.#say(goal.version, problem === null, problem ?? '');
  }

  #say(version: number, ok: boolean, message: string): void {
    this.#call.write({ droplet: this.#o.droplet, version, ok, message, session: 's1' });
  }
}
