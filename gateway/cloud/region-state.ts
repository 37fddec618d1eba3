/** What the region's API says about presences and revocations, kept current by a watch each: list, follow, and list again when it breaks. */
import type { Client, ListOptions, ResourceId } from '../../api/client.ts';
import type { Presence } from '../../api/kinds/mesh.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { REVOCATIONS_NAME, REVOCATIONS_PLACE, serialsOf } from '../../certs/revocation.ts';
import type { RevocationMap } from '../../certs/revocation.ts';
import { ruleOf } from '../presence/policy.ts';
import type { PresenceRule } from '../presence/policy.ts';

export interface RegionStateOptions {
  readonly client: Client;
  readonly log: Logger;
  /** Rules or revocations have changed. */
  readonly onChange: () => void;
}

interface Followed {
  readonly resource: ResourceId;
  readonly options: ListOptions;
  readonly replace: (items: readonly KubeObject[]) => void;
  readonly put: (object: KubeObject, isDeleted: boolean) => void;
}

export class RegionState implements Service {
  readonly name = 'region state';
  readonly #o: RegionStateOptions;
  readonly #rules = new Map<string, PresenceRule>();
  #revoked: ReadonlySet<string> = new Set();
  readonly #loop: Loop;
  readonly #followed: Readonly<Record<string, Followed>>;
  #loaded = new Set<string>();
  #whenLoaded: (() => void)[] = [];

  constructor(options: RegionStateOptions) {
    this.#o = options;
    this.#followed = {
      presences: {
        resource: Resources.Presence,
        options: { tenant: 'all' },
        replace: (items) => {
          this.#rules.clear();
          for (const p of items) this.#putRule(p as Presence, false);
        },
        put: (object, isDeleted) => this.#putRule(object as Presence, isDeleted),
      },
      revocations: {
        resource: Resources.ConfigMap,
        options: { tenant: REVOCATIONS_PLACE.tenant, namespace: REVOCATIONS_PLACE.namespace, fieldSelector: `metadata.name=${REVOCATIONS_NAME}` },
        replace: (items) => {
          const map = items.find((m) => m.metadata.name === REVOCATIONS_NAME);
          this.#revoked = map === undefined ? new Set() : serialsOf(map as RevocationMap);
        },
        put: (object, isDeleted) => {
          if (object.metadata.name === REVOCATIONS_NAME) this.#revoked = isDeleted ? new Set() : serialsOf(object as RevocationMap);
        },
      },
    };
    this.#loop = new Loop({ name: 'region state', log: options.log, run: (key, signal) => this.#follow(key, signal), resyncMs: 0, maxRetryMs: 3_000 });
  }

  /** Resolves once both lists are known: before that nobody could be let in rightly. */
  async start(signal: AbortSignal): Promise<void> {
    const loaded = new Promise<void>((resolve, reject) => {
      this.#whenLoaded.push(resolve);
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    await this.#loop.start(signal);
    for (const key of Object.keys(this.#followed)) this.#loop.trigger(key);
    await loaded;
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
  }

  rule(key: string): PresenceRule | undefined {
    return this.#rules.get(key);
  }

  get rules(): Iterable<PresenceRule> {
    return this.#rules.values();
  }

  get revoked(): ReadonlySet<string> {
    return this.#revoked;
  }

  isRevoked(serial: string): boolean {
    return this.#revoked.has(serial);
  }

  #putRule(presence: Presence, isDeleted: boolean): void {
    const rule = ruleOf(presence);
    if (isDeleted || presence.metadata.deletionTimestamp !== undefined) this.#rules.delete(rule.key);
    else this.#rules.set(rule.key, rule);
  }

  async #follow(key: string, signal: AbortSignal): Promise<number> {
    const f = this.#followed[key];
    if (f === undefined) return 60_000;
    const { client } = this.#o;
    const list = await client.list(f.resource, f.options);
    f.replace(list.items);
    this.#changed(key);
    for await (const event of client.watch(f.resource, { ...f.options, resourceVersion: list.resourceVersion }, signal)) {
      if (event.type === 'BOOKMARK') continue;
      f.put(event.object, event.type === 'DELETED');
      this.#changed(key);
    }
    return 50; // the server ended the watch: list again
  }

  #changed(key: string): void {
    this.#loaded.add(key);
    if (this.#loaded.size === Object.keys(this.#followed).length) for (const f of this.#whenLoaded.splice(0)) f();
    this.#o.onChange();
  }
}
