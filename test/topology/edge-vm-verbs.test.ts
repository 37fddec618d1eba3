/** `proxima vm ...` as a user calls it: the command line, a real region, the agent's endpoint, a real VM. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createHttpClient } from '../../api/http-client.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { loadKubeconfig } from '../../api/kubeconfig.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { createAuthority, createRegionAuthority, issueToFiles } from '../../certs/authority.ts';
import { spiffe } from '../../certs/names.ts';
import { podPath } from '../../cli/agent-endpoint.ts';
import { AgentEndpoint } from '../../edge/agent/logs.ts';
import { run as exec } from '../../edge/agent/exec.ts';
import { Records } from '../../edge/agent/records.ts';
import { VmRuntime } from '../../edge/agent/vm/runtime.ts';
import { findQemu } from '../../edge/agent/vm/template.ts';
import { buildImages } from '../../edge/images/build.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { regionProcess } from '../kit/region-process.ts';
import { suite } from '../kit/suite.ts';
import { VethNetwork } from '../kit/veth-network.ts';

const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const refused = (await findQemu()) === null ? 'no QEMU on this machine' : await inOwnNetns(import.meta.filename, () => buildImages(cache));
const { it, skip, run } = suite('VM verbs', { timeoutMs: 60_000 });
const place = { tenant: 'acme', namespace: 'shop' } as const;

function vm(kubeconfig: string, ...args: readonly string[]): Promise<{ readonly code: number | null; readonly out: string; readonly err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, '..', '..', 'cli', 'main.ts'), 'vm', ...args, '--kubeconfig', kubeconfig, '--tenant', 'acme', '-n', 'shop'], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'proxima-test-cache', 'compile') } });
    let [out, err] = ['', ''];
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.stderr.on('data', (d: Buffer) => (err += d.toString()));
    child.on('error', reject).on('close', (code) => resolve({ code, out, err }));
  });
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const end = Date.now() + 20_000;
  while (!isSo()) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

it('asks at the tenant\'s own address where the kubeconfig has one', () => {
  const pod = { tenant: 'acme', namespace: 'shop', name: 'db' };
  assert.is(podPath('https://h:6443/tenants/acme', pod, 'vm/reboot'), '/tenants/acme/api/v1/namespaces/shop/pods/db/vm/reboot');
  assert.is(podPath('https://h:6443', pod, 'log?follow=true'), '/api/v1/tenants/acme/namespaces/shop/pods/db/log?follow=true');
});

if (refused !== null) skip('real QEMU', refused);
else {
  it('pauses, resumes, saves, boots again and goes back, shows the console, and says why not', async (t) => {
    await exec('ip', ['link', 'set', 'lo', 'up']);
    const dir = mkdtempSync('/tmp/px-');
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const authority = createRegionAuthority(createAuthority(join(dir, 'ca')), 'r1', join(dir, 'ca'));
    issueToFiles(authority, join(dir, 'cp'), 'region', { uri: spiffe.region('r1'), ips: ['127.0.0.1'], dns: ['localhost'] });
    const files = issueToFiles(authority, join(dir, 'n1'), 'node', { uri: spiffe.node('west-1', 'n1') });
    const kubeconfig = join(dir, 'kubeconfig');
    const region = await regionProcess({ region: 'r1', dataDir: join(dir, 'data'), listen: { port: 0 }, identity: { dir: join(dir, 'cp') }, kubeconfig, logLevel: 'error' });
    t.after(() => region.end('SIGKILL'));

    const vms = new VmRuntime({ dir: join(dir, 'v'), imageDir: join(cache, 'vm'), site: 'west-1', network: new VethNetwork(), log: silentLogger, onChange: () => undefined });
    await vms.start();
    t.after(async () => {
      for (const uid of vms.uids()) await vms.stopVm(uid, 0);
      vms.stop();
    });
    const records = new Records(join(dir, 'pods'), silentLogger);
    records.load();
    const read = (path: string): string => readFileSync(path, 'utf8');
    const endpoint = new AgentEndpoint({ listen: { address: '127.0.0.1', port: 0 }, region: 'r1', tls: { key: read(files.keyFile), cert: read(files.certFile), ca: read(files.trustFile) }, logDir: join(dir, 'logs'), records, vms, log: silentLogger });
    await endpoint.start();
    t.after(() => endpoint.stop());

    const client = createHttpClient(await loadKubeconfig(kubeconfig));
    t.after(() => client.close());
    await client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
    await client.create(Resources.Namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', tenant: 'acme' } });
    await client.create(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
    await client.patch(Resources.Node, { tenant: null, namespace: null }, 'n1', { status: { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }], daemonEndpoints: { kubeletEndpoint: { Port: endpoint.port } } } }, { subresource: 'status' });
    const make = (name: string, spec: object): Promise<Pod> => client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name, ...place }, spec: { nodeName: 'n1', ...spec } });
    const pod = await make('db', { virtualMachine: { name: 'vm', image: 'proxima-vm', publicKey: 'none' } });
    await make('web', { containers: [{ name: 'c', image: 'i' }] });
    const uid = pod.metadata.uid ?? '';
    records.desire(pod);
    await vms.startVm(pod, { vni: 7, address: '10.64.3.10', prefix: 24, gateway: '10.64.3.1', mac: '02:64:00:00:03:0a', mtu: 1400 });
    await until('the guest has its address', () => vms.observe(uid)?.configured === true);

    const paused = await vm(kubeconfig, 'pause', 'db');
    assert.equal([paused.code, vms.observe(uid)?.power], [0, 'paused'], paused.err);
    assert.match(paused.out, /db is paused\nnext: proxima vm resume db -n shop --tenant acme/);
    assert.is((await vm(kubeconfig, 'resume', 'db')).code, 0);
    assert.is(vms.observe(uid)?.power, 'running');
    assert.match((await vm(kubeconfig, 'snapshot', 'db', '--name', 's1')).out, /db has the snapshot s1/);
    assert.match((await vm(kubeconfig, 'reboot', 'db')).out, /db boots again/);
    assert.not.ok(vms.observe(uid)?.configured);
    assert.match((await vm(kubeconfig, 'restore', 'db', '--name', 's1')).out, /db is as it was in s1/);
    await until('it is back', () => vms.observe(uid)?.configured === true);
    const shown = await vm(kubeconfig, 'console', 'db', '--lines', '5');
    assert.is(shown.code, 0, shown.err);
    const refusals = await Promise.all([vm(kubeconfig, 'restore', 'db', '--name', 'never'), vm(kubeconfig, 'pause', 'web'), vm(kubeconfig, 'pause', 'nobody')]);
    assert.match(refusals[0].err, /node n1: no snapshot "never" of this VM/);
    assert.match(refusals[1].err, /pod web is no VM pod[\s\S]*next: kubectl/);
    assert.ok(refusals.every((r) => r.code === 2), refusals.map((r) => `${r.code}: ${r.err}`).join('\n'));
  });
}

run();
