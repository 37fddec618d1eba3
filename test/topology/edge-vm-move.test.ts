/** Two agents of two sites, each a process in a network namespace of its own, and a real VM that moves between them with what it has in memory. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createHttpClient } from '../../api/http-client.ts';
import type { Client } from '../../api/client.ts';
import type { Node, Pod } from '../../api/kinds/core.ts';
import type { Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import { createAuthority, createRegionAuthority, issueToFiles } from '../../certs/authority.ts';
import { identityFiles } from '../../certs/enrol.ts';
import { spiffe } from '../../certs/names.ts';
import { removeNode } from '../../edge/agent/containerd.ts';
import { run as exec } from '../../edge/agent/exec.ts';
import { pidsWith } from '../../edge/agent/proc.ts';
import { findQemu } from '../../edge/agent/vm/template.ts';
import type { MigrationReport } from '../../edge/agent/vm/transfer.ts';
import { buildImages } from '../../edge/images/build.ts';
import { testApiServer } from '../kit/api-server.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite, type CaseContext } from '../kit/suite.ts';

const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const refused = !existsSync('/usr/bin/containerd') ? 'no containerd on this machine' : (await findQemu()) === null ? 'no QEMU on this machine' : await inOwnNetns(import.meta.filename, () => buildImages(cache));
const { it, skip, run } = suite('VM moves', { timeoutMs: 120_000 });
const place = { tenant: 'acme', namespace: 'default' };
const API = '10.99.0.1';

interface Answer {
  readonly site: string;
  readonly served: number;
}

function ask(address: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = get({ host: address, port: 80, timeout: 400, agent: false }, (reply) => {
      let body = '';
      reply.on('data', (d: Buffer) => (body += d.toString())).on('error', reject);
      reply.on('end', () => resolve({ site: (JSON.parse(body) as { site: string }).site, served: Number(reply.headers['served']) }));
    });
    call.on('timeout', () => call.destroy(new Error('no answer in time'))).on('error', reject);
  });
}

async function until<T>(what: string, f: () => Promise<T>, ms = 40_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    try {
      return await f();
    } catch (error) {
      if (Date.now() > end) throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  }
}

class Site {
  readonly name: string;
  readonly address: string;
  readonly dir: string;
  readonly #config: string;
  /** The namespace's own process: agents come and go. */
  #holder: ChildProcess | null = null;
  #agent: ChildProcess | null = null;

  constructor(n: number, dir: string, api: string) {
    this.name = `edge-${n}`;
    this.address = `10.99.0.${n + 1}`;
    this.dir = join(dir, `n${n}`);
    this.#config = join(dir, `n${n}.json`);
    const relay = { address: this.address, publicKey: `${'A'.repeat(42)}E=`, interface: 'wg0' };
    writeFileSync(this.#config, JSON.stringify({ node: `n${n}`, site: this.name, region: 'r1', dir: this.dir, identity: { dir: join(dir, `id${n}`) }, api: { server: api, serverName: 'api.r1.proxima' }, droplet: { interface: 'eth0', address: this.address, relay }, cniPlugin: process.execPath, images: { containers: [], vmDir: join(cache, 'vm') }, logLevel: process.env['PX_VERBOSE'] === undefined ? 'error' : 'info' }));
  }

  async network(n: number): Promise<void> {
    this.#holder = spawn('unshare', ['--net', '--', 'sleep', '600'], { stdio: 'ignore' });
    const pid = String(this.#holder.pid);
    await until('the namespace is there', async () => assert.is.not(await exec('readlink', [`/proc/${pid}/ns/net`]), await exec('readlink', ['/proc/self/ns/net'])));
    await exec('ip', ['link', 'add', `v${n}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pid]);
    await exec('ip', ['link', 'set', `v${n}`, 'master', 'br0', 'up']);
    await exec('nsenter', [`--net=/proc/${pid}/ns/net`, 'sh', '-c', `ip link set lo up; ip link set eth0 up; ip addr add ${this.address}/24 dev eth0; sysctl -qw net.ipv4.ip_forward=1; tc qdisc add dev eth0 root tbf rate 60mbit burst 128kb latency 300ms; ethtool -K eth0 tx off tso off gso off >/dev/null 2>&1; true`]);
    await exec('ip', ['route', 'add', `10.64.${n}.0/24`, 'via', this.address]);
  }

  async start(): Promise<void> {
    const agent = spawn('nsenter', [`--net=/proc/${this.#holder?.pid}/ns/net`, process.execPath, join(import.meta.dirname, '..', 'kit', 'vm-agent.ts'), this.#config], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#agent = agent;
    agent.stdin.write('\n');
    await new Promise<void>((resolve, reject) => {
      agent.stdout.on('data', (d: Buffer) => (d.toString().includes('started') ? resolve() : process.stdout.write(process.env['PX_VERBOSE'] === undefined ? '' : d)));
      agent.once('exit', (code) => reject(new Error(`the agent of ${this.name} ended with ${code}`)));
    });
  }

  /** nsenter became the agent: its pid is the agent's. */
  async kill(): Promise<void> {
    const agent = this.#agent;
    if (agent === null || agent.exitCode !== null || agent.signalCode !== null) return;
    const gone = new Promise((resolve) => agent.once('exit', resolve));
    agent.kill('SIGKILL');
    await gone;
  }

  async remove(): Promise<void> {
    await this.kill();
    await removeNode(this.dir, this.dir.split('/').at(-1) ?? '');
    this.#holder?.kill('SIGKILL');
  }
}

async function lab(t: CaseContext): Promise<{ readonly client: Client; readonly sites: readonly [Site, Site]; readonly dir: string }> {
  await exec('sh', ['-c', `ip link set lo up; ip link add br0 type bridge; ip link set br0 address 02:00:00:00:99:01 up; ip addr add ${API}/24 dev br0`]);
  const dir = mkdtempSync('/tmp/px-');
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const authority = createRegionAuthority(createAuthority(join(dir, 'ca')), 'r1', join(dir, 'ca'));
  const pems = (folder: string, use: string, uri: string, dns: readonly string[] = []): { readonly key: string; readonly cert: string; readonly ca: string } => {
    issueToFiles(authority, join(dir, folder), use, { uri, dns });
    const files = identityFiles(join(dir, folder), use);
    return { key: readFileSync(files.key, 'utf8'), cert: readFileSync(files.cert, 'utf8'), ca: readFileSync(files.trust, 'utf8') };
  };
  const api = await testApiServer(t, { tls: pems('id', 'region', spiffe.region('r1'), ['api.r1.proxima']), listen: { host: API, port: 0 }, systemNamespaces: ['default', 'node-lease'] });
  const admin = pems('id', 'admin', spiffe.admin('tester'));
  const client = createHttpClient({ server: api.server.url, ca: admin.ca, credential: { kind: 'certificate', cert: admin.cert, key: admin.key }, serverName: 'api.r1.proxima' });
  t.after(() => client.close());
  await client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await client.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'shop', tenant: 'acme' }, spec: { cidr: '10.64.0.0/16', vni: 7 } });
  const sites: Site[] = [];
  for (const n of [1, 2]) {
    pems(`id${n}`, 'node', spiffe.node(`edge-${n}`, `n${n}`));
    await client.create<Subnet>(Resources.Subnet, { apiVersion: 'mizar.com/v1', kind: 'Subnet', metadata: { name: `shop-${n}`, tenant: 'acme' }, spec: { vpc: 'shop', cidr: `10.64.${n}.0/24`, site: `edge-${n}` } });
    const site = new Site(n, dir, api.server.url);
    sites.push(site);
    t.after(() => site.remove());
    await site.network(n);
  }
  await Promise.all(sites.map((s) => s.start()));
  for (const n of [1, 2]) await until(`n${n} runs VMs`, async () => assert.ok((await client.get<Node>(Resources.Node, { tenant: null, namespace: null }, `n${n}`)).status?.conditions?.some((c) => c.type === 'VmRuntimeReady' && c.status === 'True')));
  return { client, sites: sites as [Site, Site], dir };
}

/** A VM pod and its endpoint, as the region would make them. */
async function vmAt(client: Client, n: number, name: string, from?: string): Promise<Pod> {
  const annotations = from === undefined ? {} : { 'mesh.proxima.io/restore-from': from };
  const pod = await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name, ...place, annotations }, spec: { nodeName: `n${n}`, vpc: 'shop', virtualMachine: { name: 'vm', image: 'proxima-vm', publicKey: 'none', readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 1 } } } });
  const address = `10.64.${n}.10`;
  await client.create<Endpoint>(Resources.Endpoint, { apiVersion: 'mizar.com/v1', kind: 'Endpoint', metadata: { name: `default.${name}`, tenant: 'acme' }, spec: { type: 'simple', vpc: 'shop', subnet: `shop-${n}`, address, mac: `0a:07:0a:40:0${n}:0a`, droplet: `n${n}`, pod: { namespace: 'default', name, uid: pod.metadata.uid ?? '' } } });
  await client.patch(Resources.Endpoint, { tenant: 'acme', namespace: null }, `default.${name}`, { status: { phase: 'Provisioned' } }, { subresource: 'status' });
  return pod;
}

async function migrationOf(client: Client, name: string): Promise<MigrationReport | null> {
  const text = (await client.get<Pod>(Resources.Pod, place, name)).metadata.annotations?.['mesh.proxima.io/migration'];
  return text === undefined ? null : (JSON.parse(text) as MigrationReport);
}

const isPhase = (client: Client, name: string, phase: MigrationReport['phase']) => async (): Promise<MigrationReport> => {
  const report = await migrationOf(client, name);
  if (report?.phase !== phase) throw new Error(JSON.stringify(report));
  return report;
};

if (refused !== null) skip('real QEMU', refused);
else {
  it('keeps what is in memory from site to site and back, also when either agent is killed half-way, and never runs twice', async (t) => {
    const { client, sites: [one, two], dir } = await lab(t);
    const first = await vmAt(client, 1, 'a');
    await until('the VM answers at its first site', () => ask('10.64.1.10'));
    for (let i = 0; i < 5; i++) await ask('10.64.1.10');
    const before = await ask('10.64.1.10');
    assert.ok(before.site === 'edge-1' && before.served >= 7, JSON.stringify(before));

    const uid = first.metadata.uid ?? '';
    await vmAt(client, 2, 'b', `edge-1/${uid}`);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.is((await ask('10.64.1.10')).site, 'edge-1', 'nothing leaves before its pod says so');
    await client.patch(Resources.Pod, place, 'a', { metadata: { annotations: { 'mesh.proxima.io/send-to': 'edge-2' } } });
    await until('the state is on its way', isPhase(client, 'b', 'sending'));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await one.kill();
    assert.is((await until('the guest goes on without its agent', () => ask('10.64.1.10'))).site, 'edge-1');
    await one.start();
    const restored = await until('the VM is at the second site', isPhase(client, 'b', 'restored'));
    const after = await until('it answers there', () => ask('10.64.2.10'));
    assert.is(after.site, 'edge-2');
    assert.ok(after.served > before.served, `${after.served} after ${before.served}: what it counted is still there`);
    assert.ok((restored.downtimeMs ?? 0) > 50 && (restored.bytes ?? 0) > 1_000_000, JSON.stringify(restored));
    await until('the source says that it is gone', isPhase(client, 'a', 'sent'));
    await until('its QEMU has ended', async () => assert.equal(pidsWith(`unix:${join(dir, 'n1', 'v', uid, 'q')},server=on,wait=off`), []));
    console.log(`moved: ${((restored.bytes ?? 0) / 1e6).toFixed(1)} MB at 60 Mbit/s, ${restored.downtimeMs} ms from stop to serving`);
    await client.delete(Resources.Pod, place, 'a', { gracePeriodSeconds: 0 });

    const second = await client.get<Pod>(Resources.Pod, place, 'b');
    await client.patch(Resources.Pod, place, 'b', { metadata: { annotations: { 'mesh.proxima.io/send-to': 'edge-1' } } });
    await client.delete(Resources.Endpoint, { tenant: 'acme', namespace: null }, 'default.a');
    await vmAt(client, 1, 'c', `edge-2/${second.metadata.uid}`);
    await until('the state is on its way back', isPhase(client, 'c', 'sending'));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await one.kill();
    const alone = await until('the source goes on by itself', () => ask('10.64.2.10'));
    assert.ok(alone.served > after.served);
    await one.start();
    const back = await until('the VM is back at the first site', isPhase(client, 'c', 'restored'));
    const home = await until('it answers there', () => ask('10.64.1.10'));
    assert.ok(home.site === 'edge-1' && home.served > alone.served, JSON.stringify(home));
    assert.instance(await ask('10.64.2.10').catch((e: Error) => e), Error);
    console.log(`moved back: ${((back.bytes ?? 0) / 1e6).toFixed(1)} MB, ${back.downtimeMs} ms`);
    await two.kill();
  });
}

run();
