import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { GoalEntry } from '../../api/goal.ts';
import type { Pod } from '../../api/kinds/core.ts';
import type { Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { createTransit, isBuilt } from '../../dataplane/transit/transit.ts';
import type { NodeAgent } from '../../edge/agent/compose.ts';
import { removeNode } from '../../edge/agent/containerd.ts';
import { run as exec } from '../../edge/agent/exec.ts';
import { TransitNetwork } from '../../edge/agent/transit.ts';
import { findQemu } from '../../edge/agent/vm/template.ts';
import { buildImages, WEB_IMAGE } from '../../edge/images/build.ts';
import { edgeNode } from '../kit/edge-node.ts';
import { memoryClient } from '../kit/memory-client.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite } from '../kit/suite.ts';

const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const missing = !isBuilt() ? 'the data plane is not built: sh dataplane/build.sh' : (await findQemu()) === null ? 'no QEMU on this machine' : null;
const refused = missing ?? (await inOwnNetns(import.meta.filename, () => buildImages(cache)));
const { it, skip, run } = suite('agent on the data plane', { timeoutMs: 45_000 });
const place = { tenant: 'acme', namespace: 'default' };
const mac = (n: number): string => `0a:07:0a:40:03:${n.toString(16).padStart(2, '0')}`;

if (refused !== null) skip('containers and a VM in one VPC', refused);
else {
  it('brings containers and a VM into one VPC through the real plugin and the real programs, and they reach each other', async (t) => {
    const dir = mkdtempSync('/tmp/px-');
    await exec('sh', ['-c', 'ip link set lo up; ip link add eth2 type veth peer name eth2p; ip addr add 192.168.50.1/24 dev eth2; ip link set eth2 up; ip link set eth2p up']);
    const client = await memoryClient();
    await client.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'shop', tenant: 'acme' }, spec: { cidr: '10.64.0.0/16', vni: 7 } });
    await client.create<Subnet>(Resources.Subnet, { apiVersion: 'mizar.com/v1', kind: 'Subnet', metadata: { name: 'x', tenant: 'acme' }, spec: { vpc: 'shop', cidr: '10.64.3.0/24', site: 'test-site' } });
    const droplet = `px-edge-${process.pid}`;
    const transit = createTransit({ droplet, interface: 'eth2', address: '192.168.50.1', tunnel: null, uplink: null, log: silentLogger });
    let node: NodeAgent | null = null;
    t.after(async () => {
      await node?.stop();
      await removeNode(dir, 'n1');
      await transit.remove();
      rmSync(dir, { recursive: true, force: true });
    });
    await transit.start();
    const network = new TransitNetwork(transit, (uid) => node?.records.get(uid)?.address ?? null);
    node = await edgeNode({ dir, images: ['web.tar', 'pause.tar'].map((f) => join(cache, f)), vmImageDir: join(cache, 'vm') }, client, silentLogger, network);
    await node.start(t.signal);
    const readinessProbe = { httpGet: { path: '/', port: 80 }, periodSeconds: 1 };
    const containers = [{ name: 'web', image: WEB_IMAGE, readinessProbe }];
    const specs: readonly [name: string, n: number, spec: Partial<Pod['spec']>][] = [['a', 10, { containers }], ['b', 11, { containers }], ['v', 12, { virtualMachine: { name: 'vm', image: 'proxima-vm', publicKey: 'none', readinessProbe } }]];
    for (const [name, n, spec] of specs) {
      const pod = await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name, ...place }, spec: { nodeName: 'n1', vpc: 'shop', ...spec } });
      await client.create<Endpoint>(Resources.Endpoint, { apiVersion: 'mizar.com/v1', kind: 'Endpoint', metadata: { name: `default.${name}`, tenant: 'acme' }, spec: { type: 'simple', vpc: 'shop', subnet: 'x', address: `10.64.3.${n}`, mac: mac(n), droplet: 'n1', pod: { namespace: 'default', name, uid: pod.metadata.uid ?? '' } } });
      await client.patch(Resources.Endpoint, { tenant: 'acme', namespace: null }, `default.${name}`, { status: { phase: 'Provisioned' } }, { subresource: 'status' });
    }
    const put: GoalEntry[] = [{ kind: 'vpc', vni: 7, cidr: '10.64.0.0/16', dividers: [] }, { kind: 'network', vni: 7, cidr: '10.64.3.0/24', bouncers: ['192.168.50.1'] }, ...specs.map(([, n]): GoalEntry => ({ kind: 'endpoint', vni: 7, address: `10.64.3.${n}`, mac: mac(n), droplet: '192.168.50.1' }))];
    assert.ok((await transit.apply({ droplet, version: 1, base: 0, put, drop: [] })).ok);
    const isReady = (p: Pod): boolean => p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;
    const end = Date.now() + 25_000;
    let pods: readonly Pod[] = [];
    while (pods.filter(isReady).length < 3) {
      if (Date.now() > end) throw new Error(JSON.stringify(pods.map((p) => p.status)));
      await new Promise((resolve) => setTimeout(resolve, 50));
      pods = (await client.list<Pod>(Resources.Pod, { tenant: 'all' })).items;
    }
    const uid = pods.find((p) => p.metadata.name === 'a')?.metadata.uid ?? '';
    const pid = await node.containers.pidOf(node.containers.liveSandbox(uid) ?? '');
    const from = (n: number): Promise<string> => exec('nsenter', [`--net=/proc/${pid}/ns/net`, 'busybox', 'wget', '-q', '-O', '-', `http://10.64.3.${n}/`], { timeoutMs: 5000 });
    assert.match(await from(11), /"pod":"b"/);
    assert.match(await from(12), /"pod":"v","site":"test-site","kind":"vm"/);
    for (const [name] of specs) await client.delete(Resources.Pod, place, name, { gracePeriodSeconds: 1 });
    while ((await client.list<Pod>(Resources.Pod, { tenant: 'all' })).items.length > 0) {
      if (Date.now() > end + 10_000) throw new Error('pods do not go');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(transit.describe().endpoints, []);
  });
}

run();
