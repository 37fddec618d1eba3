import * as assert from 'uvu/assert';
import type { Client } from '../../../api/client.ts';
import { MeshError } from '../../../api/errors.ts';
import { Informer } from '../../../api/informer.ts';
import type { KubeObject } from '../../../api/object.ts';
import { Resources } from '../../../api/resources.ts';
import { silentLogger } from '../../../base/log.ts';
import { memoryClient } from '../../kit/memory-client.ts';
import { suite } from '../../kit/suite.ts';
import { until } from '../../kit/until.ts';

const { it, run } = suite('informer');

const config = (name: string): KubeObject => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default', tenant: 'acme' } });
const place = { tenant: 'acme', namespace: 'default' };

it('holds what was there before and follows what changes', async (t) => {
  const client = await memoryClient();
  await client.create(Resources.ConfigMap, config('a'));
  const informer = new Informer({ client, resource: Resources.ConfigMap, list: { tenant: 'all' }, log: silentLogger });
  const heard: string[] = [];
  informer.onChange((key, object, previous) => heard.push(`${key} ${previous === null ? 'new' : object === null ? 'gone' : 'changed'}`));
  t.after(() => informer.stop());
  await informer.start(t.signal);
  await informer.synced;
  assert.is(informer.get('acme/default/a')?.metadata.name, 'a');
  await client.create(Resources.ConfigMap, config('b'));
  await client.patch(Resources.ConfigMap, place, 'a', { data: { k: 'v' } });
  await client.delete(Resources.ConfigMap, place, 'b');
  await until('four events are heard', () => heard.length === 4);
  assert.equal(heard, ['acme/default/a new', 'acme/default/b new', 'acme/default/a changed', 'acme/default/b gone']);
  assert.equal(informer.list().map((o) => o.metadata.name), ['a']);
});

it('lists again when its position is gone, and says what vanished meanwhile', async (t) => {
  const client = await memoryClient();
  await client.create(Resources.ConfigMap, config('a'));
  await client.create(Resources.ConfigMap, config('b'));
  let watches = 0;
  const flaky: Client = Object.assign(Object.create(client) as Client, {
    list: client.list.bind(client),
    async *watch(...args: Parameters<Client['watch']>) {
      watches += 1;
      if (watches === 1) throw new MeshError('unavailable', 'gone for a moment');
      if (watches === 2) {
        await client.delete(Resources.ConfigMap, place, 'b');
        throw new MeshError('expired', 'too old');
      }
      yield* client.watch(...args);
    },
  });
  const informer = new Informer({ client: flaky, resource: Resources.ConfigMap, list: { tenant: 'acme' }, log: silentLogger, firstRetryMs: 1 });
  const gone: string[] = [];
  informer.onChange((key, object) => void (object === null && gone.push(key)));
  t.after(() => informer.stop());
  await informer.start(t.signal);
  await informer.synced;
  assert.is(informer.list().length, 2);
  await until('one is gone', () => gone.length === 1);
  assert.equal(gone, ['acme/default/b']);
});

it('rejects `synced` when it is stopped first', async (t) => {
  const client = await memoryClient();
  const away: Client = Object.assign(Object.create(client) as Client, { list: () => Promise.reject(new MeshError('unavailable', 'away')) });
  const informer = new Informer({ client: away, resource: Resources.ConfigMap, log: silentLogger, firstRetryMs: 1 });
  await informer.start(t.signal);
  await informer.stop();
  const failed = await informer.synced.then(
    () => false,
    () => true,
  );
  assert.ok(failed);
});

run();
