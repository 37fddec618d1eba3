/**
 * A copy of one kind kept in step with the API: list, then watch from there, list again where the position is gone. A list replaces the
 * copy at once and reports only what differs, so that whoever reads it never sees a region that is half there.
 */
import type { Client, ListOptions, ResourceId } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { backoff } from '../../base/retry.ts';

export interface MirrorOptions {
  readonly client: Client;
  readonly resource: ResourceId;
  readonly scope: ListOptions;
  readonly onChange: (before: KubeObject | null, after: KubeObject | null) => void;
  readonly log: Logger;
  readonly clock: Clock;
}

export class Mirror<T extends KubeObject> implements Service {
  readonly name: string;
  readonly #o: MirrorOptions;
  readonly #abort = new AbortController();
  #objects = new Map<string, T>();
  #running: Promise<void> = Promise.resolve();

  constructor(options: MirrorOptions) {
    this.#o = options;
    this.name = `mirror of ${options.resource.plural}`;
  }

  items(): readonly T[] {
    return [...this.#objects.values()];
  }

  /** Resolves once the first list is in. */
  async start(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#abort.abort(signal.reason), { once: true });
    const position = await this.#list();
    this.#running = this.#follow(position);
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error(`${this.name} stopped`));
    await this.#running;
  }

  async #follow(first: string): Promise<void> {
    let position: string | null = first;
    let delays = backoff({ firstMs: 50, maxMs: 5_000 });
    while (!this.#abort.signal.aborted) {
      try {
        position ??= await this.#list();
        for await (const event of this.#o.client.watch<T>(this.#o.resource, { ...this.#o.scope, resourceVersion: position }, this.#abort.signal)) {
          delays = backoff({ firstMs: 50, maxMs: 5_000 });
          position = event.type === 'BOOKMARK' ? event.resourceVersion : (event.object.metadata.resourceVersion ?? position);
          if (event.type !== 'BOOKMARK') this.#put(keyOf(event.object), event.type === 'DELETED' ? null : event.object);
        }
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        if (isMeshError(error, 'expired')) position = null;
        this.#o.log.warn('watch broke', { resource: this.#o.resource.plural, err: error });
      }
      await this.#o.clock.sleep(delays.next().value, this.#abort.signal).catch(() => undefined); // aborted: the loop ends
    }
  }

  async #list(): Promise<string> {
    const { items, resourceVersion } = await this.#o.client.list<T>(this.#o.resource, this.#o.scope);
    const next = new Map(items.map((object) => [keyOf(object), object]));
    const before = this.#objects;
    this.#objects = next;
    for (const [key, object] of before) if (!next.has(key)) this.#o.onChange(object, null);
    for (const [key, object] of next) {
      const old = before.get(key) ?? null;
      if (old?.metadata.resourceVersion !== object.metadata.resourceVersion || old === null) this.#o.onChange(old, object);
    }
    return resourceVersion;
  }

  #put(key: string, object: T | null): void {
    const before = this.#objects.get(key) ?? null;
    if (object === null) this.#objects.delete(key);
    else this.#objects.set(key, object);
    if (before !== null || object !== null) this.#o.onChange(before, object);
  }
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.tenant ?? ''}/${metadata.namespace ?? ''}/${metadata.name}`;
}
