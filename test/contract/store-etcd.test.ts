import * as assert from 'uvu/assert';
import { isMeshError } from '../../api/errors.ts';
import { silentLogger } from '../../base/log.ts';
import { openEtcdStore } from '../../cloud/store/etcd.ts';
import { hasEtcd, leaderOf, startEtcd, type EtcdMember } from '../kit/etcd.ts';
import { suite } from '../kit/suite.ts';
import { storeContract } from './store.ts';

const { it, skip, run } = suite('store on etcd', { timeoutMs: 30_000 });

if (!hasEtcd) skip('etcd', 'there is no etcd on this machine');
else {
  let shared: readonly EtcdMember[] | null = null;
  let n = 0;
  process.on('exit', () => shared?.forEach((m) => m.child.kill('SIGKILL')));
  const teardowns: (() => unknown)[] = [];
  storeContract(it, async (t) => {
    // One server for all, so that a namespace has to keep its stores apart.
    shared ??= await startEtcd({ after: (f) => void teardowns.push(f) }, 1);
    const store = await openEtcdStore({ hosts: shared.map((m) => m.url), namespace: `/t${n++}`, log: silentLogger });
    t.after(() => store.close());
    return store;
  });

  it('cleans up after the server that the cases share', async () => {
    for (const f of teardowns) await f();
    shared = null;
  });

  it('loses nothing that it acknowledged, and no event, when the leader of three is killed', async (t) => {
    // The last case: etcd3 goes on trying to reach members that were killed, also after close, and would keep the process. The results decide its code.
    t.after(() => void setTimeout(() => process.exit(), 3_000).unref());
    const members = await startEtcd(t, 3);
    const store = await openEtcdStore({ hosts: members.map((m) => m.url), namespace: '/three', log: silentLogger, timeoutMs: 2_000 });
    t.after(() => store.close());
    const start = await store.revision();
    const seen: string[] = [];
    const stop = new AbortController();
    const watching = (async () => {
      for await (const b of store.watch({ prefix: '/k/', after: start }, stop.signal)) seen.push(...b.events.map((e) => e.key));
    })();
    const leader = await leaderOf(members);
    const acknowledged: string[] = [];
    const errors = new Set<string>();
    for (let i = 0; acknowledged.length < 200; i++) {
      if (i === 50) leader.child.kill('SIGKILL');
      try {
        await store.txn([], [{ op: 'put', key: `/k/${i}`, value: Buffer.from(String(i)) }]);
        acknowledged.push(`/k/${i}`);
      } catch (error) {
        if (!isMeshError(error) || !error.retryable) throw error;
        errors.add(error.kind);
        await new Promise((r) => setTimeout(r, 100));
      }
    }
    const there = new Set((await store.range({ prefix: '/k/' })).entries.map((e) => e.key));
    assert.equal(acknowledged.filter((k) => !there.has(k)), []);
    for (const end = Date.now() + 10_000; Date.now() < end && acknowledged.some((k) => !seen.includes(k)); ) await new Promise((r) => setTimeout(r, 50));
    stop.abort();
    await watching;
    assert.equal(acknowledged.filter((k) => !seen.includes(k)), []);
    assert.is(new Set(seen).size, seen.length, 'each once');
  }, { timeoutMs: 45_000 });
}

run();
