/** The serving end of every stream: who asks, may it, which service, then join the two. The same at both gateways. */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { CodeName, Open } from '../mux/frames.ts';
import { joinSocket } from '../mux/pipe.ts';
import type { MuxStream } from '../mux/stream.ts';
import { answer } from './answers.ts';
import { GeneralProxies } from './general.ts';
import { HttpGate } from './http-gate.ts';
import { decideOpen } from './policy.ts';
import type { PresenceRule } from './policy.ts';
import type { Refusals } from './refusals.ts';

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface ServeOptions {
  readonly direction: PresenceRule['direction'];
  readonly rules: (key: string) => PresenceRule | undefined;
  /** `@name` streams: what every gateway of the region may reach, e.g. the region's API. */
  readonly services: Readonly<Record<string, Endpoint>>;
  readonly isRevoked: (serial: string) => boolean;
  readonly refusals: Refusals;
  readonly onStream?: (kind: Open['kind']) => void;
}

export class StreamServer {
  readonly #o: ServeOptions;
  readonly #general = new GeneralProxies();

  constructor(options: ServeOptions) {
    this.#o = options;
  }

  /** `site`: the edge site of the session. */
  serve(stream: MuxStream, site: string): void {
    const { name, caller, serial } = stream.open;
    this.#o.onStream?.(stream.open.kind);
    if (name.startsWith('@')) return this.#serveOwn(stream, site);
    const rule = this.#o.rules(name);
    const verdict = decideOpen({ name, rule, direction: this.#o.direction, site, caller: { uri: caller, serial }, isRevoked: this.#o.isRevoked });
    if (!verdict.ok) return this.refuse(stream, site, verdict.code, verdict.reason);
    if (rule === undefined || rule.protocol !== stream.open.kind) return this.refuse(stream, site, 'malformed', `presence ${name} is no ${stream.open.kind} presence`);
    const onRefused = (code: CodeName, reason: string): void => this.#o.refusals.record({ site, target: name, caller, code, reason });
    if (rule.protocol === 'tcp') return this.#join(stream, rule.service, `presence ${name}`);
    if (rule.general !== null) {
      void this.#general.serve(stream, rule, { caller, onRefused }).catch((error: Error) => stream.reset('internal', error.message));
      return;
    }
    stream.attach(new HttpGate(stream, { rule, caller, connect: () => dial(rule.service), onRefused }));
  }

  /** An HTTP caller is told in HTTP; the stream's reset carries the reason otherwise. */
  refuse(stream: MuxStream, site: string, code: CodeName, reason: string): void {
    this.#o.refusals.record({ site, target: stream.open.name, caller: stream.open.caller, code, reason });
    if (stream.open.kind !== 'http') return stream.reset(code, reason);
    stream.attach({ data: (b) => stream.consumed(b.length), end: () => undefined, reset: () => undefined, drain: () => undefined });
    stream.write(answer(code, reason));
    stream.end();
  }

  async close(): Promise<void> {
    await this.#general.close();
  }

  #serveOwn(stream: MuxStream, site: string): void {
    const service = this.#o.services[stream.open.name.slice(1)];
    if (service === undefined || stream.open.kind !== 'tcp') return this.refuse(stream, site, 'notExposed', `service ${stream.open.name} is not exposed here`);
    this.#join(stream, service, `service ${stream.open.name}`);
  }

  #join(stream: MuxStream, service: Endpoint, what: string): void {
    const socket = dial(service);
    stream.attach(joinSocket(socket, stream, { onSocketError: (error) => stream.reset('unavailable', `${what} (${service.host}:${service.port}) failed: ${error.message}`) }));
  }
}

function dial(service: Endpoint): Socket {
  return connect({ host: service.host, port: service.port, noDelay: true, allowHalfOpen: true });
}
