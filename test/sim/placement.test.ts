/** The real scheduler over in-memory APIs of a global plane and two regions, on a clock of its own; only pods, samples and sites are played. */
import assert from 'node:assert/strict';
import type { Client } from '../../api/client.ts';
import type { Node } from '../../api/kinds/core.ts';
import type { Application, Site } from '../../api/kinds/mesh.ts';
import type { Droplet, Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import { offlineClient } from '../kit/offline-client.ts';
import { KEY, placementLab } from '../kit/placement-lab.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('placement simulation', { timeoutMs: 30_000 });

it('places, and tells both regions the network: tenant, VPC with one VNI, a slice per site, foreign relays, client regions', async () => {
  const l = await placementLab();
  assert.deepEqual(await l.instances(), { 'west-1': 1 });
  const [west, east] = [l.regions['west'], l.regions['east']];
  assert.ok(west !== undefined && east !== undefined);
  const vnis = await Promise.all([west, east].map(async (c) => (await c.get<Vpc>(Resources.Vpc, { tenant: 'acme', namespace: null }, 'main')).spec.vni));
  assert.deepEqual(vnis, [4096, 4096]);
  const subnets = (await east.list<Subnet>(Resources.Subnet, { tenant: 'all' })).items.map((s) => [s.spec.site, s.spec.cidr, s.spec.virtual === true]);
  assert.deepEqual(subnets.toSorted((x, y) => (String(x[0]) < String(y[0]) ? -1 : 1)), [['east-1', '10.20.0.0/24', false], ['edge-a', '10.20.1.0/24', true], ['west-1', '10.20.2.0/24', true]]);
  const relays = (await east.list<Droplet>(Resources.Droplet, { labelSelector: 'mesh.proxima.io/foreign=true' })).items.map((d) => d.metadata.name);
  assert.deepEqual(relays.sort(), ['west.edge-a-n1', 'west.west-1-n1']);
  assert.equal((await l.front('edge-a')).length, 1);
  assert.equal((await l.front('east-1'))[0]?.weight, 100);
  assert.equal(l.scheduler.steering(KEY, 'a')?.[0]?.site, 'edge-a');
});

it('follows the traffic: starts at the edge, shifts step by step, drains the far place, and then rests', async () => {
  const l = await placementLab();
  l.demand['west'] = 0;
  l.demand['a'] = 40;
  let isBelow = false;
  for (let s = 0; s < 60; s++) {
    await l.seconds(1);
    const backends = await l.front('edge-a');
    if (!backends.some((b) => b.weight > 0)) isBelow = true;
  }
  assert.equal(isBelow, false, 'the front was never without a backend');
  assert.deepEqual(await l.instances(), { 'edge-a': 1 });
  const p = await l.placement();
  const phases = p.status?.moves?.map((m) => `${m.to ?? ''} ${m.phase}`) ?? [];
  const order = ['edge-a starting', 'edge-a traffic 5 %', 'edge-a traffic 50 %', 'edge-a serving', 'west-1 draining'].map((x) => phases.indexOf(x));
  assert.deepEqual(order, order.toSorted((x, y) => x - y));
  assert.ok(order.every((i) => i >= 0), phases.join(', '));
  assert.ok(p.status?.goals?.every((g) => g.met));
  const before = (await l.placement()).metadata.resourceVersion;
  await l.seconds(10);
  assert.equal((await l.placement()).metadata.resourceVersion, before, 'unchanged input writes nothing');
});

it('serves from elsewhere while a site is cut, keeps its instances, and comes back by itself', async () => {
  const l = await placementLab();
  l.demand['west'] = 0;
  l.demand['a'] = 40;
  await l.seconds(60);
  await l.site('edge-a', false);
  await l.seconds(16);
  assert.equal(l.scheduler.steering(KEY, 'a')?.at(-1)?.site, 'edge-a');
  const during = await l.instances();
  assert.equal(during['edge-a'], 1, 'its instances are left alone');
  assert.equal(during['west-1'], 1);
  assert.ok((await l.front('west-1')).some((b) => b.weight === 100));
  assert.match((await l.placement()).status?.sites?.find((s) => s.site === 'edge-a')?.state ?? '', /unreachable/);
  await l.site('edge-a', true);
  await l.seconds(60);
  assert.deepEqual(await l.instances(), { 'edge-a': 1 });
});

it('goes on after a crash at any second of a move, and ends at the same place', async () => {
  for (const crashAfter of [1, 6, 9, 12, 15, 19]) {
    const l = await placementLab();
    l.demand['west'] = 0;
    l.demand['a'] = 40;
    await l.seconds(crashAfter);
    l.restart();
    await l.seconds(60);
    assert.deepEqual(await l.instances(), { 'edge-a': 1 }, `crash after ${crashAfter} s`);
  }
});

it('does what can be done while a region does not answer, and leaves the rest for later', async () => {
  const l = await placementLab();
  l.restart({ west: l.regions['west'] as Client, east: offlineClient });
  await l.seconds(20);
  assert.deepEqual(await l.instances(), { 'west-1': 1 });
  assert.ok((await l.front('west-1')).some((b) => b.weight === 100));
});

it('forgets no placement after a restart while a region does not answer: waits first, then takes its sites for unreachable', async () => {
  const l = await placementLab();
  const before = (await l.placement()).metadata.resourceVersion;
  l.restart({ west: offlineClient, east: l.regions['east'] as Client });
  await l.seconds(8);
  assert.equal((await l.placement()).metadata.resourceVersion, before, 'nothing is planned while a region may still answer');
  await l.seconds(20);
  const p = await l.placement();
  assert.deepEqual(p.spec.sites.map((s) => s.site), ['east-1', 'west-1'], 'what ran is kept, and served from elsewhere as the policy says');
  assert.equal(p.status?.sites?.find((s) => s.site === 'west-1')?.state, 'unreachable');
  l.restart();
  await l.seconds(60);
  assert.deepEqual(await l.instances(), { 'west-1': 1 });
});

it('writes no empty plan because nobody answers', async () => {
  const l = await placementLab();
  await l.policy({ unreachable: { action: 'move', afterSeconds: 1 } });
  const fronts = JSON.stringify(await l.front('east-1'));
  l.restart({ west: offlineClient, east: offlineClient });
  await l.seconds(30);
  assert.deepEqual((await l.placement()).spec.sites.map((s) => s.site), ['west-1']);
  l.restart({ west: offlineClient, east: l.regions['east'] as Client });
  await l.seconds(11);
  assert.equal(JSON.stringify(await l.front('east-1')), fronts, 'a front keeps backends that are not known to be gone');
});

it('deletes the mirrored Site that its region, answering, has no more', async () => {
  const l = await placementLab();
  const names = async (): Promise<string[]> => (await l.global.list<Site>(Resources.Site)).items.map((s) => s.metadata.name).sort();
  await l.regions['west']?.delete(Resources.Site, { tenant: null, namespace: null }, 'edge-a');
  l.restart({ west: offlineClient, east: l.regions['east'] as Client });
  await l.seconds(15);
  assert.deepEqual(await names(), ['east-1', 'edge-a', 'west-1']);
  l.restart();
  await l.seconds(2);
  assert.deepEqual(await names(), ['east-1', 'west-1']);
});

it('believes no Site that a dead gateway left Ready, nor a zone without a Ready node', async () => {
  const l = await placementLab();
  const seen = async (): Promise<unknown> => l.regions['west']?.patch(Resources.Site, { tenant: null, namespace: null }, 'edge-a', { status: { lastSeen: new Date(l.now).toISOString() } }, { subresource: 'status' });
  const reach = (site: string): string | undefined => l.scheduler.snapshot?.states.get(site)?.reach;
  l.dead.add('edge-a');
  for (let i = 0; i < 8; i++) {
    await seen();
    await l.seconds(5);
  }
  assert.equal(reach('edge-a'), 'reachable', 'renewed every 5 s');
  await l.seconds(12);
  assert.equal(reach('edge-a'), 'reachable', 'one late renewal is no death');
  await l.seconds(5);
  assert.equal(reach('edge-a'), 'suspect');
  await l.seconds(3);
  assert.equal(reach('edge-a'), 'cut-off');
  const ready = (status: 'True' | 'False' | 'Unknown'): unknown => ({ status: { conditions: [{ type: 'Ready', status }] } });
  await l.regions['west']?.create<Node>(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'west-1-n1', labels: { 'mesh.proxima.io/site': 'west-1' } } });
  await l.seconds(20);
  assert.equal(reach('west-1'), 'reachable');
  await l.seconds(4);
  assert.equal(reach('west-1'), 'cut-off', 'never had a Ready node');
  await l.regions['west']?.patch(Resources.Node, { tenant: null, namespace: null }, 'west-1-n1', ready('True'), { subresource: 'status' });
  await l.seconds(1);
  assert.equal(reach('west-1'), 'reachable', 'its first node came up: it does not come back');
  await l.regions['west']?.patch(Resources.Node, { tenant: null, namespace: null }, 'west-1-n1', ready('False'), { subresource: 'status' });
  await l.seconds(15);
  assert.equal(reach('west-1'), 'reachable', 'an agent that starts again is not Ready for a while');
  await l.regions['west']?.patch(Resources.Node, { tenant: null, namespace: null }, 'west-1-n1', ready('Unknown'), { subresource: 'status' });
  await l.seconds(1);
  assert.equal(reach('west-1'), 'suspect');
  await l.seconds(20);
  assert.equal(reach('west-1'), 'cut-off');
  assert.equal((await l.instances())['east-1'], 1, 'served from elsewhere');
  await l.regions['west']?.patch(Resources.Node, { tenant: null, namespace: null }, 'west-1-n1', ready('True'), { subresource: 'status' });
  await l.seconds(1);
  assert.equal(reach('west-1'), 'returning');
});

it('gives a port to the older application, whatever its tenant, and says so to the other without naming what is not its own', async () => {
  const l = await placementLab();
  await l.global.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'bravo' } });
  await l.global.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'bravo' }, spec: { cidr: '10.30.0.0/16' } });
  const add = async (tenant: string, name: string, port: number, protocol: 'TCP' | 'UDP' = 'TCP'): Promise<unknown> =>
    l.global.create(Resources.Application, { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name, namespace: 'default', tenant }, spec: { vpc: 'main', service: { port, protocol }, template: { spec: { containers: [{ name: 'c', image: 'web' }] } } } } as never);
  await add('acme', 'also', 80);
  await add('bravo', 'also', 80);
  await add('bravo', 'udp', 80, 'UDP');
  await add('bravo', 'shell', 22);
  await l.seconds(4);
  const status = async (tenant: string, name: string): Promise<string> => {
    const a = await l.global.get<Application>(Resources.Application, { tenant, namespace: 'default' }, name);
    return `${a.status?.phase ?? ''} ${a.status?.message ?? ''}`;
  };
  assert.match(await status('acme', 'web'), /^Placed/);
  assert.match(await status('acme', 'also'), /^Unmet .*80\/TCP is held at every front by application default\/web/);
  const other = await status('bravo', 'also');
  assert.match(other, /^Unmet .*80\/TCP .* an application of another tenant/);
  assert.ok(!other.includes('web') && !other.includes('acme'));
  assert.match(await status('bravo', 'udp'), /^Placed/);
  assert.match(await status('bravo', 'shell'), /^Pending .*22\/TCP is reserved for SSH/);
  const fronts = async (): Promise<string[]> => (await l.regions['east']?.list<Endpoint>(Resources.Endpoint, { tenant: 'all' }))?.items.flatMap((e) => (e.spec.type === 'front' ? [`${e.spec.application} ${e.spec.port}/${e.spec.protocol}`] : [])).sort() ?? [];
  assert.deepEqual(await fronts(), ['acme/default/web 80/TCP', 'bravo/default/udp 80/UDP']);
  await l.global.patch(Resources.Application, { tenant: 'bravo', namespace: 'default' }, 'udp', { spec: { service: { port: 80, protocol: 'TCP' } } });
  await l.seconds(2);
  assert.match(await status('bravo', 'udp'), /^Unmet/);
  assert.deepEqual(await fronts(), ['acme/default/web 80/TCP'], 'what runs without a right to its port has no front');
  const { resourceVersion } = (await l.global.get<Application>(Resources.Application, { tenant: 'bravo', namespace: 'default' }, 'udp')).metadata;
  await l.seconds(2);
  assert.equal((await l.global.get<Application>(Resources.Application, { tenant: 'bravo', namespace: 'default' }, 'udp')).metadata.resourceVersion, resourceVersion, 'its status is written once');
  await l.global.delete(Resources.Application, { tenant: 'acme', namespace: 'default' }, 'web');
  await l.seconds(4);
  assert.match(await status('acme', 'also'), /^Placed/);
});

it('writes a start that it gave up into the history of the Placement, once, with the reason', async () => {
  const l = await placementLab();
  l.broken.add('edge-a');
  l.demand['west'] = 0;
  l.demand['a'] = 40;
  await l.seconds(150);
  const moves = (await l.placement()).status?.moves?.filter((m) => m.phase === 'undone') ?? [];
  assert.deepEqual(moves.map((m) => [m.to, m.reason]), [['edge-a', 'a move to edge-a was undone: no instance became Ready in 120 s']]);
  assert.equal((await l.instances())['edge-a'], undefined, 'it is stopped');
});

it('moves rarely when the demand flaps', async () => {
  const l = await placementLab();
  for (let i = 0; i < 40; i++) {
    l.demand['west'] = i % 2 === 0 ? 34 : 26;
    l.demand['a'] = i % 2 === 0 ? 8 : 12;
    await l.seconds(3);
  }
  const moves = (await l.placement()).status?.moves?.filter((m) => m.phase === 'starting').length ?? 0;
  assert.ok(moves <= 2, `${moves} starts`);
});

it('removes everything of an application that is deleted', async () => {
  const l = await placementLab();
  await l.global.delete(Resources.Application, { tenant: 'acme', namespace: 'default' }, 'web');
  await l.seconds(4);
  assert.deepEqual(await l.instances(), {});
  assert.equal((await l.global.list(Resources.Placement, { tenant: 'all' })).items.length, 0);
});

run();
