/** The WAN process of a lab: built on first use, fed with the links that have a delay, loss or rate, spoken to over its control socket. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { execa } from 'execa';
import { MeshError } from '../api/errors.ts';
import type { WanLink, WanProcess } from './lab.ts';
import type { Impairment } from './model.ts';

const [source, ...included] = ['wan.c', 'link.h'].map((f) => join(import.meta.dirname, 'wan', f)) as [string, string];

async function build(stateDir: string): Promise<string> {
  const binary = join(stateDir, 'wan');
  if (existsSync(binary) && [source, ...included].every((f) => statSync(binary).mtimeMs >= statSync(f).mtimeMs)) return binary;
  mkdirSync(stateDir, { recursive: true });
  const compiler = (await execa('sh', ['-c', 'command -v clang || command -v cc'], { reject: false })).stdout.trim();
  if (compiler === '') throw new MeshError('missing-file', 'no C compiler for the WAN emulator', { next: 'apt-get install --no-install-recommends clang libc6-dev' });
  await execa(compiler, ['-O2', '-o', `${binary}.new`, source]);
  await execa('mv', [`${binary}.new`, binary]);
  return binary;
}

export async function startWan(stateDir: string, lab: string, links: readonly WanLink[]): Promise<WanProcess> {
  const binary = await build(stateDir);
  const socket = join(stateDir, `${lab}.wan.sock`);
  if (socket.length > 100) throw new MeshError('invalid', `the state folder's path is too long for a socket: ${socket}`, { next: 'set PROXIMA_STATE to a shorter path' });
  const log = openSync(join(stateDir, `${lab}.wan.log`), 'w');
  const child = spawn(binary, [socket], { stdio: ['pipe', 'pipe', log], detached: true }) as unknown as ChildProcessByStdio<Writable, Readable, null>;
  closeSync(log);
  const ready = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', () => resolve());
    child.once('error', reject);
    child.once('exit', (code) => reject(new MeshError('io', `the WAN emulator ended with ${code}: ${readFileSync(join(stateDir, `${lab}.wan.log`), 'utf8').trim()}`)));
  });
  const line = (l: WanLink): string => {
    const [a, b] = l.ends;
    const i = l.impairment;
    return `${l.id} ${a.netns} ${a.interface} ${b.netns} ${b.interface} ${i.delayUs} ${i.jitterUs} ${i.lossPpm} ${i.rateKbit} ${l.up ? 1 : 0}\n`;
  };
  // A process that ends early is reported by its exit, not by the broken pipe.
  child.stdin.on('error', () => undefined);
  child.stdin.end(`${links.map(line).join('')}\n`);
  await ready;
  child.removeAllListeners('exit');
  child.stdout.destroy();
  child.unref();
  const pid = child.pid ?? 0;
  return { pid, startTime: startTimeOf(pid) ?? '', socket };
}

/** Field 22 of /proc/PID/stat; null when there is no such process. */
export function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : (fields[19] ?? null);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ESRCH') return null;
    throw error;
  }
}

export function isWanAlive(wan: WanProcess): boolean {
  return startTimeOf(wan.pid) === wan.startTime;
}

export async function stopWan(wan: WanProcess): Promise<void> {
  if (!isWanAlive(wan)) return;
  process.kill(wan.pid, 'SIGKILL');
  for (let i = 0; i < 100 && isWanAlive(wan); i++) await new Promise((r) => setTimeout(r, 10));
}

export type LinkChange = { readonly up: boolean } | Impairment;

export async function tellWan(wan: WanProcess, id: string, change: LinkChange): Promise<void> {
  const command = 'up' in change ? `${change.up ? 'up' : 'down'} ${id}` : `set ${id} ${change.delayUs} ${change.jitterUs} ${change.lossPpm} ${change.rateKbit}`;
  await ask(wan, id, command);
}

export interface LinkCounters {
  /** Frames that arrived at the second end of the link, and at the first. */
  readonly delivered: readonly [number, number];
  /** Frames that did not, by loss, a cut or a full queue. */
  readonly dropped: readonly [number, number];
}

export async function countersOf(wan: WanProcess, id: string): Promise<LinkCounters> {
  const [toSecond = 0, lostToSecond = 0, toFirst = 0, lostToFirst = 0] = (await ask(wan, id, `count ${id}`)).split(' ').map(Number);
  return { delivered: [toSecond, toFirst], dropped: [lostToSecond, lostToFirst] };
}

async function ask(wan: WanProcess, id: string, command: string): Promise<string> {
  if (!isWanAlive(wan)) throw new MeshError('unavailable', 'the WAN emulator of this lab is gone', { next: 'proxima topology deploy FILE' });
  // Node speaks no UNIX datagrams, so the emulator's binary is its own client.
  const binary = wan.socket.replace(/[^/]+$/, 'wan');
  const { stdout } = await execa(binary, ['--tell', wan.socket, command], { reject: false });
  if (!/^ok\b/.test(stdout)) throw new MeshError('invalid', `link ${id}: ${stdout.trim() || 'no answer from the WAN emulator'}`);
  return stdout.trim().slice(3);
}
