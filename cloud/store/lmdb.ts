/**
 * The embedded engine: one LMDB file, nothing to install.
 *
 * Three tables: `now` (key -> header and value), `log` (revision -> what it changed, with what was there before), `lease` (id -> ttl).
 * Writers that arrive together share one commit and one fsync; a write is acknowledged, and shown to watchers, only after that.
 * Reads at an older revision undo the log from the newest backwards, so history costs nothing until somebody asks for it.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { open, type Database, type RootDatabase } from 'lmdb';
import type { Logger } from '../../base/log.ts';
import { MeshError } from '../../api/errors.ts';
import { Feed } from './feed.ts';
import { GroupCommit } from './group-commit.ts';
import { Leases } from './leases.ts';
import { writeError } from './lmdb-error.ts';
import { decode, encode, type LoggedEvent, toEvents } from './lmdb-format.ts';
import type { Condition, Entry, Op, RangeQuery, RangeResult, Store, StoreBatch, StoreEvent, TxnResult, WatchQuery } from './port.ts';
import { prefixEnd } from './prefix.ts';

export interface LmdbOptions {
  /** A file; its folder is made. */
  readonly path: string;
  readonly log: Logger;
  /** Address space to begin with; LMDB maps more when the file outgrows it. @default 16 GiB */
  readonly mapSizeBytes?: number;
  /** Revisions of history kept for watches and reads. @default 100000 */
  readonly keepRevisions?: number;
  /** Most that history may take on disk; the oldest goes first. @default 1 GiB */
  readonly historyBytes?: number;
}

const MAX_KEY_BYTES = 1_900; // LMDB's own limit is 1,978
const COMPACT_EVERY = 5_000;
/** A look at history's size is due when so much of its limit was written. */
const LOOK_SHARE = 16;
/** Entries read one by one that are kept; what is written to is dropped. Namespaces, nodes and leases are read far more often than they change. */
const HOT_ENTRIES = 2_048;
const HOT_BYTES = 4_096;

class LmdbStore implements Store {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #now: Database<Buffer, Buffer>;
  readonly #log: Database<readonly LoggedEvent[], number>;
  readonly #options: LmdbOptions;
  readonly #feed: Feed;
  readonly #leases: Leases;
  readonly #commits: GroupCommit;
  /** Given out inside the write transaction; may be ahead of what is durable. */
  #assigned: number;
  #compacted: number;
  #closed = false;
  /** Since history's size was looked at. */
  #writtenBytes = 0;
  /** Only committed entries: dropped once their write is acknowledged, and a read before that sees the old commit anyway. */
  readonly #hot = new Map<string, Entry>();

  constructor(options: LmdbOptions) {
    mkdirSync(dirname(options.path), { recursive: true });
    this.#options = options;
    // Every transaction says itself what belongs together; a batch of the event turn around them would add a promise whose failure nobody could take.
    this.#root = open<Buffer, Buffer>({ path: options.path, encoding: 'binary', keyEncoding: 'binary', mapSize: options.mapSizeBytes ?? 16 * 1024 ** 3, overlappingSync: false, eventTurnBatching: false, noSubdir: true, maxDbs: 8 });
    this.#commits = new GroupCommit((run) => this.#root.transaction(run));
    this.#now = this.#root.openDB<Buffer, Buffer>({ name: 'now', encoding: 'binary', keyEncoding: 'binary' });
    this.#log = this.#root.openDB<readonly LoggedEvent[], number>({ name: 'log', encoding: 'msgpack' });
    const first = [...this.#log.getKeys({ limit: 1 })][0];
    const last = [...this.#log.getKeys({ reverse: true, limit: 1 })][0];
    this.#assigned = last ?? 1;
    this.#compacted = first === undefined ? 1 : first - 1;
    this.#feed = new Feed(this.#assigned, (revision) => this.#logged(revision));
    this.#leases = new Leases(this.#root.openDB<number, number>({ name: 'lease', encoding: 'msgpack' }), (lease) => this.#expire(lease), options.log);
  }

  async get(key: string): Promise<Entry | null> {
    const hot = this.#hot.get(key);
    if (hot !== undefined) return hot;
    const bytes = this.#now.get(Buffer.from(key));
    if (bytes === undefined) return null;
    const entry = decode(key, bytes);
    if (bytes.length <= HOT_BYTES) {
      if (this.#hot.size >= HOT_ENTRIES) this.#hot.clear();
      this.#hot.set(key, entry);
    }
    return entry;
  }

  async revision(): Promise<number> {
    return this.#feed.revision;
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    const latest = this.#feed.revision;
    const at = query.revision ?? latest;
    if (at > latest) throw new MeshError('invalid', `revision ${at} is in the future: the store is at ${latest}`, { fields: { path: 'revision' } });
    if (at < this.#compacted) throw new MeshError('expired', `revision ${at} was compacted; the oldest is ${this.#compacted}`);
    // An uncommitted revision may already be visible to nobody: LMDB readers see commits only, and `latest` is what was acknowledged.
    const undo = this.#undoTo(query.prefix, at);
    const start = Buffer.from(query.after === undefined ? query.prefix : `${query.after}\0`);
    const end = prefixEnd(query.prefix);
    const limit = query.limit ?? Number.POSITIVE_INFINITY;
    const entries: Entry[] = [];
    const revived = [...undo].filter(([key, entry]) => entry !== null && Buffer.compare(Buffer.from(key), start) >= 0).map(([key]) => key);
    revived.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    let r = 0;
    const push = (entry: Entry | null | undefined): void => {
      if (entry !== null && entry !== undefined && entries.length <= limit) entries.push(entry);
    };
    for (const { key: raw, value } of this.#now.getRange(end === null ? { start } : { start, end })) {
      if (entries.length > limit) break;
      const key = raw.toString();
      for (; r < revived.length && Buffer.compare(Buffer.from(revived[r] ?? ''), raw) < 0; r++) push(undo.get(revived[r] ?? ''));
      if (revived[r] === key) r += 1;
      push(undo.has(key) ? undo.get(key) : decode(key, value));
    }
    for (; r < revived.length; r++) push(undo.get(revived[r] ?? ''));
    return { entries: entries.slice(0, limit), revision: at, more: entries.length > limit };
  }

  /** For every key changed after `at`: what it was then. Walks to the newest commit, so that a commit racing this read is undone too. */
  #undoTo(prefix: string, at: number): Map<string, Entry | null> {
    const undo = new Map<string, Entry | null>();
    for (const { value } of this.#log.getRange({ start: at + 1 })) {
      for (const [, key, , previous, , createRevision, modRevision] of value) {
        if (key.startsWith(prefix) && !undo.has(key)) undo.set(key, previous === null ? null : { key, value: previous, createRevision, modRevision });
      }
    }
    return undo;
  }

  async txn(conditions: readonly Condition[], ops: readonly Op[]): Promise<TxnResult> {
    if (this.#closed) throw new MeshError('unavailable', 'the store is closed');
    for (const op of ops) {
      if (Buffer.byteLength(op.key) > MAX_KEY_BYTES) throw new MeshError('too-large', `key of ${Buffer.byteLength(op.key)} bytes; ${MAX_KEY_BYTES} is the most`, { fields: { path: 'key' } });
      if (op.op === 'put' && op.lease !== undefined && !this.#leases.has(Number(op.lease))) throw new MeshError('not-found', `lease ${op.lease} is not there`);
    }
    let events: readonly StoreEvent[] = [];
    let result: TxnResult | null = null;
    let taken = 0;
    try {
      await this.#commits.add(() => {
        const seen = new Map<string, Entry | null>();
        const conflict = this.#firstConflict(conditions, seen);
        if (conflict !== null) {
          result = { ok: false, revision: this.#assigned, ...conflict };
          return;
        }
        const revision = ++this.#assigned;
        taken = revision;
        events = this.#write(ops, revision, seen);
        result = { ok: true, revision };
      });
    } catch (error) {
      // The number is used up: watchers must not wait for it for ever.
      if (taken > 0) this.#feed.publish({ revision: taken, events: [] });
      const reason = await writeError(this.#options.path, error);
      this.#options.log.error('store write failed', { path: this.#options.path, err: reason });
      throw reason;
    }
    const done = result as TxnResult | null;
    if (done === null) throw new MeshError('internal', 'the write transaction did not run');
    if (done.ok) {
      for (const op of ops) this.#hot.delete(op.key);
      this.#feed.publish({ revision: done.revision, events });
      const forgotten = this.#forgetOld(done.revision, events);
      if (forgotten !== null) await forgotten;
    }
    return done;
  }

  /** By number, and by size: a few large objects that change often would fill the disk long before their revisions are many. */
  #forgetOld(revision: number, events: readonly StoreEvent[]): Promise<void> | null {
    for (const e of events) this.#writtenBytes += (e.value?.length ?? 0) + (e.previous?.length ?? 0);
    const limit = this.#options.historyBytes ?? 2 ** 30;
    const isLookDue = this.#writtenBytes >= limit / LOOK_SHARE;
    if (revision % COMPACT_EVERY !== 0 && !isLookDue) return null;
    this.#writtenBytes = 0;
    const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages } = this.#log.getStats() as Readonly<Record<string, number>>;
    const bytes = ((treeBranchPageCount ?? 0) + (treeLeafPageCount ?? 0) + (overflowPages ?? 0)) * (pageSize ?? 4_096);
    const kept = this.#feed.revision - this.#compacted;
    // Down to a little below the limit, so that the next look finds room.
    const tooMany = bytes <= limit ? 0 : Math.ceil(kept * (1 - (limit / bytes) * (1 - 1 / LOOK_SHARE)));
    return this.compact(Math.max(revision - (this.#options.keepRevisions ?? 100_000), this.#compacted + tooMany));
  }

  /** What is there for a key as of this write transaction; `seen` remembers it until the transaction's own operations change it. */
  #current(key: string, seen: Map<string, Entry | null>): Entry | null {
    let entry = seen.get(key);
    if (entry === undefined) {
      const bytes = this.#now.get(Buffer.from(key));
      entry = bytes === undefined ? null : decode(key, bytes);
      seen.set(key, entry);
    }
    return entry;
  }

  #firstConflict(conditions: readonly Condition[], seen: Map<string, Entry | null>): { readonly conflict: Condition; readonly current: Entry | null } | null {
    for (const c of conditions) {
      const current = this.#current(c.key, seen);
      const holds = c.is === 'absent' ? current === null : current?.modRevision === c.modRevision;
      if (!holds) return { conflict: c, current };
    }
    return null;
  }

  #write(ops: readonly Op[], revision: number, seen: Map<string, Entry | null>): readonly StoreEvent[] {
    const logged: LoggedEvent[] = [];
    for (const op of ops) {
      const old = this.#current(op.key, seen);
      seen.delete(op.key);
      const key = Buffer.from(op.key);
      if (op.op === 'delete') {
        if (old === null) continue;
        void this.#now.remove(key);
        logged.push([1, op.key, null, old.value, old.createRevision, old.createRevision, old.modRevision]);
        continue;
      }
      const createRevision = old?.createRevision ?? revision;
      void this.#now.put(key, encode(op.value, createRevision, revision, op.lease === undefined ? 0 : Number(op.lease)));
      logged.push([0, op.key, op.value, old?.value ?? null, createRevision, old?.createRevision ?? 0, old?.modRevision ?? 0]);
    }
    void this.#log.put(revision, logged);
    return toEvents(revision, logged);
  }

  #logged(revision: number): StoreBatch {
    const found = this.#log.get(revision);
    if (found === undefined) throw new MeshError('expired', `revision ${revision} was compacted; the oldest is ${this.#compacted}`);
    return { revision, events: toEvents(revision, found) };
  }

  watch(query: WatchQuery, signal: AbortSignal): AsyncIterable<StoreBatch> {
    if (query.after < this.#compacted) throw new MeshError('expired', `revision ${query.after} was compacted; the oldest is ${this.#compacted}`);
    return this.#feed.watch(query, signal);
  }

  async grantLease(ttlMs: number): Promise<string> {
    return String(await this.#leases.grant(ttlMs));
  }

  async keepAlive(lease: string): Promise<void> {
    this.#leases.keepAlive(Number(lease));
  }

  async revokeLease(lease: string): Promise<void> {
    if (!this.#leases.has(Number(lease))) throw new MeshError('not-found', `lease ${lease} is not there`);
    await this.#expire(Number(lease));
  }

  async #expire(lease: number): Promise<void> {
    const keys: string[] = [];
    for (const { key, value } of this.#now.getRange({})) if (value.readDoubleLE(16) === lease) keys.push(key.toString());
    // A key that was put again without the lease in the meantime is no longer the lease's to delete.
    for (const key of keys) {
      const bytes = this.#now.get(Buffer.from(key));
      if (bytes === undefined || bytes.readDoubleLE(16) !== lease) continue;
      await this.txn([{ key, is: 'revision', modRevision: decode(key, bytes).modRevision }], [{ op: 'delete', key }]);
    }
    await this.#leases.remove(lease);
  }

  async compact(revision: number): Promise<void> {
    // The newest entry stays: it is how the counter survives a restart.
    const upTo = Math.min(revision, this.#feed.revision - 1);
    if (upTo <= this.#compacted) return;
    this.#compacted = upTo;
    await this.#root.transaction(() => {
      for (const key of this.#log.getKeys({ end: upTo + 1 })) void this.#log.remove(key);
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#leases.stop();
    this.#feed.close();
    await this.#root.close();
  }
}

export async function openLmdbStore(options: LmdbOptions): Promise<Store> {
  return new LmdbStore(options);
}
