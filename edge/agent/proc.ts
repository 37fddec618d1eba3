/** Processes that outlive the agent: started detached, found again by pid file, believed only when the command line still fits. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { MeshError } from '../../api/errors.ts';

/** The arguments of a running process; null when there is none (or only a zombie). */
export function commandLineOf(pid: number): readonly string[] | null {
  try {
    const raw = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return raw === '' ? null : raw.split('\0').slice(0, -1);
  } catch {
    return null; // gone between two looks
  }
}

/** The pid in `pidFile` if that process still runs and `mark` is one of its arguments. */
export function alivePid(pidFile: string, mark: string): number | null {
  let pid: number;
  try {
    pid = Number(readFileSync(pidFile, 'utf8'));
  } catch {
    return null; // never started, or cleaned away
  }
  return Number.isInteger(pid) && pid > 1 && commandLineOf(pid)?.includes(mark) === true ? pid : null;
}

export function startDetached(argv: readonly string[], pidFile: string, logFile: string): number {
  const log = openSync(logFile, 'a');
  const [command = '', ...args] = argv;
  const child = spawn(command, args, { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  child.on('error', () => undefined); // reported below: there is no pid
  if (child.pid === undefined) throw new MeshError('io', `${command} did not start`, { next: `look at ${logFile}` });
  child.unref();
  writeFileSync(pidFile, String(child.pid));
  return child.pid;
}

export function pidsWith(mark: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && commandLineOf(pid)?.includes(mark) === true);
}

/** SIGTERM, then SIGKILL after `graceMs`; resolves when the process is gone. */
export async function endProcess(pid: number, graceMs: number): Promise<void> {
  const send = (signal: NodeJS.Signals): void => {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  send(graceMs > 0 ? 'SIGTERM' : 'SIGKILL');
  const killAt = Date.now() + graceMs;
  let killed = graceMs <= 0;
  while (commandLineOf(pid) !== null) {
    if (!killed && Date.now() >= killAt) {
      killed = true;
      send('SIGKILL');
    }
    if (Date.now() > killAt + 10_000) throw new MeshError('timeout', `process ${pid} does not end`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function endByPidFile(pidFile: string, mark: string, graceMs: number): Promise<void> {
  const pid = alivePid(pidFile, mark);
  if (pid !== null) await endProcess(pid, graceMs);
  rmSync(pidFile, { force: true });
}
