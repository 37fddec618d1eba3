/**
 * The general HTTP path, by @fastify/http-proxy: TLS and HTTP/2 upstreams, rewritten prefixes, WebSocket. Slower than the plain path, loaded
 * when the first presence asks for it, and under the same policy: the caller's name comes from the stream, never from the request.
 */
import type { Server } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { CodeName } from '../mux/frames.ts';
import { duplexOf } from '../mux/duplex.ts';
import type { MuxStream } from '../mux/stream.ts';
import { decideRequest } from './policy.ts';
import type { PresenceRule } from './policy.ts';

interface Visit {
  readonly caller: string;
  readonly onRefused: (code: CodeName, reason: string) => void;
}

export class GeneralProxies {
  readonly #servers = new Map<string, Promise<FastifyInstance>>();
  readonly #visits = new WeakMap<object, Visit>();

  async serve(stream: MuxStream, rule: PresenceRule, visit: Visit): Promise<void> {
    const duplex = duplexOf(stream); // at once: bytes may come while the server is made
    duplex.on('error', () => undefined); // a caller that goes away; the stream has been reset already
    this.#visits.set(duplex, visit);
    const server = await this.#server(rule);
    (server.server as Server).emit('connection', duplex);
  }

  async close(): Promise<void> {
    const servers = await Promise.all(this.#servers.values());
    await Promise.all(servers.map((s) => s.close()));
  }

  #server(rule: PresenceRule): Promise<FastifyInstance> {
    const key = JSON.stringify(rule);
    const known = this.#servers.get(key);
    if (known !== undefined) return known;
    const made = this.#make(rule);
    this.#servers.set(key, made);
    made.catch(() => this.#servers.delete(key));
    return made;
  }

  async #make(rule: PresenceRule): Promise<FastifyInstance> {
    const [{ fastify }, { default: proxy }] = await Promise.all([import('fastify'), import('@fastify/http-proxy')]);
    const app = fastify({ forceCloseConnections: true });
    app.addHook('onRequest', async (request, reply) => {
      const visit = this.#visits.get(request.raw.socket);
      const verdict = visit === undefined ? ({ ok: false, code: 'internal', reason: 'a connection without a caller' } as const) : decideRequest(rule, request.method, request.raw.url ?? '');
      if (verdict.ok) return;
      visit?.onRefused(verdict.code, verdict.reason);
      await reply.code(403).header('x-proxima-refused', verdict.code).send({ error: 'refused', code: verdict.code, reason: verdict.reason });
    });
    await app.register(proxy, {
      upstream: rule.general?.upstream ?? '',
      ...(rule.general?.rewritePrefix === null || rule.general === null ? {} : { rewritePrefix: rule.general.rewritePrefix }),
      websocket: true,
      undici: { bodyTimeout: 0 },
      replyOptions: {
        rewriteRequestHeaders: (request, headers) => {
          const kept = Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('x-proxima-')));
          return { ...kept, 'x-proxima-caller': this.#visits.get(request.raw.socket)?.caller ?? '' };
        },
      },
    });
    await app.ready();
    return app;
  }
}
