/** The parts of this machine that a local region uses: its daemons, its ports, one pair of virtual interfaces. Nothing else is changed. */
import { createServer } from 'node:net';
import { MeshError } from '../../api/errors.ts';
import { run } from '../../edge/agent/exec.ts';
import { endProcess, pidsWith, startDetached } from '../../edge/agent/proc.ts';
import { daemonArgv, daemonEnv } from '../daemon-command.ts';
import type { Daemon, Paths, Settings } from './settings.ts';

/** By its command line, not by its pid file: a lost file must not hide a daemon. */
export function isRunning(paths: Paths, daemon: Daemon): boolean {
  return pidsWith(paths.config(daemon)).length > 0;
}

export async function endDaemon(configFile: string, graceMs: number): Promise<void> {
  for (const pid of pidsWith(configFile)) await endProcess(pid, graceMs);
}

/** `env` gives way to node at once, so that the pid is the daemon's. */
export function startDaemon(paths: Paths, daemon: Daemon): void {
  const settings = Object.entries(daemonEnv(paths.dir)).map(([name, value]) => `${name}=${value}`);
  startDetached(['env', ...settings, ...daemonArgv(daemon, paths.config(daemon))], paths.pid(daemon), paths.log(daemon));
}

async function holderOf(port: number): Promise<string> {
  const listed = await run('ss', ['-ltnpH', `sport = :${port}`]).catch(() => ''); // without ss the holder stays unknown
  const found = /\("([^"]+)",pid=(\d+)/.exec(listed);
  return found === null ? '' : ` by ${found[1]} (pid ${found[2]})`;
}

export function portFree(option: string, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EADDRINUSE') return reject(new MeshError('invalid', `${option}: cannot listen on ${address}:${port}: ${cause.message}`, { fields: { path: option }, cause }));
      void holderOf(port).then((who) => reject(new MeshError('port-in-use', `TCP port ${port} of ${address} is in use${who}`, { fields: { path: option }, cause, next: `choose another: sudo ./proxima up ${option} PORT` })));
    });
    server.listen(port, address, () => server.close(() => resolve()));
  });
}

const alias = (paths: Paths): string => `proxima up ${paths.dir}`;
const peerOf = (name: string): string => `${name}p`;

interface Link {
  readonly ifname: string;
  readonly ifalias?: string;
  readonly addr_info?: readonly { readonly local?: string }[];
}

async function linkOf(name: string): Promise<Link | null> {
  const ask = async (what: 'link' | 'addr'): Promise<Link | undefined> => (JSON.parse(await run('ip', ['-j', what, 'show'])) as readonly Link[]).find((l) => l.ifname === name);
  const link = await ask('link'); // only this one tells the alias, only the other one the addresses
  return link === undefined ? null : { ...link, ...(await ask('addr')) };
}

/** Makes the node's interface, or takes one of the machine as it is: then it must have the address. Only what was made here is marked as ours. */
export async function ensureInterface(paths: Paths, s: Settings): Promise<void> {
  const there = await linkOf(s.interface);
  if (there !== null && there.ifalias !== alias(paths)) {
    const other = /^proxima up (.+)$/.exec(there.ifalias ?? '')?.[1];
    if (other !== undefined) throw new MeshError('already-exists', `interface ${s.interface} belongs to the region in ${other}`, { next: `sudo ./proxima down --dir ${other}, or up with another --interface and --address` });
    if (there.addr_info?.some((a) => a.local === s.address) !== true) throw new MeshError('invalid', `--address: interface ${s.interface} does not have ${s.address}`, { fields: { path: '--address' }, next: 'ip -br addr shows what there is' });
    return;
  }
  const peer = peerOf(s.interface);
  if (there === null) {
    // No automatic IPv6 address: the interface then says nothing of its own.
    await run('ip', ['link', 'add', s.interface, 'type', 'veth', 'peer', 'name', peer]);
    await run('ip', ['link', 'set', s.interface, 'alias', alias(paths), 'addrgenmode', 'none']);
    await run('ip', ['link', 'set', peer, 'addrgenmode', 'none']);
  }
  if (there?.addr_info?.some((a) => a.local === s.address) !== true) await run('ip', ['addr', 'add', `${s.address}/32`, 'dev', s.interface]);
  for (const name of [peer, s.interface]) await run('ip', ['link', 'set', name, 'up']);
}

/** True when there was one of ours. */
export async function removeInterface(paths: Paths, s: Settings): Promise<boolean> {
  if ((await linkOf(s.interface))?.ifalias !== alias(paths)) return false;
  await run('ip', ['link', 'del', s.interface]);
  return true;
}

export async function hasInterface(name: string): Promise<boolean> {
  return (await linkOf(name)) !== null;
}
