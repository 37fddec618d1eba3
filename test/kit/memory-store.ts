/** A Store without a disk, for tests of what stands on the port: history is kept until `compact`, leases are timers. */
import { randomUUID } from 'node:crypto';
import { MeshError } from '../../api/errors.ts';
import type { Condition, Entry, Op, RangeQuery, RangeResult, Store, StoreBatch, StoreEvent, TxnResult } from '../../cloud/store/port.ts';

interface Version {
  readonly revision: number;
  readonly entry: Entry | null;
}

const compareKeys = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

export class MemoryStore implements Store {
  readonly #now = new Map<string, Entry>();
  readonly #history = new Map<string, Version[]>();
  readonly #log: StoreBatch[] = [];
  readonly #leases = new Map<string, { ttlMs: number; timer: NodeJS.Timeout; keys: Set<string> }>();
  readonly #wake = new Set<() => void>();
  #revision = 1;
  #compacted = 0;
  #closed = false;

  async get(key: string): Promise<Entry | null> {
    return this.#now.get(key) ?? null;
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    const at = query.revision ?? this.#revision;
    if (at < this.#compacted) throw new MeshError('expired', `revision ${at} was compacted`);
    const found: Entry[] = [];
    for (const [key, versions] of this.#history) {
      if (!key.startsWith(query.prefix)) continue;
      if (query.after !== undefined && compareKeys(key, query.after) <= 0) continue;
      const entry = at === this.#revision ? this.#now.get(key) : versions.findLast((v) => v.revision <= at)?.entry;
      if (entry !== undefined && entry !== null) found.push(entry);
    }
    found.sort((a, b) => compareKeys(a.key, b.key));
    const limit = query.limit ?? found.length;
    return { entries: found.slice(0, limit), revision: at, more: found.length > limit };
  }

  async txn(conditions: readonly Condition[], ops: readonly Op[]): Promise<TxnResult> {
    if (this.#closed) throw new MeshError('unavailable', 'the store is closed');
    for (const c of conditions) {
      const current = this.#now.get(c.key) ?? null;
      const holds = c.is === 'absent' ? current === null : current?.modRevision === c.modRevision;
      if (!holds) return { ok: false, revision: this.#revision, conflict: c, current };
    }
    const revision = ++this.#revision;
    const events: StoreEvent[] = [];
    for (const op of ops) this.#apply(op, revision, events);
    this.#log.push({ revision, events });
    for (const wake of this.#wake) wake();
    return { ok: true, revision };
  }

  #apply(op: Op, revision: number, events: StoreEvent[]): void {
    const before = this.#now.get(op.key) ?? null;
    if (op.op === 'delete' && before === null) return;
    const createRevision = before?.createRevision ?? revision;
    const entry = op.op === 'put' ? { key: op.key, value: op.value, createRevision, modRevision: revision } : null;
    if (entry === null) this.#now.delete(op.key);
    else this.#now.set(op.key, entry);
    const versions = this.#history.get(op.key) ?? [];
    versions.push({ revision, entry });
    this.#history.set(op.key, versions);
    if (op.op === 'put' && op.lease !== undefined) {
      const lease = this.#leases.get(op.lease);
      if (lease === undefined) throw new MeshError('not-found', `no such lease: ${op.lease}`);
      lease.keys.add(op.key);
    }
    events.push({ type: op.op, key: op.key, value: entry?.value ?? null, previous: before?.value ?? null, createRevision, revision });
  }

  async *watch(query: { readonly prefix: string; readonly after: number }, signal: AbortSignal): AsyncIterable<StoreBatch> {
    if (query.after < this.#compacted) throw new MeshError('expired', `revision ${query.after} was compacted`);
    let at = this.#log.findIndex((b) => b.revision > query.after);
    if (at < 0) at = this.#log.length;
    while (!signal.aborted && !this.#closed) {
      const batch = this.#log[at];
      if (batch !== undefined) {
        at += 1;
        const events = batch.events.filter((e) => e.key.startsWith(query.prefix));
        yield { revision: batch.revision, events };
        continue;
      }
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#wake.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        this.#wake.add(done);
        signal.addEventListener('abort', done, { once: true });
      });
    }
  }

  async revision(): Promise<number> {
    return this.#revision;
  }

  async grantLease(ttlMs: number): Promise<string> {
    const id = randomUUID();
    this.#leases.set(id, { ttlMs, timer: this.#expireLater(id, ttlMs), keys: new Set() });
    return id;
  }

  #expireLater(id: string, ttlMs: number): NodeJS.Timeout {
    const timer = setTimeout(() => void this.revokeLease(id), ttlMs);
    timer.unref();
    return timer;
  }

  async keepAlive(id: string): Promise<void> {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw new MeshError('not-found', `no such lease: ${id}`);
    clearTimeout(lease.timer);
    lease.timer = this.#expireLater(id, lease.ttlMs);
  }

  async revokeLease(id: string): Promise<void> {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    clearTimeout(lease.timer);
    this.#leases.delete(id);
    await this.txn([], [...lease.keys].map((key) => ({ op: 'delete', key })));
  }

  async compact(revision: number): Promise<void> {
    this.#compacted = Math.max(this.#compacted, revision);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const lease of this.#leases.values()) clearTimeout(lease.timer);
    for (const wake of this.#wake) wake();
  }
}
