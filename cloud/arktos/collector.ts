/** The loop of garbage collection: dependents of what is gone, and owners that wait for their dependents. */
import type { ResourceId } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { KubeObject, OwnerReference } from '../../api/object.ts';
import { apiVersionOf, Resources } from '../../api/resources.ts';
import type { Service } from '../../base/lifecycle.ts';
import { Loop } from '../../base/loop.ts';
import { actInOrder } from './act.ts';
import { decideDependent, decideFinalizers } from './garbage.ts';
import type { Dependent } from './garbage.ts';
import type { World } from './world.ts';

export class Collector implements Service {
  readonly name = 'garbage collector';
  readonly #world: World;
  readonly #loop: Loop;
  readonly #byPlural: ReadonlyMap<string, ResourceId>;
  /** Owner's uid -> keys of what it owns. */
  readonly #dependents = new Map<string, Set<string>>();

  constructor(world: World) {
    this.#world = world;
    this.#byPlural = new Map([...world.owned.keys()].map((r) => [r.plural, r]));
    this.#loop = new Loop({ name: 'garbage', log: world.log, clock: world.clock, resyncMs: 0, run: (key) => this.#look(key) });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    for (const [resource, cache] of this.#world.owned) cache.onChange((key, now, before) => this.#changed(`${resource.plural} ${key}`, now, before));
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  #changed(key: string, now: KubeObject | null, before: KubeObject | null): void {
    const uid = (now ?? before)?.metadata.uid ?? '';
    for (const o of before?.metadata.ownerReferences ?? []) this.#forget(o.uid, key);
    for (const o of now?.metadata.ownerReferences ?? []) this.#dependents.set(o.uid, (this.#dependents.get(o.uid) ?? new Set()).add(key));
    if (now === null) for (const d of this.#dependents.get(uid) ?? []) this.#loop.trigger(d);
    // The last dependent's end lets its owner go.
    for (const o of before?.metadata.ownerReferences ?? []) for (const [r, cache] of this.#world.owned) if (r.kind === o.kind && before !== null && cache.get(this.#ownerKey(before, o, r)) !== null) this.#loop.trigger(`${r.plural} ${this.#ownerKey(before, o, r)}`);
    const isNew = before === null || before.metadata.ownerReferences?.length !== now?.metadata.ownerReferences?.length;
    if (now !== null && ((isNew && (now.metadata.ownerReferences ?? []).length > 0) || (now.metadata.finalizers ?? []).length > 0)) this.#loop.trigger(key);
  }

  #forget(owner: string, key: string): void {
    const keys = this.#dependents.get(owner);
    keys?.delete(key);
    if (keys?.size === 0) this.#dependents.delete(owner);
  }

  #find(key: string): Dependent | null {
    const [plural = '', name = ''] = key.split(' ');
    const resource = this.#byPlural.get(plural);
    const object = resource === undefined ? null : (this.#world.owned.get(resource)?.get(name) ?? null);
    return resource === undefined || object === null ? null : { resource, object };
  }

  async #look(key: string): Promise<void> {
    const found = this.#find(key);
    if (found === null) return;
    const gone = new Set<string>();
    for (const owner of found.object.metadata.ownerReferences ?? []) if (await this.#isGone(found.object, owner)) gone.add(owner.uid);
    const dependents = [...(this.#dependents.get(found.object.metadata.uid ?? '') ?? [])].map((k) => this.#find(k)).filter((d) => d !== null);
    const steps = [...decideDependent(found, gone), ...decideFinalizers(found, dependents)];
    await actInOrder(this.#world.client, steps);
  }

  #ownerKey(o: KubeObject, owner: OwnerReference, resource: ResourceId): string {
    const { tenant, namespace } = o.metadata;
    const parts = resource.scope === 'cluster' ? [] : resource.scope === 'tenant' ? [tenant] : [tenant, namespace];
    return [...parts, owner.name].filter((p) => p !== undefined && p !== '').join('/');
  }

  /** A cache that is behind is no proof: absence is asked of the API. An owner of a kind that we do not know is taken as there. */
  async #isGone(object: KubeObject, owner: OwnerReference): Promise<boolean> {
    const resource = Object.values(Resources).find((r) => r.kind === owner.kind && apiVersionOf(r) === owner.apiVersion);
    if (resource === undefined) return false;
    const cached = this.#world.owned.get(resource)?.get(this.#ownerKey(object, owner, resource));
    if (cached?.metadata.uid === owner.uid) return false;
    const { tenant = null, namespace = null } = object.metadata;
    try {
      const live = await this.#world.client.get(resource, { tenant, namespace }, owner.name);
      return live.metadata.uid !== owner.uid;
    } catch (error) {
      if (isMeshError(error, 'not-found')) return true;
      throw error;
    }
  }
}
