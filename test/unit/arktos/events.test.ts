import * as assert from 'uvu/assert';
import type { Pod } from '../../../api/kinds/core.ts';
import { Resources } from '../../../api/resources.ts';
import { systemClock } from '../../../base/clock.ts';
import { silentLogger } from '../../../base/log.ts';
import { createControllers } from '../../../cloud/arktos/controllers.ts';
import { type Event, eventOf, Events, spend } from '../../../cloud/arktos/events.ts';
import { podNotes } from '../../../cloud/arktos/happenings.ts';
import { testApiServer } from '../../kit/api-server.ts';
import { suite } from '../../kit/suite.ts';
import { until } from '../../kit/until.ts';

const { it, run } = suite('events', { timeoutMs: 20_000 });
const PLACE = { tenant: 'system', namespace: 'default' } as const;

const pod = (more: { readonly state?: object; readonly restarts?: number; readonly leaving?: boolean; readonly ready?: string; readonly uid?: string } = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', uid: more.uid ?? 'u', ...PLACE, ...(more.leaving === true ? { deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 5 } : {}) },
  spec: { nodeName: 'n1', containers: [] },
  status: { conditions: more.ready === undefined ? [] : [{ type: 'Ready', status: more.ready, message: 'GET / gave 500' }], containerStatuses: more.state === undefined ? [] : [{ name: 'web', restartCount: more.restarts ?? 0, state: more.state }] },
}) as unknown as Pod;

it('tells what happens to a pod, and not what is the same as before', () => {
  const of = (before: Pod | null, now: Pod | null): string => podNotes(before, now).map((n) => `${n.reason}: ${n.message}`).join('; ');
  const running = { running: {} };
  assert.is(of(null, pod({ state: running })), '', 'after a restart of the region nothing has happened');
  assert.is(of(pod(), pod({ state: running })), 'Started: Started container web');
  assert.is(of(pod({ state: running }), pod({ state: running })), '');
  assert.is(of(pod({ state: running }), pod({ state: running, restarts: 1 })), 'Started: Started container web');
  assert.is(of(pod({ state: running }), pod({ state: { waiting: { reason: 'CrashLoopBackOff', message: 'exit 3' } } })), 'BackOff: Container web: exit 3');
  assert.is(of(pod(), pod({ state: { waiting: { reason: 'ContainerCreating' } } })), '');
  assert.is(of(pod({ state: running, ready: 'True' }), pod({ state: running, ready: 'False' })), 'Unhealthy: GET / gave 500');
  assert.is(of(pod({ state: running, ready: 'True' }), pod({ state: running, ready: 'False', leaving: true })), 'Killing: Stopping the pod, with 5 s of grace');
  assert.is(of(pod({ state: running }), pod({ uid: 'other', leaving: true })), '', 'another pod of the same name');
});

it('lets one object say 25 things at once, and one more in five minutes', () => {
  let allowance = spend(undefined, 0);
  for (let i = 1; i < 25; i++) allowance = spend(allowance ?? undefined, 0);
  assert.ok(allowance !== null);
  assert.is(spend(allowance ?? undefined, 299_999), null);
  assert.ok(spend(allowance ?? undefined, 300_000) !== null);
});

it('names the same thing the same, within what a name may be', () => {
  const note = { on: { ...pod(), metadata: { ...pod().metadata, name: 'x'.repeat(253) } }, type: 'Normal', reason: 'R', message: 'm'.repeat(5_000), from: 'f' } as const;
  const [a, b, c] = [eventOf(note, 1, 0, 0), eventOf(note, 2, 0, 9_000), eventOf({ ...note, reason: 'S' }, 1, 0, 0)];
  assert.is(a.metadata.name, b.metadata.name);
  assert.is.not(a.metadata.name, c.metadata.name);
  assert.ok(a.metadata.name.length <= 253 && a.message.length === 1_024);
});

it('counts up one Event, across those who write it', async (t) => {
  const { server } = await testApiServer(t);
  const client = server.localClient();
  const note = { on: pod(), type: 'Warning', reason: 'BackOff', message: 'again', from: 'agent' } as const;
  const read = async (): Promise<readonly Event[]> => (await client.list<Event>(Resources.Event, PLACE)).items;
  for (const counted of [3, 5]) {
    const events = new Events({ client, clock: systemClock, log: silentLogger });
    await events.start(new AbortController().signal);
    for (let i = 0; i < (counted === 3 ? 3 : 2); i++) events.tell(note);
    await until(`${counted} are counted`, async () => (await read())[0]?.count === counted);
    await events.stop();
  }
  assert.is((await read()).length, 1);
  assert.equal((await read())[0]?.involvedObject, { apiVersion: 'v1', kind: 'Pod', name: 'p', namespace: 'default', uid: 'u' });
});

it('tells of a rollout from its deployment to its pods', async (t) => {
  const { server } = await testApiServer(t, { systemNamespaces: ['default', 'node-lease'] });
  const client = server.localClient();
  const controllers = createControllers({ client, log: silentLogger });
  await controllers.start(new AbortController().signal);
  t.after(() => controllers.stop());
  const reasons = async (): Promise<string> => (await client.list<Event>(Resources.Event, PLACE)).items.map((e) => `${e.involvedObject.kind} ${e.reason}`).sort().join(', ');
  await client.create(Resources.Deployment, { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', ...PLACE }, spec: { replicas: 1, selector: { matchLabels: { app: 'web' } }, template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'web:1' }] } } } } as never);
  await until('the pod has no node', async () => (await reasons()) === 'Deployment ScalingReplicaSet, Pod FailedScheduling, ReplicaSet SuccessfulCreate');
  await client.create(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
  await client.patch(Resources.Node, { tenant: null, namespace: null }, 'n1', { status: { allocatable: { cpu: '2', memory: '2Gi', pods: '20' }, conditions: ['Ready', 'ContainerRuntimeReady'].map((type) => ({ type, status: 'True' })) } }, { subresource: 'status' });
  await until('the pod has a node', async () => (await reasons()).includes('Pod Scheduled'));
  const scheduled = (await client.list<Event>(Resources.Event, { ...PLACE, fieldSelector: 'reason=Scheduled' })).items[0];
  assert.match(scheduled?.message ?? '', /^Successfully assigned default\/web-\S+ to n1$/);
});

run();
