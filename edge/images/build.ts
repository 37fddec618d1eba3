/**
 * Makes the demo's images from Debian packages: container images (busybox web server, pause) as OCI archives and one VM image (the
 * cloud kernel, an initramfs of busybox, virtio drivers and guest.c). What is there and fits its inputs is not made again.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../api/errors.ts';
import { run } from '../agent/exec.ts';
import { cpio, tar, type Entry } from './archive.ts';

export interface Images {
  /** OCI archives to import into each node's containerd. */
  readonly containers: readonly { readonly name: string; readonly tar: string }[];
  /** Folder of VM images: `<name>/vmlinux`, `<name>/initrd`. */
  readonly vmDir: string;
}

export interface BuildOptions {
  readonly onProgress?: (what: string) => void;
  /** Without VM image. @default false */
  readonly containersOnly?: boolean;
}

export const WEB_IMAGE = 'localhost/proxima-web:1';
export const PAUSE_IMAGE = 'localhost/proxima-pause:1';
export const VM_IMAGE = 'proxima-vm';

/** The guest's one process. */
const GUEST = ['guest.c', 'serve.c', 'network.c', 'guest.h'] as const;

/** In the order in which they depend on each other. */
const MODULES = ['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci', 'virtio_console', 'failover', 'net_failover', 'virtio_net'];

/** Sent packets are let go of when the next one goes, not at an interrupt for each: the guest is woken for requests only. */
const MODULE_OPTIONS: Readonly<Record<string, string>> = { virtio_net: 'napi_tx=0' };

export async function buildImages(dir: string, options: BuildOptions = {}): Promise<Images> {
  mkdirSync(dir, { recursive: true });
  const busybox = readBusybox();
  const applets = (await run('busybox', ['--list'])).trim().split('\n');
  const images = [
    { name: WEB_IMAGE, tar: join(dir, 'web.tar'), extra: [{ path: 'web', mode: 0o755, kind: 'file', content: readFileSync(join(import.meta.dirname, 'web.sh')) }] satisfies Entry[], command: ['/web'] },
    { name: PAUSE_IMAGE, tar: join(dir, 'pause.tar'), extra: [], command: ['/bin/sleep', '2147483647'] },
  ];
  for (const image of images) {
    const entries = image.name === PAUSE_IMAGE ? rootfs(busybox, ['sleep']) : [...rootfs(busybox, applets), ...image.extra];
    await once(image.tar, digestOf([Buffer.from(JSON.stringify([2, image.name, image.command])), ...entries.map((e) => e.content ?? Buffer.alloc(0))]), () => {
      options.onProgress?.(`container image ${image.name}`);
      return Promise.resolve(ociArchive(image.name, entries, image.command));
    });
  }
  const vmDir = join(dir, 'vm');
  if (options.containersOnly !== true) await buildVm(join(vmDir, VM_IMAGE), busybox, applets, options);
  return { containers: images.map(({ name, tar: file }) => ({ name, tar: file })), vmDir };
}

function readBusybox(): Buffer {
  for (const path of ['/usr/bin/busybox', '/bin/busybox']) if (existsSync(path)) return readFileSync(path);
  throw new MeshError('missing-file', 'no busybox on this machine', { next: 'apt-get install --no-install-recommends busybox-static' });
}

function rootfs(busybox: Buffer, applets: readonly string[]): Entry[] {
  const dirs = ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp'].map((path): Entry => ({ path, mode: path === 'tmp' ? 0o1777 : 0o755, kind: 'dir' }));
  const links = applets.filter((a) => a !== 'busybox').map((a): Entry => ({ path: `bin/${a}`, mode: 0o777, kind: 'link', target: 'busybox' }));
  return [...dirs, { path: 'bin/busybox', mode: 0o755, kind: 'file', content: busybox }, ...links];
}

function ociArchive(name: string, entries: readonly Entry[], command: readonly string[]): Buffer {
  const sha = (b: Buffer): string => createHash('sha256').update(b).digest('hex');
  const json = (v: unknown): Buffer => Buffer.from(JSON.stringify(v));
  const layer = tar(entries);
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const config = json({ architecture, os: 'linux', config: { Env: ['PATH=/bin'], Cmd: command }, rootfs: { type: 'layers', diff_ids: [`sha256:${sha(layer)}`] } });
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: `sha256:${sha(config)}`, size: config.length },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: `sha256:${sha(layer)}`, size: layer.length }],
  });
  const index = json({
    schemaVersion: 2,
    manifests: [{ mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: `sha256:${sha(manifest)}`, size: manifest.length, annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name.split(':').at(-1) } }],
  });
  const blob = (content: Buffer): Entry => ({ path: `blobs/sha256/${sha(content)}`, mode: 0o644, kind: 'file', content });
  return tar([{ path: 'oci-layout', mode: 0o644, kind: 'file', content: json({ imageLayoutVersion: '1.0.0' }) }, { path: 'index.json', mode: 0o644, kind: 'file', content: index }, blob(manifest), blob(config), blob(layer)]);
}

async function buildVm(dir: string, busybox: Buffer, applets: readonly string[], options: BuildOptions): Promise<void> {
  mkdirSync(dir, { recursive: true });
  const init = readFileSync(join(import.meta.dirname, 'guest-init.sh'));
  const kernel = await cloudKernel();
  const key = digestOf([init, ...GUEST.map((f) => readFileSync(join(import.meta.dirname, f))), busybox, Buffer.from(JSON.stringify([kernel, MODULES, MODULE_OPTIONS]))]);
  if (existsSync(join(dir, 'vmlinux')) && existsSync(join(dir, 'initrd')) && readStamp(join(dir, 'initrd')) === key) return;
  const work = mkdtempSync(join(dir, '.work-'));
  try {
    options.onProgress?.(`VM image ${VM_IMAGE}: fetching ${kernel}`);
    await run('apt-get', ['download', '-q', '-o', 'APT::Sandbox::User=root', kernel], { cwd: work, timeoutMs: 300_000 }).catch((cause: unknown) => {
      throw new MeshError('unavailable', `cannot fetch ${kernel}: ${(cause as Error).message}`, { cause, next: 'check the network and /etc/apt/sources.list; behind a proxy set https_proxy and http_proxy' });
    });
    const deb = readdirSync(work).find((f) => f.endsWith('.deb')) ?? '';
    await run('dpkg-deb', ['-x', join(work, deb), join(work, 'root')]);
    options.onProgress?.(`VM image ${VM_IMAGE}: unpacking the kernel`);
    await vmlinux(work, join(dir, 'vmlinux'));
    const drivers = await modules(join(work, 'root'));
    const entries: Entry[] = [
      ...rootfs(busybox, applets),
      { path: 'dev/console', mode: 0o600, kind: 'char', device: [5, 1] },
      { path: 'modules', mode: 0o755, kind: 'dir' },
      { path: 'modules/order', mode: 0o644, kind: 'file', content: Buffer.from(drivers.map((d) => `${d.name} ${MODULE_OPTIONS[d.name] ?? ''}\n`).join('')) },
      ...drivers.map((d): Entry => ({ path: `modules/${d.name}.ko`, mode: 0o644, kind: 'file', content: d.content })),
      { path: 'bin/guest', mode: 0o755, kind: 'file', content: await compileGuest(work) },
      { path: 'init', mode: 0o755, kind: 'file', content: init },
    ];
    await once(join(dir, 'initrd'), key, () => Promise.resolve(cpio(entries)));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** For this machine's architecture; `work` is a folder for the compiler. */
export async function compileGuest(work: string): Promise<Buffer> {
  const compiler = (await run('sh', ['-c', 'command -v clang || command -v cc || true'])).trim();
  if (compiler === '') throw new MeshError('missing-file', "no C compiler for the VM image", { next: 'apt-get install --no-install-recommends clang libc6-dev' });
  const sources = GUEST.filter((f) => f.endsWith('.c')).map((f) => join(import.meta.dirname, f));
  await run(compiler, ['-O2', '-static', '-s', '-o', join(work, 'guest.bin'), ...sources]);
  return readFileSync(join(work, 'guest.bin'));
}

/** The newest cloud kernel of the release, by its meta package. */
async function cloudKernel(): Promise<string> {
  const meta = `linux-image-cloud-${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const ask = async (): Promise<string | undefined> => /Depends: (linux-image-\S+)/.exec(await run('apt-cache', ['depends', meta]))?.[1];
  let found = await ask().catch(() => undefined); // an empty package list is filled once, below
  if (found === undefined) {
    await run('apt-get', ['update', '-q'], { timeoutMs: 120_000 });
    found = await ask();
  }
  if (found === undefined) throw new MeshError('not-found', `apt knows no package ${meta}`, { next: 'apt-get update, and look at /etc/apt/sources.list' });
  return found;
}

/** An uncompressed kernel starts without the decompressor, which is slow under emulation. The payload's place is in the boot header. */
async function vmlinux(work: string, out: string): Promise<void> {
  const boot = join(work, 'root', 'boot');
  const image = readFileSync(join(boot, readdirSync(boot).find((f) => f.startsWith('vmlinuz-')) ?? ''));
  const start = (image.readUInt8(0x1f1) + 1) * 512 + image.readUInt32LE(0x248);
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4); // its last four bytes are the unpacked length
  if (payload.readUInt32LE(0) !== 0x184c2102) throw new MeshError('unsupported', 'the kernel is not LZ4 compressed');
  writeFileSync(join(work, 'payload.lz4'), payload);
  await run('lz4', ['-dfq', join(work, 'payload.lz4'), join(work, 'vmlinux')]);
  renameSync(join(work, 'vmlinux'), out);
}

async function modules(root: string): Promise<readonly { name: string; content: Buffer }[]> {
  const files = readdirSync(join(root, 'lib', 'modules'), { recursive: true, encoding: 'utf8' });
  const found: { name: string; content: Buffer }[] = [];
  for (const name of MODULES) {
    const file = files.find((f) => f.endsWith(`/${name}.ko`) || f.endsWith(`/${name}.ko.xz`));
    if (file === undefined) continue; // built into this kernel
    const path = join(root, 'lib', 'modules', file);
    if (file.endsWith('.xz')) await run('xz', ['-d', path]);
    found.push({ name, content: readFileSync(path.replace(/\.xz$/, '')) });
  }
  return found;
}

function digestOf(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const p of parts) hash.update(String(p.length)).update(p);
  return hash.digest('hex');
}

function readStamp(file: string): string | null {
  return existsSync(`${file}.key`) ? readFileSync(`${file}.key`, 'utf8') : null;
}

/** Writes `file` unless it was made from the same inputs; a stop half-way leaves no half file. */
async function once(file: string, key: string, make: () => Promise<Buffer>): Promise<void> {
  if (existsSync(file) && readStamp(file) === key) return;
  writeFileSync(`${file}.tmp`, await make());
  renameSync(`${file}.tmp`, file);
  writeFileSync(`${file}.key`, key);
}
