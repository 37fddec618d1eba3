/** Who holds a shard, as a region is told: later epochs win, lost Leases come again, and an epoch that fell behind grows. */
import assert from 'node:assert/strict';
import type { Lease } from '../../../../api/kinds/core.ts';
import { isFenced } from '../../../../api/lease-fence.ts';
import { Resources } from '../../../../api/resources.ts';
import { silentLogger } from '../../../../base/log.ts';
import { Claims } from '../../../../scheduler/global/claims.ts';
import type { Fence, HeldLease } from '../../../../scheduler/global/fence.ts';
import { Shards } from '../../../../scheduler/global/shards.ts';
import { LightClient } from '../../../kit/memory-light.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('claims');
const PLACE = { tenant: 'system', namespace: 'default' };
const held = (epoch: number, holder: string): HeldLease => ({ lease: 'global-shard-1', epoch, holder });
const config = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...PLACE } });

it('lets the later of two holders write, whichever asked last, and counts what it refuses the other', async () => {
  const region = new LightClient();
  const [older, newer] = [new Claims(region), new Claims(region)];
  let refused = 0;
  const fence = (lease: HeldLease): Fence => ({ stamp: () => null, lease: () => lease, refused: () => void (refused += 1) });
  await older.write(fence(held(1, 'a')), 'k', (o) => region.create(Resources.ConfigMap, config('one'), o));
  await newer.claim(held(2, 'b'));
  const late = await older.write(fence(held(1, 'a')), 'k', (o) => region.create(Resources.ConfigMap, config('two'), o)).catch((e: unknown) => e);
  assert.ok(isFenced(late));
  assert.equal(refused, 1);
  const again = await older.write(fence(held(1, 'a')), 'k', (o) => region.create(Resources.ConfigMap, config('two'), o)).catch((e: unknown) => e);
  assert.ok(isFenced(again), 'it cannot claim either');
  assert.equal(again.fields['epoch'], 2);
  await newer.write(fence(held(2, 'b')), 'k', (o) => region.create(Resources.ConfigMap, config('three'), o));
  assert.deepEqual((await region.list(Resources.ConfigMap)).items.map((c) => c.metadata.name), ['one', 'three']);
});

it('claims anew in a region that lost its Leases', async () => {
  const region = new LightClient();
  const claims = new Claims(region);
  const fence: Fence = { stamp: () => null, lease: () => held(3, 'a'), refused: () => undefined };
  await claims.write(fence, 'k', (o) => region.create(Resources.ConfigMap, config('one'), o));
  await region.delete(Resources.Lease, PLACE, 'global-shard-1');
  assert.ok(isFenced(await claims.write(fence, 'k', (o) => region.create(Resources.ConfigMap, config('two'), o)).catch((e: unknown) => e)));
  await claims.write(fence, 'k', (o) => region.create(Resources.ConfigMap, config('two'), o));
});

it('grows an epoch beyond what a region knows, only while the part is ours', async () => {
  const client = new LightClient();
  let now = 1_000;
  const shards = new Shards(client, silentLogger, { identity: 'a', incarnation: '1', shards: 2 });
  await shards.tick(() => now);
  assert.equal(shards.token(1, now), 1);
  const region = new LightClient();
  await region.create<Lease>(Resources.Lease, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'global-shard-1', ...PLACE }, spec: { holderIdentity: 'before', leaseTransitions: 40 } });
  const claims = new Claims(region);
  const error = await claims.claim(shards.lease(1, now) as HeldLease).catch((e: unknown) => e);
  assert.ok(isFenced(error));
  shards.outgrow(1, error.fields['epoch'] as number);
  await shards.tick(() => (now += 500));
  assert.equal(shards.token(1, now), 41);
  assert.equal(shards.token(0, now), 1, 'the others stay');
  await claims.claim(shards.lease(1, now) as HeldLease);
  assert.equal((await region.get<Lease>(Resources.Lease, PLACE, 'global-shard-1')).spec.holderIdentity, 'a/1');
  // another one takes the part while this one still thinks that it fell behind
  const lease = await client.get<Lease>(Resources.Lease, PLACE, 'global-shard-1');
  shards.outgrow(1, 90);
  client.onWrite = async (verb, _r, name) => {
    if (name !== 'global-shard-1' || verb !== 'update') return;
    client.onWrite = () => undefined;
    await client.update(Resources.Lease, { ...lease, spec: { ...lease.spec, holderIdentity: 'b/1', leaseTransitions: 42 } });
  };
  await shards.tick(() => (now += 500));
  assert.equal((await client.get<Lease>(Resources.Lease, PLACE, 'global-shard-1')).spec.leaseTransitions, 42);
  await shards.tick(() => (now += 500));
  assert.equal(shards.token(1, now), 43, 'the other one is dead, and its part taken like any free one; nothing was grown over it');
});

run();
