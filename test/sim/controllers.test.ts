/** The controllers together, over the API's own rules in memory. */
import * as assert from 'uvu/assert';
import type { Client } from '../../api/client.ts';
import type { Deployment, Node, Pod, ReplicaSet } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { systemClock, type Clock } from '../../base/clock.ts';
import { createControllers } from '../../cloud/arktos/controllers.ts';
import { memoryClient } from '../kit/memory-client.ts';
import { suite, type CaseContext } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const { it, run } = suite('controllers of a region', { timeoutMs: 20_000 });
const PLACE = { tenant: 'acme', namespace: 'default' } as const;
const CLUSTER = { tenant: null, namespace: null } as const;

/** Time that runs `factor` times as fast. */
function fastClock(factor: number): Clock {
  const start = Date.now();
  return { now: () => start + (Date.now() - start) * factor, sleep: (ms, signal) => systemClock.sleep(ms / factor, signal) };
}

async function region(t: CaseContext, clock: Clock = systemClock): Promise<Client> {
  const client = await memoryClient();
  await client.create(Resources.Namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'node-lease', tenant: 'system' } });
  const controllers = createControllers({ client, log: silentLogger, clock });
  await controllers.start(t.signal);
  t.after(() => controllers.stop());
  return client;
}

async function addNode(client: Client, name: string, site: string): Promise<void> {
  await client.create<Node>(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'mesh.proxima.io/site': site } } });
  const conditions = ['Ready', 'ContainerRuntimeReady'].map((type) => ({ type, status: 'True' }));
  await client.patch(Resources.Node, CLUSTER, name, { status: { allocatable: { cpu: '4', memory: '4Gi', pods: '20' }, conditions } }, { subresource: 'status' });
}

const deploy = (client: Client, nodeSelector: Record<string, string> = {}): Promise<Deployment> =>
  client.create<Deployment>(Resources.Deployment, {
    apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', ...PLACE },
    spec: { replicas: 3, selector: { matchLabels: { app: 'web' } }, template: { metadata: { labels: { app: 'web' } }, spec: { nodeSelector, containers: [{ name: 'c', image: 'i' }] } } },
  });
const pods = async (client: Client): Promise<readonly Pod[]> => (await client.list<Pod>(Resources.Pod, PLACE)).items;

it('makes three pods of a deployment of three, apart from each other, and no more', async (t) => {
  const client = await region(t);
  await addNode(client, 'n1', 's');
  await addNode(client, 'n2', 's');
  await deploy(client);
  await until('all bound', async () => (await pods(client)).filter((p) => p.spec.nodeName !== undefined).length === 3);
  await new Promise((r) => setTimeout(r, 100));
  const on = (await pods(client)).map((p) => p.spec.nodeName ?? '').sort();
  assert.ok(on.length === 3 && new Set(on).size === 2, String(on));
});

for (const [propagation, kept] of [['Foreground', 0], ['Orphan', 1]] as const) {
  it(`deletes a deployment with ${propagation}: ${kept} of its sets stay`, async (t) => {
    const client = await region(t);
    await deploy(client);
    await until('pods', async () => (await pods(client)).length === 3);
    await client.delete(Resources.Deployment, PLACE, 'web', { propagation });
    await until('the deployment is gone', async () => (await client.list(Resources.Deployment, PLACE)).items.length === 0);
    const sets = (await client.list<ReplicaSet>(Resources.ReplicaSet, PLACE)).items;
    assert.is(sets.length, kept);
    if (kept === 0) await until('no pods', async () => (await pods(client)).length === 0);
    else assert.equal([(await pods(client)).length, sets[0]?.metadata.ownerReferences ?? []], [3, []]);
  });
}

it('moves the pods of a silent zone node, and leaves those of a silent edge node', async (t) => {
  const client = await region(t, fastClock(40));
  for (const [name, kind] of [['z', 'zone'], ['e', 'edge']] as const) {
    await client.create(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name }, spec: { kind, region: 'r1' } } as never);
    await addNode(client, `node-${name}`, name);
  }
  await deploy(client);
  await until('all bound', async () => (await pods(client)).filter((p) => p.spec.nodeName !== undefined).length === 3);
  const before = (await pods(client)).filter((p) => p.spec.nodeName === 'node-e').map((p) => p.metadata.name).sort();
  await until('evicted', async () => (await pods(client)).filter((p) => p.spec.nodeName === 'node-z').every((p) => p.metadata.deletionTimestamp !== undefined));
  const after = (await pods(client)).filter((p) => p.spec.nodeName === 'node-e' && p.metadata.deletionTimestamp === undefined).map((p) => p.metadata.name).sort();
  assert.equal(after, before);
  const node = await client.get<Node>(Resources.Node, CLUSTER, 'node-e');
  assert.is(node.status?.conditions?.find((c) => c.type === 'Ready')?.status, 'Unknown');
  await until('replacements wait for a node', async () => (await pods(client)).some((p) => p.spec.nodeName === undefined && p.status?.conditions?.some((c) => c.reason === 'Unschedulable') === true));
});

run();
