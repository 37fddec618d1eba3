/**
 * `proxima doctor`: can this machine be a node? Every check tries the thing itself where that leaves nothing behind (in a throw-away
 * namespace), and a failed one says what to do.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, statfsSync } from 'node:fs';
import { createSocket } from 'node:dgram';
import { request } from 'node:https';
import { connect, createServer } from 'node:net';
import { release } from 'node:os';
import type { ErrorKind } from '../../api/errors.ts';
import { splitHostPort } from '../../certs/https.ts';
import { detectRuntime } from '../agent/containerd.ts';
import { run } from '../agent/exec.ts';
import { findQemu } from '../agent/vm/template.ts';

export interface CheckRow {
  readonly check: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do; '' when it is well. */
  readonly fix: string;
  /** Not fatal: the node works without it, less well. */
  readonly optional: boolean;
  /** What kind of error a failure is, for the exit code. */
  readonly kind: ErrorKind;
}

export interface DoctorOptions {
  readonly dir: string;
  /** host:port of the cloud gateway's enrolment service, and of its mux server where known. */
  readonly gateways?: readonly string[];
  /** Ports that the node will listen on. */
  readonly tcpPorts?: readonly number[];
  readonly udpPorts?: readonly number[];
  /** Tries to load and attach the data plane's programs; gives what was found, or throws. */
  readonly tryDataPlane?: () => Promise<string>;
}

const MAX_SKEW_MS = 60_000;
const MIN_FREE_MIB = 1024;
const CAPABILITIES = { NET_ADMIN: 12, NET_RAW: 13, SYS_ADMIN: 21, SYS_PTRACE: 19, PERFMON: 38, BPF: 39 } as const;

type Found = { readonly ok: boolean; readonly detail: string };
interface Check {
  readonly check: string;
  readonly fix: string;
  readonly kind: ErrorKind;
  readonly optional?: boolean;
  readonly look: () => Promise<Found> | Found;
}

const yes = (detail: string): Found => ({ ok: true, detail });
const no = (detail: string): Found => ({ ok: false, detail });
const inNetns = (script: string): Promise<string> => run('unshare', ['--net', 'sh', '-ec', script], { timeoutMs: 10_000 });
const install = (p: string): string => `apt-get install --no-install-recommends ${p}`;

export async function doctor(options: DoctorOptions): Promise<readonly CheckRow[]> {
  const rows: CheckRow[] = [];
  for (const c of [...kernelChecks(options), ...runtimeChecks(), ...machineChecks(options), ...gatewayChecks(options)]) {
    const found = await (async () => c.look())().catch((error: Error) => no(error.message));
    rows.push({ check: c.check, ok: found.ok, detail: found.detail, fix: found.ok ? '' : c.fix, optional: c.optional === true, kind: c.kind });
  }
  return rows;
}

function kernelChecks(o: DoctorOptions): readonly Check[] {
  const unsupported: ErrorKind = 'missing-capability';
  return [
    { check: 'capabilities', kind: unsupported, fix: 'run as root (sudo), outside of a container or with these capabilities', look: capabilities },
    { check: 'kernel', kind: unsupported, fix: 'a kernel of 6.6 or later is needed (tcx): on Debian 12 install linux-image-amd64 from bookworm-backports', look: kernelVersion },
    { check: 'BPF type information', kind: unsupported, fix: 'use a kernel with CONFIG_DEBUG_INFO_BTF', look: () => (existsSync('/sys/kernel/btf/vmlinux') ? yes('/sys/kernel/btf/vmlinux') : no('/sys/kernel/btf/vmlinux is missing')) },
    ...(o.tryDataPlane === undefined ? [] : [{ check: 'BPF, XDP, tcx', kind: unsupported, fix: 'use a kernel with CONFIG_BPF_SYSCALL, CONFIG_XDP_SOCKETS and CONFIG_NET_CLS_ACT', look: async (): Promise<Found> => yes((await o.tryDataPlane?.()) ?? '') }]),
    { check: 'veth', kind: unsupported, fix: 'modprobe veth', look: () => inNetns('ip link add pxd0 type veth peer name pxd1').then(() => yes('a pair can be made')) },
    { check: 'tun', kind: unsupported, optional: true, fix: 'modprobe tun (VM pods need it)', look: () => inNetns('ip tuntap add pxd0 mode tap vnet_hdr').then(() => yes('a tap can be made')) },
    { check: 'WireGuard', kind: unsupported, fix: install('wireguard-go wireguard-tools'), look: wireguard },
    { check: 'overlayfs', kind: unsupported, fix: 'modprobe overlay', look: () => run('unshare', ['--mount', '--propagation', 'unchanged', 'sh', '-ec', 'mount --make-rprivate / 2>/dev/null || true; mount -t tmpfs t /mnt; cd /mnt; mkdir l u w m; mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m; cd /; umount /mnt/m /mnt']).then(() => yes('can be mounted')) },
    { check: 'cgroups', kind: unsupported, fix: 'mount the cgroup file system with the controllers cpu, memory and pids', look: cgroups },
  ];
}

function runtimeChecks(): readonly Check[] {
  return [
    { check: 'containerd', kind: 'missing-file', fix: install('containerd'), look: () => run('containerd', ['--version']).then((v) => yes(v.trim())) },
    { check: 'crun or runc', kind: 'missing-file', fix: install('crun'), look: async () => detectRuntime().then((r) => (r === null ? no('neither is there') : yes(r.path))) },
    { check: 'QEMU', kind: 'missing-file', optional: true, fix: `${install('qemu-system-x86')} (VM pods need it)`, look: async () => findQemu().then((q) => (q === null ? no('not installed') : yes(`${q.version}${existsSync('/dev/kvm') ? ', /dev/kvm is there' : ', emulation'}`))) },
    { check: 'ip', kind: 'missing-file', fix: install('iproute2'), look: () => run('ip', ['-V']).then((v) => yes(v.trim())) },
    { check: 'busybox', kind: 'missing-file', fix: install('busybox-static'), look: () => run('busybox', ['true']).then(() => yes('readiness probes can run')) },
  ];
}

function machineChecks(o: DoctorOptions): readonly Check[] {
  return [
    { check: 'disk', kind: 'disk-full', fix: `free at least ${MIN_FREE_MIB} MiB on the file system of ${o.dir}, or choose another folder`, look: () => disk(o.dir) },
    ...(o.tcpPorts ?? []).map((port): Check => ({ check: `TCP port ${port}`, kind: 'port-in-use', fix: `see who has it: ss -ltnp 'sport = :${port}'`, look: () => tcpFree(port) })),
    ...(o.udpPorts ?? []).map((port): Check => ({ check: `UDP port ${port}`, kind: 'port-in-use', fix: `see who has it: ss -lunp 'sport = :${port}'`, look: () => udpFree(port) })),
  ];
}

function gatewayChecks(o: DoctorOptions): readonly Check[] {
  const [first] = o.gateways ?? [];
  const reach = (o.gateways ?? []).map((gateway): Check => {
    const { host, port } = splitHostPort(gateway);
    return { check: `gateway ${gateway}`, kind: 'unavailable', fix: `let this machine out to TCP port ${port} of ${host}: a firewall, proxy or missing route is in the way`, look: () => reachable(host, port) };
  });
  if (first === undefined) return reach;
  return [...reach, { check: 'clock', kind: 'clock-skew', fix: 'set the clock: timedatectl set-ntp true, or date -s', look: () => clock(first) }];
}

function capabilities(): Found {
  const effective = BigInt(`0x${/^CapEff:\s+([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  const missing = Object.entries(CAPABILITIES).filter(([, bit]) => ((effective >> BigInt(bit)) & 1n) === 0n).map(([name]) => `CAP_${name}`);
  return missing.length === 0 ? yes('all that are needed') : no(`missing ${missing.join(', ')}`);
}

function kernelVersion(): Found {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return { ok: major > 6 || (major === 6 && minor >= 6), detail: release() };
}

async function wireguard(): Promise<Found> {
  const kernel = await inNetns('ip link add pxd0 type wireguard').then(() => true, () => false);
  const has = (program: string): Promise<boolean> => run('sh', ['-c', `command -v ${program}`]).then(() => true, () => false);
  if (!(await has('wg'))) return no('wg is not installed');
  if (kernel) return yes('in the kernel');
  return (await has('wireguard-go')) ? yes('wireguard-go (the kernel has none)') : no('neither in the kernel nor wireguard-go');
}

function cgroups(): Found {
  const v2 = existsSync('/sys/fs/cgroup/cgroup.controllers') ? readFileSync('/sys/fs/cgroup/cgroup.controllers', 'utf8').trim().split(' ') : null;
  const found = v2 ?? (existsSync('/sys/fs/cgroup') ? readdirSync('/sys/fs/cgroup').flatMap((d) => d.split(',')) : []);
  const missing = ['cpu', 'memory', 'pids'].filter((c) => !found.includes(c));
  return missing.length === 0 ? yes(v2 === null ? 'version 1' : 'version 2') : no(`without ${missing.join(', ')}`);
}

function disk(dir: string): Found {
  mkdirSync(dir, { recursive: true });
  const { bavail, bsize } = statfsSync(dir);
  const free = Math.floor((bavail * bsize) / 2 ** 20);
  return { ok: free >= MIN_FREE_MIB, detail: `${free} MiB free in ${dir}` };
}

function tcpFree(port: number): Promise<Found> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(no(error.code === 'EADDRINUSE' ? 'in use' : error.message)));
    server.listen(port, () => server.close(() => resolve(yes('free'))));
  });
}

function udpFree(port: number): Promise<Found> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(no(error.code === 'EADDRINUSE' ? 'in use' : error.message)));
    socket.bind(port, () => socket.close(() => resolve(yes('free'))));
  });
}

function reachable(host: string, port: number): Promise<Found> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 5000 });
    const done = (found: Found): void => {
      socket.destroy();
      resolve(found);
    };
    socket.once('connect', () => done(yes('answers')));
    socket.once('timeout', () => done(no('no answer within 5 s')));
    socket.once('error', (error: NodeJS.ErrnoException) => done(no(error.code === 'ECONNREFUSED' ? 'refused: nothing listens there' : error.message)));
  });
}

/** Only the time is taken from this answer, so that it is not yet checked who gives it; joining checks that against the token's pin. */
function clock(gateway: string): Promise<Found> {
  const { host, port } = splitHostPort(gateway);
  return new Promise((resolve) => {
    const began = Date.now();
    const ask = request({ host, port, path: '/trust', rejectUnauthorized: false, agent: false, timeout: 5000 }, (answer) => {
      answer.resume();
      const theirs = Date.parse(answer.headers.date ?? '');
      const skew = (began + Date.now()) / 2 - theirs;
      if (Number.isNaN(skew)) return resolve(no('the gateway does not tell its time'));
      resolve({ ok: Math.abs(skew) <= MAX_SKEW_MS, detail: Math.abs(skew) < 1500 ? 'agrees with the gateway' : `${Math.abs(Math.round(skew / 1000))} s ${skew > 0 ? 'ahead of' : 'behind'} the gateway` });
    });
    ask.on('timeout', () => ask.destroy(new Error('no answer within 5 s')));
    ask.on('error', (error) => resolve(no(`cannot be compared: ${error.message}`)));
    ask.end();
  });
}
