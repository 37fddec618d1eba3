/** That a fenced write and the check of its lease are one transaction: a lease handed on between the two refuses it. */
import assert from 'node:assert/strict';
import { isFenced, parseFence } from '../../../api/lease-fence.ts';
import type { Lease } from '../../../api/kinds/core.ts';
import { Resources } from '../../../api/resources.ts';
import { requestedFence } from '../../../cloud/apiserver/fencing.ts';
import { masterIdentity } from '../../../cloud/apiserver/identity.ts';
import { memoryClient } from '../../kit/memory-client.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('fenced writes');
const PLACE = { tenant: 'acme', namespace: 'default' };
const fence = { lease: 'shard-1', epoch: 7 };
const config = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...PLACE }, data: { k: '1' } });

it('refuses a create, a patch and a delete whose lease is handed on after it was looked at', async () => {
  const client = await memoryClient();
  await client.create(Resources.ConfigMap, config('there'));
  const lease = await client.create<Lease>(Resources.Lease, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'shard-1', tenant: 'system', namespace: 'default' }, spec: { holderIdentity: 'a', leaseTransitions: 7 } });
  let current = lease;
  const { store } = client;
  const commit = store.txn.bind(store);
  const writes = [() => client.create(Resources.ConfigMap, config('new'), { fence }), () => client.patch(Resources.ConfigMap, PLACE, 'there', { data: { k: '2' } }, { fence }), () => client.delete(Resources.ConfigMap, PLACE, 'there', { fence })];
  for (const write of writes) {
    current = await client.update(Resources.Lease, { ...current, spec: { holderIdentity: 'a', leaseTransitions: 7 } });
    store.txn = async (conditions, ops) => {
      store.txn = commit; // just before the write is committed, somebody else takes the lease
      current = await client.update(Resources.Lease, { ...current, spec: { holderIdentity: 'b', leaseTransitions: 8 } });
      return commit(conditions, ops);
    };
    const error = await write().then(() => null, (e: unknown) => e);
    assert.ok(isFenced(error), String(error));
  }
  assert.deepEqual((await client.list(Resources.ConfigMap, { tenant: 'acme' })).items.map((c) => [c.metadata.name, (c as { data?: unknown }).data]), [['there', { k: '1' }]]);
});

it('lets a write through whose lease was written anew by its own holder in between', async () => {
  const client = await memoryClient();
  const lease = await client.create<Lease>(Resources.Lease, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'shard-1', tenant: 'system', namespace: 'default' }, spec: { holderIdentity: 'a', leaseTransitions: 7 } });
  const { store } = client;
  const commit = store.txn.bind(store);
  store.txn = async (conditions, ops) => {
    store.txn = commit;
    await client.update(Resources.Lease, { ...lease, spec: { ...lease.spec, renewTime: '2030-01-01T00:00:00Z' } });
    return commit(conditions, ops);
  };
  assert.equal((await client.create(Resources.ConfigMap, config('new'), { fence })).metadata.name, 'new');
});

it('tells nobody of a lease who may not read it', () => {
  const tenant = { name: 'eve', groups: ['tenant:acme'], tenant: 'acme' };
  assert.throws(() => requestedFence('global-shard-3=1', tenant), /is forbidden/);
  assert.deepEqual(requestedFence('global-shard-3=1', masterIdentity), { lease: 'global-shard-3', epoch: 1 });
  assert.equal(requestedFence(undefined, tenant), undefined);
});

it('reads the header strictly', () => {
  assert.deepEqual(parseFence('global-shard-3=12'), { lease: 'global-shard-3', epoch: 12 });
  for (const text of ['', 'a', 'a=', 'a=-1', 'a=1.5', '../a=1', 'A=1', 'a=1=2', 'a=1, b=2']) assert.throws(() => parseFence(text), /is not <lease>=<epoch>/);
});

run();
