import * as assert from 'uvu/assert';
import { Informer } from '../../../api/informer.ts';
import type { KubeObject } from '../../../api/object.ts';
import { Resources } from '../../../api/resources.ts';
import { systemClock } from '../../../base/clock.ts';
import { silentLogger } from '../../../base/log.ts';
import { createControllers } from '../../../cloud/arktos/controllers.ts';
import { testApiServer } from '../../kit/api-server.ts';
import { suite } from '../../kit/suite.ts';
import { until } from '../../kit/until.ts';

const { it, run } = suite('a glance before decoding', { timeoutMs: 20_000 });
const PLACE = { tenant: 'system', namespace: 'default' } as const;

const map = (name: string, meta: object = {}): KubeObject => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...PLACE, ...meta } });

it('leaves out what is of no use, tells what ceases to be, and tells every end', async (t) => {
  const { server } = await testApiServer(t);
  const client = server.localClient();
  await client.create(Resources.ConfigMap, map('old'));
  const seen: string[] = [];
  const informer = new Informer({ client, resource: Resources.ConfigMap, list: { ...PLACE, glance: (_, bytes) => Buffer.from(bytes).includes('"finalizers"') }, log: silentLogger });
  informer.onChange((key, now, before) => seen.push(`${key.split('/').at(-1)} ${now === null ? 'gone' : (now.metadata.finalizers ?? []).length} ${before?.metadata.uid === undefined ? 'new' : 'known'}`));
  await informer.start(new AbortController().signal);
  t.after(() => informer.stop());
  await informer.synced;
  await client.create(Resources.ConfigMap, map('plain'));
  await client.create(Resources.ConfigMap, map('held', { finalizers: ['x.io/y'] }));
  await client.patch(Resources.ConfigMap, PLACE, 'held', { metadata: { finalizers: null } });
  await client.patch(Resources.ConfigMap, PLACE, 'held', { data: { a: 'b' } });
  await client.delete(Resources.ConfigMap, PLACE, 'plain');
  await client.delete(Resources.ConfigMap, PLACE, 'old');
  await until('the last end is told', () => seen.includes('old gone known'));
  assert.equal(seen, ['held 1 new', 'held 0 known', 'plain gone known', 'old gone known']);
});

it('collects what a plain ConfigMap owned', async (t) => {
  const { server } = await testApiServer(t, { systemNamespaces: ['default', 'node-lease'] });
  const client = server.localClient();
  const controllers = createControllers({ client, log: silentLogger });
  await controllers.start(new AbortController().signal);
  t.after(() => controllers.stop());
  const owner = await client.create(Resources.ConfigMap, map('owner'));
  await client.create(Resources.ConfigMap, map('owned', { ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: owner.metadata.uid }] }));
  await client.create(Resources.ConfigMap, map('other'));
  await systemClock.sleep(100, new AbortController().signal);
  await client.delete(Resources.ConfigMap, PLACE, 'owner');
  await until('the owned one is collected', async () => (await client.list(Resources.ConfigMap, PLACE)).items.map((i) => i.metadata.name).join() === 'other');
});

run();
