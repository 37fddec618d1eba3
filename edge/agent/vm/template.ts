/**
 * Templates: a VM image booted once and saved while its guest waits for an address. Every start of that image, machine shape and QEMU
 * restores it, in a tenth of a boot. Templates lie beside their image and are shared by the nodes of one machine; a lock file lets one make it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MeshError } from '../../../api/errors.ts';
import type { Logger } from '../../../base/log.ts';
import { run } from '../exec.ts';
import { commandLineOf } from '../proc.ts';
import { attachMachine, endMachine, hello, makeTap, removeTap, spawnMachine, type MachineSpec } from './machine.ts';
import { qemuArgs, type Accel } from './qemu.ts';

export const DEFAULT_MEMORY_MIB = 128;
const BOOT_TIMEOUT_MS = 60_000;
/** With hardware help the guest is up in well under a second; longer means that the help does not help. */
const KVM_BOOT_LIMIT_MS = 6000;

export interface VmImage {
  readonly name: string;
  readonly kernel: string;
  readonly initrd: string;
}

export function findImage(vmDir: string, name: string): VmImage {
  if (!/^[a-z0-9][a-z0-9.-]*$/.test(name)) throw new MeshError('invalid', `spec.virtualMachine.image: "${name}" is not the name of a folder of VM images`, { fields: { path: 'spec.virtualMachine.image', reason: 'ErrImage' } });
  const dir = join(vmDir, name);
  const image = { name, kernel: join(dir, 'vmlinux'), initrd: join(dir, 'initrd') };
  for (const file of [image.kernel, image.initrd]) if (!existsSync(file)) throw new MeshError('missing-file', `spec.virtualMachine.image: ${file} is not on the node`, { fields: { path: 'spec.virtualMachine.image', reason: 'ErrImage' } });
  return image;
}

export async function findQemu(): Promise<{ readonly path: string; readonly version: string } | null> {
  const name = process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
  for (const dir of ['/usr/bin', '/usr/local/bin', '/usr/libexec']) {
    const path = join(dir, name);
    if (existsSync(path)) return { path, version: (await run(path, ['--version'])).split('\n')[0] ?? '' };
  }
  return null;
}

/** Boots the image to the guest's `hello`, and saves it to `saveTo` unless null. */
async function bootOnce(spec: MachineSpec, saveTo: string | null, timeoutMs: number): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'px-vm-'));
  const tap = `pxt${randomBytes(5).toString('hex')}`;
  try {
    await makeTap(tap, 1500);
    spawnMachine(dir, spec, tap, null);
    const { qmp, channel } = await attachMachine(dir);
    await hello(channel, timeoutMs);
    if (saveTo !== null) {
      await qmp.execute('stop');
      await qmp.execute('migrate', { uri: `exec:cat > ${saveTo}` });
      await qmp.migrated(30_000);
    }
    channel.close();
    qmp.close();
  } finally {
    await endMachine(dir, 0);
    await removeTap(tap);
    rmSync(dir, { recursive: true, force: true });
  }
}

/** KVM only where a timed boot shows that it helps: the device alone proves nothing. The answer is kept beside the images. */
export async function detectAccel(vmDir: string, spec: Omit<MachineSpec, 'accel'>, log: Logger): Promise<Accel> {
  if (!existsSync('/dev/kvm')) return 'tcg';
  const machine = createHash('sha256').update(readFileSync('/proc/version')).update(readFileSync('/proc/cpuinfo', 'utf8').split('\n\n')[0]?.replaceAll(/^(cpu MHz|bogomips).*$/gm, '') ?? '').digest('hex');
  const cache = join(vmDir, 'accel.json');
  const read = (): Accel | null => {
    const known = existsSync(cache) ? (JSON.parse(readFileSync(cache, 'utf8')) as { machine: string; accel: Accel }) : null;
    return known?.machine === machine ? known.accel : null;
  };
  const before = read();
  if (before !== null) return before;
  // Timed boots side by side would slow each other down and tell nothing.
  const release = await lock(`${cache}.lock`);
  try {
    return read() ?? (await tryKvm(spec, log, (accel) => {
      writeFileSync(`${cache}.tmp`, JSON.stringify({ machine, accel }));
      renameSync(`${cache}.tmp`, cache);
    }));
  } finally {
    release();
  }
}

async function tryKvm(spec: Omit<MachineSpec, 'accel'>, log: Logger, keep: (accel: Accel) => void): Promise<Accel> {
  const began = Date.now();
  const accel = await bootOnce({ ...spec, accel: 'kvm' }, null, KVM_BOOT_LIMIT_MS).then(
    (): Accel => 'kvm',
    (error: unknown): Accel => {
      log.info('KVM is there and does not help; emulating', { tookMs: Date.now() - began, reason: (error as Error).message });
      return 'tcg';
    },
  );
  keep(accel);
  return accel;
}

/**
 * Everything a node needs before its first VM of an image: QEMU, the accelerator, the default template. null = no QEMU here. Nodes do it when
 * they start; where many share a machine it is quicker done once before.
 */
export async function prepareVm(vmDir: string, name: string, log: Logger): Promise<{ readonly path: string; readonly version: string; readonly accel: Accel } | null> {
  const qemu = await findQemu();
  if (qemu === null) return null;
  const image = findImage(vmDir, name);
  const shape = { qemu: qemu.path, memoryMiB: DEFAULT_MEMORY_MIB, cpus: 1, kernel: image.kernel, initrd: image.initrd };
  const accel = await detectAccel(vmDir, shape, log);
  await templateOf(vmDir, image, { ...shape, accel }, qemu.version, log);
  return { ...qemu, accel };
}

/** The saved state for this image and machine shape, made now if it is not there. */
export async function templateOf(vmDir: string, image: VmImage, spec: MachineSpec, version: string, log: Logger): Promise<string> {
  const shape = qemuArgs({ ...spec, kernel: '', initrd: '', tap: '', qmpSocket: '', channelSocket: '', consoleLog: '', incoming: null });
  const stamp = [image.kernel, image.initrd].map((f) => { const s = statSync(f); return [s.size, Math.floor(s.mtimeMs)]; });
  const key = createHash('sha256').update(JSON.stringify([version, shape, stamp])).digest('hex').slice(0, 16);
  const dir = join(vmDir, image.name, 'templates');
  const file = join(dir, key);
  if (existsSync(file)) return file;
  mkdirSync(dir, { recursive: true });
  const release = await lock(`${file}.lock`);
  try {
    if (existsSync(file)) return file;
    const began = Date.now();
    await bootOnce(spec, `${file}.tmp`, BOOT_TIMEOUT_MS);
    renameSync(`${file}.tmp`, file);
    log.info('VM template made', { image: image.name, memoryMiB: spec.memoryMiB, tookMs: Date.now() - began });
    return file;
  } finally {
    release();
  }
}

/** Holds `path` for this process; a holder that died is passed over. */
async function lock(path: string): Promise<() => void> {
  const until = Date.now() + 2 * BOOT_TIMEOUT_MS;
  for (;;) {
    try {
      const fd = openSync(path, 'wx');
      writeFileSync(fd, String(process.pid));
      closeSync(fd);
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = Number(existsSync(path) ? readFileSync(path, 'utf8') : '0');
    if (holder > 0 && commandLineOf(holder) === null) rmSync(path, { force: true });
    if (Date.now() > until) throw new MeshError('timeout', `another process holds ${path}`, { next: `remove ${path} if none is making a VM template` });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
