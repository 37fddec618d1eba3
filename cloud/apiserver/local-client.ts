/** `Client` without HTTP, for the code that runs inside a server: same rules, same authorisation, no bytes over a socket. */
import type { Client, WriteOptions as Fenced, ListOptions, ListResult, Place, ResourceId, WatchEvent } from '../../api/client.ts';
import type { Json, JsonObject, KindDefinition } from '../../api/definition.ts';

import { MeshError } from '../../api/errors.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Verb } from './authorize.ts';
import { authorize } from './authorize.ts';
import { decode, metaOf } from './bytes.ts';
import { badRequest, forbidden } from './errors.ts';
import type { Identity } from './identity.ts';
import type { Address } from './keys.ts';
import { mergePatch } from './merge-patch.ts';
import { list, watch, watchFromState, type Scope } from './reading.ts';
import type { Registry, Stored, WriteOptions } from './registry.ts';

export type Lookup = (resource: ResourceId) => KindDefinition;

export class LocalClient implements Client {
  readonly #registry: Registry;
  readonly #lookup: Lookup;
  readonly #who: Identity;

  constructor(registry: Registry, lookup: Lookup, who: Identity) {
    this.#registry = registry;
    this.#lookup = lookup;
    this.#who = who;
  }

  async get<T extends KubeObject>(resource: ResourceId, place: Place, name: string): Promise<T> {
    const address = this.#address('get', resource, place, name, '');
    return own<T>(await this.#registry.get(this.#lookup(resource), address));
  }

  async list<T extends KubeObject>(resource: ResourceId, options: ListOptions = {}): Promise<ListResult<T>> {
    const page = await list(this.#registry.store, this.#lookup(resource), this.#scope('list', resource, options));
    return { items: page.entries.map((e) => own<T>({ bytes: e.value, revision: e.modRevision })), resourceVersion: String(page.revision) };
  }

  async *watch<T extends KubeObject>(resource: ResourceId, options: ListOptions & { readonly resourceVersion: string }, signal: AbortSignal): AsyncIterable<WatchEvent<T>> {
    const def = this.#lookup(resource);
    const scope = this.#scope('watch', resource, options);
    const fresh = options.resourceVersion === '' || options.resourceVersion === '0';
    const happenings = fresh ? watchFromState(this.#registry.store, def, scope, signal) : watch(this.#registry.store, def, scope, Number(options.resourceVersion), signal);
    for await (const h of happenings) {
      if (h.type === 'BOOKMARK') yield { type: 'BOOKMARK', resourceVersion: String(h.revision) };
      else yield { type: h.type, object: own<T>(h) };
    }
  }

  async create<T extends KubeObject>(resource: ResourceId, object: T, options: Fenced = {}): Promise<T> {
    const place = this.#placeOf(resource, object);
    const address = this.#address('create', resource, place, object.metadata.name, '');
    return own<T>(await this.#registry.create(this.#lookup(resource), address, copy(object), this.#how('', options)));
  }

  async update<T extends KubeObject>(resource: ResourceId, object: T, options: Fenced = {}): Promise<T> {
    return this.#replace(resource, object, '', options);
  }

  async updateStatus<T extends KubeObject>(resource: ResourceId, object: T, options: Fenced = {}): Promise<T> {
    return this.#replace(resource, object, 'status', options);
  }

  async #replace<T extends KubeObject>(resource: ResourceId, object: T, subresource: 'status' | '', options: Fenced): Promise<T> {
    const address = this.#address('update', resource, this.#placeOf(resource, object), object.metadata.name, subresource);
    const body = copy(object);
    return own<T>(await this.#registry.change(this.#lookup(resource), address, () => structuredClone(body), this.#how(subresource, options)));
  }

  async patch<T extends KubeObject>(resource: ResourceId, place: Place, name: string, patch: unknown, options: Fenced & { readonly subresource?: 'status' } = {}): Promise<T> {
    const subresource = options.subresource ?? '';
    const address = this.#address('patch', resource, place, name, subresource);
    const body = copy(patch) as Json;
    const merge = (live: JsonObject): JsonObject => {
      const merged = mergePatch(live, body);
      if (merged === null || typeof merged !== 'object' || Array.isArray(merged)) throw badRequest('a merge patch is a map');
      if ((metaOf(body as JsonObject))['resourceVersion'] === undefined) delete metaOf(merged)['resourceVersion'];
      return merged;
    };
    return own<T>(await this.#registry.change(this.#lookup(resource), address, merge, this.#how(subresource, options)));
  }

  async delete(resource: ResourceId, place: Place, name: string, options: Fenced & { readonly uid?: string; readonly propagation?: 'Background' | 'Foreground' | 'Orphan'; readonly gracePeriodSeconds?: number } = {}): Promise<void> {
    const address = this.#address('delete', resource, place, name, '');
    await this.#registry.delete(this.#lookup(resource), address, options, this.#who);
  }

  #how(subresource: 'status' | '', { fence }: Fenced): WriteOptions {
    return { who: this.#who, fieldValidation: 'Ignore', warnings: [], dryRun: false, subresource, ...(fence === undefined ? {} : { fence }) };
  }

  #placeOf(resource: ResourceId, object: KubeObject): Place {
    const { tenant, namespace } = object.metadata;
    if (resource.scope === 'namespace' && namespace === undefined) return { tenant: tenant ?? null, namespace: 'default' };
    return { tenant: tenant ?? null, namespace: namespace ?? null };
  }

  #address(verb: Verb, resource: ResourceId, place: Place, name: string, subresource: string): Address {
    const tenant = resource.scope === 'cluster' ? null : (place.tenant ?? this.#who.tenant);
    if (resource.scope === 'namespace' && place.namespace === null) throw new MeshError('invalid', `${resource.kind} "${name}" needs a namespace`, { fields: { path: 'metadata.namespace' } });
    this.#permit(verb, resource, subresource, resource.plural === 'tenants' ? name : tenant, name);
    return { tenant, namespace: resource.scope === 'namespace' ? place.namespace : null, name };
  }

  #scope(verb: 'list' | 'watch', resource: ResourceId, o: ListOptions): Scope {
    const tenant = resource.scope === 'cluster' ? null : (o.tenant ?? this.#who.tenant);
    this.#permit(verb, resource, '', tenant, '');
    return { tenant, namespace: o.namespace ?? null, labelSelector: o.labelSelector ?? '', fieldSelector: o.fieldSelector ?? '', ...(o.glance === undefined ? {} : { glance: o.glance }) };
  }

  #permit(verb: Verb, resource: ResourceId, subresource: string, tenant: string | null, name: string): void {
    const why = authorize(this.#who, { verb, resource, subresource, tenant });
    if (why !== null) throw forbidden(this.#who.name, verb, resource, name, tenant === null ? 'at the cluster scope' : `in tenant "${tenant}"`, why);
  }
}

function own<T extends KubeObject>(stored: Stored): T {
  return decode(stored.bytes, stored.revision) as unknown as T;
}

const copy = (object: unknown): JsonObject => JSON.parse(JSON.stringify(object)) as JsonObject;

