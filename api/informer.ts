/**
 * A cache of one resource that follows the server: list, watch from there, list again when the position is gone, back off while the server is away.
 * The cache keeps the last known state through an outage; handlers hear of every key that changed, also of what vanished meanwhile.
 */
import { backoff } from '../base/retry.ts';
import { systemClock, type Clock } from '../base/clock.ts';
import type { Service } from '../base/lifecycle.ts';
import type { Logger } from '../base/log.ts';
import type { Client, ListOptions, ResourceId, WatchEvent } from './client.ts';
import { isMeshError } from './errors.ts';
import type { KubeObject } from './object.ts';

export interface InformerOptions {
  readonly client: Client;
  readonly resource: ResourceId;
  readonly list?: ListOptions;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** @default 200 */
  readonly firstRetryMs?: number;
  /** @default 15000 */
  readonly maxRetryMs?: number;
}

/** `object` is null when the key is gone; `previous` is null when it is new. */
export type ChangeHandler<T extends KubeObject> = (key: string, object: T | null, previous: T | null) => void;

/** `tenant/namespace/name`, without the parts that the object does not have. */
export function keyOf(object: KubeObject): string {
  const { tenant, namespace, name } = object.metadata;
  return [tenant, namespace, name].filter((p) => p !== undefined && p !== '').join('/');
}

export class Informer<T extends KubeObject> implements Service {
  readonly name: string;
  /** Resolves once the first list is in the cache; rejects when the informer is stopped before. */
  readonly synced: Promise<void>;
  readonly #o: InformerOptions;
  readonly #clock: Clock;
  readonly #cache = new Map<string, T>();
  readonly #handlers = new Set<ChangeHandler<T>>();
  readonly #abort = new AbortController();
  readonly #settle: { readonly resolve: () => void; readonly reject: (error: Error) => void };
  #isSynced = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: InformerOptions) {
    this.#o = options;
    this.#clock = options.clock ?? systemClock;
    this.name = `informer ${options.resource.plural}`;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => undefined); // nobody need wait for it
    this.synced = promise;
    this.#settle = { resolve, reject };
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  get(key: string): T | null {
    return this.#cache.get(key) ?? null;
  }

  list(): readonly T[] {
    return [...this.#cache.values()];
  }

  /** Calls at once for what is already there. Returns how to stop listening. */
  onChange(handler: ChangeHandler<T>): () => void {
    this.#handlers.add(handler);
    for (const [key, object] of this.#cache) this.#tell(handler, key, object, null);
    return () => this.#handlers.delete(handler);
  }

  async start(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#abort.abort(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    this.#running = this.#follow();
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error(`${this.name} stopped`));
    await this.#running;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#abort;
    const delays = (): Generator<number, never> => backoff({ firstMs: this.#o.firstRetryMs ?? 200, maxMs: this.#o.maxRetryMs ?? 15_000, ...(this.#o.random === undefined ? {} : { random: this.#o.random }) });
    let waits = delays();
    let position = '';
    while (!signal.aborted) {
      try {
        if (position === '') {
          position = await this.#relist();
          waits = delays();
        }
        const started = this.#clock.now();
        let last = position;
        for await (const event of this.#o.client.watch<T>(this.#o.resource, { ...this.#o.list, resourceVersion: position }, signal)) {
          last = this.#apply(event, last);
          position = last;
        }
        // A server that closes at once, over and over, is treated like one that fails.
        if (this.#clock.now() - started > 1000) waits = delays();
        else await this.#pause(waits.next().value);
      } catch (error) {
        if (signal.aborted) break;
        if (isMeshError(error, 'expired')) position = '';
        else this.#o.log.warn('informer lost its server', { resource: this.#o.resource.plural, err: error });
        await this.#pause(waits.next().value);
      }
    }
    if (!this.#isSynced) this.#settle.reject(new Error(`${this.name} stopped before its first list`));
  }

  async #pause(ms: number): Promise<void> {
    await this.#clock.sleep(ms, this.#abort.signal).catch(() => undefined); // stopping ends the wait
  }

  async #relist(): Promise<string> {
    const { items, resourceVersion } = await this.#o.client.list<T>(this.#o.resource, this.#o.list);
    const fresh = new Map(items.map((i) => [keyOf(i), i]));
    for (const [key, previous] of this.#cache) if (!fresh.has(key)) this.#put(key, null, previous);
    for (const [key, object] of fresh) {
      const previous = this.#cache.get(key) ?? null;
      const isSame = previous !== null && previous.metadata.resourceVersion === object.metadata.resourceVersion;
      if (!isSame) this.#put(key, object, previous);
    }
    if (!this.#isSynced) {
      this.#isSynced = true;
      this.#settle.resolve();
    }
    return resourceVersion;
  }

  #apply(event: WatchEvent<T>, position: string): string {
    if (event.type === 'BOOKMARK') return event.resourceVersion === '' ? position : event.resourceVersion;
    const key = keyOf(event.object);
    const known = this.#cache.get(key) ?? null;
    // What a glance left out is not in the cache, and its end is told all the same.
    if (event.type === 'DELETED') this.#put(key, null, known ?? event.object);
    else this.#put(key, event.object, known);
    return event.object.metadata.resourceVersion ?? position;
  }

  #put(key: string, object: T | null, previous: T | null): void {
    if (object === null) this.#cache.delete(key);
    else this.#cache.set(key, object);
    for (const handler of this.#handlers) this.#tell(handler, key, object, previous);
  }

  /** One handler's mistake must not stop the cache. */
  #tell(handler: ChangeHandler<T>, key: string, object: T | null, previous: T | null): void {
    try {
      handler(key, object, previous);
    } catch (error) {
      this.#o.log.error('informer handler failed', { resource: this.#o.resource.plural, key, err: error });
    }
  }
}
