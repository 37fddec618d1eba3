/**
 * The etcd engine, for a store beyond one machine. Keys are `<namespace><key>`; revisions are etcd's own.
 * A cluster serves one Proxima store: another writer would move the revision counter too, which is allowed but makes empty progress.
 */
import { Etcd3, EtcdLeaseInvalidError, GRPCDeadlineExceededError, GRPCNotFoundError, GRPCOutOfRangeError, GRPCResourceExhastedError } from 'etcd3';
import type { IKeyValue, IRequestOp, IResponseOp, IWatchResponse, Watcher } from 'etcd3';
import { MeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { Channel } from './channel.ts';
import type { Condition, Entry, Op, RangeQuery, RangeResult, Store, StoreBatch, StoreEvent, TxnResult } from './port.ts';
import { prefixEnd } from './prefix.ts';

export interface EtcdOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly hosts: readonly string[];
  readonly credentials?: { readonly rootCertificate: Buffer; readonly privateKey?: Buffer; readonly certChain?: Buffer };
  /** Before every key, e.g. `/proxima/`. */
  readonly namespace: string;
  readonly log: Logger;
  /** @default 10000 */
  readonly timeoutMs?: number;
  /** History is forgotten every few minutes up to so many revisions ago; absent = by whoever runs the cluster. */
  readonly keepRevisions?: number;
}

/** gRPC's own limit of 4 MB is less than a list of a few thousand objects. */
const MAX_MESSAGE = 256 * 2 ** 20;

/**
 * A connection that lies dead (a firewall that forgot it, a partition that outlasted it) ends after so long; without, a watch on it would say nothing
 * for as long as the kernel resends. etcd takes pings more often than every 5 s for an attack.
 */
const PING_MS = 6_000;
const PING_TIMEOUT_MS = 3_000;

/** Any number of processes may ask for it: one that comes late changes nothing. */
const COMPACT_MS = 300_000;

function translate(error: unknown): MeshError {
  if (error instanceof MeshError) return error;
  const { message } = error as Error;
  const options = { cause: error };
  if (error instanceof GRPCOutOfRangeError || /compacted/.test(message)) return new MeshError('expired', `the revision was compacted: ${message}`, options);
  if (error instanceof EtcdLeaseInvalidError || error instanceof GRPCNotFoundError || /lease not found/.test(message)) return new MeshError('not-found', `the lease is not there: ${message}`, options);
  if (/NOSPACE|database space exceeded/.test(message)) return new MeshError('disk-full', `etcd: ${message}`, { ...options, next: 'etcdctl alarm list; compact and defragment, then etcdctl alarm disarm' });
  if (error instanceof GRPCResourceExhastedError || /too large/.test(message)) return new MeshError('too-large', `etcd: ${message}`, options);
  return new MeshError(error instanceof GRPCDeadlineExceededError ? 'timeout' : 'unavailable', `etcd: ${message}`, options);
}

class EtcdStore implements Store {
  readonly #client: Etcd3;
  readonly #namespace: string;
  readonly #prefix: Buffer;
  readonly #log: Logger;
  readonly #closing = new AbortController();

  constructor(options: EtcdOptions) {
    const timeoutMs = options.timeoutMs ?? 10_000;
    this.#namespace = options.namespace;
    this.#prefix = Buffer.from(options.namespace);
    this.#log = options.log;
    this.#client = new Etcd3({
      hosts: [...options.hosts],
      ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
      grpcOptions: { 'grpc.max_receive_message_length': MAX_MESSAGE, 'grpc.max_send_message_length': MAX_MESSAGE, 'grpc.keepalive_time_ms': PING_MS, 'grpc.keepalive_timeout_ms': PING_TIMEOUT_MS },
      defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + timeoutMs }),
    });
  }

  async #ask<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing.signal.aborted) throw new MeshError('unavailable', 'the store is closed');
    try {
      return await work();
    } catch (error) {
      throw translate(error);
    }
  }

  #key(key: string): Buffer {
    return Buffer.from(this.#namespace + key);
  }

  #entry(kv: IKeyValue): Entry {
    return { key: kv.key.subarray(this.#prefix.length).toString(), value: kv.value, createRevision: Number(kv.create_revision), modRevision: Number(kv.mod_revision) };
  }

  async get(key: string): Promise<Entry | null> {
    const { kvs } = await this.#ask(() => this.#client.kv.range({ key: this.#key(key) }));
    return kvs[0] === undefined ? null : this.#entry(kvs[0]);
  }

  async revision(): Promise<number> {
    const { header } = await this.#ask(() => this.#client.kv.range({ key: this.#key('\0'), count_only: true }));
    return Number(header.revision);
  }

  async range(query: RangeQuery): Promise<RangeResult> {
    const key = this.#key(query.after === undefined ? query.prefix : `${query.after}\0`);
    const answer = await this.#ask(() =>
      this.#client.kv.range({
        key,
        range_end: endOf(this.#key(query.prefix)),
        ...(query.limit === undefined ? {} : { limit: query.limit }),
        ...(query.revision === undefined ? {} : { revision: String(query.revision) }),
      }),
    );
    return { entries: answer.kvs.map((kv) => this.#entry(kv)), revision: query.revision ?? Number(answer.header.revision), more: answer.more };
  }

  async txn(conditions: readonly Condition[], ops: readonly Op[]): Promise<TxnResult> {
    const success: IRequestOp[] = ops.map((op) =>
      op.op === 'put' ? { request_put: { key: this.#key(op.key), value: Buffer.from(op.value), ...(op.lease === undefined ? {} : { lease: op.lease }) } } : { request_delete_range: { key: this.#key(op.key) } },
    );
    const compare = conditions.map((c) => ({ key: this.#key(c.key), result: 'Equal' as const, target: 'Mod' as const, mod_revision: c.is === 'absent' ? '0' : String(c.modRevision) }));
    const failure: IRequestOp[] = conditions.map((c) => ({ request_range: { key: this.#key(c.key) } }));
    const answer = await this.#ask(() => this.#client.kv.txn({ compare, success, failure } as unknown as Parameters<Etcd3['kv']['txn']>[0]));
    const revision = Number(answer.header.revision);
    return answer.succeeded ? { ok: true, revision } : this.#conflict(conditions, answer.responses, revision);
  }

  #conflict(conditions: readonly Condition[], responses: readonly IResponseOp[], revision: number): TxnResult {
    for (const [i, conflict] of conditions.entries()) {
      const kv = responses[i]?.response_range?.kvs[0];
      const current = kv === undefined ? null : this.#entry(kv);
      const holds = conflict.is === 'absent' ? current === null : current?.modRevision === conflict.modRevision;
      if (!holds) return { ok: false, revision, conflict, current };
    }
    throw new MeshError('internal', 'etcd refused a transaction whose conditions all hold');
  }

  /** Follows the whole namespace, so that a quiet prefix still hears how far the store has come. */
  async *watch(query: { readonly prefix: string; readonly after: number }, signal: AbortSignal): AsyncIterable<StoreBatch> {
    const batches = new Channel<StoreBatch>();
    const watcher = this.#client.watch().prefix(this.#namespace).withPreviousKV().startRevision(String(query.after + 1)).watcher();
    // etcd3 says "Watcher canceled" without a reason when the start was compacted.
    watcher.on('error', (error: Error) => batches.fail(/cancel/i.test(error.message) ? new MeshError('expired', `revision ${query.after} was compacted`, { cause: error }) : translate(error)));
    watcher.on('data', (answer: IWatchResponse) => {
      for (const batch of this.#batchesOf(answer, query.prefix)) batches.put(batch);
    });
    const stop = (): void => batches.end();
    signal.addEventListener('abort', stop, { once: true });
    this.#closing.signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted || this.#closing.signal.aborted) stop();
    try {
      yield* batches;
    } finally {
      signal.removeEventListener('abort', stop);
      this.#closing.signal.removeEventListener('abort', stop);
      this.#cancel(watcher);
    }
  }

  #cancel(watcher: Watcher): void {
    watcher.cancel().catch((error: unknown) => this.#log.debug('watch was already over', { err: error }));
  }

  #batchesOf(answer: IWatchResponse, prefix: string): readonly StoreBatch[] {
    const byRevision = new Map<number, StoreEvent[]>();
    for (const event of answer.events) {
      const revision = Number(event.kv.mod_revision);
      const events = byRevision.get(revision) ?? [];
      byRevision.set(revision, events);
      const key = event.kv.key.subarray(this.#prefix.length).toString();
      if (!key.startsWith(prefix)) continue;
      const previous = event.prev_kv === undefined || event.prev_kv === null ? null : event.prev_kv;
      const isPut = String(event.type) === 'Put';
      events.push({ type: isPut ? 'put' : 'delete', key, value: isPut ? event.kv.value : null, previous: previous === null ? null : previous.value, createRevision: Number(isPut ? event.kv.create_revision : (previous?.create_revision ?? 0)), revision });
    }
    return [...byRevision].map(([revision, events]) => ({ revision, events }));
  }

  /** etcd counts lifetimes in whole seconds: never shorter than asked. */
  async grantLease(ttlMs: number): Promise<string> {
    const { ID } = await this.#ask(() => this.#client.leaseClient.leaseGrant({ TTL: String(Math.max(1, Math.ceil(ttlMs / 1000))) }));
    return ID;
  }

  async keepAlive(lease: string): Promise<void> {
    const stream = await this.#ask(() => this.#client.leaseClient.leaseKeepAlive());
    try {
      const ttl = await this.#ask(
        () =>
          new Promise<number>((resolve, reject) => {
            stream.on('data', (answer) => resolve(Number(answer.TTL)));
            stream.on('error', reject);
            stream.on('end', () => reject(new Error('the keep-alive ended without an answer')));
            stream.write({ ID: lease });
          }),
      );
      if (ttl <= 0) throw new MeshError('not-found', `lease ${lease} is not there`);
    } finally {
      stream.end();
    }
  }

  async revokeLease(lease: string): Promise<void> {
    await this.#ask(() => this.#client.leaseClient.leaseRevoke({ ID: lease }));
  }

  async compact(revision: number): Promise<void> {
    await this.#ask(() => this.#client.kv.compact({ revision: String(revision) })).catch((error: unknown) => {
      if (!(error instanceof MeshError) || error.kind !== 'expired') throw error; // compacted further already
    });
  }

  async keepCompact(keepRevisions: number): Promise<void> {
    const loop = new Loop({
      name: 'etcd compaction',
      log: this.#log,
      resyncMs: 0,
      run: async () => {
        const upTo = (await this.revision()) - keepRevisions;
        if (upTo > 0) await this.compact(upTo);
        return COMPACT_MS;
      },
    });
    await loop.start(this.#closing.signal);
    loop.trigger('store', COMPACT_MS);
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the store is closed'));
    this.#client.close();
  }
}

/** etcd writes "no end" as one zero byte. */
const endOf = (prefix: Buffer): Buffer => prefixEnd(prefix) ?? Buffer.from([0]);

export async function openEtcdStore(options: EtcdOptions): Promise<Store> {
  const store = new EtcdStore(options);
  if (options.keepRevisions !== undefined) await store.keepCompact(options.keepRevisions);
  return store;
}
