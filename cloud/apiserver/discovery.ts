/** What is served, for clients that ask: versions, aggregated and per-group discovery, OpenAPI v3. Built once, sent as bytes. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Json, JsonObject, KindDefinition } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import type { Reply } from './exchange.ts';
import { openApiDocument } from './openapi.ts';
import { openApiV2 } from './openapi-v2.ts';

const AGGREGATED = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

/** The minor version that kubectl's dispatchers and feature checks read; the release is ours. */
const VERSION = { major: '1', minor: '32', gitVersion: 'v1.32.0+proxima', gitCommit: '', gitTreeState: 'clean', buildDate: '1970-01-01T00:00:00Z', goVersion: '', compiler: '', platform: 'linux/amd64' };

/** Answered, not stored: questions about oneself. */
const REVIEWS: readonly { readonly group: string; readonly name: string; readonly kind: string }[] = [
  { group: 'authorization.k8s.io', name: 'selfsubjectaccessreviews', kind: 'SelfSubjectAccessReview' },
  { group: 'authorization.k8s.io', name: 'selfsubjectrulesreviews', kind: 'SelfSubjectRulesReview' },
  { group: 'authentication.k8s.io', name: 'selfsubjectreviews', kind: 'SelfSubjectReview' },
];

interface Entry {
  readonly name: string;
  readonly kind: string;
  readonly singular: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly group?: string;
  readonly version?: string;
}

export class Discovery {
  readonly #kinds: readonly KindDefinition[];
  /** Group → version → resources, sub-resources as `pods/log`. */
  readonly #groups = new Map<string, { readonly version: string; readonly entries: Entry[] }>();
  readonly #documents = new Map<string, { readonly body: Buffer; readonly hash: string }>();

  #v2: Buffer | null = null;

  constructor(kinds: readonly KindDefinition[]) {
    this.#kinds = kinds;
    for (const d of kinds) for (const entry of entriesOf(d)) this.#add(d.resource.group, d.resource.version, entry);
    for (const r of REVIEWS) this.#add(r.group, 'v1', { name: r.name, kind: r.kind, singular: '', namespaced: false, verbs: ['create'], shortNames: [], categories: [] });
  }

  #add(group: string, version: string, entry: Entry): void {
    const known = this.#groups.get(group);
    if (known === undefined) this.#groups.set(group, { version, entries: [entry] });
    else known.entries.push(entry);
  }

  serve(path: string, request: IncomingMessage, reply: Reply): void {
    const accept = request.headers.accept ?? '';
    const [, first, second = '', third = ''] = path.split('/');
    if (path === '/version') return send(reply, VERSION);
    if (path === '/openapi/v2') return this.#openApiV2(accept, reply);
    if (path === '/openapi/v3') return send(reply, this.#openApiRoot());
    if (path.startsWith('/openapi/v3/')) return this.#openApi(path.slice('/openapi/v3/'.length), request, reply);
    if (path === '/' || path === '') return send(reply, { paths: ['/api', '/apis', '/healthz', '/livez', '/metrics', '/openapi/v3', '/readyz', '/version'] });
    if (path === '/api') return this.#roots(accept, reply, true);
    if (path === '/apis') return this.#roots(accept, reply, false);
    const [group, version] = first === 'api' ? ['', second] : first === 'apis' ? [second, third] : ['?', ''];
    const known = this.#groups.get(group);
    if (known === undefined || (version !== '' && version !== known.version)) throw new MeshError('not-found', 'the server could not find the requested resource');
    send(reply, version === '' ? { kind: 'APIGroup', apiVersion: 'v1', ...groupVersions(group, known.version) } : this.#resources(group, known));
  }

  #roots(accept: string, reply: Reply, isCore: boolean): void {
    const groups = [...this.#groups].filter(([group]) => (group === '') === isCore);
    if (/as=APIGroupDiscoveryList/.test(accept) && /v=v2[;,]|v=v2$/.test(accept)) {
      const items = groups.map(([group, g]) => ({ metadata: { name: group, creationTimestamp: null }, versions: [{ version: g.version, freshness: 'Current', resources: aggregated(group, g.version, g.entries) }] }));
      reply.header('content-type', AGGREGATED).send(JSON.stringify({ kind: 'APIGroupDiscoveryList', apiVersion: 'apidiscovery.k8s.io/v2', metadata: {}, items }));
      return;
    }
    if (isCore) return send(reply, { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] });
    send(reply, { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map(([group, g]) => groupVersions(group, g.version)) });
  }

  #resources(group: string, known: { readonly version: string; readonly entries: readonly Entry[] }): JsonObject {
    const resources = known.entries.map((e) => ({
      name: e.name,
      singularName: e.singular,
      namespaced: e.namespaced,
      kind: e.kind,
      verbs: [...e.verbs],
      ...(e.group === undefined ? {} : { group: e.group, version: e.version ?? 'v1' }),
      ...(e.shortNames.length === 0 ? {} : { shortNames: [...e.shortNames] }),
      ...(e.categories.length === 0 ? {} : { categories: [...e.categories] }),
    }));
    return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: group === '' ? known.version : `${group}/${known.version}`, resources };
  }

  #document(path: string): { readonly body: Buffer; readonly hash: string } | null {
    const made = this.#documents.get(path);
    if (made !== undefined) return made;
    const kinds = this.#kinds.filter((d) => pathOf(d.resource.group, d.resource.version) === path);
    if (kinds.length === 0) return null;
    const body = Buffer.from(JSON.stringify(openApiDocument(kinds)));
    const document = { body, hash: createHash('sha256').update(body).digest('hex').toUpperCase() };
    this.#documents.set(path, document);
    return document;
  }

  #openApiRoot(): JsonObject {
    const paths: JsonObject = {};
    for (const d of this.#kinds) {
      const path = pathOf(d.resource.group, d.resource.version);
      paths[path] ??= { serverRelativeURL: `/openapi/v3/${path}?hash=${this.#document(path)?.hash ?? ''}` };
    }
    return { paths };
  }

  #openApiV2(accept: string, reply: Reply): void {
    if (!accept.includes('protobuf')) throw new MeshError('unsupported', 'OpenAPI v2 is served as protobuf only: use /openapi/v3', { fields: { reason: 'NotAcceptable' } });
    if (this.#v2 === null) {
      const paths = new Set(this.#kinds.map((d) => pathOf(d.resource.group, d.resource.version)));
      this.#v2 = openApiV2([...paths].map((p) => openApiDocument(this.#kinds.filter((d) => pathOf(d.resource.group, d.resource.version) === p))));
    }
    reply.header('content-type', 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf').send(this.#v2);
  }

  #openApi(path: string, request: IncomingMessage, reply: Reply): void {
    const document = this.#document(path);
    if (document === null) throw new MeshError('not-found', 'the server could not find the requested resource');
    const tag = `"${document.hash}"`;
    reply.header('etag', tag).header('cache-control', 'public, immutable');
    if (request.headers['if-none-match'] === tag) reply.code(304).send();
    else reply.header('content-type', 'application/json').send(document.body);
  }
}

const pathOf = (group: string, version: string): string => (group === '' ? `api/${version}` : `apis/${group}/${version}`);

function send(reply: Reply, value: Json): void {
  reply.header('content-type', 'application/json').send(JSON.stringify(value));
}

function groupVersions(group: string, version: string): JsonObject {
  const v = { groupVersion: `${group}/${version}`, version };
  return { name: group, versions: [v], preferredVersion: v };
}

/** Stock clients know two scopes: what is unique in a tenant has no namespace for them. */
function entriesOf(d: KindDefinition): Entry[] {
  const namespaced = d.resource.scope === 'namespace';
  const none = { singular: '', namespaced, shortNames: [], categories: [] };
  const main: Entry = { name: d.resource.plural, kind: d.resource.kind, singular: d.singular, namespaced, verbs: VERBS, shortNames: d.shortNames, categories: d.categories };
  const subs: Entry[] = [];
  if (d.hasStatus) subs.push({ ...none, name: `${d.resource.plural}/status`, kind: d.resource.kind, verbs: ['get', 'patch', 'update'] });
  if (d.hasScale) subs.push({ ...none, name: `${d.resource.plural}/scale`, kind: 'Scale', verbs: ['get', 'patch', 'update'], group: 'autoscaling', version: 'v1' });
  if (d.resource.plural === 'pods') {
    subs.push({ ...none, name: 'pods/action', kind: 'CustomAction', verbs: ['create'] }, { ...none, name: 'pods/log', kind: 'Pod', verbs: ['get'] }, { ...none, name: 'pods/vm', kind: 'Pod', verbs: ['create', 'get'] }, { ...none, name: 'pods/binding', kind: 'Binding', verbs: ['create'] });
  }
  return [main, ...subs];
}

function aggregated(group: string, version: string, entries: readonly Entry[]): JsonObject[] {
  return entries
    .filter((e) => !e.name.includes('/'))
    .map((e) => ({
      resource: e.name,
      responseKind: { group, version, kind: e.kind },
      scope: e.namespaced ? 'Namespaced' : 'Cluster',
      singularResource: e.singular,
      verbs: [...e.verbs],
      shortNames: [...e.shortNames],
      categories: [...e.categories],
      subresources: entries
        .filter((s) => s.name.startsWith(`${e.name}/`))
        .map((s) => ({ subresource: s.name.slice(e.name.length + 1), responseKind: { group: s.group ?? group, version: s.version ?? version, kind: s.kind }, verbs: [...s.verbs] })),
    }));
}
