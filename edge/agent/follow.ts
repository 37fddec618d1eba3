/** A list that stays current: list, watch, list again when the watch position is gone. It says first everything, then every change. */
import { isMeshError } from '../../api/errors.ts';
import type { Client, ListOptions, ResourceId } from '../../api/client.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';

export interface FollowOptions<T extends KubeObject> {
  readonly client: Client;
  readonly resource: ResourceId;
  readonly select: ListOptions;
  readonly log: Logger;
  /** Everything there is, after each list. */
  readonly onList: (items: readonly T[]) => void;
  readonly onChange: (object: T) => void;
  readonly onDelete: (object: T) => void;
}

export class Follow<T extends KubeObject> implements Service {
  readonly name: string;
  readonly #o: FollowOptions<T>;
  readonly #loop: Loop;

  constructor(options: FollowOptions<T>) {
    this.name = `follow ${options.resource.plural}`;
    this.#o = options;
    this.#loop = new Loop({ name: this.name, log: options.log, firstRetryMs: 200, maxRetryMs: 3000, run: (_, signal) => this.#pass(signal) });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    this.#loop.trigger('list');
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #pass(signal: AbortSignal): Promise<number> {
    const { client, resource, select } = this.#o;
    const list = await client.list<T>(resource, select);
    this.#o.onList(list.items);
    let { resourceVersion } = list;
    for (;;) {
      try {
        for await (const event of client.watch<T>(resource, { ...select, resourceVersion }, signal)) {
          if (event.type === 'BOOKMARK') resourceVersion = event.resourceVersion;
          else {
            resourceVersion = event.object.metadata.resourceVersion ?? resourceVersion;
            if (event.type === 'DELETED') this.#o.onDelete(event.object);
            else this.#o.onChange(event.object);
          }
        }
      } catch (error) {
        if (isMeshError(error, 'expired')) return 1; // list again at once
        throw error;
      }
      signal.throwIfAborted();
      // The server closed the watch; a short pause, then on from where it was.
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}
