/** What of the mesh is this instance's: its shards, the leases that its writes are made under, and the regions told about them. */
import { MeshError } from '../../api/errors.ts';
import { isFenced } from '../../api/lease-fence.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Fence, HeldLease } from './fence.ts';
import type { Region } from './region.ts';
import { type Part, shardOf, type Shards } from './shards.ts';

export interface OwnershipDeps {
  readonly shards: Shards;
  readonly clock: Clock;
  readonly log: Logger;
  /** A write was not made because we knew better, or was refused because an API did. */
  readonly refused: (by: 'itself' | 'api') => void;
}

export class Ownership {
  /** What may be written, and under which lease. */
  readonly fence: Fence;
  readonly #d: OwnershipDeps;

  constructor(deps: OwnershipDeps) {
    this.#d = deps;
    this.fence = { stamp: (key) => this.#stamp(key), lease: (key) => this.#lease(key), refused: () => deps.refused('api') };
  }

  /** Is what exists once in the mesh, not once per shard, ours to do? */
  get leads(): boolean {
    return this.#d.shards.token('network', this.#d.clock.now()) !== null;
  }

  held(): ReadonlySet<Part> {
    return this.#d.shards.held(this.#d.clock.now());
  }

  owns(key: string): boolean {
    return this.#d.shards.token(shardOf(key, this.#d.shards.count), this.#d.clock.now()) !== null;
  }

  /** What is held is said to the region before anything is written there, and also when nothing is to be: the holder before may still be writing. */
  async claim(region: Region): Promise<void> {
    const { shards, clock, log } = this.#d;
    const now = clock.now();
    await Promise.all([...shards.held(now)].map(async (part) => {
      const lease = shards.lease(part, now);
      if (lease === null) return;
      try {
        await region.claim(lease);
      } catch (error) {
        const epoch = isFenced(error) ? error.fields['epoch'] : undefined;
        if (typeof epoch === 'number') shards.outgrow(part, epoch);
        log.warn('shard not claimed in region', { region: region.name, shard: part, err: error });
      }
    }));
  }

  /** Throws when the application, or for null the network, is not ours now. */
  #stamp(key: string | null): string | null {
    const { epoch } = this.#lease(key);
    return key === null ? null : `${shardOf(key, this.#d.shards.count)}:${epoch}`;
  }

  #lease(key: string | null): HeldLease {
    const { shards, clock } = this.#d;
    const held = shards.lease(key === null ? 'network' : shardOf(key, shards.count), clock.now());
    if (held !== null) return held;
    this.#d.refused('itself');
    throw new MeshError('conflict', `${key ?? 'the network'} is not of this instance any more`);
  }
}
