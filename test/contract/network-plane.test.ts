import * as assert from 'uvu/assert';
import type { Client, ResourceId } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Lease, Pod } from '../../api/kinds/core.ts';
import type { Bouncer, Droplet, Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { spiffe } from '../../certs/names.ts';
import { CLAIM_LABEL } from '../../cloud/mizar/claims.ts';
import type { ConfigMap } from '../../cloud/mizar/names.ts';
import { configMap } from '../../cloud/mizar/names.ts';
import { createNetworkPlane, type NetworkPlane } from '../../cloud/mizar/network-plane.ts';
import { DropletClient, type DropletClientOptions } from '../kit/droplet-client.ts';
import { memoryClient } from '../kit/memory-client.ts';
import { meshTls } from '../kit/mesh-tls.ts';
import { type CaseContext, suite } from '../kit/suite.ts';
import { droplet, front, pod, relaySpec, site, subnet, vpc } from '../unit/mizar/kit.ts';
import { until as untilSeen } from '../kit/until.ts';

const { it, run } = suite('network plane', { timeoutMs: 20_000 });
const mesh = meshTls();
const regionTls = mesh.issue(spiffe.region('west'));
process.on('exit', () => mesh.remove());

const acme = { tenant: 'acme', namespace: null };
const system = { tenant: 'system', namespace: 'default' };
/** As a user writes it: without what only the plane may set. */
const bare = <T extends KubeObject>(o: T): T => {
  const { status: _, ...rest } = o as T & { status?: unknown };
  const { uid: __, ...metadata } = o.metadata;
  return { ...rest, metadata } as unknown as T;
};

async function startPlane(t: CaseContext, client: Client): Promise<NetworkPlane> {
  const plane = createNetworkPlane({ client, region: 'west', grpc: { host: '127.0.0.1', port: 0, tls: regionTls }, log: silentLogger });
  await plane.start(t.signal);
  t.after(() => plane.stop());
  return plane;
}

function follow(t: CaseContext, plane: NetworkPlane, name: string, more: Partial<DropletClientOptions> = {}): DropletClient {
  const c = new DropletClient({ port: plane.grpcPort, droplet: name, tls: mesh.issue(spiffe.node('zone-a', name)), ...more });
  t.after(() => c.close());
  return c;
}

async function region(): Promise<Client> {
  const client = await memoryClient();
  const put = (resource: ResourceId, ...objects: readonly KubeObject[]): Promise<unknown> => Promise.all(objects.map((o) => client.create(resource, bare(o))));
  await put(Resources.Site, site('zone-a', 'zone', 'west'));
  await put(Resources.Droplet, droplet('a1', 'zone-a', '192.168.10.1', { relay: relaySpec('100.64.1.1', '172.16.0.1:51820'), front: { interface: 'eth1', address: '172.16.0.1' } }), droplet('a2', 'zone-a', '192.168.10.2'));
  await put(Resources.Vpc, vpc('shop', '10.8.0.0/16', { vni: 7 }));
  await put(Resources.Subnet, subnet('shop-a', 'shop', '10.8.1.0/24', 'zone-a'));
  return client;
}

const image = { containers: [{ name: 'c', image: 'busybox' }] };
const makePod = (client: Client, name: string, on: string, more: Partial<Pod['spec']> = { vpc: 'shop' }): Promise<Pod> => client.create<Pod>(Resources.Pod, bare(pod(name, on, { ...image, ...more })));
/** Not found is "not yet": everything here appears after a while. */
const until = <T>(what: string, look: () => Promise<T | null | undefined | false>, withinMs = 8_000): Promise<T> =>
  untilSeen(what, () => look().catch((error: unknown) => (isMeshError(error, 'not-found') ? null : Promise.reject(error as Error))), { withinMs });
const endpointOf = (client: Client, name: string): Promise<Endpoint> => until(`endpoint of ${name}`, () => client.get<Endpoint>(Resources.Endpoint, acme, `default.${name}`));
const killPod = (client: Client, name: string): Promise<void> => client.delete(Resources.Pod, { tenant: 'acme', namespace: 'default' }, name, { gracePeriodSeconds: 0 });

it('brings a VPC, its subnet, roles and a pod from Init to Provisioned as the droplets answer', async (t) => {
  const client = await region();
  const plane = await startPlane(t, client);
  await makePod(client, 'web', 'a2');
  const before = await endpointOf(client, 'web');
  assert.is(before.spec.type === 'simple' && before.spec.droplet, 'a2');
  assert.is((await client.get<Subnet>(Resources.Subnet, acme, 'shop-a')).status?.phase, 'Init');
  const [a1, a2] = [follow(t, plane, 'a1'), follow(t, plane, 'a2')];
  await until('endpoint provisioned', async () => (await endpointOf(client, 'web')).status?.phase === 'Provisioned');
  await until('subnet provisioned', async () => (await client.get<Subnet>(Resources.Subnet, acme, 'shop-a')).status?.phase === 'Provisioned');
  const d = await until('droplet provisioned', async () => {
    const found = await client.get<Droplet>(Resources.Droplet, { tenant: null, namespace: null }, 'a2');
    return found.status?.goalVersion === a2.version && found;
  });
  assert.is(d.status?.phase, 'Provisioned');
  const vpcs = await client.get<Vpc>(Resources.Vpc, acme, 'shop');
  assert.equal([vpcs.status?.phase, vpcs.status?.vni], ['Provisioned', 7]);
  const address = before.spec.type === 'simple' ? before.spec.address : '';
  await until('the relay knows it', async () => a1.goal.has(`endpoint/7/${address}`));
  assert.ok(a2.goal.has(`endpoint/7/${address}`));
});

it('sends everything first, then deltas, and everything again to a version it does not know', async (t) => {
  const client = await region();
  const plane = await startPlane(t, client);
  const a2 = follow(t, plane, 'a2');
  await makePod(client, 'one', 'a2');
  await endpointOf(client, 'one');
  await until('goal', async () => [...a2.goal.keys()].some((k) => k.startsWith('endpoint/')));
  assert.is(a2.received[0]?.base, 0);
  await makePod(client, 'two', 'a2');
  await until('second endpoint', async () => [...a2.goal.keys()].filter((k) => k.startsWith('endpoint/')).length === 2);
  assert.ok(a2.received.slice(1).every((g) => g.base !== 0));
  const versions = a2.received.map((g) => g.version);
  assert.equal(versions, [...new Set(versions)].sort((x, y) => x - y));
  a2.close();
  const resumed = follow(t, plane, 'a2', { from: { version: a2.version, goal: a2.goal } });
  const lost = follow(t, plane, 'a1', { from: { version: 12345, goal: new Map([['droplet/9.9.9.9', { kind: 'droplet', address: '9.9.9.9', mac: null }]]) } });
  await until('full state', async () => lost.received.length > 0);
  assert.is(lost.received[0]?.base, 0);
  assert.not(lost.goal.has('droplet/9.9.9.9'));
  await killPod(client, 'one');
  await until('delta', async () => resumed.received.length > 0 && [...resumed.goal.keys()].filter((k) => k.startsWith('endpoint/')).length === 1);
  assert.ok(resumed.received.every((g) => g.base !== 0));
});

it('sends everything again after a goal was refused, and shows the refusal', async (t) => {
  const client = await region();
  const plane = await startPlane(t, client);
  let refusals = 1;
  const a2 = follow(t, plane, 'a2', { judge: () => (refusals-- > 0 ? 'map is full' : null) });
  await until('second try', async () => a2.received.length > 1);
  assert.is(a2.received[1]?.base, 0);
  await until('well again', async () => (await client.get<Droplet>(Resources.Droplet, { tenant: null, namespace: null }, 'a2')).status?.phase === 'Provisioned');
});

it('lets a node follow its own droplet only, and no one whose certificate is revoked', async (t) => {
  const client = await region();
  const plane = await startPlane(t, client);
  const refused = async (c: DropletClient): Promise<string> => (await c.ended)?.details ?? 'ended without an error';
  assert.match(await refused(follow(t, plane, 'a1', { tls: mesh.issue(spiffe.node('zone-a', 'a2')) })), /node a2 may not follow droplet a1/);
  assert.match(await refused(follow(t, plane, 'a1', { tls: mesh.issue(spiffe.node('edge-9', 'a1')) })), /of site edge-9/);
  assert.match(await refused(follow(t, plane, 'a1', { tls: mesh.issue(spiffe.gateway('zone-a')) })), /names no node/);
  const stolen = mesh.issue(spiffe.node('zone-a', 'a1'));
  await client.create(Resources.ConfigMap, { ...configMap('proxima-revocations', { [stolen.serial]: `${new Date().toISOString()} stolen` }) });
  await new Promise((r) => setTimeout(r, 100));
  assert.match(await refused(follow(t, plane, 'a1', { tls: stolen })), /is revoked/);
  const stranger = meshTls('west');
  t.after(() => stranger.remove());
  const alien = { ...stranger.issue(spiffe.node('zone-a', 'a1')), ca: regionTls.ca };
  assert.ok((await follow(t, plane, 'a1', { tls: alien }).ended) !== null);
});

it('keeps every address, and leaks none, when it is killed and two planes run at once', async (t) => {
  const client = await region();
  const planes = [await startPlane(t, client), await startPlane(t, client)];
  await Promise.all(Array.from({ length: 60 }, (_, i) => makePod(client, `p${i}`, i % 2 === 0 ? 'a1' : 'a2')));
  await new Promise((r) => setTimeout(r, 30));
  await planes[0]?.stop();
  const third = await startPlane(t, client);
  const all = await until('60 endpoints', async () => {
    const { items } = await client.list<Endpoint>(Resources.Endpoint, acme);
    return items.length === 60 && items;
  });
  const addresses = all.map((e) => (e.spec.type === 'simple' ? e.spec.address : ''));
  assert.is(new Set(addresses).size, 60);
  const before = (await client.get<ConfigMap>(Resources.ConfigMap, system, 'goal-epoch')).data?.['epoch'];
  assert.is(before, '3');
  await Promise.all(Array.from({ length: 60 }, (_, i) => killPod(client, `p${i}`)));
  await until('no endpoints', async () => (await client.list(Resources.Endpoint, acme)).items.length === 0);
  await until('no claims', async () => (await client.list<Lease>(Resources.Lease, { ...system, labelSelector: `${CLAIM_LABEL}=address` })).items.length === 0, 12_000);
  await third.stop();
});

it('says on the pod why it has no address and gives it one when it can', async (t) => {
  const client = await region();
  await startPlane(t, client);
  await client.create(Resources.Vpc, bare(vpc('tiny', '10.9.0.0/16', {}, null)));
  await makePod(client, 'late', 'a1', { vpc: 'tiny' });
  const condition = async (): Promise<{ status: string; reason?: string } | undefined> => (await client.get<Pod>(Resources.Pod, { tenant: 'acme', namespace: 'default' }, 'late')).status?.conditions?.find((c) => c.type === 'Addressed');
  await until('reason', async () => (await condition())?.reason === 'NoSubnet');
  await client.create(Resources.Subnet, bare(subnet('tiny-a', 'tiny', '10.9.1.0/30', 'zone-a')));
  await endpointOf(client, 'late');
  await until('taken back', async () => (await condition())?.status === 'True');
  await makePod(client, 'none', 'a1', { vpc: 'tiny' });
  await until('full', async () => (await client.get<Pod>(Resources.Pod, { tenant: 'acme', namespace: 'default' }, 'none')).status?.conditions?.find((c) => c.type === 'Addressed')?.reason === 'SubnetFull');
  await killPod(client, 'late');
  await until('gets the address that was given back', async () => client.get(Resources.Endpoint, acme, 'default.none'), 12_000);
});

it('replaces a bouncer when its droplet goes, and clears up after a subnet', async (t) => {
  const client = await region();
  await startPlane(t, client);
  const bouncers = async (): Promise<readonly string[]> => (await client.list<Bouncer>(Resources.Bouncer, acme)).items.map((b) => b.spec.droplet);
  const [first] = await until('a bouncer', async () => ((await bouncers()).length === 1 ? bouncers() : null));
  await client.delete(Resources.Droplet, { tenant: null, namespace: null }, first ?? '');
  await until('another bouncer', async () => (await bouncers()).length === 1 && !(await bouncers()).includes(first ?? ''));
  await client.delete(Resources.Subnet, acme, 'shop-a');
  await until('none', async () => (await bouncers()).length === 0);
});

it('numbers applications, names them for the nodes and keeps the peers of each relay', async (t) => {
  const client = await region();
  await client.create(Resources.ConfigMap, configMap('client-regions', { '2:coast': '203.0.113.0/24' }));
  const plane = await startPlane(t, client);
  const a1 = follow(t, plane, 'a1');
  await client.create(Resources.Endpoint, bare(front('shop-zone-a', 'shop', 'zone-a', '172.16.0.1', 'shop')));
  await until('front entry', async () => a1.goal.has('front/172.16.0.1/TCP/80') && a1.goal.has('client-region/203.0.113.0/24'));
  const names = await until('names', async () => {
    const found = await client.get<ConfigMap>(Resources.ConfigMap, system, 'telemetry-names');
    return found.data?.['applications'] !== '{}' && found;
  });
  assert.equal(names.data, { applications: '{"1":"acme/shop"}', clientRegions: '{"2":"coast"}' });
  await client.create(Resources.Droplet, bare(droplet('e1', 'edge-1', '192.168.50.1', { relay: relaySpec('100.64.2.1') })));
  const peers = await until('peers', async () => {
    const found = await client.get<ConfigMap>(Resources.ConfigMap, system, 'relay-edge-1');
    return JSON.parse(found.data?.['peers'] ?? '[]') as { readonly site: string }[];
  });
  assert.equal(peers.map((p) => p.site), ['zone-a']);
  await until('front is provisioned', async () => (await client.get<Endpoint>(Resources.Endpoint, acme, 'shop-zone-a')).status?.phase === 'Provisioned');
});

run();
