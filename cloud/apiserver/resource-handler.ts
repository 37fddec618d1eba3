/** One request on a resource, read top to bottom: which kind -> who may -> decode -> registry -> answer. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { asText, type Json, type JsonObject, type KindDefinition } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import { FENCE_HEADER } from '../../api/lease-fence.ts';
import { Resources } from '../../api/resources.ts';
import type { Logger } from '../../base/log.ts';
import type { FieldValidation } from './admission.ts';
import { authorize, type Verb } from './authorize.ts';
import { objectBody, PROTOBUF } from './body.ts';
import { at, decode, metaOf } from './bytes.ts';
import { badRequest, forbidden, invalid, notFound } from './errors.ts';
import { requestedFence } from './fencing.ts';
import type { Identity } from './identity.ts';
import { SYSTEM_TENANT } from './identity.ts';
import type { Address } from './keys.ts';
import { list, watch, watchFromState, type Scope } from './reading.ts';
import type { Registry, WriteOptions } from './registry.ts';
import { applyPatch } from './patching.ts';
import { podAction, podLog, podVm, requireAgents, type PodAgents } from './pod-agents.ts';
import type { Query, ResourcePath } from './request.ts';
import { readScale, writeScale } from './scale.ts';
import { success } from './status.ts';
import { formOf, renderList, renderOne, type Form } from './table.ts';
import { sendWatch } from './watching.ts';

export interface Call {
  readonly method: string;
  readonly path: ResourcePath;
  readonly query: Query;
  readonly accept: string;
  readonly contentType: string;
  readonly body: Buffer | null;
  readonly who: Identity;
  readonly userAgent: string;
  readonly raw: ServerResponse;
  /** With its body unread where that is streamed (`isStreamed`). */
  readonly request: IncomingMessage;
  /** Aborts when the server stops. */
  readonly stopping: AbortSignal;
}

/** null = the handler has written to `raw` itself. */
export type Answer = { readonly code: number; readonly body: Buffer; readonly warnings?: readonly string[] } | null;

export interface HandlerDeps {
  readonly registry: Registry;
  readonly find: (group: string, version: string, plural: string) => KindDefinition | null;
  readonly podAgents: PodAgents | null;
  readonly log: Logger;
  readonly now: () => number;
}

const json = (code: number, value: Json): Answer => ({ code, body: Buffer.from(JSON.stringify(value)) });

export async function handleResource(deps: HandlerDeps, call: Call): Promise<Answer> {
  const { path, method } = call;
  const def = deps.find(path.group, path.version, path.plural);
  if (def === null) throw new MeshError('not-found', 'the server could not find the requested resource', { fields: { details: { group: path.group, kind: path.plural } } });
  const object = method === 'POST' && path.name === '' ? objectBody(call.contentType, call.body) : null;
  const tenant = tenantOf(def, call, object);
  const verb = verbOf(call);
  const why = authorize(call.who, { verb, resource: def.resource, subresource: path.subresource, tenant: def.resource === Resources.Tenant ? path.name : tenant });
  if (why !== null) throw forbidden(call.who.name, verb, def.resource, path.name, whereOf(tenant, path.namespace), why);
  if (object === null && tenant !== null && tenant !== 'all') await deps.registry.requireTenant(tenant);
  if (path.name === '') return await (object === null ? collection(deps, call, def, tenant, verb) : create(deps, call, def, tenant, object)); // to return the promise itself takes two turns more
  const address = addressOf(def, path, tenant);
  if (path.subresource !== '' && path.subresource !== 'status') return subresource(deps, call, def, address);
  if (path.subresource === 'status' && !def.hasStatus) throw notFound(def.resource, path.name);
  return item(deps, call, def, address);
}

function verbOf({ method, path, query }: Call): Verb {
  switch (method) {
    case 'GET':
    case 'HEAD':
      return path.name !== '' ? 'get' : query.flag('watch') ? 'watch' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return 'delete';
    default:
      throw new MeshError('unsupported', `the server does not allow this method on the requested resource: ${method}`, { fields: { reason: 'MethodNotAllowed' } });
  }
}

/** The URL's tenant, else the credential's; an operator's short form takes what the object itself says. */
function tenantOf(def: KindDefinition, call: Call, object: JsonObject | null): string | null {
  if (def.resource.scope === 'cluster') return null;
  const inBody = object === null ? undefined : at(object, 'metadata.tenant');
  const fromUrl = call.path.tenant;
  if (typeof inBody === 'string' && inBody !== '') {
    if (fromUrl === null && call.who.tenant === SYSTEM_TENANT) return inBody;
    const tenant = fromUrl ?? call.who.tenant;
    if (inBody !== tenant) throw badRequest(`the tenant of the provided object does not match the tenant sent on the request: "${inBody}" is not "${tenant}"`, 'metadata.tenant');
  }
  const tenant = fromUrl ?? call.who.tenant;
  if (tenant === 'all' && (call.path.name !== '' || (call.method !== 'GET' && call.method !== 'HEAD'))) throw badRequest('tenant "all" is for lists and watches');
  return tenant;
}

const whereOf = (tenant: string | null, namespace: string | null): string =>
  tenant === null ? 'at the cluster scope' : namespace === null ? `in tenant "${tenant}"` : `in the namespace "${namespace}" of tenant "${tenant}"`;

function addressOf(def: KindDefinition, path: ResourcePath, tenant: string | null): Address {
  if (def.resource.scope === 'namespace' && path.namespace === null) throw notFound(def.resource, path.name);
  return { tenant, namespace: def.resource.scope === 'namespace' ? path.namespace : null, name: path.name };
}

async function collection(deps: HandlerDeps, call: Call, def: KindDefinition, tenant: string | null, verb: Verb): Promise<Answer> {
  const { query, path } = call;
  const scope: Scope = { tenant, namespace: path.namespace, labelSelector: query.text('labelSelector'), fieldSelector: query.text('fieldSelector') };
  if (verb === 'delete') return deleteAll(deps, call, def, scope);
  const form = formOf(call.accept, query);
  if (verb === 'watch') return startWatch(deps, call, def, scope, form);
  const page = await list(deps.registry.store, def, scope, query.count('limit'), query.text('continue'));
  return { code: 200, body: renderList(def, form, page, deps.now()) };
}

async function startWatch(deps: HandlerDeps, call: Call, def: KindDefinition, scope: Scope, form: Form): Promise<null> {
  const { query } = call;
  const store = deps.registry.store;
  const from = query.text('resourceVersion');
  const fromState = query.flag('sendInitialEvents') || from === '' || from === '0';
  if (!fromState && !/^\d+$/.test(from)) throw badRequest(`Invalid value: "${from}": resourceVersion must be a number`, 'resourceVersion');
  const seconds = query.count('timeoutSeconds') || 1800 + Math.floor(Math.random() * 1800);
  const withColumns = { first: true };
  await sendWatch(
    call.raw,
    (signal) => (fromState ? watchFromState(store, def, scope, signal) : watch(store, def, scope, Number(from), signal)),
    {
      def,
      log: deps.log,
      from: fromState ? 0 : Number(from),
      // The end of the initial state is told only to those who asked for it by sendInitialEvents.
      bookmarks: query.flag('allowWatchBookmarks') && (query.flag('sendInitialEvents') || !fromState),
      timeoutMs: seconds * 1000,
      render: (bytes, revision) => renderOne(def, form, bytes, revision, deps.now(), withColumns),
    },
    call.stopping,
  );
  return null;
}

async function create(deps: HandlerDeps, call: Call, def: KindDefinition, tenant: string | null, object: JsonObject): Promise<Answer> {
  requireType(def, object);
  const meta = metaOf(object);
  const namespace = namespaceOf(def, call.path, meta);
  if (meta['resourceVersion'] !== undefined && meta['resourceVersion'] !== '') throw badRequest('resourceVersion should not be set on objects to be created', 'metadata.resourceVersion');
  const how = writeOptions(call, '');
  const made = await deps.registry.create(def, { tenant, namespace, name: '' }, object, how);
  return { code: 201, body: renderOne(def, formOf(call.accept, call.query), made.bytes, made.revision, deps.now()), warnings: how.warnings };
}

function namespaceOf(def: KindDefinition, path: ResourcePath, meta: JsonObject): string | null {
  if (def.resource.scope !== 'namespace') return null;
  const own = meta['namespace'];
  if (path.namespace === null) throw badRequest(`an object of kind ${def.resource.kind} is created in a namespace: the URL has none`, 'metadata.namespace');
  if (typeof own === 'string' && own !== '' && own !== path.namespace) {
    throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`, 'metadata.namespace');
  }
  return path.namespace;
}

/** A body that says it is something else was meant for somewhere else. */
function requireType(def: KindDefinition, object: JsonObject): void {
  const { group, version, kind } = def.resource;
  const apiVersion = group === '' ? version : `${group}/${version}`;
  if ((object['apiVersion'] ?? apiVersion) === apiVersion && (object['kind'] ?? kind) === kind) return;
  throw badRequest(`${asText(object['kind'])} in version "${asText(object['apiVersion'])}" cannot be handled as a ${kind}: expected ${apiVersion}, Kind=${kind}`, 'kind');
}

function writeOptions(call: Call, sub: 'status' | ''): WriteOptions {
  const { query } = call;
  const validation = query.text('fieldValidation') || (call.contentType === PROTOBUF ? 'Ignore' : 'Warn');
  if (validation !== 'Strict' && validation !== 'Warn' && validation !== 'Ignore') throw badRequest(`fieldValidation: Unsupported value: "${validation}"`, 'fieldValidation');
  const dryRun = query.text('dryRun');
  if (dryRun !== '' && dryRun !== 'All') throw badRequest(`dryRun: Unsupported value: "${dryRun}": supported values: "All"`, 'dryRun');
  const fence = requestedFence(call.request.headers[FENCE_HEADER], call.who);
  return { who: call.who, fieldValidation: validation as FieldValidation, warnings: [], dryRun: dryRun === 'All', subresource: sub, ...(fence === undefined ? {} : { fence }) };
}

async function item(deps: HandlerDeps, call: Call, def: KindDefinition, address: Address): Promise<Answer> {
  const { method, query } = call;
  const form = formOf(call.accept, query);
  const how = writeOptions(call, call.path.subresource === 'status' ? 'status' : '');
  const show = (s: { readonly bytes: Uint8Array; readonly revision: number }): Answer => ({ code: 200, body: renderOne(def, form, s.bytes, s.revision, deps.now()), warnings: how.warnings });
  switch (method) {
    case 'GET':
    case 'HEAD': {
      if (query.flag('watch')) return startWatch(deps, call, def, { ...address, labelSelector: '', fieldSelector: `metadata.name=${address.name}` }, form);
      return show(await deps.registry.get(def, address));
    }
    case 'PUT': {
      const object = objectBody(call.contentType, call.body);
      requireType(def, object);
      return show(await deps.registry.change(def, address, () => structuredClone(object), how));
    }
    case 'PATCH': {
      const change = applyPatch(def, call.contentType, call.body);
      return show(await deps.registry.change(def, address, change, how));
    }
    case 'DELETE': {
      const gone = await deps.registry.delete(def, address, deleteOptions(call), call.who);
      if (!gone.gone) return show(gone);
      const meta = metaOf(decode(gone.bytes, gone.revision));
      return json(200, success({ name: address.name, group: def.resource.group, kind: def.resource.plural, uid: meta['uid'] ?? '' }));
    }
    default:
      throw new MeshError('unsupported', `the server does not allow this method on the requested resource: ${method}`, { fields: { reason: 'MethodNotAllowed' } });
  }
}

function deleteOptions(call: Call): Parameters<Registry['delete']>[2] {
  const body = call.body === null || call.body.length === 0 ? {} : objectBody(call.contentType, call.body);
  const text = (path: string): string | undefined => {
    const v = at(body, path);
    return typeof v === 'string' && v !== '' ? v : undefined;
  };
  const propagation = text('propagationPolicy') ?? call.query.text('propagationPolicy');
  if (propagation !== '' && propagation !== 'Background' && propagation !== 'Foreground' && propagation !== 'Orphan') throw badRequest(`propagationPolicy: Unsupported value: "${propagation}"`, 'propagationPolicy');
  const grace = at(body, 'gracePeriodSeconds') ?? (call.query.text('gracePeriodSeconds') === '' ? undefined : call.query.count('gracePeriodSeconds'));
  const uid = text('preconditions.uid');
  const resourceVersion = text('preconditions.resourceVersion');
  const fence = requestedFence(call.request.headers[FENCE_HEADER], call.who);
  return {
    dryRun: call.query.text('dryRun') === 'All' || JSON.stringify(at(body, 'dryRun')) === '["All"]',
    ...(uid === undefined ? {} : { uid }),
    ...(fence === undefined ? {} : { fence }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(propagation === '' ? (at(body, 'orphanDependents') === true ? { propagation: 'Orphan' as const } : {}) : { propagation }),
    ...(typeof grace === 'number' ? { gracePeriodSeconds: grace } : {}),
  };
}

async function deleteAll(deps: HandlerDeps, call: Call, def: KindDefinition, scope: Scope): Promise<Answer> {
  const options = deleteOptions(call);
  const page = await list(deps.registry.store, def, scope);
  for (const entry of page.entries) {
    const meta = metaOf(decode(entry.value, entry.modRevision));
    const address = { tenant: scope.tenant, namespace: (meta['namespace'] as string | undefined) ?? null, name: asText(meta['name']) };
    await deps.registry.delete(def, address, options, call.who).catch((error: unknown) => {
      if (!(error instanceof MeshError) || error.kind !== 'not-found') throw error; // somebody else was faster
    });
  }
  return json(200, success({ group: def.resource.group, kind: def.resource.plural }));
}

async function subresource(deps: HandlerDeps, call: Call, def: KindDefinition, address: Address): Promise<Answer> {
  const { method, path } = call;
  const is = (plural: string, sub: string): boolean => def.resource.plural === plural && path.subresource === sub;
  if (def.hasScale && path.subresource === 'scale') {
    if (method === 'GET') return json(200, readScale(def, await deps.registry.get(def, address)));
    const stored = await deps.registry.change(def, address, writeScale(def, call), writeOptions(call, ''));
    return json(200, readScale(def, stored));
  }
  const ofAgent = def.resource.plural === 'pods' && isOfAgent(method, path.subresource);
  if (ofAgent) {
    const agents = requireAgents(deps.podAgents);
    const pod = decode((await deps.registry.get(def, address)).bytes, 0);
    const ask = { pod, name: address.name, query: call.query, raw: call.request, out: call.raw, signal: call.stopping };
    if (path.subresource === 'action') return podAction(agents, ask, call.contentType, call.body);
    return path.subresource === 'log' ? podLog(agents, ask) : podVm(agents, ask, path.subresource.slice('vm/'.length));
  }
  if (is('pods', 'binding') && method === 'POST') {
    const node = at(objectBody(call.contentType, call.body), 'target.name');
    if (typeof node !== 'string' || node === '') throw invalid(def.resource, address.name, [{ path: 'target.name', reason: 'required', message: 'names the node' }]);
    const bind = (live: JsonObject): JsonObject => ({ ...live, spec: { ...(live['spec'] as JsonObject), nodeName: node } });
    await deps.registry.change(def, address, bind, writeOptions(call, ''));
    return json(201, success({ name: address.name, kind: 'pods' }));
  }
  throw new MeshError('not-found', 'the server could not find the requested resource', { fields: { details: { name: path.name, group: path.group, kind: path.plural } } });
}


function isOfAgent(method: string, sub: string): boolean {
  if (sub === 'log') return method === 'GET';
  return sub === 'action' ? method === 'POST' : sub.startsWith('vm/');
}
