/** The REST face on an address of its own, for clients that ask for steering and for programs; the global API serves the same under `/v1`. */
import type { IncomingMessage } from 'node:http';
import { Server as TlsServer } from 'node:tls';
import { fastify, type FastifyInstance } from 'fastify';
import { MeshError } from '../../api/errors.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { RestApi } from './rest-api.ts';
import { LIMITS } from './rest-input.ts';
import type { Caller } from './rest-routes.ts';

export interface RestOptions {
  readonly host: string;
  readonly port: number;
  /** PEM; `ca`: what client certificates must chain to. null = plain HTTP, where only tokens and open steering are of use. */
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string } | null;
}

export interface RestDeps {
  readonly api: RestApi;
  /** Throws `unauthenticated` or `forbidden`. */
  readonly authenticate: (request: IncomingMessage) => Caller;
}

export class Rest implements Service {
  readonly name = 'global REST';
  readonly #app: FastifyInstance;
  readonly #o: RestOptions;
  #port = 0;

  constructor(deps: RestDeps, options: RestOptions) {
    this.#o = options;
    const { tls } = options;
    this.#app = fastify({ ...(tls === null ? {} : { https: { ...tls, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2' } }), bodyLimit: LIMITS.bytes, forceCloseConnections: true }) as unknown as FastifyInstance;
    this.#app.removeAllContentTypeParsers();
    this.#app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    this.#app.setErrorHandler((error, _request, reply) => {
      const isLarge = (error as { readonly code?: string }).code === 'FST_ERR_CTP_BODY_TOO_LARGE';
      void reply.status(isLarge ? 413 : 400).send({ error: isLarge ? 'too-large' : 'invalid', message: isLarge ? `the body is larger than ${LIMITS.bytes} bytes` : (error as Error).message, path: null, next: null });
    });
    this.#app.all('/*', async (request, reply) => {
      const answer = await deps.api.answer({ method: request.method, url: request.url, contentType: (request.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '', body: Buffer.isBuffer(request.body) ? request.body : null, caller: () => deps.authenticate(request.raw) });
      return reply.status(answer.status).type('application/json').send(answer.body);
    });
  }

  get port(): number {
    return this.#port;
  }

  /** New certificates for connections from now on; open ones stay. */
  setTls(tls: NonNullable<RestOptions['tls']>): void {
    const { server } = this.#app;
    if (server instanceof TlsServer) server.setSecureContext(tls);
  }

  async start(): Promise<void> {
    try {
      await this.#app.listen({ host: this.#o.host, port: this.#o.port });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw new MeshError('port-in-use', `rest.port: ${this.#o.host}:${this.#o.port} is in use`, { cause: error, next: 'choose another rest.port' });
      throw error;
    }
    const address = this.#app.server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : this.#o.port;
  }

  async stop(): Promise<void> {
    await this.#app.close();
  }
}
