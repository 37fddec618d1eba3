import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Client } from '../../api/client.ts';
import type { Pod } from '../../api/kinds/core.ts';
import type { Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import { isMeshError } from '../../api/errors.ts';
import { Resources } from '../../api/resources.ts';
import { removeNode } from '../../edge/agent/containerd.ts';
import { run as exec } from '../../edge/agent/exec.ts';
import { endProcess, pidsWith } from '../../edge/agent/proc.ts';
import { buildImages, WEB_IMAGE } from '../../edge/images/build.ts';
import { edgeNode } from '../kit/edge-node.ts';
import { memoryClient } from '../kit/memory-client.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const until = waiter({ withinMs: 20_000, retriesErrors: true });
const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const refused = !existsSync('/usr/bin/containerd') ? 'no containerd on this machine' : await inOwnNetns(import.meta.filename, () => buildImages(cache));
const { it, skip, run } = suite('node agent', { timeoutMs: 60_000 });
const place = { tenant: 'acme', namespace: 'default' };

function ask(address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host: address, port: 80, timeout: 1000, agent: false }, (reply) => {
      let body = '';
      reply.on('data', (d: Buffer) => (body += d.toString()));
      reply.on('end', () => resolve(body));
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', reject);
  });
}

/** What the network plane does for a pod: an endpoint in a subnet of a VPC. */
async function giveEndpoint(client: Client, pod: Pod, address: string): Promise<void> {
  const { uid = '', name, namespace = 'default' } = pod.metadata;
  const spec = { type: 'simple', vpc: 'shop', subnet: 'shop-test', address, mac: `0a:07:0a:40:03:${Number(address.split('.')[3]).toString(16).padStart(2, '0')}`, droplet: 'n1', pod: { namespace, name, uid } } as const;
  await client.create<Endpoint>(Resources.Endpoint, { apiVersion: 'mizar.com/v1', kind: 'Endpoint', metadata: { name: `${namespace}.${name}`, tenant: 'acme' }, spec });
  await client.patch(Resources.Endpoint, { tenant: 'acme', namespace: null }, `${namespace}.${name}`, { status: { phase: 'Provisioned' } }, { subresource: 'status' });
}

async function createPod(client: Client, name: string, spec: Pod['spec'], address: string): Promise<Pod> {
  const pod = await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name, ...place }, spec: { nodeName: 'n1', vpc: 'shop', ...spec } });
  await giveEndpoint(client, pod, address);
  return pod;
}

const podOf = (client: Client, name: string): Promise<Pod> => client.get<Pod>(Resources.Pod, place, name);

async function ready(client: Client, name: string, restarts = 0): Promise<Pod> {
  return until(`${name} is Ready`, async () => {
    const pod = await podOf(client, name);
    const isReady = pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True');
    if (isReady !== true || (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) < restarts) throw new Error(JSON.stringify(pod.status));
    return pod;
  });
}

if (refused !== null) skip('real containerd and QEMU', refused);
else {
  const dir = mkdtempSync('/tmp/px-');
  const paths = { dir, images: ['web.tar', 'pause.tar'].map((f) => join(cache, f)), vmImageDir: join(cache, 'vm') };
  await exec('ip', ['link', 'set', 'lo', 'up']);
  const client = await memoryClient();
  await client.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'shop', tenant: 'acme' }, spec: { cidr: '10.64.0.0/16', vni: 7 } });
  await client.create<Subnet>(Resources.Subnet, { apiVersion: 'mizar.com/v1', kind: 'Subnet', metadata: { name: 'shop-test', tenant: 'acme' }, spec: { vpc: 'shop', cidr: '10.64.3.0/24', site: 'test-site' } });
  const probe = { httpGet: { path: '/', port: 80 }, periodSeconds: 1 };

  const offlineAgent = async (after: (f: () => unknown) => void): Promise<number> => {
    const child = spawn(process.execPath, [join(import.meta.dirname, '..', 'kit', 'edge-node.ts'), JSON.stringify(paths)], { stdio: ['ignore', 'pipe', 'inherit'] });
    after(() => child.kill('SIGKILL'));
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`the offline agent ended with ${code}`)));
    });
    return child.pid ?? 0;
  };

  it('runs pods, restarts what dies, is adopted after kill -9, and brings a killed node back without the cloud', async (t) => {
    t.after(async () => {
      await removeNode(dir, 'n1');
      rmSync(dir, { recursive: true, force: true });
    });
    const first = await edgeNode(paths, client);
    await first.start(t.signal);
    t.after(() => first.stop());
    await createPod(client, 'web', { containers: [{ name: 'web', image: WEB_IMAGE, readinessProbe: probe }] }, '10.64.3.10');
    await createPod(client, 'vm', { virtualMachine: { name: 'vm', image: 'proxima-vm', publicKey: 'none', readinessProbe: probe } }, '10.64.3.11');
    await createPod(client, 'once', { restartPolicy: 'Never', containers: [{ name: 'c', image: WEB_IMAGE, command: ['sh', '-c', 'echo done; exit 3'] }] }, '10.64.3.12');
    const web = await ready(client, 'web');
    assert.is(web.status?.phase, 'Running');
    assert.is(web.status?.podIP, '10.64.3.10');
    assert.match(await ask('10.64.3.10'), /"pod":"web","site":"test-site"/);
    assert.match(readFileSync(join(dir, 'logs', web.metadata.uid ?? '', 'web', '0.log'), 'utf8'), / stdout F serving on port 80/);
    const vm = await ready(client, 'vm');
    assert.equal(vm.status?.virtualMachineStatus, { name: 'vm', state: 'active', powerState: 'running', ready: true, restartCount: 0 });
    assert.match(await ask('10.64.3.11'), /"pod":"vm"/);
    await until('once has failed', async () => assert.is((await podOf(client, 'once')).status?.phase, 'Failed'));
    assert.match(JSON.stringify((await podOf(client, 'once')).status?.containerStatuses), /"terminated":\{"exitCode":3/);

    const id = web.status?.containerStatuses?.[0]?.containerID ?? '';
    const sandbox = (await first.containers.observe(web.metadata.uid ?? '')).sandboxes[0]?.id ?? '';
    const pids = (await exec('sh', ['-c', `cat /sys/fs/cgroup/pids/proxima/n1/${web.metadata.uid}/*/cgroup.procs /sys/fs/cgroup/proxima/n1/${web.metadata.uid}/*/cgroup.procs 2>/dev/null; true`])).trim().split('\n').map(Number);
    const pause = await first.containers.pidOf(sandbox);
    for (const pid of pids) if (pid !== pause) await endProcess(pid, 0);
    const again = await ready(client, 'web', 1);
    assert.is.not(again.status?.containerStatuses?.[0]?.containerID, id);
    await first.stop();

    const killed = await offlineAgent((f) => t.after(f));
    await endProcess(killed, 0);
    assert.match(await ask('10.64.3.10'), /"pod":"web"/);
    assert.match(await ask('10.64.3.11'), /"pod":"vm"/);

    for (const mark of [`unix:${dir}/v/${vm.metadata.uid}/q,server=on,wait=off`, `${dir}/c/config.toml`]) for (const pid of pidsWith(mark)) await endProcess(pid, 0);
    for (const shim of pidsWith(join(dir, 'c', 'c.sock'))) {
      const children = readFileSync(`/proc/${shim}/task/${shim}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
      for (const pid of [shim, ...children]) await endProcess(pid, 0);
    }
    assert.instance(await ask('10.64.3.10').catch((e: Error) => e), Error);
    const rebooted = await offlineAgent((f) => t.after(f));
    assert.match(await until('web is back', () => ask('10.64.3.10')), /"pod":"web"/);
    assert.match(await until('vm is back', () => ask('10.64.3.11')), /"pod":"vm"/);
    await endProcess(rebooted, 0);

    const last = await edgeNode(paths, client);
    await last.start(t.signal);
    t.after(() => last.stop());
    await ready(client, 'web', 2);
    for (const name of ['web', 'vm', 'once']) await client.delete(Resources.Pod, place, name, { gracePeriodSeconds: 2 });
    for (const name of ['web', 'vm', 'once']) await until(`${name} is gone`, async () => assert.ok(isMeshError(await podOf(client, name).catch((e: unknown) => e), 'not-found')));
    assert.equal(readdirSync(join(dir, 'pods')), []);
    assert.equal(readdirSync(join(dir, 'v')), []);
    assert.equal(await last.containers.sandboxes(), []);
  });
}

run();
