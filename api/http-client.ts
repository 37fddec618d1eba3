/** `Client` over HTTPS: any Kubernetes-style server, ours or a real cluster (leave `tenant` null there). */
import type { Dispatcher } from 'undici';
import type { Client, ListOptions, ListResult, Place, ResourceId, WatchEvent, WriteOptions } from './client.ts';
import { MeshError } from './errors.ts';
import { Agent, request } from './http-agent.ts';
import type { Access } from './kubeconfig.ts';
import { FENCE_HEADER, fenceText } from './lease-fence.ts';
import type { KubeObject } from './object.ts';
import { errorOfStatus } from './status.ts';

export interface HttpClientOptions {
  readonly userAgent?: string;
  /** For one request and its answer. @default 30000 */
  readonly timeoutMs?: number;
  /** Longest silence on a watch before it counts as broken; servers send a bookmark twice a minute. @default 75000 */
  readonly watchSilenceMs?: number;
  /** Sockets at once; watches hold one each. @default 128 */
  readonly connections?: number;
}

export type HttpClient = Client & {
  /** Ends open requests and watches. */
  close(): Promise<void>;
};

const JSON_BODY = 'application/json';
const MERGE_PATCH = 'application/merge-patch+json';

export function createHttpClient(access: Access, options: HttpClientOptions = {}): HttpClient {
  return new UndiciClient(access, options);
}

class UndiciClient implements HttpClient {
  readonly #origin: string;
  readonly #prefix: string;
  readonly #ownTenant: string | null;
  readonly #agent: Agent;
  readonly #headers: Record<string, string>;
  readonly #o: HttpClientOptions;

  constructor(access: Access, options: HttpClientOptions) {
    const url = new URL(access.server);
    this.#origin = url.origin;
    this.#prefix = url.pathname.replace(/\/+$/, '');
    this.#ownTenant = /\/tenants\/([^/]+)$/.exec(this.#prefix)?.[1] ?? null;
    this.#o = options;
    const c = access.credential;
    this.#headers = { accept: 'application/json', 'user-agent': options.userAgent ?? 'proxima', ...(c.kind === 'token' ? { authorization: `Bearer ${c.token}` } : {}) };
    this.#agent = new Agent({
      connections: options.connections ?? 128,
      pipelining: 1,
      headersTimeout: options.timeoutMs ?? 30_000,
      bodyTimeout: options.timeoutMs ?? 30_000,
      connect: {
        timeout: Math.min(10_000, options.timeoutMs ?? 10_000),
        ...(access.ca === null ? {} : { ca: access.ca }),
        ...(c.kind === 'certificate' ? { cert: c.cert, key: c.key } : {}),
        ...(access.serverName === undefined ? {} : { servername: access.serverName }),
      },
    });
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  get<T extends KubeObject>(resource: ResourceId, place: Place, name: string): Promise<T> {
    return this.#call<T>('GET', this.#path(resource, place, name));
  }

  async list<T extends KubeObject>(resource: ResourceId, options: ListOptions = {}): Promise<ListResult<T>> {
    const place = { tenant: options.tenant ?? null, namespace: options.namespace ?? null };
    const body = await this.#call<{ readonly items: readonly T[] | null; readonly metadata: { readonly resourceVersion: string } }>('GET', `${this.#path(resource, place, '')}${search(options, {})}`);
    // Items of a real cluster's list come without kind and apiVersion.
    const apiVersion = resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
    const items = (body.items ?? []).map((i) => (i.kind === undefined ? { ...i, apiVersion, kind: resource.kind } : i));
    return { items, resourceVersion: body.metadata.resourceVersion };
  }

  create<T extends KubeObject>(resource: ResourceId, object: T, options: WriteOptions = {}): Promise<T> {
    return this.#call<T>('POST', this.#path(resource, placeOf(resource, object), ''), object, JSON_BODY, options);
  }

  update<T extends KubeObject>(resource: ResourceId, object: T, options: WriteOptions = {}): Promise<T> {
    return this.#call<T>('PUT', this.#path(resource, placeOf(resource, object), object.metadata.name), object, JSON_BODY, options);
  }

  updateStatus<T extends KubeObject>(resource: ResourceId, object: T, options: WriteOptions = {}): Promise<T> {
    return this.#call<T>('PUT', `${this.#path(resource, placeOf(resource, object), object.metadata.name)}/status`, object, JSON_BODY, options);
  }

  patch<T extends KubeObject>(resource: ResourceId, place: Place, name: string, patch: unknown, options: WriteOptions & { readonly subresource?: 'status' } = {}): Promise<T> {
    const tail = options.subresource === undefined ? '' : `/${options.subresource}`;
    return this.#call<T>('PATCH', `${this.#path(resource, place, name)}${tail}`, patch, MERGE_PATCH, options);
  }

  async delete(resource: ResourceId, place: Place, name: string, options: WriteOptions & { readonly uid?: string; readonly propagation?: 'Background' | 'Foreground' | 'Orphan'; readonly gracePeriodSeconds?: number } = {}): Promise<void> {
    const { uid, propagation, gracePeriodSeconds } = options;
    const body = {
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      ...(uid === undefined ? {} : { preconditions: { uid } }),
      ...(propagation === undefined ? {} : { propagationPolicy: propagation }),
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    };
    await this.#call('DELETE', this.#path(resource, place, name), body, JSON_BODY, options);
  }

  async *watch<T extends KubeObject>(resource: ResourceId, options: ListOptions & { readonly resourceVersion: string }, signal: AbortSignal): AsyncIterable<WatchEvent<T>> {
    const place = { tenant: options.tenant ?? null, namespace: options.namespace ?? null };
    const path = `${this.#path(resource, place, '')}${search(options, { watch: 'true', allowWatchBookmarks: 'true', resourceVersion: options.resourceVersion })}`;
    if (signal.aborted) return;
    try {
      const response = await this.#send('GET', path, undefined, undefined, { signal, bodyTimeout: this.#o.watchSilenceMs ?? 75_000 });
      for await (const line of lines(response.body)) yield eventOf<T>(line);
    } catch (error) {
      if (signal.aborted) return;
      throw translate(error, this.#origin);
    }
  }

  /** Explicit tenant form unless the tenant is the credential's or already in the server's URL. */
  #path(resource: ResourceId, place: Place, name: string): string {
    const base = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
    const isOwn = place.tenant === null || place.tenant === this.#ownTenant;
    const tenant = resource.scope === 'cluster' || isOwn ? '' : `/tenants/${encodeURIComponent(place.tenant ?? '')}`;
    const namespace = resource.scope === 'namespace' && place.namespace !== null ? `/namespaces/${encodeURIComponent(place.namespace)}` : '';
    return `${this.#prefix}${base}${tenant}${namespace}/${resource.plural}${name === '' ? '' : `/${encodeURIComponent(name)}`}`;
  }

  async #call<T>(method: Dispatcher.HttpMethod, path: string, body?: unknown, contentType = JSON_BODY, { fence }: WriteOptions = {}): Promise<T> {
    try {
      const response = await this.#send(method, path, body, contentType, fence === undefined ? {} : { fence: fenceText(fence) });
      return (await response.body.json()) as T;
    } catch (error) {
      throw translate(error, this.#origin);
    }
  }

  async #send(method: Dispatcher.HttpMethod, path: string, body: unknown, contentType: string | undefined, { fence, ...extra }: { readonly signal?: AbortSignal; readonly bodyTimeout?: number; readonly fence?: string }): Promise<Dispatcher.ResponseData> {
    const headers = body === undefined ? this.#headers : { ...this.#headers, 'content-type': contentType ?? JSON_BODY, ...(fence === undefined ? {} : { [FENCE_HEADER]: fence }) };
    const response = await request(this.#agent, { origin: this.#origin, path, method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }), ...extra });
    if (response.statusCode < 300) return response;
    const text = await response.body.text();
    throw errorOfStatus(parseOrText(text), response.statusCode);
  }
}

function parseOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return { message: text.slice(0, 200) }; // not a Status: something between us and the server answered
  }
}

function placeOf(resource: ResourceId, object: KubeObject): Place {
  const { tenant, namespace } = object.metadata;
  return { tenant: tenant ?? null, namespace: namespace ?? (resource.scope === 'namespace' ? 'default' : null) };
}

function search(options: ListOptions, more: Readonly<Record<string, string>>): string {
  const params = new URLSearchParams(more);
  if (options.labelSelector !== undefined && options.labelSelector !== '') params.set('labelSelector', options.labelSelector);
  if (options.fieldSelector !== undefined && options.fieldSelector !== '') params.set('fieldSelector', options.fieldSelector);
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}

const MAX_LINE_BYTES = 16 * 1024 * 1024;

/** Complete lines; what is left when the stream ends was cut off and is dropped. */
async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const last = chunk.subarray(from, end);
      yield parts.length === 0 ? last.toString('utf8') : Buffer.concat([...parts, last]).toString('utf8');
      parts = [];
      size = 0;
      from = end + 1;
    }
    if (from < chunk.length) parts.push(chunk.subarray(from));
    size += chunk.length - from;
    if (size > MAX_LINE_BYTES) throw new MeshError('too-large', 'a watch event is larger than 16 MiB');
  }
}

function eventOf<T extends KubeObject>(line: string): WatchEvent<T> {
  const event = JSON.parse(line) as { readonly type: string; readonly object: T };
  switch (event.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type: event.type, object: event.object };
    case 'BOOKMARK':
      return { type: 'BOOKMARK', resourceVersion: event.object.metadata.resourceVersion ?? '' };
    default:
      throw errorOfStatus(event.object, 500);
  }
}

function translate(error: unknown, origin: string): unknown {
  if (error instanceof MeshError) return error;
  const code = (error as { readonly code?: string }).code ?? '';
  if (/TIMEOUT/.test(code)) return new MeshError('timeout', `${origin} did not answer in time`, { cause: error });
  if (/^(ERR_TLS|CERT_|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO|ERR_SSL)/.test(code)) {
    return new MeshError('unauthenticated', `${origin}: TLS: ${(error as Error).message}`, { cause: error, next: 'check the CA and the client certificate in the kubeconfig' });
  }
  if (error instanceof SyntaxError) return new MeshError('unavailable', `${origin} answered with something that is not JSON`, { cause: error });
  return new MeshError('unavailable', `cannot reach ${origin}: ${(error as Error).message}`, { cause: error });
}
