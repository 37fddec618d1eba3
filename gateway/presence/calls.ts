/** The calling end of every presence: a local connection becomes a stream to where the service is. The same at both gateways. */
import type { Socket } from 'node:net';
import type { CodeName } from '../mux/frames.ts';
import { joinSocket } from '../mux/pipe.ts';
import type { MuxSession } from '../mux/session.ts';
import { answer } from './answers.ts';
import { MAX_HEAD, parseHead } from './http-head.ts';
import { refuseSocket } from './listeners.ts';
import type { ListenSpec } from './listeners.ts';
import { decideOpen } from './policy.ts';
import type { Caller, PresenceRule } from './policy.ts';
import type { Refusals } from './refusals.ts';

export interface CallsOptions {
  readonly direction: PresenceRule['direction'];
  /** The edge site that we are; null in the cloud. */
  readonly ownSite: string | null;
  readonly rules: (key: string) => PresenceRule | undefined;
  /** The session that leads to a site (cloud) or to the region (edge: null). */
  readonly sessionOf: (site: string | null) => MuxSession | null;
  readonly isRevoked: (serial: string) => boolean;
  readonly refusals: Refusals;
}

export class Calls {
  readonly #o: CallsOptions;

  constructor(options: CallsOptions) {
    this.#o = options;
  }

  connection(spec: ListenSpec, socket: Socket, caller: Caller): void {
    if (spec.kind === 'entry') return this.#entry(spec, socket, caller);
    if (spec.key.startsWith('@')) return this.#open(spec.kind, spec.key, null, socket, caller, null);
    this.#checked(spec.kind, spec.key, socket, caller, null);
  }

  /** The first head names the presence; what it may do there is decided where it is served. */
  #entry(spec: ListenSpec, socket: Socket, caller: Caller): void {
    let head = Buffer.alloc(0);
    const collect = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0 && head.length <= MAX_HEAD) return;
      socket.off('data', collect);
      socket.pause();
      const parsed = end < 0 ? ({ ok: false, reason: 'the request head is too long' } as const) : parseHead(head.toString('latin1', 0, end));
      if (!parsed.ok) return this.#refuse(spec.kind, spec.key, socket, caller.uri, 'malformed', parsed.reason);
      const [name = '', tenant = ''] = parsed.head.host.split(':')[0]?.split('.') ?? [];
      this.#checked('http', `${tenant}/${name}`, socket, caller, head);
    };
    socket.on('data', collect);
    socket.setTimeout(15_000, () => socket.destroy());
  }

  #checked(kind: 'tcp' | 'http', name: string, socket: Socket, caller: Caller, first: Buffer | null): void {
    const rule = this.#o.rules(name);
    const site = this.#o.ownSite ?? rule?.service.site ?? '';
    const verdict = decideOpen({ name, rule, direction: this.#o.direction, site, caller, isRevoked: this.#o.isRevoked });
    // What is unknown here may only be unknown here: the cloud knows why, and says so.
    if (!verdict.ok && (verdict.code !== 'notExposed' || this.#o.ownSite === null)) return this.#refuse(kind, name, socket, caller.uri, verdict.code, verdict.reason);
    this.#open(kind, name, rule?.service.site ?? null, socket, caller, first);
  }

  #open(kind: ListenSpec['kind'], name: string, site: string | null, socket: Socket, caller: Caller, first: Buffer | null): void {
    const session = this.#o.sessionOf(this.#o.ownSite === null ? site : null);
    const isHttp = kind !== 'tcp';
    const gone = this.#o.ownSite === null ? `site ${site} is not connected` : 'the uplink to the region is down';
    let hasAnswered = false;
    const onReset = (code: CodeName, reason: string): void => {
      if (isHttp && !hasAnswered && !socket.destroyed) socket.end(answer(code, reason));
      else socket.destroy();
    };
    const opened = session?.openStream({ kind: isHttp ? 'http' : 'tcp', name, caller: caller.uri, serial: caller.serial }, (stream) => {
      socket.setTimeout(0);
      const events = joinSocket(socket, stream, { onReset });
      stream.attach({
        ...events,
        data: (bytes) => {
          hasAnswered = true;
          events.data(bytes);
        },
      });
      if (first !== null) stream.write(first);
      socket.resume();
    });
    if (opened === undefined || opened === null) onReset('unavailable', gone);
  }

  #refuse(kind: ListenSpec['kind'], target: string, socket: Socket, caller: string, code: CodeName, reason: string): void {
    this.#o.refusals.record({ site: this.#o.ownSite, target, caller, code, reason });
    refuseSocket(socket, kind, code, reason);
  }
}
