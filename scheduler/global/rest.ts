/** The REST face: steering for clients, and plan, why, what-if and placements for the command line and other programs. Reads only. */
import { fastify, type FastifyInstance } from 'fastify';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Service } from '../../base/lifecycle.ts';
import { planDiff, whatIf, why } from './explain.ts';
import type { GlobalScheduler, Snapshot } from './global-scheduler.ts';

export interface RestOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly key: string; readonly cert: string } | null;
}

type Query = Readonly<Record<string, string | undefined>>;

const STATUS: Readonly<Record<string, number>> = { invalid: 400, 'not-found': 404, unavailable: 503 };

export class Rest implements Service {
  readonly name = 'global REST';
  readonly #app: FastifyInstance;
  readonly #o: RestOptions;
  #port = 0;

  constructor(scheduler: GlobalScheduler, options: RestOptions) {
    this.#o = options;
    this.#app = fastify({ ...(options.tls === null ? {} : { https: options.tls }), bodyLimit: 65_536, forceCloseConnections: true }) as unknown as FastifyInstance;
    this.#routes(scheduler);
  }

  get port(): number {
    return this.#port;
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

  #routes(scheduler: GlobalScheduler): void {
    const snapshot = (): Snapshot => {
      if (scheduler.snapshot === null) throw new MeshError('unavailable', 'nothing was planned yet: no region has answered, or another instance leads');
      return scheduler.snapshot;
    };
    const get = (path: string, known: readonly string[], answer: (q: Query) => unknown): void => {
      this.#app.get(path, (request) => {
        const query = request.query as Query;
        for (const key of Object.keys(query)) if (!known.includes(key)) throw new MeshError('invalid', `unknown parameter "${key}"; ${path} takes ${known.join(', ') || 'none'}`, { fields: { path: key } });
        return answer(query);
      });
    };
    const need = (q: Query, name: string): string => {
      const value = q[name];
      if (value === undefined || value === '') throw new MeshError('invalid', `parameter "${name}" is required`, { fields: { path: name } });
      return value;
    };
    this.#app.setErrorHandler((error, _request, reply) => {
      const known = isMeshError(error) ? error : null;
      void reply.status(known === null ? 500 : (STATUS[known.kind] ?? 500)).send({ error: known?.kind ?? 'internal', message: (error as Error).message, next: known?.next ?? null });
    });
    get('/v1/steering', ['application', 'clientRegion'], (q) => {
      const fronts = scheduler.steering(need(q, 'application'), need(q, 'clientRegion'));
      if (fronts === null) throw new MeshError('not-found', `no application "${q['application'] ?? ''}" is placed`);
      return { fronts };
    });
    get('/v1/plan', [], () => ({ at: snapshot().at, changes: planDiff(snapshot().plan) }));
    get('/v1/placements', [], () => ({ placements: [...snapshot().objects.placements].map(([application, p]) => ({ application, spec: p.spec, status: p.status ?? {} })) }));
    get('/v1/why', ['application', 'site'], (q) => why(snapshot(), need(q, 'application'), q['site']));
    get('/v1/what-if', ['siteDown'], (q) => ({ changes: whatIf(snapshot(), need(q, 'siteDown').split(',')) }));
    get('/v1/sites', [], () => ({ sites: snapshot().model.sites.map((s) => ({ ...s, reason: snapshot().states.get(s.name)?.reason ?? '' })), repairs: Object.fromEntries(scheduler.telemetry.repairs) }));
    get('/v1/demand', [], () => ({ demand: snapshot().model.applications.map((a) => ({ application: a.key, regions: Object.fromEntries(a.demand.map((d) => [snapshot().model.clientRegions[d.region], Math.round(d.rps * 100) / 100])) })) }));
  }
}
