/**
 * The store port. Keys are strings ordered by their UTF-8 bytes; values are opaque bytes, kept and served as they came.
 * One revision counter per store, growing by one per committed transaction. Every engine passes `test/contract/store.ts`.
 */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Revision of the first write since the key was last absent. */
  readonly createRevision: number;
  readonly modRevision: number;
}

export interface RangeQuery {
  readonly prefix: string;
  /** Continue after this key (exclusive). */
  readonly after?: string;
  readonly limit?: number;
  /** Read as of this revision. Throws MeshError `expired` when it was compacted. */
  readonly revision?: number;
}

export interface RangeResult {
  readonly entries: readonly Entry[];
  /** The revision that was read. */
  readonly revision: number;
  readonly more: boolean;
}

export type Condition =
  | { readonly key: string; readonly is: 'absent' }
  | { readonly key: string; readonly is: 'revision'; readonly modRevision: number };

export type Op =
  | { readonly op: 'put'; readonly key: string; readonly value: Uint8Array; readonly lease?: string }
  | { readonly op: 'delete'; readonly key: string };

export type TxnResult =
  | { readonly ok: true; readonly revision: number }
  /** `conflict` is the first condition that did not hold, with what is there instead. */
  | { readonly ok: false; readonly revision: number; readonly conflict: Condition; readonly current: Entry | null };

export interface StoreEvent {
  readonly type: 'put' | 'delete';
  readonly key: string;
  /** null for a delete. */
  readonly value: Uint8Array | null;
  readonly previous: Uint8Array | null;
  readonly createRevision: number;
  readonly revision: number;
}

export interface StoreBatch {
  readonly revision: number;
  /** Empty = progress only: everything up to `revision` was delivered. */
  readonly events: readonly StoreEvent[];
}

export interface WatchQuery {
  readonly prefix: string;
  readonly after: number;
  /** A hint: a watcher has no use for events of which this says false. An engine that can asks before it wakes the watcher; others deliver them too. */
  readonly wants?: (event: StoreEvent) => boolean;
}

export interface Store {
  get(key: string): Promise<Entry | null>;
  range(query: RangeQuery): Promise<RangeResult>;
  /** All or nothing; durable (fsync) once resolved. */
  txn(conditions: readonly Condition[], ops: readonly Op[]): Promise<TxnResult>;
  /** Events with revision > `after`, in order, none missing, one batch per revision. Throws `expired` when `after` was compacted. */
  watch(query: WatchQuery, signal: AbortSignal): AsyncIterable<StoreBatch>;
  /** The newest revision. */
  revision(): Promise<number>;
  /** Keys put with the lease vanish when it is not kept alive. */
  grantLease(ttlMs: number): Promise<string>;
  keepAlive(lease: string): Promise<void>;
  revokeLease(lease: string): Promise<void>;
  /** Forgets history up to `revision`; current values stay. */
  compact(revision: number): Promise<void>;
  close(): Promise<void>;
}
