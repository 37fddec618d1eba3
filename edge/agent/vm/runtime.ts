/**
 * VM pods on QEMU. Each VM has a folder (`vm.json`, sockets, console log) and a tap; QEMU is not the agent's child in any way that
 * matters: a later agent finds the folder, connects to the sockets and goes on.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../../api/errors.ts';
import type { Pod } from '../../../api/kinds/core.ts';
import type { Logger } from '../../../base/log.ts';
import { bytesOf, milliCpu, uidOf, type ObservedVm, type PodAddress } from '../model.ts';
import type { PodNetwork } from '../network.ts';
import type { GuestChannel } from './channel.ts';
import { attachMachine, endMachine, machinePid, makeTap, removeTap, spawnMachine, type MachineSpec } from './machine.ts';
import type { Accel } from './qemu.ts';
import type { Qmp } from './qmp.ts';
import { DEFAULT_MEMORY_MIB, findImage, findQemu, prepareVm, templateOf } from './template.ts';

export interface VmRuntimeOptions {
  /** Folder of the node's VMs. */
  readonly dir: string;
  readonly imageDir: string;
  readonly site: string;
  readonly network: PodNetwork;
  readonly log: Logger;
  /** Something about this pod's VM changed. */
  readonly onChange: (uid: string) => void;
}

interface VmFile {
  readonly name: string;
  readonly pod: { readonly tenant: string; readonly namespace: string; readonly name: string };
  readonly spec: MachineSpec;
  readonly address: PodAddress;
  readonly tap: string;
  readonly startedAt: number;
}

interface Live {
  readonly file: VmFile;
  readonly qmp: Qmp;
  readonly channel: GuestChannel;
  power: 'running' | 'paused';
  configured: boolean;
}

export class VmRuntime {
  readonly #o: VmRuntimeOptions;
  readonly #live = new Map<string, Live>();
  #qemu: { readonly path: string; readonly version: string; readonly accel: Accel } | null = null;

  constructor(options: VmRuntimeOptions) {
    this.#o = options;
  }

  get isReady(): boolean {
    return this.#qemu !== null;
  }

  get version(): string {
    return this.#qemu === null ? 'none' : `${this.#qemu.version}, ${this.#qemu.accel}`;
  }

  /** Finds QEMU and the accelerator, adopts the VMs that run, and prepares the default template of every image. */
  async start(): Promise<void> {
    mkdirSync(this.#o.dir, { recursive: true });
    const [first] = existsSync(this.#o.imageDir) ? readdirSync(this.#o.imageDir, { withFileTypes: true }).filter((e) => e.isDirectory()) : [];
    if ((await findQemu()) === null || first === undefined) {
      this.#o.log.warn('no VM runtime', { reason: first === undefined ? `no VM image in ${this.#o.imageDir}` : 'QEMU is not installed' });
      return;
    }
    for (const uid of readdirSync(this.#o.dir)) await this.#adopt(uid);
    this.#qemu = await prepareVm(this.#o.imageDir, first.name, this.#o.log);
  }

  /** Lets go of the sockets; the VMs go on. */
  stop(): void {
    for (const l of this.#live.values()) {
      l.channel.onClose = () => undefined;
      l.channel.close();
      l.qmp.close();
    }
    this.#live.clear();
  }

  uids(): readonly string[] {
    return existsSync(this.#o.dir) ? readdirSync(this.#o.dir) : [];
  }

  observe(uid: string): ObservedVm | null {
    const live = this.#live.get(uid);
    if (live !== undefined) return { power: live.power, configured: live.configured, startedAt: live.file.startedAt };
    const file = this.#read(uid);
    return file === null ? null : { power: 'shutdown', configured: false, startedAt: file.startedAt };
  }

  consoleLog(uid: string): string {
    return join(this.#folder(uid), 'console.log');
  }

  async startVm(pod: Pod, address: PodAddress): Promise<void> {
    const uid = uidOf(pod);
    const vm = pod.spec.virtualMachine;
    if (vm === undefined || this.#qemu === null) throw new MeshError('internal', 'not a VM pod, or no VM runtime');
    const image = findImage(this.#o.imageDir, vm.image);
    const limits = { ...vm.resources?.requests, ...vm.resources?.limits };
    const memoryMiB = Math.max(96, Math.round(bytesOf(limits.memory) / 2 ** 20) || DEFAULT_MEMORY_MIB);
    const spec: MachineSpec = { qemu: this.#qemu.path, accel: this.#qemu.accel, memoryMiB, cpus: Math.max(1, Math.ceil(milliCpu(limits.cpu) / 1000)), kernel: image.kernel, initrd: image.initrd };
    const template = await templateOf(this.#o.imageDir, image, spec, this.#qemu.version, this.#o.log);
    const { tenant = 'system', namespace = 'default', name } = pod.metadata;
    const file: VmFile = { name: vm.name, pod: { tenant, namespace, name }, spec, address, tap: tapName(uid), startedAt: Date.now() };
    await this.#launch(uid, file, template);
  }

  async stopVm(uid: string, graceMs: number): Promise<void> {
    const live = this.#live.get(uid);
    const file = live?.file ?? this.#read(uid);
    this.#live.delete(uid);
    if (live !== undefined) {
      if (graceMs > 0 && live.power === 'running') live.channel.poweroff();
      await this.#ended(uid, live.power === 'running' ? graceMs : 0);
      live.channel.close();
      live.qmp.close();
    }
    await endMachine(this.#folder(uid), 0);
    if (file !== null) {
      await this.#o.network.detach(uid);
      await removeTap(file.tap);
    }
    rmSync(this.#folder(uid), { recursive: true, force: true });
  }

  async pause(uid: string): Promise<void> {
    const live = this.#must(uid);
    await live.qmp.execute('stop');
    live.power = 'paused';
  }

  async resume(uid: string): Promise<void> {
    const live = this.#must(uid);
    await live.qmp.execute('cont');
    live.power = 'running';
  }

  async reboot(uid: string): Promise<void> {
    const live = this.#must(uid);
    live.configured = false;
    await live.qmp.execute('system_reset');
    if (live.power === 'paused') await this.resume(uid);
    this.#o.onChange(uid);
  }

  /** Saves the VM's whole state under a name; the VM stands still meanwhile. */
  async snapshot(uid: string, name: string): Promise<void> {
    const live = this.#must(uid);
    const file = this.#snapshotFile(uid, name);
    mkdirSync(join(this.#folder(uid), 'snapshots'), { recursive: true });
    await live.qmp.execute('stop');
    try {
      await live.qmp.execute('migrate', { uri: `exec:cat > ${file}.tmp` });
      await live.qmp.migrated(60_000);
      renameSync(`${file}.tmp`, file);
    } finally {
      if (live.power === 'running') await live.qmp.execute('cont');
    }
  }

  /** Goes back to a saved state: a new QEMU in place of the old one, on the same tap and address. */
  async restore(uid: string, name: string): Promise<void> {
    const live = this.#must(uid);
    const snapshot = this.#snapshotFile(uid, name);
    if (!existsSync(snapshot)) throw new MeshError('not-found', `no snapshot "${name}" of this VM`);
    this.#live.delete(uid);
    live.channel.onClose = () => undefined;
    live.channel.close();
    live.qmp.close();
    await endMachine(this.#folder(uid), 0);
    await this.#begin(uid, live.file, snapshot);
  }

  probe(uid: string, kind: 'http' | 'tcp', port: number, path: string, timeoutMs: number): Promise<boolean> {
    const live = this.#live.get(uid);
    return live === undefined || live.power !== 'running' || !live.configured ? Promise.resolve(false) : live.channel.probe(kind, port, path, timeoutMs);
  }

  async #launch(uid: string, file: VmFile, state: string): Promise<void> {
    const folder = this.#folder(uid);
    mkdirSync(folder, { recursive: true });
    try {
      await makeTap(file.tap, file.address.mtu);
      // The data plane and QEMU do not wait for each other: the guest has no address before both are there.
      await Promise.all([this.#o.network.attach({ podUid: uid, netnsPath: null, tapName: file.tap, ifName: file.tap, address: file.address }), this.#begin(uid, file, state)]);
      writeFileSync(join(folder, 'vm.json'), JSON.stringify(file));
    } catch (error) {
      writeFileSync(join(folder, 'vm.json'), JSON.stringify(file));
      await this.stopVm(uid, 0);
      throw error;
    }
  }

  async #begin(uid: string, file: VmFile, state: string): Promise<void> {
    spawnMachine(this.#folder(uid), file.spec, file.tap, state);
    const { qmp, channel } = await attachMachine(this.#folder(uid));
    const live = this.#keep(uid, file, qmp, channel, 'running');
    await qmp.migrated(60_000);
    this.#configure(live);
    await qmp.execute('cont');
  }

  #configure(live: Live): void {
    live.channel.config({ ...live.file.address, name: live.file.pod.name, site: this.#o.site });
  }

  #keep(uid: string, file: VmFile, qmp: Qmp, channel: GuestChannel, power: Live['power']): Live {
    const live: Live = { file, qmp, channel, power, configured: false };
    channel.onHello = () => this.#configure(live);
    channel.onConfigured = () => {
      live.configured = true;
      this.#o.onChange(uid);
    };
    channel.onClose = () => {
      if (this.#live.get(uid) === live) this.#live.delete(uid);
      this.#o.onChange(uid);
    };
    this.#live.set(uid, live);
    return live;
  }

  async #adopt(uid: string): Promise<void> {
    if (this.#live.has(uid)) return; // a repeated start
    const file = this.#read(uid);
    if (machinePid(this.#folder(uid)) === null) return; // ended with the node, or never came up: decide starts it again
    if (file === null) return endMachine(this.#folder(uid), 0);
    const { qmp, channel } = await attachMachine(this.#folder(uid));
    const live = this.#keep(uid, file, qmp, channel, (await qmp.status()) === 'running' ? 'running' : 'paused');
    this.#configure(live); // says the same again; the answer tells that the guest is there
    this.#o.log.info('VM adopted', { pod: file.pod.name });
  }

  async #ended(uid: string, graceMs: number): Promise<void> {
    const until = Date.now() + graceMs;
    while (machinePid(this.#folder(uid)) !== null && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  #must(uid: string): Live {
    const live = this.#live.get(uid);
    if (live === undefined) throw new MeshError('not-found', 'this VM does not run');
    return live;
  }

  #folder(uid: string): string {
    return join(this.#o.dir, uid);
  }

  #snapshotFile(uid: string, name: string): string {
    if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) throw new MeshError('invalid', `snapshot: "${name}" must be lower-case letters, digits and dashes`, { fields: { path: 'snapshot' } });
    return join(this.#folder(uid), 'snapshots', name);
  }

  #read(uid: string): VmFile | null {
    const path = join(this.#folder(uid), 'vm.json');
    return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as VmFile) : null;
  }
}

export function tapName(uid: string): string {
  return `pxt${createHash('sha256').update(uid).digest('hex').slice(0, 10)}`;
}
