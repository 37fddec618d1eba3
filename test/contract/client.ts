/** The contract of `api/client.ts`: every form of the Client passes these cases. */
import * as assert from 'uvu/assert';
import type { Client, WatchEvent } from '../../api/client.ts';
import { isMeshError, type ErrorKind } from '../../api/errors.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Lease, Pod } from '../../api/kinds/core.ts';
import { isFenced } from '../../api/lease-fence.ts';
import { suite, type CaseContext } from '../kit/suite.ts';

interface Config extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

const place = { tenant: 'acme', namespace: 'default' };

const config = (name: string, data: Record<string, string> = {}, meta: object = {}): Config => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...place, ...meta }, data });
const pod = (name: string, spec: object = {}): Pod => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name, ...place }, spec: { containers: [{ name: 'c', image: 'i' }], ...spec } });

async function refused(kind: ErrorKind, what: Promise<unknown>): Promise<void> {
  const error = await what.then(
    () => null,
    (e: unknown) => e,
  );
  assert.ok(isMeshError(error, kind), `expected ${kind}, got ${String(error)}`);
}

/** The next event that is not a bookmark. */
async function next<T extends KubeObject>(events: AsyncIterator<WatchEvent<T>>): Promise<{ type: string; object: T }> {
  for (;;) {
    const { value, done } = await events.next();
    if (done === true) throw new Error('the watch ended');
    if (value.type !== 'BOOKMARK') return value;
  }
}

export function clientContract(name: string, open: (t: CaseContext) => Promise<Client>): void {
  const { it, run } = suite(`client: ${name}`);

  it('gives a created object a uid, a version and a time', async (t) => {
    const client = await open(t);
    const made = await client.create(Resources.ConfigMap, config('a', { k: 'v' }));
    assert.match(made.metadata.uid ?? '', /^[0-9a-f-]{36}$/);
    assert.ok(Number(made.metadata.resourceVersion) > 0);
    assert.is(made.metadata.tenant, 'acme');
    assert.equal((await client.get<Config>(Resources.ConfigMap, place, 'a')).data, { k: 'v' });
    await refused('already-exists', client.create(Resources.ConfigMap, config('a')));
    await refused('not-found', client.get(Resources.ConfigMap, place, 'b'));
  });

  it('refuses an update of an old version and takes one without a version', async (t) => {
    const client = await open(t);
    const first = await client.create(Resources.ConfigMap, config('a'));
    const second = await client.update(Resources.ConfigMap, { ...first, data: { k: '2' } });
    await refused('conflict', client.update(Resources.ConfigMap, { ...first, data: { k: '3' } }));
    const same = await client.update(Resources.ConfigMap, second);
    assert.is(same.metadata.resourceVersion, second.metadata.resourceVersion, 'nothing changed, nothing written');
    const forced = await client.update(Resources.ConfigMap, config('a', { k: '4' }));
    assert.is(forced.metadata.uid, first.metadata.uid);
  });

  it('keeps spec and status apart and counts generations of the spec', async (t) => {
    const client = await open(t);
    const made = await client.create<Pod>(Resources.Pod, pod('p'));
    const { status: _, ...rest } = made;
    const running = await client.updateStatus<Pod>(Resources.Pod, { ...rest, spec: { containers: [] }, status: { phase: 'Running' } });
    assert.is(running.status?.phase, 'Running');
    assert.is(running.spec.containers?.length, 1);
    const bound = await client.patch<Pod>(Resources.Pod, place, 'p', { spec: { nodeName: 'n1' }, status: { phase: 'Failed' } });
    assert.is(bound.status?.phase, 'Running');
    assert.is(bound.metadata.generation, 2);
    const failed = await client.patch<Pod>(Resources.Pod, place, 'p', { status: { phase: 'Failed' } }, { subresource: 'status' });
    assert.is(failed.status?.phase, 'Failed');
    assert.is(failed.metadata.generation, 2);
  });

  it('lists by labels, fields and namespace', async (t) => {
    const client = await open(t);
    await client.create(Resources.Pod, { ...pod('a'), metadata: { name: 'a', ...place, labels: { app: 'x' } } });
    await client.create(Resources.Pod, pod('b', { nodeName: 'n1' }));
    const names = async (o: object): Promise<string[]> => (await client.list(Resources.Pod, { tenant: 'acme', ...o })).items.map((i) => i.metadata.name);
    assert.equal(await names({ labelSelector: 'app in (x,y)' }), ['a']);
    assert.equal(await names({ labelSelector: '!app' }), ['b']);
    assert.equal(await names({ fieldSelector: 'spec.nodeName=n1' }), ['b']);
    assert.equal(await names({ fieldSelector: 'metadata.name!=b' }), ['a']);
    assert.equal(await names({ namespace: 'default' }), ['a', 'b']);
    assert.equal(await names({ namespace: 'other' }), []);
    assert.equal((await client.list(Resources.Pod, { tenant: 'all' })).items.length, 2);
    await refused('invalid', client.list(Resources.Pod, { tenant: 'acme', fieldSelector: 'spec.nonsense=1' }));
  });

  it('watches from a list on, in order, and says when something leaves the selector', async (t) => {
    const client = await open(t);
    const { resourceVersion } = await client.list(Resources.ConfigMap, { tenant: 'acme' });
    const abort = new AbortController();
    t.after(() => abort.abort());
    const events = client.watch<Config>(Resources.ConfigMap, { tenant: 'acme', resourceVersion, labelSelector: 'on=yes' }, abort.signal)[Symbol.asyncIterator]();
    await client.create(Resources.ConfigMap, config('other'));
    const made = await client.create(Resources.ConfigMap, config('a', {}, { labels: { on: 'yes' } }));
    assert.equal(await next(events), { type: 'ADDED', object: made });
    const changed = await client.patch<Config>(Resources.ConfigMap, place, 'a', { data: { k: 'v' } });
    assert.equal(await next(events), { type: 'MODIFIED', object: changed });
    await client.patch(Resources.ConfigMap, place, 'a', { metadata: { labels: { on: null } } });
    assert.is((await next(events)).type, 'DELETED');
    await client.patch(Resources.ConfigMap, place, 'a', { metadata: { labels: { on: 'yes' } } });
    assert.is((await next(events)).type, 'ADDED');
    await client.delete(Resources.ConfigMap, place, 'a');
    const gone = await next(events);
    assert.is(gone.type, 'DELETED');
    assert.is(gone.object.metadata.name, 'a');
    abort.abort();
  });

  it('keeps an object until its last finalizer is taken off', async (t) => {
    const client = await open(t);
    await client.create(Resources.ConfigMap, config('a', {}, { finalizers: ['x.io/f'] }));
    await client.delete(Resources.ConfigMap, place, 'a');
    const marked = await client.get(Resources.ConfigMap, place, 'a');
    assert.ok(marked.metadata.deletionTimestamp !== undefined);
    await client.patch(Resources.ConfigMap, place, 'a', { metadata: { finalizers: null } });
    await refused('not-found', client.get(Resources.ConfigMap, place, 'a'));
  });

  it('lets the agent end a pod on a node, and drops an unbound pod at once', async (t) => {
    const client = await open(t);
    await client.create(Resources.Pod, pod('free'));
    await client.delete(Resources.Pod, place, 'free');
    await refused('not-found', client.get(Resources.Pod, place, 'free'));
    const bound = await client.create(Resources.Pod, pod('bound', { nodeName: 'n1' }));
    await client.delete(Resources.Pod, place, 'bound');
    const ending = await client.get(Resources.Pod, place, 'bound');
    assert.ok(ending.metadata.deletionTimestamp !== undefined);
    assert.is(ending.metadata.deletionGracePeriodSeconds, 30);
    await refused('conflict', client.delete(Resources.Pod, place, 'bound', { gracePeriodSeconds: 0, uid: '00000000-0000-0000-0000-000000000000' }));
    await client.delete(Resources.Pod, place, 'bound', { gracePeriodSeconds: 0, uid: bound.metadata.uid ?? '' });
    await refused('not-found', client.get(Resources.Pod, place, 'bound'));
  });

  it('refuses every write that names a lease which was handed on, and says to whom', async (t) => {
    const client = await open(t);
    const lease = await client.create<Lease>(Resources.Lease, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'shard-1', tenant: 'system', namespace: 'default' }, spec: { holderIdentity: 'a', leaseTransitions: 7 } });
    const fence = { lease: 'shard-1', epoch: 7 };
    const made = await client.create(Resources.ConfigMap, config('a'), { fence });
    await client.patch(Resources.ConfigMap, place, 'a', { data: { k: '1' } }, { fence });
    await client.create(Resources.Pod, pod('p'), { fence });
    await client.update(Resources.Lease, { ...lease, spec: { holderIdentity: 'b', leaseTransitions: 8 } });
    const late = [
      () => client.create(Resources.ConfigMap, config('b'), { fence }),
      () => client.patch(Resources.ConfigMap, place, 'a', { data: { k: '2' } }, { fence }),
      () => client.update(Resources.ConfigMap, config('a', { k: '3' }), { fence }),
      () => client.patch(Resources.Pod, place, 'p', { status: { phase: 'Running' } }, { fence, subresource: 'status' as const }),
      () => client.delete(Resources.ConfigMap, place, 'a', { fence, ...(made.metadata.uid === undefined ? {} : { uid: made.metadata.uid }) }),
    ];
    for (const write of late) {
      const error = await write().then(() => null, (e: unknown) => e);
      assert.ok(isFenced(error), String(error));
      assert.match((error as Error).message, /fenced off: lease shard-1 is at epoch 8, held by b; this write carries epoch 7/);
    }
    assert.equal((await client.get<Config>(Resources.ConfigMap, place, 'a')).data, { k: '1' });
    await refused('not-found', client.get(Resources.ConfigMap, place, 'b'));
    await client.delete(Resources.ConfigMap, place, 'a', { fence: { ...fence, epoch: 8 } });
    const unknown = await client.create(Resources.ConfigMap, config('c'), { fence: { lease: 'shard-2', epoch: 1 } }).then(() => null, (e: unknown) => e);
    assert.ok(isFenced(unknown), 'who never claimed it does not write');
    assert.match((unknown as Error).message, /there is no lease shard-2/);
  });

  it('needs a tenant and a namespace that exist', async (t) => {
    const client = await open(t);
    await refused('not-found', client.create(Resources.ConfigMap, config('a', {}, { namespace: 'nowhere' })));
    await refused('not-found', client.create(Resources.ConfigMap, config('a', {}, { tenant: 'nobody' })));
    await client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'beta' } });
    await client.create(Resources.ConfigMap, config('a', {}, { tenant: 'beta' }));
  });

  run();
}
