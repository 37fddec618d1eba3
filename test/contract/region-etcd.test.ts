/** A region whose objects are in etcd: what it stored is there for the next process, which needs nothing of the first one's disk. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createHttpClient } from '../../api/http-client.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { loadKubeconfig } from '../../api/kubeconfig.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { regionCheck, regionStart } from '../../cloud/main.ts';
import { hasEtcd, startEtcd } from '../kit/etcd.ts';
import { type CaseContext, suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const until = waiter({ withinMs: 15_000 });
const { it, skip, run } = suite('a region on etcd', { timeoutMs: 40_000 });

async function regionOn(t: CaseContext, store: object): Promise<{ readonly client: ReturnType<typeof createHttpClient>; stop(): Promise<void> }> {
  const dir = mkdtempSync(join(tmpdir(), 'px-region-etcd-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const region = await regionStart({ region: 'r1', dataDir: dir, listen: { port: 0 }, store }, { log: silentLogger });
  const client = createHttpClient(await loadKubeconfig(join(dir, 'admin.kubeconfig')));
  const stop = async (): Promise<void> => {
    await client.close();
    await region.stop();
  };
  t.after(stop);
  return { client, stop };
}

it('says what is wrong with a store', () => {
  const check = (store: object): void => void regionCheck({ dataDir: '/x', store });
  assert.throws(() => check({ kind: 'etcd' }), /store\.endpoints: is required for etcd/);
  assert.throws(() => check({ endpoints: ['http://127.0.0.1:2379'] }), /store\.endpoints: lmdb has none/);
  assert.throws(() => check({ kind: 'etcd', endpoints: ['127.0.0.1:2379'] }), /store\.endpoints\.0: /);
  assert.throws(() => check({ kind: 'mysql' }), /store\.kind: expected lmdb, etcd/);
  assert.throws(() => check({ kidn: 'etcd' }), /store\.kidn: unknown key/);
});

if (!hasEtcd) skip('etcd', 'there is no etcd on this machine');
else {
  it('runs its controllers on it, and another process goes on with what is there', async (t) => {
    const [member] = await startEtcd(t, 1);
    const store = { kind: 'etcd', endpoints: [member?.url ?? ''] };
    const first = await regionOn(t, store);
    await first.client.create(Resources.Deployment, { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' }, spec: { replicas: 2, selector: { matchLabels: { app: 'web' } }, template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'web:1' }] } } } } as never);
    const pods = async (client: typeof first.client): Promise<readonly string[]> => (await client.list<Pod>(Resources.Pod)).items.map((p) => p.metadata.uid ?? '').sort();
    const made = await until('two pods', async () => {
      const found = await pods(first.client);
      return found.length === 2 && found;
    });
    await first.stop();
    const second = await regionOn(t, store);
    assert.equal(await pods(second.client), made);
    await second.client.patch(Resources.Deployment, { tenant: null, namespace: 'default' }, 'web', { spec: { replicas: 3 } });
    await until('a third pod', async () => (await pods(second.client)).length === 3);
  });

  it('says who does not answer', async (t) => {
    // The last case: etcd3 goes on trying to reach what never answered, also after close, and would keep the process. The results decide its code.
    t.after(() => void setTimeout(() => process.exit(), 3_000).unref());
    await regionOn(t, { kind: 'etcd', endpoints: ['http://127.0.0.1:1'] }).then(
      () => assert.unreachable('it started without a store'),
      (error: Error) => assert.match(error.message, /^store\.endpoints: no etcd answers at http:\/\/127\.0\.0\.1:1: /),
    );
  });
}

run();
