import assert from 'node:assert/strict';
import type { Lease } from '../../../../api/kinds/core.ts';
import { Resources } from '../../../../api/resources.ts';
import { Leadership } from '../../../../scheduler/global/lease.ts';
import { memoryClient } from '../../../kit/memory-client.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('leadership');
const NOW = Date.parse('2030-01-01T00:00:00Z');

it('gives back only what is its own: a successor keeps the lease when a predecessor that slept too long stops', async () => {
  const client = await memoryClient();
  const [a, b, c] = ['a', 'b', 'c'].map((name) => new Leadership(client, name));
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  assert.equal(await a.acquire(NOW), true);
  assert.equal(await b.acquire(NOW + 20_000), true, 'a did not renew');
  await a.release();
  assert.equal(await c.acquire(NOW + 21_000), false);
  const { spec } = await client.get<Lease>(Resources.Lease, { tenant: 'system', namespace: 'default' }, 'global-scheduler');
  assert.equal(spec.holderIdentity, 'b');
  await b.release();
  assert.equal(await c.acquire(NOW + 22_000), true, 'released: nobody need wait');
  assert.equal(c.token, 3);
});

run();
