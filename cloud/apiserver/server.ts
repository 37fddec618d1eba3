/**
 * The Kubernetes-style API server as a library. A region and the global plane each make one with their own store and list of kinds:
 * HTTPS (or HTTP without `tls`) for everybody else, `localClient` for the code in the same process.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { Server as TlsServer } from 'node:tls';
import { Counter, Registry as Metrics } from 'prom-client';
import type { Client, ResourceId } from '../../api/client.ts';
import type { KindDefinition } from '../../api/definition.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import { isFenced } from '../../api/lease-fence.ts';
import { Resources } from '../../api/resources.ts';
import { systemClock, type Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import type { Store } from '../store/port.ts';
import { Authenticator, type AuthOptions } from './authenticate.ts';
import { mediaType } from './body.ts';
import { Discovery } from './discovery.ts';
import { readBody, Reply } from './exchange.ts';
import { type Identity, masterIdentity, SYSTEM_TENANT } from './identity.ts';
import { Latency } from './latency.ts';
import { LocalClient } from './local-client.ts';
import { isStreamed, type PodAgents } from './pod-agents.ts';
import { Purge } from './purge.ts';
import { Registry, type Review } from './registry.ts';
import { parsePath, Query, type ResourcePath } from './request.ts';
import { handleResource, type Answer, type HandlerDeps } from './resource-handler.ts';
import { answerReview, isReview } from './reviews.ts';
import { statusOf } from './status.ts';

export interface TlsMaterial {
  /** PEM. */
  readonly key: string;
  readonly cert: string;
  /** PEM bundle that client certificates must chain to. */
  readonly ca: string;
}

export interface ApiServerOptions {
  readonly store: Store;
  readonly kinds: readonly KindDefinition[];
  readonly listen: { readonly host: string; readonly port: number };
  /** null = plain HTTP, for tests and for a loopback behind something else. */
  readonly tls: TlsMaterial | null;
  readonly auth: AuthOptions;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly podAgents?: PodAgents;
  readonly review?: Review;
  /** Paths beside the Kubernetes API, for callers whom the server has identified. */
  readonly beside?: Beside;
  /** What else of this process is counted, as Prometheus reads it; for /metrics. */
  readonly moreMetrics?: () => Promise<string>;
  /** Why callers should go to another server; null = this one serves. For /readyz. */
  readonly unready?: () => string | null;
  /** Namespaces of the tenant `system` that are there from the start. @default ['default', 'kube-system', 'kube-node-lease'] */
  readonly systemNamespaces?: readonly string[];
}

/** Another API on the same address, with the same credentials. */
export interface Beside {
  /** `/v1/` */
  readonly prefix: string;
  answer(ask: { readonly method: string; readonly url: string; readonly contentType: string; readonly body: Buffer | null; readonly who: Identity }): Promise<Answer & object>;
}

export interface ApiServer extends Service {
  /** Known after start; `https://127.0.0.1:6443`. */
  readonly url: string;
  readonly port: number;
  localClient(who?: Identity): Client;
  /** New certificates for connections from now on; open ones stay. */
  setTls(tls: TlsMaterial): void;
}

/** Longer than the idle time of clients' own pools, so that it is they who close. */
const KEEP_ALIVE_MS = 75_000;
const MIN_TLS = 'TLSv1.2';

export function createApiServer(options: ApiServerOptions): ApiServer {
  return new HttpApiServer(options);
}

class HttpApiServer implements ApiServer {
  readonly name = 'api server';
  readonly #o: ApiServerOptions;
  readonly #registry: Registry;
  readonly #byPlural: ReadonlyMap<string, readonly KindDefinition[]>;
  readonly #discovery: Discovery;
  readonly #purge: Purge;
  readonly #server: Server;
  readonly #deps: HandlerDeps;
  readonly #authenticator: Authenticator;
  readonly #stopping = new AbortController();
  readonly #metrics = new Metrics();
  readonly #latency = new Latency(this.#metrics);
  readonly #fenced: Counter;
  #url = '';
  #port = 0;
  #isReady = false;

  constructor(options: ApiServerOptions) {
    this.#o = options;
    const clock = options.clock ?? systemClock;
    this.#registry = new Registry({ store: options.store, clock, ...(options.review === undefined ? {} : { review: options.review }) });
    this.#byPlural = Map.groupBy(options.kinds, (d) => d.resource.plural);
    this.#discovery = new Discovery(options.kinds);
    this.#purge = new Purge({ registry: this.#registry, kinds: options.kinds, log: options.log, clock });
    this.#authenticator = new Authenticator(options.auth);
    this.#deps = {
      registry: this.#registry,
      find: (group, version, plural) => this.#byPlural.get(plural)?.find(({ resource: r }) => r.group === group && r.version === version) ?? null,
      podAgents: options.podAgents ?? null,
      log: options.log,
      now: () => clock.now(),
    };
    this.#fenced = new Counter({ name: 'apiserver_fenced_writes_total', help: 'Writes refused because the lease that they name was handed on', registers: [this.#metrics] });
    this.#server = this.#createServer();
  }

  get url(): string {
    return this.#url;
  }

  get port(): number {
    return this.#port;
  }

  localClient(who: Identity = masterIdentity): Client {
    return new LocalClient(this.#registry, (r) => this.#lookup(r), who);
  }

  #lookup(r: ResourceId): KindDefinition {
    const def = this.#deps.find(r.group, r.version, r.plural);
    if (def === null) throw new MeshError('not-found', `this server has no ${r.plural} (${r.group === '' ? 'core' : r.group}/${r.version})`);
    return def;
  }

  setTls(tls: TlsMaterial): void {
    const server = this.#server;
    if (server instanceof TlsServer) server.setSecureContext({ key: tls.key, cert: tls.cert, ca: tls.ca, minVersion: MIN_TLS });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#seed();
    const { host, port } = this.#o.listen;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject).listen(port, host, () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw new MeshError('port-in-use', `${host}:${port} is in use`, { cause: error, fields: { port }, next: 'choose another port, or stop what listens there' });
      throw error;
    }
    const address = this.#server.address();
    this.#port = address !== null && typeof address === 'object' ? address.port : port;
    const shown = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
    this.#url = `${this.#o.tls === null ? 'http' : 'https'}://${shown}:${this.#port}`;
    await this.#purge.start(signal);
    this.#isReady = true;
    this.#o.log.info('api server listens', { url: this.#url });
  }

  async stop(): Promise<void> {
    this.#isReady = false;
    this.#stopping.abort(new Error('the server stops'));
    await this.#purge.stop();
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  /** The tenant of operators and nodes is there before anybody calls. */
  async #seed(): Promise<void> {
    const client = this.localClient();
    const made = async (what: Promise<unknown>): Promise<void> => {
      await what.catch((error: unknown) => {
        if (!isMeshError(error, 'already-exists')) throw error;
      });
    };
    await made(client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: SYSTEM_TENANT } }));
    for (const name of this.#o.systemNamespaces ?? ['default', 'kube-system', 'kube-node-lease']) {
      await made(client.create(Resources.Namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name, tenant: SYSTEM_TENANT } }));
    }
  }

  #createServer(): Server {
    const tls = this.#o.tls;
    // Bodies have a time limit of their own (`readBody`), streamed ones have none: a console stays open.
    const common = { keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: 0 };
    const server = tls === null ? createServer(common) : createTlsServer({ ...common, key: tls.key, cert: tls.cert, ca: tls.ca, requestCert: true, rejectUnauthorized: false, minVersion: MIN_TLS });
    return server.on('request', (request, response) => {
      const reply = new Reply(response);
      const serve = (body: Buffer | null, error: Error | null): void => {
        if (error === null) void this.#serve(request, body, reply);
        else this.#fail(error, reply);
      };
      if (isStreamed(request)) serve(null, null);
      else readBody(request, serve);
    });
  }

  async #serve(request: IncomingMessage, body: Buffer | null, reply: Reply): Promise<void> {
    try {
      const url = request.url ?? '/';
      const cut = url.indexOf('?');
      const query = new Query(cut < 0 ? '' : url.slice(cut + 1));
      const parsed = parsePath(cut < 0 ? url : url.slice(0, cut));
      if (parsed.kind === 'other' && this.#serveHealth(parsed.path, reply)) return;
      const who = this.#authenticator.identify(request);
      const started = performance.now();
      const answer = await (parsed.kind === 'other' ? this.#answerOther(parsed.path, request, body, reply, who) : this.#answer(parsed.at, request, body, reply, query, who));
      if (answer === null) return;
      this.#latency.observe(request.method ?? '', answer.code, performance.now() - started);
      if (answer.warnings !== undefined && answer.warnings.length > 0) reply.header('Warning', answer.warnings.map((w) => `299 - ${JSON.stringify(w)}`));
      reply.code(answer.code).header('content-type', 'application/json').send(answer.body);
    } catch (error) {
      this.#fail(error as Error, reply);
    }
  }

  async #answerOther(path: string, request: IncomingMessage, body: Buffer | null, reply: Reply, who: Identity): Promise<Answer> {
    if (path === '/metrics') {
      reply.header('content-type', this.#metrics.contentType).send(`${await this.#metrics.metrics()}${(await this.#o.moreMetrics?.()) ?? ''}`);
      return null;
    }
    const { beside } = this.#o;
    if (beside !== undefined && path.startsWith(beside.prefix)) return beside.answer({ method: request.method ?? '', url: request.url ?? '', contentType: mediaType(request.headers['content-type']), body, who });
    this.#discovery.serve(path, request, reply);
    return null;
  }

  async #answer(path: ResourcePath, request: IncomingMessage, body: Buffer | null, reply: Reply, query: Query, who: Identity): Promise<Answer> {
    const contentType = mediaType(request.headers['content-type']);
    if (isReview(path)) return answerReview(path, who, contentType, body);
    const streams = path.subresource === 'log' || path.subresource.startsWith('vm/') || query.text('watch') !== '';
    try {
      const answer = await handleResource(this.#deps, {
        method: request.method ?? '',
        path,
        query,
        accept: request.headers.accept ?? '',
        contentType,
        body,
        who,
        userAgent: request.headers['user-agent'] ?? '',
        raw: reply.raw,
        request,
        stopping: this.#stopping.signal,
      });
      return this.#finish(streams, reply, answer);
    } catch (error) {
      if (!streams) throw error;
      const status = this.#statusOf(error as Error);
      this.#finish(true, reply, { code: status.code, body: Buffer.from(JSON.stringify(status)) });
      return null;
    }
  }

  /** The reply of a stream that turned out to be an ordinary one (an error before the first byte, `watch=false`). */
  #finish(streams: boolean, reply: Reply, answer: Answer): Answer {
    if (!streams || answer === null) return answer;
    if (reply.raw.headersSent) reply.raw.destroy();
    else reply.raw.writeHead(answer.code, { 'content-type': 'application/json' }).end(answer.body);
    return null;
  }

  #serveHealth(path: string, reply: Reply): boolean {
    const [, word = ''] = path.split('/');
    if (word !== 'livez' && word !== 'readyz' && word !== 'healthz') return false;
    const why = word === 'livez' ? null : this.#isReady ? (this.#o.unready?.() ?? null) : 'starting';
    reply.code(why === null ? 200 : 503).header('content-type', 'text/plain').send(why ?? 'ok');
    return true;
  }

  #statusOf(error: Error): ReturnType<typeof statusOf> {
    if (isFenced(error)) this.#fenced.inc();
    if (isMeshError(error)) return statusOf(error);
    this.#o.log.error('request failed', { err: error });
    return statusOf(new MeshError('internal', 'an error on the server has prevented the request from succeeding'));
  }

  #fail(error: Error, reply: Reply): void {
    const status = this.#statusOf(error);
    if (reply.raw.headersSent) {
      reply.raw.destroy();
      return;
    }
    // What is left of an oversized body is not worth reading to keep the connection.
    if (status.code === 413) reply.header('connection', 'close');
    reply.code(status.code).header('content-type', 'application/json').send(JSON.stringify(status));
  }
}
