/** Interfaces of pods, made and found through `ip`; names are derived from what they stand for, so that a restart finds them again. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { execa } from 'execa';
import { MeshError } from '../../api/errors.ts';

/** The MAC of every pod's gateway; the twin of `gateway_mac` in `bpf/transit.bpf.c`. */
export const GATEWAY_MAC = '02:70:78:00:00:01';

export function hostInterface(vni: number, address: string): string {
  return `px${createHash('sha256').update(`${vni}/${address}`).digest('hex').slice(0, 11)}`;
}

/** null = there is no such interface in this network namespace. */
export async function deviceOf(name: string): Promise<{ readonly ifindex: number; readonly mtu: number } | null> {
  const { stdout, exitCode } = await execa('ip', ['-o', 'link', 'show', 'dev', name], { reject: false });
  const m = exitCode === 0 ? /^(\d+):.* mtu (\d+) /.exec(stdout) : null;
  return m === null ? null : { ifindex: Number(m[1]), mtu: Number(m[2]) };
}

/** Whether addresses are on the same network as `address` of an interface, so that no router is between. */
export function onLink(name: string, address: string): (other: string) => boolean {
  const own = networkInterfaces()[name]?.find((a) => a.address === address && a.family === 'IPv4')?.cidr;
  const bits = Number(own?.split('/')[1] ?? 32);
  const network = (a: string): number => Math.floor(Buffer.from(a.split('.').map(Number)).readUInt32BE(0) / 2 ** (32 - bits));
  return (other) => network(other) === network(address);
}

/** 0 = there is no such interface in this network namespace. */
export async function ifindexOf(name: string): Promise<number> {
  return (await deviceOf(name))?.ifindex ?? 0;
}

/** All interfaces by index. `/sys/class/net` would show another namespace's. */
export async function interfaces(): Promise<ReadonlyMap<number, string>> {
  const { stdout } = await execa('ip', ['-o', 'link', 'show']);
  return new Map(stdout.split('\n').flatMap((line): [number, string][] => {
    const m = /^(\d+): ([^:@]+)/.exec(line);
    return m === null ? [] : [[Number(m[1]), m[2] ?? '']];
  }));
}

async function ip(args: readonly string[]): Promise<void> {
  const { exitCode, stderr } = await execa('ip', args, { reject: false });
  if (exitCode !== 0) throw new MeshError('io', `ip ${args.join(' ')}: ${stderr.trim()}`);
}

export interface PodLink {
  readonly host: string;
  readonly podNetns: string;
  readonly ifName: string;
  readonly address: string;
  readonly mac: string;
  readonly mtu: number;
  readonly gateway: string;
}

/** A veth pair, one end in the pod; the pod's address stands alone (/32) with its gateway on the link, where BPF answers for it. */
export async function ensureVeth(l: PodLink): Promise<number> {
  if (!existsSync(l.podNetns)) throw new MeshError('not-found', `pod network namespace ${l.podNetns} does not exist`);
  if ((await ifindexOf(l.host)) !== 0 && !(await hasInterface(l.podNetns, l.ifName))) await ip(['link', 'delete', l.host]); // its other end went with an earlier sandbox
  if ((await ifindexOf(l.host)) === 0) {
    await ip(['link', 'add', 'name', l.host, 'address', GATEWAY_MAC, 'mtu', String(l.mtu), 'type', 'veth', 'peer', 'name', l.ifName, 'address', l.mac, 'mtu', String(l.mtu), 'netns', l.podNetns]);
  }
  await ip(['link', 'set', 'dev', l.host, 'up']);
  const inside = [
    `ip link set dev ${l.ifName} up`,
    `ip addr replace ${l.address}/32 dev ${l.ifName}`,
    `ip route replace ${l.gateway}/32 dev ${l.ifName} scope link`,
    `ip route replace default via ${l.gateway} dev ${l.ifName} src ${l.address}`,
  ].join(' && ');
  const { exitCode, stderr } = await execa('nsenter', [`--net=${l.podNetns}`, '--', 'sh', '-c', inside], { reject: false });
  if (exitCode !== 0) throw new MeshError('io', `pod interface ${l.ifName}: ${stderr.trim()}`);
  return ifindexOf(l.host);
}

async function hasInterface(netns: string, name: string): Promise<boolean> {
  const { exitCode } = await execa('nsenter', [`--net=${netns}`, '--', 'ip', 'link', 'show', 'dev', name], { reject: false });
  return exitCode === 0;
}

export async function ensureTap(name: string, mtu: number): Promise<number> {
  const index = await ifindexOf(name);
  if (index === 0) throw new MeshError('not-found', `tap ${name} does not exist in this network namespace`);
  await ip(['link', 'set', 'dev', name, 'mtu', String(mtu), 'up']);
  return index;
}

export async function removeLink(name: string): Promise<void> {
  if ((await ifindexOf(name)) !== 0) await ip(['link', 'delete', 'dev', name]);
}

/** Network namespaces of this machine that a process or a name keeps alive, by inode number. */
export function liveNetns(): ReadonlySet<string> {
  const attempt = (read: () => string | undefined): readonly string[] => {
    try {
      return [read() ?? ''];
    } catch {
      return []; // it ended since it was listed
    }
  };
  const processes = readdirSync('/proc').filter((p) => /^\d+$/.test(p));
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  return new Set([...processes.flatMap((p) => attempt(() => /\d+/.exec(readlinkSync(`/proc/${p}/ns/net`))?.[0])), ...names.flatMap((n) => attempt(() => String(statSync(`/run/netns/${n}`).ino)))]);
}

export function isMounted(type: string, at: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8').split('\n').some((l) => {
    const [, where, kind] = l.split(' ');
    return kind === type && where === at;
  });
}
