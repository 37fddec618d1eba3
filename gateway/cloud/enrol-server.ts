/**
 * The HTTPS side of a cloud gateway: /trust, /enrol and /renew for nodes that have no valid certificate (yet), and /refusals, /sites and
 * /metrics for operators, who show one.
 */
import type { TLSSocket } from 'node:tls';
import type { Server } from 'node:https';
import { fastify } from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { ErrorKind } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import { Enrolment } from '../../certs/enrolment.ts';
import { identityOf } from '../../certs/names.ts';
import type { IdentityKind } from '../../certs/names.ts';
import type { TlsIdentity } from '../presence/listeners.ts';
import type { Refusals } from '../presence/refusals.ts';
import type { GatewayMetrics } from './metrics.ts';

export interface EnrolServerOptions {
  readonly log: Logger;
  readonly tls: TlsIdentity;
  readonly enrolment: Enrolment;
  readonly refusals: Refusals;
  readonly metrics: GatewayMetrics;
  readonly sites: () => unknown;
  readonly isRevoked: (serial: string) => boolean;
}

const STATUS: Partial<Record<ErrorKind, number>> = { invalid: 400, unauthenticated: 401, expired: 401, forbidden: 403, 'not-found': 404, 'already-exists': 409, conflict: 409, 'too-large': 413, unavailable: 503, timeout: 504 };
const OPERATORS: readonly IdentityKind[] = ['admin', 'global', 'region', 'cloud-gateway'];

export class EnrolServer {
  readonly #o: EnrolServerOptions;
  readonly #app: FastifyInstance<Server>;

  constructor(options: EnrolServerOptions) {
    this.#o = options;
    this.#app = fastify({
      // Nobody has a certificate before joining, so one is asked for and not insisted on.
      https: { ...options.tls, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.3' },
      bodyLimit: 65_536,
      forceCloseConnections: true,
      requestTimeout: 15_000,
    });
    this.#routes();
  }

  async listen(address: string, port: number): Promise<number> {
    try {
      await this.#app.listen({ host: address, port });
    } catch (error) {
      throw new MeshError((error as NodeJS.ErrnoException).code === 'EADDRINUSE' ? 'port-in-use' : 'io', `enrol: cannot listen at ${address}:${port}: ${(error as Error).message}`, { cause: error, fields: { path: 'enrol.port' } });
    }
    const bound = this.#app.server.address();
    return typeof bound === 'object' && bound !== null ? bound.port : port;
  }

  renew(tls: TlsIdentity): void {
    this.#app.server.setSecureContext({ ...tls, minVersion: 'TLSv1.3' });
  }

  async stop(): Promise<void> {
    await this.#app.close();
  }

  #routes(): void {
    const app = this.#app;
    const { enrolment, metrics, log, refusals } = this.#o;
    app.setErrorHandler((error, request, reply) => this.#fail(error, request, reply));
    app.setNotFoundHandler((request, reply) => this.#fail(new MeshError('not-found', `${request.method} ${request.url} is nothing here`), request, reply));
    app.get('/trust', () => enrolment.trust());
    app.get('/healthz', () => ({ ok: true }));
    app.post('/enrol', async (request) => {
      const answer = await enrolment.enrol(request.body, request.ip);
      metrics.enrolled('enrolled');
      log.info('node enrolled', { uses: answer.certificates.map((c) => c.use), address: request.ip });
      return answer;
    });
    app.post('/renew', (request) => {
      const answer = enrolment.renew(request.body);
      metrics.enrolled('renewed');
      return answer;
    });
    const operators = { onRequest: async (request: FastifyRequest): Promise<void> => this.#requireOperator(request) };
    app.get('/refusals', operators, () => ({ refusals: refusals.list() }));
    app.get('/sites', operators, () => this.#o.sites());
    app.get('/metrics', operators, async (_request, reply) => reply.type('text/plain; version=0.0.4').send(await metrics.text()));
  }

  #requireOperator(request: FastifyRequest): void {
    const socket = request.raw.socket as TLSSocket;
    if (!socket.authorized) throw new MeshError('unauthenticated', 'a client certificate of this mesh is needed here', { next: 'use an admin certificate: proxima certs issue' });
    const id = identityOf(socket.getPeerCertificate());
    if (this.#o.isRevoked(id.serial)) throw new MeshError('unauthenticated', `the certificate ${id.serial} is revoked`);
    if (!OPERATORS.includes(id.kind)) throw new MeshError('forbidden', `${id.uri} is no operator`);
  }

  #fail(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const known = isMeshError(error);
    const status = known ? (STATUS[error.kind] ?? 500) : ((error as { statusCode?: number }).statusCode ?? 500);
    if (!known && status >= 500) this.#o.log.error('enrolment request failed', { path: request.url, err: error });
    const isEnrolment = request.url === '/enrol' || request.url === '/renew';
    if (isEnrolment) {
      this.#o.metrics.enrolled('refused');
      const site = (request.body as { site?: unknown } | null | undefined)?.site;
      this.#o.refusals.record({ site: typeof site === 'string' ? site.slice(0, 63) : null, target: request.url.slice(1), caller: request.ip, code: 'token', reason: (error as Error).message });
    }
    const kind: ErrorKind = known ? error.kind : status >= 500 ? 'internal' : 'invalid';
    return reply.code(status).send({ kind, message: known || status < 500 ? (error as Error).message : 'internal error', ...(known && error.next !== null ? { next: error.next } : {}) });
  }
}
