/**
 * VM pods on QEMU. Each VM has a folder (`vm.json`, sockets, console log) and a tap; QEMU is not the agent's child in any way that
 * matters: a later agent finds the folder, connects to the sockets and goes on.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../../api/errors.ts';
import type { Pod } from '../../../api/kinds/core.ts';
import type { Logger } from '../../../base/log.ts';
import { uidOf, type ObservedVm, type PodAddress } from '../model.ts';
import type { PodNetwork } from '../network.ts';
import type { GuestChannel } from './channel.ts';
import { snapshotFile, Transfers, type Live, type VmFile } from './folder.ts';
import { attachMachine, configured, endMachine, machineEnded, machinePid, makeTap, removeTap, spawnMachine } from './machine.ts';
import { planVm, shapeOf, type QemuHere, type VmPlan } from './plan.ts';
import type { Qmp } from './qmp.ts';
import { findQemu, prepareVm, templateOf } from './template.ts';
import { afterRestart, viewOf, type MachineShape } from './transfer.ts';

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

export class VmRuntime {
  readonly #o: VmRuntimeOptions;
  readonly #live = new Map<string, Live>();
  readonly transfers: Transfers;
  /** Whether this process works on a VM's arrival; the receiver says. */
  isReceiving: (uid: string) => boolean = () => false;
  /** A VM is taken away; whoever works on its transfer lets go. */
  onStop: (uid: string) => void = () => undefined;
  #qemu: QemuHere | null = null;
  /** Known before `#qemu` is: a VM that is adopted may be asked for while the templates are still made. */
  #version = '';

  constructor(options: VmRuntimeOptions) {
    this.#o = options;
    this.transfers = new Transfers(options.dir);
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
    this.transfers.load();
    const [first] = existsSync(this.#o.imageDir) ? readdirSync(this.#o.imageDir, { withFileTypes: true }).filter((e) => e.isDirectory()) : [];
    const found = await findQemu();
    if (found === null || first === undefined) {
      this.#o.log.warn('no VM runtime', { reason: first === undefined ? `no VM image in ${this.#o.imageDir}` : 'QEMU is not installed' });
      return;
    }
    this.#version = found.version;
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
    const view = viewOf(this.transfers.get(uid), this.isReceiving(uid));
    const transfer = view === undefined ? {} : { transfer: view };
    if (live !== undefined) return { power: live.power, configured: live.configured, startedAt: live.file.startedAt, ...transfer };
    const file = this.#read(uid);
    return file === null && view === undefined ? null : { power: 'shutdown', configured: false, startedAt: file?.startedAt ?? 0, ...transfer };
  }

  live(uid: string): Live | undefined {
    return this.#live.get(uid);
  }

  consoleLog(uid: string): string {
    return join(this.folder(uid), 'console.log');
  }

  async startVm(pod: Pod, address: PodAddress): Promise<void> {
    const { file, image } = this.#plan(pod, address);
    await this.#launch(uidOf(pod), file, await templateOf(this.#o.imageDir, image, file.spec, this.#qemu?.version ?? '', this.#o.log));
  }

  /** What another node's QEMU has to be like for a VM to go on there, or to come here. */
  shapeOf(pod: Pod, address: PodAddress): MachineShape {
    return shapeOf(pod, this.#live.get(uidOf(pod))?.file.spec ?? this.#plan(pod, address).file.spec, this.#version);
  }

  /** As `startVm`, but the QEMU waits for a state on the socket that this returns, and then for `goOn`. */
  async startEmpty(pod: Pod, address: PodAddress): Promise<string> {
    const uid = uidOf(pod);
    const { file } = this.#plan(pod, address);
    const folder = this.folder(uid);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'vm.json'), JSON.stringify(file));
    const socket = join(folder, 'm');
    rmSync(socket, { force: true });
    await makeTap(file.tap, file.address.mtu);
    spawnMachine(folder, file.spec, file.tap, `unix:${socket}`);
    const [{ qmp, channel }] = await Promise.all([attachMachine(folder), this.#o.network.attach({ podUid: uid, netnsPath: null, tapName: file.tap, ifName: file.tap, address })]);
    this.#keep(uid, file, qmp, channel, 'paused');
    return socket;
  }

  /** Lets a guest that arrived go on, with its new address; resolves when it says that it has it. */
  async goOn(uid: string, timeoutMs: number): Promise<void> {
    const live = this.#must(uid);
    const answer = configured(live.channel, timeoutMs);
    this.#configure(live);
    await live.qmp.execute('cont');
    live.power = 'running';
    await answer;
  }

  /** The source's guest goes on where it was stopped: whatever a transfer had begun is no more. */
  async goBack(uid: string, ranBefore: boolean): Promise<void> {
    const live = this.#must(uid);
    await live.qmp.execute('migrate_cancel');
    if (ranBefore) await live.qmp.execute('cont');
    live.power = ranBefore ? 'running' : 'paused';
    this.transfers.drop(uid);
    this.#o.onChange(uid);
  }

  /** Ends the QEMU and keeps what the disk says of the transfer: of a source that has moved, of an arrival that failed. */
  async endMachine(uid: string): Promise<void> {
    const live = this.#live.get(uid);
    this.#live.delete(uid);
    live?.channel.close();
    live?.qmp.close();
    await endMachine(this.folder(uid), 0);
    this.#o.onChange(uid);
  }

  async stopVm(uid: string, graceMs: number): Promise<void> {
    this.onStop(uid);
    const live = this.#live.get(uid);
    const file = live?.file ?? this.#read(uid);
    this.#live.delete(uid);
    if (live !== undefined) {
      if (graceMs > 0 && live.power === 'running') live.channel.poweroff();
      await machineEnded(this.folder(uid), live.power === 'running' ? graceMs : 0);
      live.channel.close();
      live.qmp.close();
    }
    await endMachine(this.folder(uid), 0);
    if (file !== null) {
      await this.#o.network.detach(uid);
      await removeTap(file.tap);
    }
    this.transfers.drop(uid);
    rmSync(this.folder(uid), { recursive: true, force: true });
  }

  async pause(uid: string): Promise<void> {
    const live = this.#free(uid);
    await live.qmp.execute('stop');
    live.power = 'paused';
  }

  async resume(uid: string): Promise<void> {
    const live = this.#free(uid);
    await live.qmp.execute('cont');
    live.power = 'running';
  }

  async reboot(uid: string): Promise<void> {
    const live = this.#free(uid);
    live.configured = false;
    await live.qmp.execute('system_reset');
    if (live.power === 'paused') await this.resume(uid);
    this.#o.onChange(uid);
  }

  /** Saves the VM's whole state under a name; the VM stands still meanwhile. */
  async snapshot(uid: string, name: string): Promise<void> {
    const live = this.#free(uid);
    const file = snapshotFile(this.folder(uid), name);
    mkdirSync(join(this.folder(uid), 'snapshots'), { recursive: true });
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
    const live = this.#free(uid);
    const snapshot = snapshotFile(this.folder(uid), name);
    if (!existsSync(snapshot)) throw new MeshError('not-found', `no snapshot "${name}" of this VM`);
    this.#live.delete(uid);
    live.channel.onClose = () => undefined;
    live.channel.close();
    live.qmp.close();
    await endMachine(this.folder(uid), 0);
    await this.#begin(uid, live.file, snapshot);
  }

  probe(uid: string, kind: 'http' | 'tcp', port: number, path: string, timeoutMs: number): Promise<boolean> {
    const live = this.#live.get(uid);
    return live === undefined || live.power !== 'running' || !live.configured ? Promise.resolve(false) : live.channel.probe(kind, port, path, timeoutMs);
  }

  #plan(pod: Pod, address: PodAddress): VmPlan {
    if (this.#qemu === null) throw new MeshError('internal', 'no VM runtime');
    return planVm(pod, address, this.#qemu, this.#o.imageDir);
  }

  async #launch(uid: string, file: VmFile, state: string): Promise<void> {
    const folder = this.folder(uid);
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
    spawnMachine(this.folder(uid), file.spec, file.tap, state);
    const { qmp, channel } = await attachMachine(this.folder(uid));
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
    const [file, transfer, isAlive] = [this.#read(uid), this.transfers.get(uid), machinePid(this.folder(uid)) !== null];
    const next = transfer === undefined ? 'none' : afterRestart(transfer, isAlive);
    if (next === 'leave') return;
    if (next === 'discard') return this.stopVm(uid, 0);
    if (next === 'resume' && !isAlive) this.transfers.drop(uid);
    if (!isAlive) return; // ended with the node, or never came up: decide starts it again
    if (file === null) return endMachine(this.folder(uid), 0);
    const { qmp, channel } = await attachMachine(this.folder(uid));
    const live = this.#keep(uid, file, qmp, channel, (await qmp.status()) === 'running' ? 'running' : 'paused');
    if (transfer?.role === 'send') await this.goBack(uid, transfer.ranBefore);
    if (next === 'ask' || next === 'go-on') return; // the receiver settles it
    this.#configure(live); // says the same again; the answer tells that the guest is there
    this.#o.log.info('VM adopted', { pod: file.pod.name });
  }

  #free(uid: string): Live {
    const view = viewOf(this.transfers.get(uid), this.isReceiving(uid));
    if (view !== undefined) throw new MeshError('conflict', view === 'moved' ? 'this VM has moved to another site' : 'this VM is on its way between two sites', { next: 'kubectl describe pod shows how it goes: annotation mesh.proxima.io/migration' });
    return this.#must(uid);
  }

  #must(uid: string): Live {
    const live = this.#live.get(uid);
    if (live === undefined) throw new MeshError('not-found', 'this VM does not run');
    return live;
  }

  folder(uid: string): string {
    return join(this.#o.dir, uid);
  }

  #read(uid: string): VmFile | null {
    const path = join(this.folder(uid), 'vm.json');
    return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as VmFile) : null;
  }
}
