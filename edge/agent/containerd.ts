/**
 * The node's own containerd: configuration, private mount namespace, start, adoption, watch. Several nodes may run side by side on one
 * machine, so root, state, sockets and runtime folders are all the node's. The mount namespace is pinned to a file: shims and the next
 * containerd meet in it. containerd is not stopped with the agent; a later agent adopts it.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { MeshError } from '../../api/errors.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { connectCri, type Cri } from './cri.ts';
import { run } from './exec.ts';
import { endMachine, removeTap } from './vm/machine.ts';
import { tapName } from './vm/plan.ts';
import { alivePid, endByPidFile, endProcess, pidsWith, startDetached } from './proc.ts';

export interface ContainerdOptions {
  /** The node's data folder; kept short, since unix sockets live in it. */
  readonly dir: string;
  readonly node: string;
  readonly runtime: OciRuntime;
  readonly log: Logger;
}

export interface OciRuntime {
  readonly name: 'crun' | 'runc';
  readonly path: string;
}

const SANDBOX_IMAGE = 'localhost/proxima-pause:1';
const SOCKET_LIMIT = 104;

/** crun starts a pod in three quarters of runc's time, so it goes first; whichever answers `--version` is used. */
export async function detectRuntime(): Promise<OciRuntime | null> {
  for (const name of ['crun', 'runc'] as const) {
    for (const dir of ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin']) {
      const path = join(dir, name);
      if (!existsSync(path)) continue;
      const works = await run(path, ['--version'], { timeoutMs: 5000 }).then(() => true, () => false);
      if (works) return { name, path };
    }
  }
  return null;
}

export function containerdConfig(o: { readonly dir: string; readonly runtime: OciRuntime }): string {
  const d = `${o.dir}/c`;
  return `version = 2
root = "${d}/root"
state = "${d}/state"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "${d}/c.sock"
[ttrpc]
  address = "${d}/t.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "${d}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${SANDBOX_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${d}/cni-bin"
    conf_dir = "${d}/cni"
    max_conf_num = 1
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "${d}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "${o.runtime.name}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${o.runtime.name}]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${o.runtime.name}.options]
        BinaryName = "${o.runtime.path}"
        Root = "${d}/run/oci"
        SystemdCgroup = false
`;
}

/** Where the pods of a node hang in the cgroup tree; the agent, not containerd, removes what it names. */
export function cgroupParent(node: string, uid: string): string {
  return `/proxima/${node}/${uid}`;
}

/** Removes a pod's (or, without uid, the node's) empty cgroup folders, in every v1 hierarchy or in the one of v2. */
export function removeCgroups(node: string, uid?: string): void {
  const under = uid === undefined ? join('proxima', node) : join('proxima', node, uid);
  const remove = (dir: string): void => {
    if (!existsSync(dir)) return;
    for (const e of readdirSync(dir, { withFileTypes: true })) if (e.isDirectory()) remove(join(dir, e.name));
    try {
      rmdirSync(dir);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error; // a process is still leaving: the next pass removes it
    }
  };
  const roots = ['/sys/fs/cgroup', ...readdirSync('/sys/fs/cgroup', { withFileTypes: true }).filter((e) => e.isDirectory()).map((e) => join('/sys/fs/cgroup', e.name))];
  for (const root of roots) {
    remove(join(root, under));
    if (uid === undefined && existsSync(join(root, 'proxima')) && readdirSync(join(root, 'proxima'), { withFileTypes: true }).every((e) => !e.isDirectory())) remove(join(root, 'proxima'));
  }
}

export class Containerd implements Service {
  readonly name = 'containerd';
  readonly #o: ContainerdOptions;
  readonly #base: string;
  readonly #watch: Loop;
  #ready = false;
  readonly cri: Cri;

  constructor(options: ContainerdOptions) {
    this.#o = options;
    this.#base = join(options.dir, 'c');
    if (Buffer.byteLength(this.socket) > SOCKET_LIMIT) throw new MeshError('invalid', `dir: ${options.dir} is too long for unix sockets; at most ${SOCKET_LIMIT - 9} bytes`, { fields: { path: 'dir' }, next: 'choose a shorter folder' });
    this.cri = connectCri(this.socket);
    this.#watch = new Loop({ name: 'containerd', log: options.log, firstRetryMs: 500, maxRetryMs: 10_000, run: (_, signal) => this.#keep(signal) });
  }

  get socket(): string {
    return join(this.#base, 'c.sock');
  }

  get isReady(): boolean {
    return this.#ready;
  }

  /** For looking into the mount namespace from outside: paths of containerd are under this folder. */
  rootPath(): string {
    const pid = this.#pid();
    if (pid === null) throw new MeshError('unavailable', 'containerd is not running');
    return `/proc/${pid}/root`;
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const d of ['root', 'state', 'opt', 'cni', 'certs.d', 'run', 'varlibcni', 'ns']) mkdirSync(join(this.#base, d), { recursive: true });
    writeFileSync(join(this.#base, 'config.toml'), containerdConfig(this.#o));
    await this.#launch(signal);
    await this.#watch.start(signal);
    this.#watch.trigger('containerd', 500);
  }

  /** Ends the watch; containerd and its pods go on. */
  async stop(): Promise<void> {
    await this.#watch.stop();
    this.cri.close();
  }

  async importImage(tar: string): Promise<void> {
    await run('nsenter', [`--mount=${this.#nsFile()}`, 'ctr', '-a', this.socket, '-n', 'k8s.io', 'images', 'import', '--snapshotter', 'overlayfs', tar]);
  }

  /** The version string, or throws when containerd does not answer. */
  async version(): Promise<string> {
    const v = await this.cri.call('Version', { version: 'v1' }, 2000);
    return `${v.runtime_name} ${v.runtime_version}, ${this.#o.runtime.name}`;
  }

  #pid(): number | null {
    return alivePid(join(this.#base, 'pid'), join(this.#base, 'config.toml'));
  }

  #nsFile(): string {
    return join(this.#base, 'ns', 'mnt');
  }

  async #launch(signal: AbortSignal): Promise<void> {
    if (this.#pid() === null) {
      await this.#namespace();
      startDetached(['nsenter', `--mount=${this.#nsFile()}`, 'containerd', '-c', join(this.#base, 'config.toml')], join(this.#base, 'pid'), join(this.#base, 'containerd.log'));
      this.#o.log.info('containerd started', { runtime: this.#o.runtime.name });
    } else this.#o.log.info('containerd adopted');
    const began = Date.now();
    for (;;) {
      signal.throwIfAborted();
      try {
        await this.version();
        this.#ready = true;
        return;
      } catch (error) {
        // Right after the start the process is between two programs and looks like none.
        const took = Date.now() - began;
        if (took > 15_000 || (took > 1000 && this.#pid() === null)) throw new MeshError('unavailable', `containerd does not answer on ${this.socket}: ${this.#lastWords()}`, { cause: error, next: `look at ${join(this.#base, 'containerd.log')}` });
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    }
  }

  #lastWords(): string {
    return readFileSync(join(this.#base, 'containerd.log'), 'utf8').trimEnd().split('\n').at(-1) ?? 'it wrote nothing';
  }

  /** A private mount namespace, pinned: /run/containerd and /var/lib/cni are the node's own, and crun does not see a hybrid cgroup tree. */
  async #namespace(): Promise<void> {
    const ns = join(this.#base, 'ns');
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
    if (mounts.includes(` ${ns}/mnt `) && statSync(this.#nsFile()).dev !== statSync(this.#base).dev) return;
    if (!mounts.includes(` ${ns} `)) {
      await run('mount', ['--bind', ns, ns]);
      await run('mount', ['--make-private', ns]);
    }
    writeFileSync(this.#nsFile(), '');
    // containerd copies /etc/hosts into each pod, and the smallest systems have none.
    const inside = `[ -e /etc/hosts ] || echo "127.0.0.1 localhost" > /etc/hosts; mkdir -p /run/containerd /var/lib/cni; mount --bind ${this.#base}/run /run/containerd; mount --bind ${this.#base}/varlibcni /var/lib/cni; mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; mount --make-rshared /; mount --make-rprivate /run/containerd`;
    const how = isRootMounted(mounts) ? ['--propagation', 'private', 'sh', '-c', inside] : ['--propagation', 'unchanged', 'sh', '-c', chrootedNamespace(inside)];
    await pinned(['unshare', `--mount=${this.#nsFile()}`, ...how]);
  }

  /** One look: starts containerd again if it ended. */
  async #keep(signal: AbortSignal): Promise<number> {
    if (this.#pid() !== null) return 500;
    this.#ready = false;
    this.#o.log.warn('containerd ended; starting it again');
    await this.#launch(signal);
    return 500;
  }
}

/**
 * A mount namespace can only be pinned in one with a smaller number. Kernels that hand out numbers in blocks per CPU (Linux 6.18) may give the new one
 * a smaller number than ours when ours is young itself, as in a container; another CPU's block has larger ones.
 */
async function pinned(command: readonly string[]): Promise<void> {
  const attempts = [[], ...cpus().map((_, cpu) => ['taskset', '-c', String(cpu)])];
  for (const [i, prefix] of attempts.entries()) {
    const [program = '', ...args] = [...prefix, ...command];
    try {
      await run(program, args);
      return;
    } catch (error) {
      if (i === attempts.length - 1 || !(error as Error).message.includes('Invalid argument')) throw error;
    }
  }
}

const isRootMounted = (mountinfo: string): boolean => mountinfo.split('\n').some((l) => l.split(' ')[4] === '/');

/**
 * In a chroot "/" is no mount point, so it has no propagation to set, container runtimes refuse it, and who enters the namespace later would
 * stand in the real root. Entering one's own namespace leads to its real root; our tree is mounted over that, and from there all is as usual.
 */
function chrootedNamespace(inside: string): string {
  return `nsenter --mount=/proc/self/ns/mnt -- mount --rbind /proc/$$/root / && exec nsenter --mount=/proc/self/ns/mnt -- sh -c 'mount --make-rprivate /; ${inside}'`;
}

/** Ends everything that runs under a node's folder and undoes its mounts and cgroups; its files stay. For leaving a node and for tests. */
export async function removeNode(dir: string, node: string): Promise<void> {
  const base = join(dir, 'c');
  const vms = join(dir, 'v');
  for (const uid of existsSync(vms) ? readdirSync(vms) : []) {
    await endMachine(join(vms, uid), 0);
    await removeTap(tapName(uid));
  }
  await endByPidFile(join(base, 'pid'), join(base, 'config.toml'), 3000);
  for (const shim of pidsWith(join(base, 'c.sock'))) {
    const children = readFileSync(`/proc/${shim}/task/${shim}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
    await endProcess(shim, 0);
    for (const child of children) await endProcess(child, 0);
  }
  const mounts = (): string[] => readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((l) => l.split(' ')[4] ?? '').filter((m) => m.startsWith(`${join(base, 'ns')}/`) || m === join(base, 'ns'));
  for (const m of mounts().reverse()) await run('umount', ['-l', m]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  removeCgroups(node);
}

