/**
 * The kinds over the store: every rule of reading, writing and deleting objects, without URLs and without who may do it.
 * Results are stored bytes with their revision; `bytes.ts` turns them into what is served.
 */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../base/clock.ts';
import { asText, type Issue, type JsonObject, type KindDefinition } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import type { LeaseFence } from '../../api/lease-fence.ts';
import { Resources } from '../../api/resources.ts';
import type { Condition, Op, Store } from '../store/port.ts';
import type { Admission } from './admission.ts';
import { admit } from './admission.ts';
import { decode, encode, mentions, metaOf, peek } from './bytes.ts';
import { decideDelete, type DeleteOptions, isGone } from './deletion.ts';
import { alreadyExists, badRequest, conflict, invalid, notFound } from './errors.ts';
import type { Identity } from './identity.ts';
import type { Address } from './keys.ts';
import { keyOf } from './keys.ts';
import { fenceConditions } from './fencing.ts';
import { restrictNode } from './node-restriction.ts';

export interface Stored {
  readonly bytes: Uint8Array;
  readonly revision: number;
}

export interface WriteOptions extends Admission {
  readonly dryRun: boolean;
  readonly subresource: 'status' | '';
  readonly fence?: LeaseFence;
}

export interface RegistryDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly review?: Review;
}

/** What a server knows beyond the object itself; asked after the kind's own rules, for writes of the main resource. Throws nothing, lists what is wrong. */
export type Review = (def: KindDefinition, object: JsonObject, live: JsonObject | null) => Promise<readonly Issue[]>;

const ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
const RETRIES = 8;
const NO_GUARDS: readonly Condition[] = [];
const EVENT_TTL_MS = 3_600_000;
const EVENT_LEASE_SHARED_MS = 300_000;
const DELETION = Buffer.from('"deletionTimestamp"');

/** Makes the object after a change from the one before; called again when somebody else wrote in between. */
export type Change = (live: JsonObject) => JsonObject;

export class Registry {
  readonly store: Store;
  readonly #clock: Clock;
  readonly #review: Review | null;
  #second = { at: -1, text: '' };
  #eventLease: { readonly until: number; readonly lease: Promise<string> } = { until: 0, lease: Promise.resolve('') };

  constructor(deps: RegistryDeps) {
    this.store = deps.store;
    this.#clock = deps.clock;
    this.#review = deps.review ?? null;
  }

  async get(def: KindDefinition, address: Address): Promise<Stored> {
    const entry = await this.store.get(keyOf(def.resource, address));
    if (entry === null) throw notFound(def.resource, address.name);
    return { bytes: entry.value, revision: entry.modRevision };
  }

  async create(def: KindDefinition, place: Address, object: JsonObject, how: WriteOptions): Promise<Stored> {
    const meta = metaOf(object);
    const generated = typeof meta['name'] !== 'string' || meta['name'] === '';
    await this.#requirePlace(def, place);
    for (let attempt = 0; ; attempt++) {
      if (generated && typeof meta['generateName'] === 'string' && meta['generateName'] !== '') meta['name'] = `${meta['generateName']}${suffix()}`;
      this.#stamp(def, place, object, meta);
      admit(def, object, null, how);
      if (this.#review !== null) await reviewed(this.#review, def, object, null);
      const name = asText(meta['name']);
      const bytes = encode(def.resource, object);
      const key = keyOf(def.resource, { ...place, name });
      if (how.dryRun) {
        if ((await this.store.get(key)) !== null) throw alreadyExists(def.resource, name);
        return { bytes, revision: 0 };
      }
      const put: Op = { op: 'put', key, value: bytes, ...(def.resource === Resources.Event ? await this.#lifetime() : {}) };
      const guards = how.fence === undefined ? NO_GUARDS : await fenceConditions(this.store, how.fence, def.resource, name);
      const result = await this.store.txn([{ key, is: 'absent' }, ...guards], [put, ...this.#companions(def, name)]);
      if (result.ok) return { bytes, revision: result.revision };
      if (result.conflict.key !== key && attempt < RETRIES) continue;
      if (!generated || attempt >= RETRIES) throw alreadyExists(def.resource, name);
    }
  }

  #stamp(def: KindDefinition, place: Address, object: JsonObject, meta: JsonObject): void {
    meta['uid'] = randomUUID();
    meta['creationTimestamp'] = this.#timestamp(0);
    delete meta['deletionTimestamp'];
    delete meta['deletionGracePeriodSeconds'];
    if (def.resource.scope === 'cluster') delete meta['tenant'];
    else meta['tenant'] = place.tenant;
    if (def.resource.scope === 'namespace') meta['namespace'] = place.namespace;
    else delete meta['namespace'];
    if (object['spec'] !== undefined) meta['generation'] = 1;
    else delete meta['generation'];
  }

  /** A new tenant has its namespace `default` from the same transaction on. */
  #companions(def: KindDefinition, name: string): Op[] {
    if (def.resource !== Resources.Tenant) return [];
    const namespace: JsonObject = {
      metadata: { name: 'default', tenant: name, uid: randomUUID(), creationTimestamp: this.#timestamp(0), labels: { 'kubernetes.io/metadata.name': 'default' } },
      spec: { finalizers: ['kubernetes'] },
      status: { phase: 'Active' },
    };
    return [{ op: 'put', key: keyOf(Resources.Namespace, { tenant: name, namespace: null, name: 'default' }), value: encode(Resources.Namespace, namespace) }];
  }

  /** Events go by themselves after an hour or so; those of a few minutes share a lease. */
  async #lifetime(): Promise<{ readonly lease: string }> {
    const now = this.#clock.now();
    if (now >= this.#eventLease.until) {
      const lease = this.store.grantLease(EVENT_TTL_MS + EVENT_LEASE_SHARED_MS);
      this.#eventLease = { until: now + EVENT_LEASE_SHARED_MS, lease };
      lease.catch(() => (this.#eventLease = { until: 0, lease })); // the next event asks again; this one reports the error
    }
    return { lease: await this.#eventLease.lease };
  }

  /** Whole seconds; the last one made is kept, thousands of objects share it. */
  #timestamp(afterMs: number): string {
    const second = Math.floor((this.#clock.now() + afterMs) / 1000);
    if (second !== this.#second.at) this.#second = { at: second, text: `${new Date(second * 1000).toISOString().slice(0, 19)}Z` };
    return this.#second.text;
  }

  /** New content needs a tenant and a namespace that exist and are not on their way out. */
  async #requirePlace(def: KindDefinition, place: Address): Promise<void> {
    if (def.resource.scope === 'cluster') return;
    const [container, name] =
      def.resource.scope === 'tenant' ? [Resources.Tenant, place.tenant ?? ''] : [Resources.Namespace, place.namespace ?? ''];
    const entry = await this.store.get(keyOf(container, { tenant: place.tenant, namespace: null, name }));
    if (entry === null) {
      if (container === Resources.Namespace) await this.requireTenant(place.tenant ?? '');
      throw notFound(container, name);
    }
    if (!mentions(entry.value, DELETION) || metaOf(peek(entry.value))['deletionTimestamp'] === undefined) return;
    throw new MeshError('forbidden', `${def.resource.plural} is forbidden: unable to create new content in ${container.kind.toLowerCase()} ${name} because it is being terminated`, { fields: { details: { name, kind: def.resource.plural, group: def.resource.group } } });
  }

  async requireTenant(name: string): Promise<void> {
    if ((await this.store.get(keyOf(Resources.Tenant, { tenant: null, namespace: null, name }))) === null) throw notFound(Resources.Tenant, name);
  }

  /** Reads, changes, checks and writes back; a resourceVersion in the changed object makes it conditional on that one. */
  async change(def: KindDefinition, address: Address, change: Change, how: WriteOptions): Promise<Stored> {
    const key = keyOf(def.resource, address);
    for (let attempt = 0; ; attempt++) {
      const entry = await this.store.get(key);
      if (entry === null) throw notFound(def.resource, address.name);
      const live = decode(entry.value, entry.modRevision);
      const wanted = change(structuredClone(live));
      const expected = metaOf(wanted)['resourceVersion'];
      if (typeof expected === 'string' && expected !== '' && expected !== String(entry.modRevision)) throw conflict(def.resource, address.name);
      const next = this.#merge(def, live, wanted, how);
      admit(def, next, live, how);
      if (this.#review !== null && how.subresource === '') await reviewed(this.#review, def, next, live);
      const before: Stored = { bytes: entry.value, revision: entry.modRevision };
      bumpGeneration(def, live, next);
      delete metaOf(live)['resourceVersion'];
      delete metaOf(next)['resourceVersion'];
      const guards = how.fence === undefined ? NO_GUARDS : await fenceConditions(this.store, how.fence, def.resource, address.name);
      if (isDeepStrictEqual(live, next)) return before;
      const bytes = encode(def.resource, next);
      if (how.dryRun) return { bytes, revision: entry.modRevision };
      const op: Op = isGone(next) ? { op: 'delete', key } : { op: 'put', key, value: bytes, ...(def.resource === Resources.Event ? await this.#lifetime() : {}) };
      const result = await this.store.txn([{ key, is: 'revision', modRevision: entry.modRevision }, ...guards], [op]);
      if (result.ok) return { bytes, revision: result.revision };
      if (attempt >= RETRIES) throw conflict(def.resource, address.name);
    }
  }

  /** What only the system sets comes from the live object; the status is written through `/status` only, and nothing else is. */
  #merge(def: KindDefinition, live: JsonObject, wanted: JsonObject, how: WriteOptions): JsonObject {
    const was = metaOf(live);
    if (how.subresource === 'status') {
      const status = wanted['status'];
      return { ...structuredClone(live), ...(status === undefined ? {} : { status }) };
    }
    const meta = metaOf(wanted);
    if (meta['uid'] !== undefined && meta['uid'] !== '' && meta['uid'] !== was['uid']) {
      throw conflict(def.resource, asText(was['name']), `Precondition failed: UID in precondition: ${asText(meta['uid'])}, UID in object meta: ${asText(was['uid'])}`);
    }
    if (meta['name'] !== undefined && meta['name'] !== was['name']) throw badRequest(`the name of the object (${asText(meta['name'])}) does not match the name on the URL (${asText(was['name'])})`, 'metadata.name');
    for (const field of ['name', 'namespace', 'tenant', 'uid', 'creationTimestamp', 'generation', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'generateName']) {
      if (was[field] === undefined) delete meta[field];
      else meta[field] = was[field];
    }
    if (def.hasStatus) {
      if (live['status'] === undefined) delete wanted['status'];
      else wanted['status'] = structuredClone(live['status']);
    }
    return wanted;
  }

  /** Removes the object, or marks it for those who must agree first. Returns what is left, or what went. */
  async delete(def: KindDefinition, address: Address, options: DeleteOptions, who: Identity): Promise<Stored & { readonly gone: boolean }> {
    const key = keyOf(def.resource, address);
    for (let attempt = 0; ; attempt++) {
      const entry = await this.store.get(key);
      if (entry === null) throw notFound(def.resource, address.name);
      const live = decode(entry.value, entry.modRevision);
      restrictNode(def, who, 'delete', null, live);
      if (options.uid !== undefined && options.uid !== metaOf(live)['uid']) {
        throw conflict(def.resource, address.name, `Precondition failed: UID in precondition: ${options.uid}, UID in object meta: ${asText(metaOf(live)['uid'])}`);
      }
      if (options.resourceVersion !== undefined && options.resourceVersion !== String(entry.modRevision)) throw conflict(def.resource, address.name);
      const guards = options.fence === undefined ? NO_GUARDS : await fenceConditions(this.store, options.fence, def.resource, address.name);
      const decision = decideDelete(def, live, options, (s) => this.#timestamp(s * 1000));
      if (decision.kind === 'unchanged') return { bytes: entry.value, revision: entry.modRevision, gone: false };
      const bytes = decision.kind === 'mark' ? encode(def.resource, decision.object) : entry.value;
      if (options.dryRun) return { bytes, revision: entry.modRevision, gone: decision.kind === 'remove' };
      const condition: Condition = { key, is: 'revision', modRevision: entry.modRevision };
      const result = await this.store.txn([condition, ...guards], [decision.kind === 'mark' ? { op: 'put', key, value: bytes } : { op: 'delete', key }]);
      if (result.ok) return { bytes, revision: result.revision, gone: decision.kind === 'remove' };
      if (attempt >= RETRIES) throw conflict(def.resource, address.name);
    }
  }
}

async function reviewed(review: Review, def: KindDefinition, object: JsonObject, live: JsonObject | null): Promise<void> {
  const issues = await review(def, object, live);
  if (issues.length > 0) throw invalid(def.resource, asText(metaOf(object)['name']), issues);
}

function suffix(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(5)), (b) => ALPHABET[b % ALPHABET.length]).join('');
}

/** The generation counts changes of what is wanted: everything but metadata and status. */
function bumpGeneration(def: KindDefinition, live: JsonObject, next: JsonObject): void {
  const generation = metaOf(live)['generation'];
  if (typeof generation !== 'number') return;
  const { metadata: _a, status: liveStatus, ...before } = live;
  const { metadata: _b, status: nextStatus, ...after } = next;
  const statusCounts = !def.hasStatus && !isDeepStrictEqual(liveStatus, nextStatus);
  if (statusCounts || !isDeepStrictEqual(before, after)) metaOf(next)['generation'] = generation + 1;
}
