/**
 * Who holds a shard, said in a region: the Lease of the shard's name there has the holder's epoch, and every write that is made for the shard names
 * it (`api/lease-fence.ts`). The region refuses what an earlier holder still writes from the moment of the claim on, be it a create, a patch or a delete.
 */
import type { Client, WriteOptions } from '../../api/client.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Lease } from '../../api/kinds/core.ts';
import { FENCE_PLACE, FENCED, isFenced } from '../../api/lease-fence.ts';
import { Resources } from '../../api/resources.ts';
import { type Fence, fenced, type HeldLease } from './fence.ts';

const TRIES = 3;

export class Claims {
  readonly #client: Client;
  /** By name of the Lease: the claim that was made, or is being made. */
  readonly #made = new Map<string, { readonly epoch: number; readonly done: Promise<void> }>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** Throws `conflict` with `fields.epoch` when the region has seen a later holder. */
  claim(lease: HeldLease): Promise<void> {
    const known = this.#made.get(lease.lease);
    if (known?.epoch === lease.epoch) return known.done;
    const claim = { epoch: lease.epoch, done: this.#claim(lease) };
    this.#made.set(lease.lease, claim);
    claim.done.catch(() => {
      if (this.#made.get(lease.lease) === claim) this.#made.delete(lease.lease);
    });
    return claim.done;
  }

  /** A write for an application, or for the network (null), under the Lease that allows it. */
  async write<T>(fence: Fence, key: string | null, write: (options: WriteOptions) => Promise<T>): Promise<T> {
    const lease = fence.lease(key);
    if (lease !== null) await this.claim(lease);
    try {
      return await fenced(fence, key, write);
    } catch (error) {
      if (lease !== null && isFenced(error)) this.#made.delete(lease.lease);
      throw error;
    }
  }

  async #claim({ lease: name, epoch, holder }: HeldLease): Promise<void> {
    const spec: Lease['spec'] = { holderIdentity: holder, leaseTransitions: epoch };
    for (let tries = 1; ; tries++) {
      const found = await this.#find(name);
      const seen = found?.spec.leaseTransitions ?? 0;
      if (found !== null && seen === epoch && found.spec.holderIdentity === holder) return;
      if (found !== null && seen >= epoch) throw new MeshError('conflict', `lease ${name} is at epoch ${seen} there, held by ${found.spec.holderIdentity ?? 'nobody'}; this instance holds epoch ${epoch}`, { fields: { cause: FENCED, epoch: seen } });
      try {
        if (found === null) await this.#client.create<Lease>(Resources.Lease, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, ...FENCE_PLACE }, spec });
        else await this.#client.update<Lease>(Resources.Lease, { ...found, spec });
        return;
      } catch (error) {
        if (tries >= TRIES || !(isMeshError(error, 'conflict') || isMeshError(error, 'already-exists'))) throw error;
      }
    }
  }

  async #find(name: string): Promise<Lease | null> {
    try {
      return await this.#client.get<Lease>(Resources.Lease, FENCE_PLACE, name);
    } catch (error) {
      if (isMeshError(error, 'not-found')) return null;
      throw error;
    }
  }
}
