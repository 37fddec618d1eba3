/** What every engine of the store port must do. `open` gives a fresh, empty store, or the same one again when `again` is asked for. */
import * as assert from 'uvu/assert';
import { isMeshError } from '../../api/errors.ts';
import type { Store, StoreBatch } from '../../cloud/store/port.ts';
import type { CaseContext, Suite } from '../kit/suite.ts';

const bytes = (s: string): Uint8Array => Buffer.from(s);
const text = (v: Uint8Array | null | undefined): string | null => (v === null || v === undefined ? null : Buffer.from(v).toString());
const put = (key: string, value: string, lease?: string): { op: 'put'; key: string; value: Uint8Array; lease?: string } => ({ op: 'put', key, value: bytes(value), ...(lease === undefined ? {} : { lease }) });

/** Every event with a revision up to `until`, in order. */
async function collect(store: Store, prefix: string, after: number, count: number, signal: AbortSignal): Promise<string[]> {
  const out: string[] = [];
  for await (const batch of store.watch({ prefix, after }, signal)) {
    for (const e of batch.events) out.push(`${e.type} ${e.key}=${text(e.value)} was ${text(e.previous)}`);
    if (out.length >= count) break;
  }
  return out;
}

async function kindOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'nothing thrown';
  } catch (error) {
    return isMeshError(error) ? error.kind : String(error);
  }
}

export function storeContract(it: Suite['it'], open: (t: CaseContext) => Promise<Store>): void {
  it('puts, gets, deletes, and counts a revision for each transaction', async (t) => {
    const s = await open(t);
    const first = await s.revision();
    const a = await s.txn([], [put('/a', '1')]);
    assert.is(a.revision, first + 1);
    const entry = await s.get('/a');
    assert.equal([text(entry?.value), entry?.createRevision, entry?.modRevision], ['1', a.revision, a.revision]);
    const b = await s.txn([], [put('/a', '2')]);
    assert.equal([(await s.get('/a'))?.createRevision, (await s.get('/a'))?.modRevision], [a.revision, b.revision]);
    await s.txn([], [{ op: 'delete', key: '/a' }]);
    assert.is(await s.get('/a'), null);
    const c = await s.txn([], [put('/a', '3')]);
    assert.is((await s.get('/a'))?.createRevision, c.revision, 'created again');
  });

  it('refuses a transaction whole when a condition does not hold, and says which', async (t) => {
    const s = await open(t);
    const a = await s.txn([{ key: '/a', is: 'absent' }], [put('/a', '1')]);
    assert.ok(a.ok);
    const again = await s.txn([{ key: '/a', is: 'absent' }], [put('/a', '2'), put('/b', '2')]);
    assert.not(again.ok);
    if (!again.ok) assert.equal([again.conflict.key, text(again.current?.value)], ['/a', '1']);
    assert.is(await s.get('/b'), null, 'all or nothing');
    const stale = await s.txn([{ key: '/a', is: 'revision', modRevision: a.revision - 1 }], [put('/a', '3')]);
    assert.not(stale.ok);
    assert.ok((await s.txn([{ key: '/a', is: 'revision', modRevision: a.revision }], [put('/a', '3')])).ok);
  });

  it('lets exactly one of many racing writers win', async (t) => {
    const s = await open(t);
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => s.txn([{ key: '/race', is: 'absent' }], [put('/race', String(i))])));
    assert.is(all.filter((r) => r.ok).length, 1);
  });

  it('ranges in byte order with continuation, at the same revision while others write', async (t) => {
    const s = await open(t);
    await s.txn([], ['/p/b', '/p/a', '/p/ä', '/p/c', '/q/x'].map((k) => put(k, k)));
    const one = await s.range({ prefix: '/p/', limit: 2 });
    assert.equal([one.entries.map((e) => e.key), one.more], [['/p/a', '/p/b'], true]);
    await s.txn([], [put('/p/bb', 'late'), put('/p/c', 'changed'), { op: 'delete', key: '/p/ä' }]);
    const two = await s.range({ prefix: '/p/', limit: 2, after: '/p/b', revision: one.revision });
    assert.equal([two.entries.map((e) => [e.key, text(e.value)]), two.more], [[['/p/c', '/p/c'], ['/p/ä', '/p/ä']], false]);
    assert.equal((await s.range({ prefix: '/p/' })).entries.map((e) => e.key), ['/p/a', '/p/b', '/p/bb', '/p/c']);
  });

  it('watches from any kept revision, misses nothing, and shows what was there before', async (t) => {
    const s = await open(t);
    const start = await s.revision();
    await s.txn([], [put('/w/a', '1')]);
    await s.txn([], [put('/other', 'x')]);
    const live = collect(s, '/w/', start, 4, t.signal);
    await s.txn([], [put('/w/a', '2'), put('/w/b', '1')]);
    await s.txn([], [{ op: 'delete', key: '/w/a' }]);
    const expected = ['put /w/a=1 was null', 'put /w/a=2 was 1', 'put /w/b=1 was null', 'delete /w/a=null was 2'];
    assert.equal(await live, expected);
    assert.equal(await collect(s, '/w/', start, 4, t.signal), expected, 'and again from the log');
  });

  it('tells a quiet watcher how far the store has come', async (t) => {
    const s = await open(t);
    const start = await s.revision();
    const watch = s.watch({ prefix: '/quiet/', after: start }, t.signal)[Symbol.asyncIterator]();
    const got = watch.next();
    const { revision } = await s.txn([], [put('/loud', '1')]);
    const batch = (await got).value as StoreBatch;
    assert.equal([batch.events.length, batch.revision], [0, revision]);
  }, { timeoutMs: 15_000 });

  it('says that history is gone instead of skipping it', async (t) => {
    const s = await open(t);
    const start = await s.revision();
    for (let i = 0; i < 5; i++) await s.txn([], [put('/a', String(i))]);
    const now = await s.revision();
    await s.compact(now - 1);
    assert.is(await kindOf(collect(s, '/', start, 1, t.signal)), 'expired');
    assert.is(await kindOf(s.range({ prefix: '/', revision: start })), 'expired');
    assert.is(text((await s.get('/a'))?.value), '4', 'current values stay');
  });

  it('drops the keys of a lease that is not kept alive, and only those', async (t) => {
    const s = await open(t);
    const lease = await s.grantLease(1_500);
    await s.txn([], [put('/l/mine', '1', lease), put('/l/free', '1')]);
    for (let i = 0; i < 4; i++) {
      await new Promise((r) => setTimeout(r, 500));
      await s.keepAlive(lease);
    }
    assert.not((await s.get('/l/mine')) === null, 'kept alive past its lifetime');
    const start = await s.revision();
    assert.equal(await collect(s, '/l/', start, 1, t.signal), ['delete /l/mine=null was 1']);
    assert.not((await s.get('/l/free')) === null);
    const other = await s.grantLease(60_000);
    await s.txn([], [put('/l/two', '1', other)]);
    await s.revokeLease(other);
    assert.is(await s.get('/l/two'), null);
    assert.is(await kindOf(s.keepAlive(other)), 'not-found');
  }, { timeoutMs: 20_000 });
}
