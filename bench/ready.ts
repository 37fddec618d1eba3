/**
 * How long until a pod is Ready, against the runtime alone, in turn in one run:
 *   container: agent (Pod created in the API -> Ready in the API)   containerd alone (CRI calls -> HTTP answer)
 *   VM:        agent (Pod created in the API -> Ready in the API)   QEMU alone (spawn with the saved state -> HTTP answer)
 * Run: sudo ./proxima bench ready [rounds]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import type { Client } from '../api/client.ts';
import type { Pod } from '../api/kinds/core.ts';
import type { Endpoint, Subnet, Vpc } from '../api/kinds/mizar.ts';
import { Resources } from '../api/resources.ts';
import { silentLogger } from '../base/log.ts';
import type { NodeAgent } from '../edge/agent/compose.ts';
import { removeNode } from '../edge/agent/containerd.ts';
import { run } from '../edge/agent/exec.ts';
import { attachMachine, endMachine, makeTap, removeTap, spawnMachine, type MachineSpec } from '../edge/agent/vm/machine.ts';
import { detectAccel, findImage, findQemu, templateOf } from '../edge/agent/vm/template.ts';
import { buildImages, VM_IMAGE, WEB_IMAGE } from '../edge/images/build.ts';
import { edgeNode } from '../test/kit/edge-node.ts';
import { memoryClient } from '../test/kit/memory-client.ts';
import { inOwnNetns } from '../test/kit/own-netns.ts';
import { median, quantile } from '../test/kit/quantile.ts';

const place = { tenant: 'acme', namespace: 'default' };
const FLOOR = 1.3;
const probe = { httpGet: { path: '/', port: 80 }, periodSeconds: 1 };
let next = 10;

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host: address, port: 80, timeout: 500, agent: false }, (reply) => {
      reply.resume();
      resolve(reply.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

async function untilAnswers(address: string): Promise<void> {
  const end = Date.now() + 20_000;
  while (!(await answers(address))) {
    if (Date.now() > end) throw new Error(`${address} does not answer`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function podReady(client: Client, spec: Pod['spec']): Promise<number> {
  const n = next++;
  const address = `10.64.3.${n}`;
  const began = performance.now();
  const pod = await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name: `p${n}`, ...place }, spec: { nodeName: 'n1', vpc: 'shop', ...spec } });
  const { uid = '', name } = pod.metadata;
  const position = pod.metadata.resourceVersion ?? '';
  const stop = new AbortController();
  const isReady = (async () => {
    for await (const e of client.watch<Pod>(Resources.Pod, { ...place, resourceVersion: position }, stop.signal)) {
      if (e.type === 'MODIFIED' && e.object.metadata.name === name && e.object.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true) return;
    }
  })();
  await client.create<Endpoint>(Resources.Endpoint, { apiVersion: 'mizar.com/v1', kind: 'Endpoint', metadata: { name: `default.${name}`, tenant: 'acme' }, spec: { type: 'simple', vpc: 'shop', subnet: 'shop-test', address, mac: `0a:07:0a:40:03:${n.toString(16).padStart(2, '0')}`, droplet: 'n1', pod: { namespace: 'default', name, uid } } });
  await client.patch(Resources.Endpoint, { tenant: 'acme', namespace: null }, `default.${name}`, { status: { phase: 'Provisioned' } }, { subresource: 'status' });
  await isReady;
  const took = performance.now() - began;
  stop.abort(new Error('seen'));
  if (!(await answers(address))) throw new Error(`${name} is Ready and does not answer`);
  await client.delete(Resources.Pod, place, name, { gracePeriodSeconds: 0 });
  return took;
}

async function containerdAlone(node: NodeAgent): Promise<number> {
  const n = next++;
  const address = `10.64.3.${n}`;
  const pod: Pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: `b${n}`, uid: `bench-${n}`, ...place }, spec: { nodeName: 'n1', vpc: 'shop', containers: [{ name: 'web', image: WEB_IMAGE }] } };
  // Only for the network plugin to find the address; a settled pod is none of the agent's business.
  node.records.desire({ ...pod, status: { phase: 'Succeeded' } });
  node.records.change(`bench-${n}`, { address: { vni: 7, address, prefix: 24, gateway: '10.64.3.1', mac: `0a:07:0a:40:03:${n.toString(16).padStart(2, '0')}`, mtu: 1400 } });
  const began = performance.now();
  const id = await node.containers.runSandbox(pod, 0);
  await node.containers.startContainer(pod, 'web', 0, { id, ready: true, attempt: 0 });
  await untilAnswers(address);
  const took = performance.now() - began;
  await node.containers.removeSandbox(pod, id);
  node.containers.forget(pod);
  node.records.forget(`bench-${n}`);
  return took;
}

async function qemuAlone(dir: string, spec: MachineSpec, template: string): Promise<number> {
  const n = next++;
  const address = `10.64.3.${n}`;
  const folder = join(dir, `q${n}`);
  await makeTap('pxbench', 1400);
  await run('ip', ['addr', 'replace', '10.64.3.1/32', 'dev', 'pxbench']);
  await run('ip', ['route', 'replace', `${address}/32`, 'dev', 'pxbench']);
  const began = performance.now();
  spawnMachine(folder, spec, 'pxbench', template);
  const { qmp, channel } = await attachMachine(folder);
  await qmp.migrated(10_000);
  channel.config({ address, prefix: 24, gateway: '10.64.3.1', mac: '02:00:00:00:00:09', mtu: 1400, name: 'bench', site: 'bench' });
  await qmp.execute('cont');
  await untilAnswers(address);
  const took = performance.now() - began;
  channel.close();
  qmp.close();
  await endMachine(folder, 0);
  await removeTap('pxbench');
  return took;
}

function line(what: string, base: readonly number[], ours: readonly number[]): number {
  const ratio = median(ours) / median(base);
  console.log(`${what.padEnd(10)} alone p50 ${median(base).toFixed(0)} ms, p99 ${quantile(base, 0.99).toFixed(0)} ms   agent p50 ${median(ours).toFixed(0)} ms, p99 ${quantile(ours, 0.99).toFixed(0)} ms   ratio ${ratio.toFixed(2)} (floor ${FLOOR})`);
  return ratio;
}

const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const refused = await inOwnNetns(import.meta.filename, () => buildImages(cache));
if (refused !== null) throw new Error(refused);
const rounds = Number(process.argv[2] ?? 10);
const dir = mkdtempSync('/tmp/px-');
await run('ip', ['link', 'set', 'lo', 'up']);
const client = await memoryClient();
await client.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'shop', tenant: 'acme' }, spec: { cidr: '10.64.0.0/16', vni: 7 } });
await client.create<Subnet>(Resources.Subnet, { apiVersion: 'mizar.com/v1', kind: 'Subnet', metadata: { name: 'shop-test', tenant: 'acme' }, spec: { vpc: 'shop', cidr: '10.64.3.0/24', site: 'test-site' } });
const node = await edgeNode({ dir, images: ['web.tar', 'pause.tar'].map((f) => join(cache, f)), vmImageDir: join(cache, 'vm') }, client);
const results: Record<string, number[]> = { containerdAlone: [], containerAgent: [], qemuAlone: [], vmAgent: [] };
try {
  await node.start(new AbortController().signal);
  const qemu = await findQemu();
  const image = findImage(join(cache, 'vm'), VM_IMAGE);
  const shape = { qemu: qemu?.path ?? '', memoryMiB: 128, cpus: 1, kernel: image.kernel, initrd: image.initrd };
  const spec: MachineSpec = { ...shape, accel: await detectAccel(join(cache, 'vm'), shape, silentLogger) };
  const template = await templateOf(join(cache, 'vm'), image, spec, qemu?.version ?? '', silentLogger);
  for (let i = 0; i <= rounds; i++) {
    const round = {
      containerdAlone: await containerdAlone(node),
      containerAgent: await podReady(client, { containers: [{ name: 'web', image: WEB_IMAGE, readinessProbe: probe }] }),
      qemuAlone: await qemuAlone(dir, spec, template),
      vmAgent: await podReady(client, { virtualMachine: { name: 'vm', image: VM_IMAGE, publicKey: 'none', readinessProbe: probe } }),
    };
    if (i > 0) for (const [key, ms] of Object.entries(round)) results[key]?.push(ms); // the first round warms up
  }
} finally {
  for (const uid of node.vms.uids()) await node.vms.stopVm(uid, 0);
  await node.stop();
  await removeNode(dir, 'n1');
  rmSync(dir, { recursive: true, force: true });
}
const ratios = { container: line('container', results['containerdAlone'] ?? [], results['containerAgent'] ?? []), vm: line('VM', results['qemuAlone'] ?? [], results['vmAgent'] ?? []) };
console.log(JSON.stringify({ bench: 'ready', node: process.version, rounds, results, ratios }));
console.log('again: sudo ./proxima bench ready');
process.exitCode = Object.values(ratios).every((r) => r <= FLOOR) ? 0 : 1;
