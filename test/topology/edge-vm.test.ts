import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { MeshError } from '../../api/errors.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { silentLogger } from '../../base/log.ts';
import { run as exec } from '../../edge/agent/exec.ts';
import type { PodAddress } from '../../edge/agent/model.ts';
import { VmRuntime } from '../../edge/agent/vm/runtime.ts';
import { findQemu } from '../../edge/agent/vm/template.ts';
import { buildImages } from '../../edge/images/build.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite } from '../kit/suite.ts';
import { VethNetwork } from '../kit/veth-network.ts';

const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const refused = await inOwnNetns(import.meta.filename, () => buildImages(cache));
const { it, skip, run } = suite('VM runtime', { timeoutMs: 60_000 });

function pod(name: string): Pod {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, uid: `uid-${name}`, tenant: 'acme', namespace: 'default' }, spec: { vpc: 'shop', virtualMachine: { name: 'vm', image: 'proxima-vm', publicKey: 'none', readinessProbe: { httpGet: { path: '/', port: 80 } } } } };
}

const addressOf = (n: number): PodAddress => ({ vni: 7, address: `10.64.3.${n}`, prefix: 24, gateway: '10.64.3.1', mac: `02:64:00:00:03:${n.toString(16).padStart(2, '0')}`, mtu: 1400 });

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

async function until<T>(what: string, f: () => Promise<T>, ms = 15_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    try {
      return await f();
    } catch (error) {
      if (Date.now() > end) throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

const qemu = refused === null ? await findQemu() : null;
if (refused !== null || qemu === null) skip('real QEMU', refused ?? 'no QEMU on this machine');
else {
  const dir = mkdtempSync('/tmp/px-');
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  await exec('ip', ['link', 'set', 'lo', 'up']);
  const { vmDir } = await buildImages(cache);
  const runtimeOf = (network: VethNetwork): VmRuntime => new VmRuntime({ dir: join(dir, 'v'), imageDir: vmDir, site: 'test-site', network, log: silentLogger, onChange: () => undefined });

  it('starts from the template with an address of its own, answers, pauses, reboots, goes back to a snapshot and is adopted by the next agent', async (t) => {
    const network = new VethNetwork();
    let vms = runtimeOf(network);
    await vms.start();
    assert.ok(vms.isReady);
    t.after(async () => {
      for (const uid of vms.uids()) await vms.stopVm(uid, 0);
      vms.stop();
    });
    await Promise.all([vms.startVm(pod('a'), addressOf(10)), vms.startVm(pod('b'), addressOf(11))]);
    assert.match(await until('a answers', () => ask('10.64.3.10')), /"pod":"a","site":"test-site"/);
    assert.match(await until('b answers', () => ask('10.64.3.11')), /"pod":"b"/);
    assert.ok(await vms.probe('uid-a', 'http', 80, '/', 2000));
    assert.not.ok(await vms.probe('uid-a', 'http', 81, '/', 2000));

    await vms.pause('uid-a');
    assert.is(vms.observe('uid-a')?.power, 'paused');
    const paused = await ask('10.64.3.10').catch((e: Error) => e);
    assert.instance(paused, Error);
    await vms.resume('uid-a');
    await until('a answers again', () => ask('10.64.3.10'));

    await vms.snapshot('uid-a', 's1');
    await vms.restore('uid-a', 's1');
    assert.match(await until('a answers from the snapshot', () => ask('10.64.3.10')), /"pod":"a"/);
    const missing = await vms.restore('uid-a', 's2').catch((e: unknown) => e);
    assert.is((missing as MeshError).kind, 'not-found');

    vms.stop();
    vms = runtimeOf(network);
    await vms.start();
    assert.is(vms.observe('uid-b')?.power, 'running');
    await until('b says that it has its address', async () => assert.ok(vms.observe('uid-b')?.configured));

    await vms.reboot('uid-b');
    assert.not.ok(vms.observe('uid-b')?.configured);
    // A whole boot, emulated: seconds on an idle machine, many of them on a busy one.
    await until('b is back after the reboot', async () => assert.ok(vms.observe('uid-b')?.configured), 35_000);
    assert.match(await until('b answers', () => ask('10.64.3.11')), /"pod":"b"/);

    await vms.stopVm('uid-a', 3000);
    assert.is(vms.observe('uid-a'), null);
    assert.not.ok(existsSync(join(dir, 'v', 'uid-a')));
  });
}

run();
