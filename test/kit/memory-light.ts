/**
 * A Client over plain objects, for simulations of many regions: versions, conditional writes, label selectors and watches as the API server has
 * them; no admission, no finalizers, no authorisation. `memory-client.ts` is the one with all the rules.
 */
import type { Client, ListOptions, ListResult, Place, ResourceId, WatchEvent, WriteOptions } from '../../api/client.ts';
import { MeshError } from '../../api/errors.ts';
import { FENCED } from '../../api/lease-fence.ts';
import type { Lease } from '../../api/kinds/core.ts';
import type { KubeObject } from '../../api/object.ts';

interface Watch {
  readonly plural: string;
  readonly matches: (o: KubeObject) => boolean;
  readonly events: WatchEvent<KubeObject>[];
  wake: () => void;
}

type Told = Exclude<WatchEvent<KubeObject>, { readonly type: 'BOOKMARK' }>;
const LOG_KEPT = 2_000;

type Part = Readonly<Record<string, unknown>>;
const isMap = (v: unknown): v is Part => v !== null && typeof v === 'object' && !Array.isArray(v);

function merge(live: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return patch;
  const out: Record<string, unknown> = { ...(isMap(live) ? live : {}) };
  for (const [k, v] of Object.entries(patch)) {
    if (v === null) delete out[k];
    else if (v !== undefined) out[k] = merge(out[k], v);
  }
  return out;
}

export class LightClient implements Client {
  /** Before each write: a test may throw, or hold it up. */
  onWrite: (verb: string, resource: ResourceId, name: string) => Promise<void> | void = () => undefined;
  isDown = false;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #watches = new Set<Watch>();
  readonly #log: { readonly version: number; readonly plural: string; readonly event: Told }[] = [];
  #forgotten = 0;
  #version = 1;
  #uids = 0;

  #of(r: ResourceId): Map<string, KubeObject> {
    const found = this.#objects.get(r.plural) ?? new Map<string, KubeObject>();
    this.#objects.set(r.plural, found);
    return found;
  }

  #id(r: ResourceId, p: { readonly tenant?: string | null | undefined; readonly namespace?: string | null | undefined }, name: string): string {
    return `${r.scope === 'cluster' ? '' : (p.tenant ?? 'system')}/${r.scope === 'namespace' ? (p.namespace ?? 'default') : ''}/${name}`;
  }

  #answer(): void {
    if (this.isDown) throw new MeshError('unavailable', 'the API does not answer');
  }

  #guard({ fence }: WriteOptions): void {
    if (fence === undefined) return;
    const lease = this.#objects.get('leases')?.get(`system/default/${fence.lease}`) as Lease | undefined;
    const epoch = lease?.spec.leaseTransitions ?? 0;
    if (lease === undefined || epoch > fence.epoch) throw new MeshError('conflict', `fenced off: lease ${fence.lease} is at epoch ${epoch}, held by ${lease?.spec.holderIdentity ?? ''}; this write carries epoch ${fence.epoch}`, { fields: { cause: FENCED } });
  }

  #need(r: ResourceId, id: string): KubeObject {
    const found = this.#of(r).get(id);
    if (found === undefined) throw new MeshError('not-found', `${r.plural} "${id}" not found`);
    return found;
  }

  #put<T extends KubeObject>(r: ResourceId, id: string, object: T, type: 'ADDED' | 'MODIFIED'): T {
    const { namespace, tenant } = object.metadata;
    const metadata = { ...object.metadata, ...(r.scope === 'cluster' ? {} : { tenant: tenant ?? 'system' }), ...(r.scope === 'namespace' ? { namespace: namespace ?? 'default' } : {}), resourceVersion: String(++this.#version) };
    const stored = { ...object, kind: r.kind, metadata } as T;
    this.#of(r).set(id, stored);
    this.#tell(r, { type, object: stored });
    return stored;
  }

  #tell(r: ResourceId, event: Told): void {
    this.#log.push({ version: this.#version, plural: r.plural, event });
    if (this.#log.length > 2 * LOG_KEPT) this.#forgotten = this.#log.splice(0, LOG_KEPT).at(-1)?.version ?? 0;
    for (const w of this.#watches) {
      if (w.plural !== r.plural || !w.matches(event.object)) continue;
      w.events.push(event);
      w.wake();
    }
  }

  #matcher(r: ResourceId, o: ListOptions): (object: KubeObject) => boolean {
    const label = o.labelSelector;
    return ({ metadata: m }) => (label === undefined || m.labels?.[label] !== undefined) && (r.scope === 'cluster' || o.tenant === 'all' || o.tenant === undefined || o.tenant === null || m.tenant === o.tenant) && (o.namespace === undefined || o.namespace === null || m.namespace === o.namespace);
  }

  async get<T extends KubeObject>(r: ResourceId, p: Place, name: string): Promise<T> {
    this.#answer();
    return this.#need(r, this.#id(r, p, name)) as T;
  }

  async list<T extends KubeObject>(r: ResourceId, o: ListOptions = {}): Promise<ListResult<T>> {
    this.#answer();
    const matches = this.#matcher(r, o);
    return { items: [...this.#of(r).values()].filter(matches) as T[], resourceVersion: String(this.#version) };
  }

  async *watch<T extends KubeObject>(r: ResourceId, o: ListOptions & { readonly resourceVersion: string }, signal: AbortSignal): AsyncIterable<WatchEvent<T>> {
    this.#answer();
    const from = Number(o.resourceVersion);
    if (from < this.#forgotten) throw new MeshError('expired', `version ${from} is forgotten`);
    const matches = this.#matcher(r, o);
    const missed = this.#log.filter((l) => l.version > from && l.plural === r.plural && matches(l.event.object)).map((l) => l.event);
    const w: Watch = { plural: r.plural, matches, events: missed, wake: () => undefined };
    this.#watches.add(w);
    const stop = (): void => w.wake();
    signal.addEventListener('abort', stop);
    try {
      while (!signal.aborted) {
        for (const e of w.events.splice(0)) yield e as WatchEvent<T>;
        if (w.events.length === 0 && !signal.aborted) await new Promise<void>((resolve) => (w.wake = resolve));
        w.wake = () => undefined;
      }
    } finally {
      this.#watches.delete(w);
      signal.removeEventListener('abort', stop);
    }
  }

  async create<T extends KubeObject>(r: ResourceId, object: T, o: WriteOptions = {}): Promise<T> {
    await this.onWrite('create', r, object.metadata.name);
    this.#answer();
    this.#guard(o);
    const id = this.#id(r, object.metadata, object.metadata.name);
    if (this.#of(r).has(id)) throw new MeshError('already-exists', `${r.plural} "${id}" already exists`);
    return this.#put(r, id, { ...object, metadata: { ...object.metadata, uid: `u${++this.#uids}`, generation: 1, creationTimestamp: new Date().toISOString() } }, 'ADDED');
  }

  async update<T extends KubeObject>(r: ResourceId, object: T, o: WriteOptions = {}): Promise<T> {
    await this.onWrite('update', r, object.metadata.name);
    this.#guard(o);
    return this.#replace(r, object.metadata, object.metadata.name, object.metadata.resourceVersion, (live) => ({ ...object, metadata: { ...object.metadata, uid: live.metadata.uid, generation: live.metadata.generation }, status: (live as { status?: unknown }).status }) as unknown as T);
  }

  async updateStatus<T extends KubeObject>(r: ResourceId, object: T, o: WriteOptions = {}): Promise<T> {
    await this.onWrite('update status', r, object.metadata.name);
    this.#guard(o);
    return this.#replace(r, object.metadata, object.metadata.name, object.metadata.resourceVersion, (live) => ({ ...live, status: (object as { status?: unknown }).status }) as unknown as T);
  }

  async patch<T extends KubeObject>(r: ResourceId, p: Place, name: string, patch: unknown, o: WriteOptions & { readonly subresource?: 'status' } = {}): Promise<T> {
    await this.onWrite(o.subresource === 'status' ? 'patch status' : 'patch', r, name);
    this.#guard(o);
    const { resourceVersion, ...metadata } = ((patch as { metadata?: Record<string, unknown> }).metadata ?? {}) as { resourceVersion?: string };
    const body = o.subresource === 'status' ? { status: (patch as { status?: unknown }).status } : { ...(patch as object), metadata };
    return this.#replace(r, p, name, resourceVersion, (live) => {
      const next = merge(live, body) as T;
      const isOther = o.subresource !== 'status' && (patch as { spec?: unknown }).spec !== undefined;
      return isOther ? { ...next, metadata: { ...next.metadata, generation: (live.metadata.generation ?? 0) + 1 } } : next;
    });
  }

  #replace<T extends KubeObject>(r: ResourceId, p: { readonly tenant?: string | null | undefined; readonly namespace?: string | null | undefined }, name: string, version: string | undefined, next: (live: KubeObject) => T): T {
    this.#answer();
    const id = this.#id(r, p, name);
    const live = this.#need(r, id);
    if (version !== undefined && version !== live.metadata.resourceVersion) throw new MeshError('conflict', `${r.plural} "${id}": the object has been modified`);
    return this.#put(r, id, next(live), 'MODIFIED');
  }

  async delete(r: ResourceId, p: Place, name: string, o: WriteOptions & { readonly uid?: string; readonly resourceVersion?: string } = {}): Promise<void> {
    await this.onWrite('delete', r, name);
    this.#answer();
    this.#guard(o);
    const id = this.#id(r, p, name);
    const live = this.#need(r, id);
    if (o.uid !== undefined && o.uid !== live.metadata.uid) throw new MeshError('conflict', `${r.plural} "${id}": another object by now`);
    if (o.resourceVersion !== undefined && o.resourceVersion !== live.metadata.resourceVersion) throw new MeshError('conflict', `${r.plural} "${id}": the object has been modified`);
    this.#of(r).delete(id);
    this.#version += 1;
    this.#tell(r, { type: 'DELETED', object: { ...live, metadata: { ...live.metadata, resourceVersion: String(this.#version) } } });
  }
}
