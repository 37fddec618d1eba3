/**
 * Who may write: every write for an application is made by the holder of its shard, carries the holder's token, and is conditional on the version
 * that the holder knows. A new holder stamps what it took over before it acts, so that a late write of the holder before finds another version.
 */

/** Of Placements, Deployments and fronts: `<shard>:<token>`. */
export const FENCE_ANNOTATION = 'mesh.proxima.io/fence';

export interface Fence {
  /** The stamp for a write of the application, or of the network for null; null = nothing is fenced. Throws `conflict` when that is not ours now. */
  stamp(key: string | null): string | null;
}

export const openFence: Fence = { stamp: () => null };

/** Is `stamp` of an earlier holder than the one that wrote `found`? Stamps of different shards say nothing: the number of shards was changed. */
export function isOlder(stamp: string, found: string | undefined): boolean {
  if (found === undefined) return false;
  const [shard, token] = stamp.split(':');
  const [otherShard, otherToken] = found.split(':');
  return shard === otherShard && Number(otherToken) > Number(token);
}
