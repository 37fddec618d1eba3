/**
 * Who may write: every write for an application is made by the holder of its shard, and names the Lease by which it holds it with the number of times
 * that it had changed hands, its epoch; APIs refuse it once they know of a later one (`claims.ts`). Objects carry the epoch too, and writes are
 * conditional on the version that the holder knows: a new holder stamps what it took over before it acts, which protects it where an API knows no fences.
 */
import type { WriteOptions } from '../../api/client.ts';
import { isFenced, type LeaseFence } from '../../api/lease-fence.ts';

/** Of Placements, Deployments and fronts: `<shard>:<token>`. */
export const FENCE_ANNOTATION = 'mesh.proxima.io/fence';

export interface HeldLease extends LeaseFence {
  /** `<identity>/<incarnation>`. */
  readonly holder: string;
}

export interface Fence {
  /** The stamp for a write of the application, or of the network for null; null = nothing is fenced. Throws `conflict` when that is not ours now. */
  stamp(key: string | null): string | null;
  /** The Lease that such a write is made under; null and throws as `stamp`. */
  lease(key: string | null): HeldLease | null;
  /** An API refused a write: it knows of a later holder. */
  refused(): void;
}

export const openFence: Fence = { stamp: () => null, lease: () => null, refused: () => undefined };

export async function fenced<T>(fence: Fence, key: string | null, write: (options: WriteOptions) => Promise<T>): Promise<T> {
  const held = fence.lease(key);
  try {
    return await write(held === null ? {} : { fence: { lease: held.lease, epoch: held.epoch } });
  } catch (error) {
    if (isFenced(error)) fence.refused();
    throw error;
  }
}

/** Is `stamp` of an earlier holder than the one that wrote `found`? Stamps of different shards say nothing: the number of shards was changed. */
export function isOlder(stamp: string, found: string | undefined): boolean {
  if (found === undefined) return false;
  const [shard, token] = stamp.split(':');
  const [otherShard, otherToken] = found.split(':');
  return shard === otherShard && Number(otherToken) > Number(token);
}
