/** One request of the REST face: find the route -> who asks -> decode -> answer. Knows nothing of sockets: the listener and the API server both use it. */
import { Counter, Registry } from 'prom-client';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import { decodeBodyBy } from './rest-input.ts';
import { openApi } from './rest-openapi.ts';
import { ROUTES, type Caller, type Route, type RouteDeps } from './rest-routes.ts';

export interface RestAsk {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly contentType: string;
  readonly body: Buffer | null;
  /** Called when the route needs to know; throws when the credential is none or not believed. */
  readonly caller: () => Caller;
}

export interface RestAnswer {
  readonly status: number;
  readonly body: string;
}

export interface RestApiOptions {
  /** May `/v1/steering` be asked without a credential? @default false */
  readonly openSteering?: boolean;
}

const STATUS: Readonly<Record<string, number>> = { invalid: 400, unauthenticated: 401, forbidden: 403, 'not-found': 404, 'too-large': 413, unsupported: 415, unavailable: 503 };
const ANYBODY: Caller = { name: 'anybody', tenant: null, defaultTenant: 'system' };
const DOCUMENT = '/v1/openapi.json';
const MAX_URL = 8192;
/** After a dry run of t ms the next one waits 2 t: placement keeps two thirds of the processor. */
const REST_FACTOR = 2;
/** Dry runs as quick as this are not counted. */
const FREE_MS = 20;
const MAX_PAUSE_MS = 10_000;
const MAX_WAITING = 32;

export class RestApi {
  readonly #d: RouteDeps & { readonly log: Logger; readonly clock: Clock };
  readonly #o: RestApiOptions;
  readonly registry = new Registry();
  readonly #requests = new Counter({ name: 'proxima_global_rest_requests_total', help: 'Requests of the REST face, by path and status', labelNames: ['path', 'status'], registers: [this.registry] });
  readonly #document = JSON.stringify(openApi(ROUTES));
  #freeAt = 0;
  #waiting = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(deps: RouteDeps & { readonly log: Logger; readonly clock: Clock }, options: RestApiOptions = {}) {
    this.#d = deps;
    this.#o = options;
  }

  async answer(ask: RestAsk): Promise<RestAnswer> {
    const answer = await this.#answer(ask);
    const path = ask.url.split('?')[0] ?? '';
    this.#requests.inc({ path: path === DOCUMENT || ROUTES.some((r) => r.path === path) ? path : 'other', status: String(answer.status) });
    return answer;
  }

  async #answer(ask: RestAsk): Promise<RestAnswer> {
    try {
      return { status: 200, body: await this.#serve(ask) };
    } catch (error) {
      const known = isMeshError(error) ? error : null;
      if (known === null) this.#d.log.error('REST request failed', { err: error, path: ask.url.split('?')[0] ?? '' });
      const path = known?.fields['path'];
      const body = { error: known?.kind ?? 'internal', message: known?.message ?? 'an error on the server has prevented the request from succeeding', path: typeof path === 'string' ? path : null, next: known?.next ?? null };
      return { status: statusOf(known), body: JSON.stringify(body) };
    }
  }

  async #serve(ask: RestAsk): Promise<string> {
    if (ask.url.length > MAX_URL) throw new MeshError('too-large', `the URL is longer than ${MAX_URL} characters`);
    const cut = ask.url.indexOf('?');
    const path = cut < 0 ? ask.url : ask.url.slice(0, cut);
    if (path === DOCUMENT && ask.method === 'GET') return this.#document;
    const route = routeOf(ask.method, path);
    const caller = route.mayBeOpen && this.#o.openSteering === true ? ANYBODY : ask.caller();
    if (route.operators && caller.tenant !== null) throw new MeshError('forbidden', `${path} is the operators'; the credential is of tenant "${caller.tenant}"`);
    const query = queryOf(route, new URLSearchParams(cut < 0 ? '' : ask.url.slice(cut + 1)));
    const body = route.body === null ? {} : decodeBodyBy(route.body, ask.contentType, ask.body);
    const answer = (): unknown => route.answer({ query, body, caller }, this.#d);
    return JSON.stringify(route.plans ? await this.#inTurn(answer) : await answer());
  }

  /** One after the other, each after a pause for what the one before took. */
  async #inTurn(answer: () => unknown): Promise<unknown> {
    if (this.#waiting >= MAX_WAITING) throw new MeshError('unavailable', `${MAX_WAITING} dry runs wait already`, { next: 'ask again in a few seconds' });
    this.#waiting += 1;
    const { clock } = this.#d;
    const turn = this.#last.then(async () => {
      const pause = this.#freeAt - clock.now();
      if (pause > 0) await clock.sleep(Math.min(pause, MAX_PAUSE_MS));
      const started = clock.now();
      return (async () => answer())().finally(() => void (this.#freeAt = clock.now() + Math.max(0, clock.now() - started - FREE_MS) * REST_FACTOR));
    });
    void turn.catch(() => undefined).then(() => void (this.#waiting -= 1));
    this.#last = turn.then(() => undefined, () => undefined);
    return turn;
  }
}

function statusOf(error: MeshError | null): number {
  if (error?.fields['reason'] === 'MethodNotAllowed') return 405;
  return error === null ? 500 : (STATUS[error.kind] ?? 500);
}

function routeOf(method: string, path: string): Route {
  const here = ROUTES.filter((r) => r.path === path);
  const found = here.find((r) => r.method === method);
  if (found !== undefined) return found;
  if (here.length > 0) throw new MeshError('unsupported', `${path} takes ${here.map((r) => r.method).join(' and ')}, not ${method}`, { fields: { path: 'method', reason: 'MethodNotAllowed' } });
  throw new MeshError('not-found', `nothing is at ${path}; there are ${[...new Set(ROUTES.map((r) => r.path)), DOCUMENT].join(', ')}`);
}

function queryOf(route: Route, query: URLSearchParams): Readonly<Record<string, string>> {
  const names = route.parameters.map((p) => p.name);
  for (const key of query.keys()) {
    if (!names.includes(key)) throw new MeshError('invalid', `unknown parameter "${key}"; ${route.path} takes ${names.join(', ') || 'none'}`, { fields: { path: key } });
    if (query.getAll(key).length > 1) throw new MeshError('invalid', `parameter "${key}" is there twice`, { fields: { path: key } });
  }
  for (const p of route.parameters) if (p.required && (query.get(p.name) ?? '') === '') throw new MeshError('invalid', `parameter "${p.name}" is required`, { fields: { path: p.name } });
  return Object.fromEntries(query);
}
