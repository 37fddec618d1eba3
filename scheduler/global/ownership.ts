/**
 * What of the mesh is this instance's: its shards, the leases that its writes are made under, and the regions told about them. A part that came to us
 * is ours to act on once everything was read anew: what its holder before wrote last may not have come by our watches yet.
 */
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
  /** The lease was not renewed in time. */
  readonly lapsed: () => void;
}

export class Ownership {
  /** What may be written, and under which lease. */
  readonly fence: Fence;
  readonly #d: OwnershipDeps;
  /** Parts by the epoch for which what is known is not older than our holding them. */
  #read: ReadonlyMap<Part, number> = new Map();
  #isLapsed = false;

  constructor(deps: OwnershipDeps) {
    this.#d = deps;
    this.fence = { stamp: (key) => this.#stamp(key), lease: (key) => this.#lease(key), refused: () => deps.refused('api') };
  }

  /** Is what exists once in the mesh, not once per shard, ours to do? */
  get leads(): boolean {
    return this.#usable('network') !== null;
  }

  /** What may be acted on now. */
  held(): ReadonlySet<Part> {
    return new Set([...this.#d.shards.held(this.#d.clock.now())].filter((part) => this.#usable(part) !== null));
  }

  owns(key: string): boolean {
    return this.#usable(shardOf(key, this.#d.shards.count)) !== null;
  }

  /** `read` reads everything anew; called when something came to us since it was read last, or `always`. */
  async catchUp(read: () => Promise<void>, always = false): Promise<void> {
    const { shards, clock } = this.#d;
    const now = clock.now();
    const held = new Map([...shards.held(now)].map((part) => [part, shards.token(part, now) ?? 0]));
    if (always || [...held].some(([part, epoch]) => this.#read.get(part) !== epoch)) await read();
    this.#read = held;
  }

  /** Says once that the lease ran out, and once that it is renewed. After it what was known is read anew: watches may have lain dead. */
  look(): void {
    const { shards, clock, log } = this.#d;
    const now = clock.now();
    const isLapsed = shards.isLapsed(now);
    if (isLapsed === this.#isLapsed) return;
    this.#isLapsed = isLapsed;
    if (!isLapsed) return log.info('lease renewed, the store of the global API answers again');
    this.#read = new Map();
    this.#d.lapsed();
    log.warn('lease ran out: the store of the global API does not answer, this instance acts on nothing', { silentMs: Math.round(shards.silentMs(now)), next: 'check the way to the endpoints of `store`; the other instances take over what was held here' });
  }

  /** Why nothing is decided here; null = it is. */
  get unready(): string | null {
    const { shards, clock } = this.#d;
    const now = clock.now();
    return shards.isLapsed(now) ? `the store of the global API has not answered for ${(shards.silentMs(now) / 1000).toFixed(1)} s: the lease ran out` : null;
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

  #usable(part: Part): HeldLease | null {
    const held = this.#d.shards.lease(part, this.#d.clock.now());
    return held !== null && this.#read.get(part) === held.epoch ? held : null;
  }

  #lease(key: string | null): HeldLease {
    const held = this.#usable(key === null ? 'network' : shardOf(key, this.#d.shards.count));
    if (held !== null) return held;
    this.#d.refused('itself');
    throw new MeshError('conflict', `${key ?? 'the network'} is not of this instance any more`);
  }
}
