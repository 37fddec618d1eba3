/**
 * Which applications are ours: each belongs to a shard by the hash of its key, each shard is a Lease `global-shard-<i>` in the global API, and its
 * number of transitions is the fencing token. A shard's Lease is written when it changes hands; that its holder lives is said by one Lease per
 * instance, `global-member-<identity>`, which it renews. Nobody compares clocks: a member is dead when its Lease did not change for `leaseMs` by
 * the clock of who looks, and a member that could not renew for two thirds of that holds nothing by its own.
 */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Lease } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import type { Logger } from '../../base/log.ts';
import type { HeldLease } from './fence.ts';

const PLACE = { tenant: 'system', namespace: 'default' } as const;
const MEMBER = 'global-member-';
const SHARD = 'global-shard-';
const NETWORK = 'global-network';
const HELD_SHARE = 2 / 3;
const FORGOTTEN_LEASES = 60;

export interface ShardsOptions {
  readonly identity: string;
  /** Differs with each start of the process. */
  readonly incarnation: string;
  /** @default 16 */
  readonly shards?: number;
  /** Without a renewal for so long, a member is dead. @default 5000 */
  readonly leaseMs?: number;
}

interface Seen {
  readonly version: string;
  readonly at: number;
}

export type Part = number | 'network';

/** FNV-1a: the same in every process, whatever its version. */
export function shardOf(key: string, shards: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % shards;
}

export class Shards {
  readonly count: number;
  readonly #client: Client;
  readonly #log: Logger;
  readonly #identity: string;
  readonly #me: string;
  readonly #leaseMs: number;
  /** Members by name of their Lease: the version seen last, and when it was seen first. */
  readonly #seen = new Map<string, Seen>();
  #held = new Map<Part, number>();
  /** Where a region has seen an epoch that ours is not above: the global API was set back. */
  readonly #behind = new Map<Part, number>();
  /** Too many by now: given back between two passes. */
  #excess: readonly Part[] = [];
  #leases = new Map<string, Lease>();
  #heldUntil = Number.NEGATIVE_INFINITY;
  #isStopped = false;

  constructor(client: Client, log: Logger, options: ShardsOptions) {
    this.#client = client;
    this.#log = log;
    this.#identity = options.identity;
    this.#me = `${options.identity}/${options.incarnation}`;
    this.#leaseMs = options.leaseMs ?? 5_000;
    this.count = options.shards ?? 16;
  }

  /** Was a member, and could not renew in time: holds nothing, and cannot know who does. */
  isLapsed(now: number): boolean {
    return this.#heldUntil > Number.NEGATIVE_INFINITY && now >= this.#heldUntil;
  }

  /** ms since the last renewal; 0 when it never was a member. */
  silentMs(now: number): number {
    return this.#heldUntil > Number.NEGATIVE_INFINITY ? now - this.#heldUntil + this.#leaseMs * HELD_SHARE : 0;
  }

  /** Parts held at this moment; empty when the lease is over. */
  held(now: number): ReadonlySet<Part> {
    return new Set(now < this.#heldUntil ? this.#held.keys() : []);
  }

  /** The token, or null when the part is not ours now. */
  token(part: Part, now: number): number | null {
    return now < this.#heldUntil ? (this.#held.get(part) ?? null) : null;
  }

  /** What the holder's writes name; null when the part is not ours now. */
  lease(part: Part, now: number): HeldLease | null {
    const epoch = this.token(part, now);
    return epoch === null ? null : { lease: nameOf(part), epoch, holder: this.#me };
  }

  /** A region knows an epoch of the part that is not below ours. The part is ours by the global API, so that is a leftover: ours grows beyond it. */
  outgrow(part: Part, epoch: number): void {
    this.#behind.set(part, epoch);
  }

  /** Renews, sees who else is there, takes what is free. Never while another call runs. */
  async tick(clock: () => number): Promise<void> {
    if (this.#isStopped) return;
    const began = clock();
    if (!(await this.#renew(began))) return this.#lose();
    const { items } = await this.#client.list<Lease>(Resources.Lease, PLACE);
    this.#leases = new Map(items.map((l) => [l.metadata.name, l]));
    const live = this.#live(clock());
    const before = this.#held;
    this.#held = new Map(this.#parts().flatMap((part) => (this.#holderOf(part) === this.#me ? [[part, this.#leases.get(nameOf(part))?.spec.leaseTransitions ?? 0] as const] : [])));
    this.#heldUntil = began + this.#leaseMs * HELD_SHARE;
    await this.#take(live, clock);
    await this.#grow(clock);
    this.#excess = this.#tooMany(live);
    if (this.#held.has('network')) await this.#sweep(clock());
    if ([...this.#held].some(([part, token]) => before.get(part) !== token) || before.size !== this.#held.size) this.#log.info('shards held', { shards: [...this.#held.keys()], members: live.length });
  }

  /** Between two passes: others get what is more than our share. */
  async giveBack(): Promise<void> {
    for (const part of this.#excess) {
      const lease = this.#leases.get(nameOf(part));
      this.#held.delete(part);
      if (lease !== undefined) await this.#write({ ...lease, spec: { ...lease.spec, holderIdentity: '' } });
    }
    this.#excess = [];
  }

  /** So that the others need not wait. */
  async release(): Promise<void> {
    this.#isStopped = true;
    const mine = this.#heldUntil > Number.NEGATIVE_INFINITY;
    this.#lose();
    if (!mine) return;
    const member = await this.#client.get<Lease>(Resources.Lease, PLACE, MEMBER + this.#identity).catch(orNull);
    if (member === null || member.spec.holderIdentity !== this.#me) return;
    await this.#client.delete(Resources.Lease, PLACE, MEMBER + this.#identity, member.metadata.uid === undefined ? {} : { uid: member.metadata.uid }).catch(orNull);
  }

  #lose(): void {
    this.#held = new Map();
    this.#excess = [];
    this.#heldUntil = Number.NEGATIVE_INFINITY;
  }

  #parts(): Part[] {
    return [...Array.from({ length: this.count }, (_, i) => i), 'network'];
  }

  /** false = another process has our identity, and is younger. */
  async #renew(now: number): Promise<boolean> {
    const name = MEMBER + this.#identity;
    const spec = { holderIdentity: this.#me, leaseDurationSeconds: Math.ceil(this.#leaseMs / 1000), renewTime: new Date(now).toISOString() };
    const known = this.#leases.get(name) ?? (await this.#client.get<Lease>(Resources.Lease, PLACE, name).catch(orNull));
    const isFirst = !this.#leases.has(name);
    if (known !== null && known.spec.holderIdentity !== this.#me && !isFirst) {
      this.#log.error('another process has the same identity; this one holds nothing', { identity: this.#identity, next: 'give each instance its own `identity`' });
      return false;
    }
    const fresh: Lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: known?.metadata ?? { name, ...PLACE }, spec };
    const written = known === null ? await this.#client.create(Resources.Lease, fresh).catch(orNull) : await this.#write(fresh);
    const found = written ?? (await this.#client.get<Lease>(Resources.Lease, PLACE, name).catch(orNull));
    if (found === null) this.#leases.delete(name);
    else this.#leases.set(name, found);
    return written !== null;
  }

  /** Identities of members that live, ours among them. */
  #live(now: number): string[] {
    const live: string[] = [];
    for (const [name, lease] of this.#leases) {
      if (!name.startsWith(MEMBER)) continue;
      const version = lease.metadata.resourceVersion ?? '';
      const seen = this.#seen.get(name);
      if (seen?.version !== version) this.#seen.set(name, { version, at: now });
      if (now - (this.#seen.get(name)?.at ?? now) < this.#leaseMs) live.push(lease.spec.holderIdentity ?? '');
    }
    for (const name of this.#seen.keys()) if (!this.#leases.has(name)) this.#seen.delete(name);
    return live.sort();
  }

  #holderOf(part: Part): string {
    return this.#leases.get(nameOf(part))?.spec.holderIdentity ?? '';
  }

  /** How many of the shards each live member may hold: as even as can be, and who has one more already keeps it. */
  #quota(live: readonly string[]): number {
    const counts = live.map((id) => ({ id, has: this.#parts().filter((p) => p !== 'network' && this.#holderOf(p) === id).length }));
    counts.sort((a, b) => b.has - a.has || (a.id < b.id ? -1 : 1));
    const rank = counts.findIndex((c) => c.id === this.#me);
    return Math.floor(this.count / live.length) + (rank < this.count % live.length ? 1 : 0);
  }

  async #take(live: readonly string[], clock: () => number): Promise<void> {
    const isFree = (part: Part): boolean => !live.includes(this.#holderOf(part));
    const quota = this.#quota(live);
    let has = [...this.#held.keys()].filter((p) => p !== 'network').length;
    // members that look at the same moment do not all try the same ones first
    const from = live.indexOf(this.#me) * Math.ceil(this.count / live.length);
    const order = Array.from({ length: this.count }, (_, i) => (from + i) % this.count);
    for (const part of ['network' as const, ...order]) {
      if (!isFree(part) || (part !== 'network' && has >= quota) || clock() >= this.#heldUntil) continue;
      const lease = this.#leases.get(nameOf(part));
      const token = (lease?.spec.leaseTransitions ?? 0) + 1;
      const spec = { holderIdentity: this.#me, leaseDurationSeconds: Math.ceil(this.#leaseMs / 1000), acquireTime: new Date(clock()).toISOString(), leaseTransitions: token };
      const metadata = lease?.metadata ?? { name: nameOf(part), ...PLACE };
      const fresh: Lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec };
      const written = lease === undefined ? await this.#client.create(Resources.Lease, fresh).catch(orNull) : await this.#write(fresh);
      if (written === null) continue; // somebody else was first
      this.#leases.set(nameOf(part), written);
      this.#held.set(part, token);
      if (part !== 'network') has += 1;
    }
  }

  async #grow(clock: () => number): Promise<void> {
    for (const [part, above] of this.#behind) {
      this.#behind.delete(part);
      const [token, lease] = [this.#held.get(part), this.#leases.get(nameOf(part))];
      if (token === undefined || token > above || lease === undefined || clock() >= this.#heldUntil) continue;
      const written = await this.#write({ ...lease, spec: { ...lease.spec, leaseTransitions: above + 1 } });
      if (written === null) continue; // it is not ours after all
      this.#held.set(part, above + 1);
      this.#log.warn('a region knew a later epoch of a shard than the global API', { shard: part, was: token, now: above + 1 });
    }
  }

  #tooMany(live: readonly string[]): readonly Part[] {
    const mine = [...this.#held.keys()].filter((p) => p !== 'network');
    return mine.slice(this.#quota(live));
  }

  /** Members that are dead for long leave their Lease behind. */
  async #sweep(now: number): Promise<void> {
    for (const [name, { at }] of this.#seen) {
      const uid = this.#leases.get(name)?.metadata.uid;
      if (now - at > FORGOTTEN_LEASES * this.#leaseMs && uid !== undefined) await this.#client.delete(Resources.Lease, PLACE, name, { uid }).catch(orNull);
    }
  }

  /** Conditional on the version that was read; null = somebody else wrote. */
  async #write(lease: Lease): Promise<Lease | null> {
    const written = await this.#client.update(Resources.Lease, lease).catch(orNull);
    if (written !== null) this.#leases.set(lease.metadata.name, written);
    return written;
  }
}

const nameOf = (part: Part): string => (part === 'network' ? NETWORK : `${SHARD}${part}`);

function orNull(error: unknown): null {
  if (isMeshError(error, 'conflict') || isMeshError(error, 'already-exists') || isMeshError(error, 'not-found')) return null;
  throw error;
}
