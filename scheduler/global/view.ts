/**
 * Objects of one API, held in memory: read whole by lists, or followed by watches once `follow` was called. A write of our own is put in at once;
 * what a watch brings later of an older version is ignored. Listeners hear only of what somebody else changed.
 */
import type { Client, ListOptions, ResourceId } from '../../api/client.ts';
import { Informer } from '../../api/informer.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';

export interface Watched {
  readonly resource: ResourceId;
  readonly list: ListOptions;
}

/** `object` null = it is gone; `previous` null = it is new. */
export type Listener = (resource: ResourceId, object: KubeObject | null, previous: KubeObject | null) => void;

export interface Listeners {
  /** Every change, for indexes. */
  readonly index: Listener;
  /** Changes that were not made through `put` and `drop`. */
  readonly tell: Listener;
}

export const idOf = (r: ResourceId, o: KubeObject): string => `${r.scope === 'cluster' ? '' : (o.metadata.tenant ?? 'system')}|${r.scope === 'namespace' ? (o.metadata.namespace ?? 'default') : ''}|${o.metadata.name}`;

const versionOf = (o: KubeObject): number => Number(o.metadata.resourceVersion ?? 0);
const MAX_RETRY_MS = 2_000;

export class View {
  readonly #client: Client;
  readonly #watched: readonly Watched[];
  readonly #l: Listeners;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  #informers: readonly Informer<KubeObject>[] = [];

  constructor(client: Client, watched: readonly Watched[], listeners: Listeners) {
    this.#client = client;
    this.#watched = watched;
    this.#l = listeners;
    for (const w of watched) this.#objects.set(w.resource.plural, new Map());
  }

  get isFollowing(): boolean {
    return this.#informers.length > 0;
  }

  all<T extends KubeObject>(resource: ResourceId): ReadonlyMap<string, T> {
    return this.#of(resource) as ReadonlyMap<string, unknown> as ReadonlyMap<string, T>;
  }

  find<T extends KubeObject>(resource: ResourceId, id: string): T | null {
    return (this.#of(resource).get(id) as T | undefined) ?? null;
  }

  /** Every kind by one list each. */
  async refresh(): Promise<void> {
    const lists = await Promise.all(this.#watched.map(async ({ resource, list }) => ({ resource, items: (await this.#client.list<KubeObject>(resource, list)).items })));
    for (const { resource, items } of lists) {
      const there = new Set(items.map((o) => idOf(resource, o)));
      for (const [id, previous] of this.#of(resource)) if (!there.has(id)) this.#gone(resource, id, previous);
      for (const o of items) this.#came(resource, o);
    }
  }

  /** Watches from now on; resolves when everything was read once. A second call begins anew: what a broken connection hid is found by its lists. */
  async follow(log: Logger, clock: Clock, signal: AbortSignal): Promise<void> {
    await this.unfollow();
    const quiet = { ...log, warn: log.debug.bind(log) }; // whether the API answers is said once, by who asks for it
    const fresh = this.#watched.map(({ resource, list }) => ({ resource, informer: new Informer<KubeObject>({ client: this.#client, resource, list, log: quiet, clock, maxRetryMs: MAX_RETRY_MS }) }));
    this.#informers = fresh.map((f) => f.informer);
    for (const { informer } of fresh) await informer.start(signal);
    await Promise.all(this.#informers.map((i) => i.synced));
    for (const { resource, informer } of fresh) {
      const there = new Set(informer.list().map((o) => idOf(resource, o)));
      for (const [id, previous] of this.#of(resource)) if (!there.has(id)) this.#gone(resource, id, previous);
      informer.onChange((_key, o, previous) => {
        if (o !== null) this.#came(resource, o);
        else if (previous !== null) this.#gone(resource, idOf(resource, previous), previous);
      });
    }
  }

  async unfollow(): Promise<void> {
    const old = this.#informers;
    this.#informers = [];
    await Promise.all(old.map((i) => i.stop()));
  }

  /** What a write of ours returned. */
  put(resource: ResourceId, object: KubeObject): void {
    const id = idOf(resource, object);
    const previous = this.#of(resource).get(id) ?? null;
    this.#of(resource).set(id, object);
    this.#l.index(resource, object, previous);
  }

  drop(resource: ResourceId, object: KubeObject): void {
    const id = idOf(resource, object);
    const previous = this.#of(resource).get(id);
    if (previous === undefined) return;
    this.#of(resource).delete(id);
    this.#l.index(resource, null, previous);
  }

  #of(resource: ResourceId): Map<string, KubeObject> {
    const found = this.#objects.get(resource.plural);
    if (found !== undefined) return found;
    const made = new Map<string, KubeObject>();
    this.#objects.set(resource.plural, made);
    return made;
  }

  #came(resource: ResourceId, object: KubeObject): void {
    const objects = this.#of(resource);
    const id = idOf(resource, object);
    const previous = objects.get(id) ?? null;
    if (previous !== null && previous.metadata.uid === object.metadata.uid && versionOf(object) <= versionOf(previous)) return;
    objects.set(id, object);
    this.#l.index(resource, object, previous);
    this.#l.tell(resource, object, previous);
  }

  /** The end of an object that was made anew since is no news. */
  #gone(resource: ResourceId, id: string, object: KubeObject): void {
    const known = this.#of(resource).get(id);
    if (known === undefined || known.metadata.uid !== object.metadata.uid) return;
    this.#of(resource).delete(id);
    this.#l.index(resource, null, known);
    this.#l.tell(resource, null, known);
  }
}
