/** One QEMU process: spawned detached in its folder, found again by it, driven through its two sockets. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../../api/errors.ts';
import { run } from '../exec.ts';
import { alivePid, endByPidFile, startDetached } from '../proc.ts';
import { GuestChannel } from './channel.ts';
import { qemuArgs, type Accel } from './qemu.ts';
import { Qmp } from './qmp.ts';

export interface MachineSpec {
  readonly qemu: string;
  readonly accel: Accel;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly kernel: string;
  readonly initrd: string;
}

export function qmpSocketOf(dir: string): string {
  return join(dir, 'q');
}

export function machinePid(dir: string): number | null {
  return alivePid(join(dir, 'pid'), `unix:${qmpSocketOf(dir)},server=on,wait=off`);
}

export function spawnMachine(dir: string, spec: MachineSpec, tap: string, incoming: string | null): void {
  mkdirSync(dir, { recursive: true });
  for (const s of ['q', 'g']) rmSync(join(dir, s), { force: true });
  if (Buffer.byteLength(qmpSocketOf(dir)) > 106) throw new MeshError('invalid', `dir: ${dir} is too long for unix sockets`, { fields: { path: 'dir' }, next: 'choose a shorter folder' });
  const argv = qemuArgs({ ...spec, tap, qmpSocket: qmpSocketOf(dir), channelSocket: join(dir, 'g'), consoleLog: join(dir, 'console.log'), incoming });
  startDetached(argv, join(dir, 'pid'), join(dir, 'qemu.log'));
}

/** Connects both sockets of a running machine, waiting for QEMU to make them. */
export async function attachMachine(dir: string, timeoutMs = 5000): Promise<{ readonly qmp: Qmp; readonly channel: GuestChannel }> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    try {
      const qmp = await Qmp.connect(qmpSocketOf(dir));
      return { qmp, channel: await GuestChannel.connect(join(dir, 'g')) };
    } catch (cause) {
      if (machinePid(dir) === null) throw new MeshError('io', 'QEMU ended at once', { cause, next: `look at ${join(dir, 'qemu.log')}` });
      if (Date.now() > until) throw new MeshError('timeout', `QEMU does not answer on ${qmpSocketOf(dir)}`, { cause });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

export function endMachine(dir: string, graceMs: number): Promise<void> {
  return endByPidFile(join(dir, 'pid'), `unix:${qmpSocketOf(dir)},server=on,wait=off`, graceMs);
}

/** Waits for the guest's `hello`; `begin` is what makes it come (cont, or nothing for a cold start). */
export function hello(channel: GuestChannel, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new MeshError('timeout', `the guest did not come up within ${timeoutMs} ms`, { next: 'look at console.log of the VM' })), timeoutMs);
    channel.onHello = () => {
      clearTimeout(timer);
      resolve();
    };
    channel.onClose = () => {
      clearTimeout(timer);
      reject(new MeshError('io', 'QEMU ended before the guest came up'));
    };
  });
}

/** Waits for the guest's word that it has its address; whoever listened for it before hears it too. */
export function configured(channel: GuestChannel, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new MeshError('timeout', `the guest has not taken its address within ${timeoutMs} ms`, { next: 'look at console.log of the VM' })), timeoutMs);
    const { onConfigured } = channel;
    channel.onConfigured = () => {
      clearTimeout(timer);
      channel.onConfigured = onConfigured;
      onConfigured();
      resolve();
    };
  });
}

/** Waits until QEMU has ended by itself, at most so long. */
export async function machineEnded(dir: string, graceMs: number): Promise<void> {
  const until = Date.now() + graceMs;
  while (machinePid(dir) !== null && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** A tap in the agent's network namespace. It has a queue of its own and carries offload headers, as QEMU expects to find it. */
export async function makeTap(name: string, mtu: number): Promise<void> {
  await removeTap(name);
  await run('ip', ['tuntap', 'add', name, 'mode', 'tap', 'vnet_hdr']);
  await run('ip', ['link', 'set', name, 'mtu', String(mtu), 'up']);
}

export async function removeTap(name: string): Promise<void> {
  await run('ip', ['link', 'del', name]).catch((error: Error) => {
    if (!/Cannot find device/.test(error.message)) throw error;
  });
}
