/**
 * What a VM costs where there is no KVM, and how long one is away while it moves:
 *   answers   one connection, request and answer at a time, to the VM and to the same server as a process of this machine; QEMU's time on a processor for each
 *   move      a VM's state to a second runtime over a link of 100 Mbit/s: bytes, and from the stop to the guest's word that it serves
 * Run: sudo ./proxima bench vm [requests] [moves]
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import type { Pod } from '../api/kinds/core.ts';
import { systemClock } from '../base/clock.ts';
import { silentLogger } from '../base/log.ts';
import { parseSpiffe, type Identity } from '../certs/names.ts';
import { run } from '../edge/agent/exec.ts';
import type { PodAddress, PodRecord } from '../edge/agent/model.ts';
import { machinePid } from '../edge/agent/vm/machine.ts';
import { VmReceiver } from '../edge/agent/vm/receive.ts';
import { VmRuntime } from '../edge/agent/vm/runtime.ts';
import { VmSender } from '../edge/agent/vm/send.ts';
import { buildImages, compileGuest } from '../edge/images/build.ts';
import { inOwnNetns } from '../test/kit/own-netns.ts';
import { quantile } from '../test/kit/quantile.ts';
import { VethNetwork } from '../test/kit/veth-network.ts';

const MBIT = 100;
const PORT = 9999;
const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const refused = await inOwnNetns(import.meta.filename, () => buildImages(cache));
if (refused !== null) throw new Error(refused);
const [requests, moves] = [Number(process.argv[2] ?? 300), Number(process.argv[3] ?? 4)];


/** Milliseconds on a processor so far, all threads. */
function cpuOf(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6, 0);
}

function ask(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const socket = connect({ host, port: 80, noDelay: true }, () => socket.write('GET / HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n'));
    let text = '';
    socket.on('data', (d: Buffer) => (text += d.toString())).on('error', reject);
    socket.on('close', () => (/^HTTP\/1\.0 200 [^]*"kind":"vm"/.test(text) ? resolve(performance.now() - began) : reject(new Error(`${host} answered ${JSON.stringify(text.slice(0, 40))}`))));
  });
}

async function until(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const end = Date.now() + 60_000;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const addressOf = (n: number): PodAddress => ({ vni: 7, address: `10.64.3.${n}`, prefix: 24, gateway: '10.64.3.1', mac: `02:64:00:00:03:${n.toString(16).padStart(2, '0')}`, mtu: 1400 });
const podOf = (uid: string, annotations: Readonly<Record<string, string>>): Pod => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: uid, uid, tenant: 'acme', namespace: 'default', annotations }, spec: { virtualMachine: { name: 'vm', image: 'proxima-vm', publicKey: 'none' } } });
const recordOf = (pod: Pod, n: number): PodRecord => ({ pod, address: addressOf(n), provisioned: true, gone: false, starts: {}, crashes: {} });

/** The VM `from` of one runtime becomes the VM `to` of another. */
async function move(source: VmRuntime, target: VmRuntime, from: Pod, to: Pod, n: number): Promise<{ readonly bytes: number; readonly downtimeMs: number }> {
  const sender = new VmSender({ vms: source, recordOf: () => recordOf(from, 0), onChange: () => undefined, log: silentLogger });
  const server = createServer((socket) => void sender.serve(from.metadata.uid ?? '', parseSpiffe('spiffe://proxima/site/b/node/n') as Identity, socket)).listen(PORT);
  const dial = (): Promise<ReturnType<typeof connect>> => new Promise((resolve) => {
    const socket = connect(PORT, '127.0.0.1', () => resolve(socket));
  });
  const receiver = new VmReceiver({ vms: target, recordOf: () => recordOf(to, n), way: { dial }, onRestored: () => undefined, onChange: () => undefined, clock: systemClock, log: silentLogger });
  await receiver.start(new AbortController().signal);
  const uid = to.metadata.uid ?? '';
  receiver.receive(uid);
  await until('the VM has moved', () => {
    const transfer = target.transfers.get(uid);
    if (transfer?.role === 'receive' && transfer.phase === 'failed') throw new Error(transfer.reason ?? 'failed');
    return transfer?.role === 'receive' && transfer.phase === 'restored';
  });
  await until('the source has let go', () => source.live(from.metadata.uid ?? '') === undefined);
  await receiver.stop();
  server.close();
  const done = target.transfers.get(uid);
  if (done?.role !== 'receive' || done.downtimeMs === null) throw new Error('the move was not measured');
  return { bytes: done.bytes, downtimeMs: done.downtimeMs };
}

const dir = mkdtempSync('/tmp/px-');
await run('ip', ['link', 'set', 'lo', 'up']);
const runtimeAt = (site: string): VmRuntime => new VmRuntime({ dir: join(dir, site), imageDir: join(cache, 'vm'), site, network: new VethNetwork(), log: silentLogger, onChange: () => undefined });
const [a, b] = [runtimeAt('a'), runtimeAt('b')];
const results: { vm: number[]; native: number[]; cpuMs: number[]; downtimeMs: number[]; bytes: number[] } = { vm: [], native: [], cpuMs: [], downtimeMs: [], bytes: [] };
writeFileSync(join(dir, 'guest'), await compileGuest(dir), { mode: 0o755 });
// In a namespace of its own, behind a link as the VM is behind its tap.
const native = spawn('unshare', ['--net', '--', join(dir, 'guest'), '80', '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
try {
  await new Promise((resolve) => native.stdout.once('data', resolve)); // hello
  await run('sh', ['-c', `ip link add vnat type veth peer name eth0 netns ${native.pid} && ip link set vnat up && ip addr add 10.64.4.1/24 dev vnat`]);
  native.stdin.write('config 10.64.4.2 24 10.64.4.1 02:64:00:00:04:02 1400 native a 0\n');
  await a.start();
  await b.start();
  let current = podOf('vm-0', { 'mesh.proxima.io/send-to': 'b' });
  await a.startVm(current, addressOf(10));
  for (const host of ['10.64.3.10', '10.64.4.2']) await until(`${host} answers`, () => ask(host).then(() => true, () => false));
  const qemu = machinePid(a.folder('vm-0'));
  if (qemu === null) throw new Error('the VM has ended');
  for (let i = 0; i < requests; i++) {
    results.native.push(await ask('10.64.4.2'));
    const before = cpuOf(qemu);
    results.vm.push(await ask('10.64.3.10'));
    await new Promise((resolve) => setTimeout(resolve, 20)); // the end of the connection is work, too
    results.cpuMs.push(cpuOf(qemu) - before);
  }
  await run('tc', ['qdisc', 'add', 'dev', 'lo', 'root', 'tbf', 'rate', `${MBIT}mbit`, 'burst', '256kb', 'latency', '200ms']);
  for (let i = 1; i <= moves; i++) {
    const next = podOf(`vm-${i}`, { 'mesh.proxima.io/send-to': 'b', 'mesh.proxima.io/restore-from': `a/vm-${i - 1}` });
    const [from, to] = i % 2 === 1 ? [a, b] : [b, a];
    const moved = await move(from, to, current, next, 10 + i);
    await ask(`10.64.3.${10 + i}`);
    await from.stopVm(current.metadata.uid ?? '', 0);
    results.downtimeMs.push(moved.downtimeMs);
    results.bytes.push(moved.bytes);
    current = next;
  }
} finally {
  for (const vms of [a, b]) for (const uid of vms.uids()) await vms.stopVm(uid, 0);
  native.kill();
  rmSync(dir, { recursive: true, force: true });
}
const line = (what: string, v: readonly number[], unit: string): void => console.log(`${what.padEnd(22)} p50 ${quantile(v, 0.5).toFixed(1)} ${unit}   p99 ${quantile(v, 0.99).toFixed(1)} ${unit}`);
line('answer, process', results.native, 'ms');
line('answer, VM', results.vm, 'ms');
line('QEMU per answer', results.cpuMs, 'ms');
console.log(`VM over process        ${(quantile(results.vm, 0.5) - quantile(results.native, 0.5)).toFixed(1)} ms, ${(quantile(results.vm, 0.5) / quantile(results.native, 0.5)).toFixed(1)} times`);
line(`move at ${MBIT} Mbit/s, away`, results.downtimeMs, 'ms');
console.log(`state on the way       ${(quantile(results.bytes, 0.5) / 1e6).toFixed(1)} MB of a guest of 128 MiB`);
console.log(JSON.stringify({ bench: 'vm', node: process.version, requests, moves, results }));
console.log('again: sudo ./proxima bench vm');
process.exit(0);
