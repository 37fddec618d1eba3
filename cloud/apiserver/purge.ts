/**
 * Ends what is Terminating: everything inside a namespace or tenant that was deleted is deleted in turn, and when nothing is left, the
 * container itself goes. Level-triggered from the store, so a restart carries on.
 */
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import type { KindDefinition } from '../../api/definition.ts';
import { isMeshError } from '../../api/errors.ts';
import { Resources } from '../../api/resources.ts';
import { metaOf, peek } from './bytes.ts';
import { masterIdentity } from './identity.ts';
import { addressOf, keyOf, prefixOf } from './keys.ts';
import type { Registry } from './registry.ts';

export interface PurgeDeps {
  readonly registry: Registry;
  readonly kinds: readonly KindDefinition[];
  readonly log: Logger;
  readonly clock: Clock;
}

const AGAIN_MS = 1000;
const CONTAINERS = [Resources.Namespace, Resources.Tenant] as const;

export class Purge implements Service {
  readonly name = 'purge';
  readonly #deps: PurgeDeps;
  readonly #loop: Loop;
  readonly #abort = new AbortController();
  #watching: Promise<unknown> = Promise.resolve();

  constructor(deps: PurgeDeps) {
    this.#deps = deps;
    this.#loop = new Loop({ name: 'purge', log: deps.log, clock: deps.clock, resyncMs: 0, run: (key) => this.#purge(key) });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    this.#watching = Promise.all(CONTAINERS.map((r) => this.#follow(prefixOf(r, null, null))));
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('purge stops'));
    await this.#loop.stop();
    await this.#watching;
  }

  async #follow(prefix: string): Promise<void> {
    const store = this.#deps.registry.store;
    while (!this.#abort.signal.aborted) {
      try {
        const now = await store.range({ prefix });
        for (const e of now.entries) this.#consider(e.key, e.value);
        for await (const batch of store.watch({ prefix, after: now.revision }, this.#abort.signal)) {
          for (const e of batch.events) if (e.value !== null) this.#consider(e.key, e.value);
        }
        return; // the store closes or we stop
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        if (!isMeshError(error, 'expired')) this.#deps.log.warn('purge lost its watch', { err: error });
        await this.#deps.clock.sleep(AGAIN_MS, this.#abort.signal).catch(() => undefined); // stopping ends the wait
      }
    }
  }

  #consider(key: string, value: Uint8Array): void {
    if (metaOf(peek(value))['deletionTimestamp'] !== undefined) this.#loop.trigger(key);
  }

  async #purge(key: string): Promise<number | void> {
    const { registry } = this.#deps;
    const entry = await registry.store.get(key);
    if (entry === null || metaOf(peek(entry.value))['deletionTimestamp'] === undefined) return this.#loop.forget(key);
    const isTenant = key.startsWith(prefixOf(Resources.Tenant, null, null));
    const where = addressOf(isTenant ? Resources.Tenant : Resources.Namespace, key);
    const left = isTenant ? await this.#empty(where.name, null) : await this.#empty(where.tenant ?? '', where.name);
    if (left > 0) return AGAIN_MS;
    await this.#remove(key, isTenant);
  }

  /** Deletes what is inside; returns how much is still there afterwards. */
  async #empty(tenant: string, namespace: string | null): Promise<number> {
    let left = 0;
    for (const def of this.#deps.kinds) {
      const scope = def.resource.scope;
      if (scope === 'cluster' || (namespace !== null && scope !== 'namespace')) continue;
      for (const e of (await this.#deps.registry.store.range({ prefix: prefixOf(def.resource, tenant, namespace) })).entries) {
        const result = await this.#deps.registry.delete(def, addressOf(def.resource, e.key), {}, masterIdentity).catch((error: unknown) => {
          if (isMeshError(error, 'not-found')) return { gone: true };
          throw error;
        });
        if (!result.gone) left += 1;
      }
    }
    return left;
  }

  /** Takes off the finalizer that kept the empty container; the registry removes it when nobody else holds it. */
  async #remove(key: string, isTenant: boolean): Promise<void> {
    const resource = isTenant ? Resources.Tenant : Resources.Namespace;
    const def = this.#deps.kinds.find((k) => k.resource === resource);
    if (def === undefined) return;
    const how = { who: { name: 'system:purge', groups: [], tenant: 'system' }, fieldValidation: 'Ignore' as const, warnings: [], dryRun: false, subresource: '' as const };
    await this.#deps.registry.change(def, addressOf(resource, key), (live) => ({ ...live, spec: {} }), how);
    this.#loop.forget(key);
    this.#deps.log.info('emptied and removed', { key: keyOf(resource, addressOf(resource, key)) });
  }
}
