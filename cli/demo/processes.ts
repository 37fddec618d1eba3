/** Daemons of a lab: each runs inside its node's network namespace, logs to a file of its own, and is only ever ended by its pid. */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../api/errors.ts';

export interface DaemonSpec {
  readonly name: string;
  /** Network namespace, or null for this one. Entered by nsenter: `ip netns exec` would hide cgroups and bpffs behind a fresh /sys. */
  readonly netns: string | null;
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

interface Running {
  readonly spec: DaemonSpec;
  readonly child: ChildProcess;
}

export class Processes {
  readonly #logDir: string;
  readonly #running = new Map<string, Running>();
  /** Daemons that ended without being told to: name and exit code or signal. */
  readonly unexpected: string[] = [];
  readonly #told = new Set<number>();

  constructor(logDir: string) {
    this.#logDir = logDir;
    mkdirSync(logDir, { recursive: true });
  }

  start(spec: DaemonSpec): number {
    if (this.#running.has(spec.name)) throw new MeshError('already-exists', `${spec.name} is already running`);
    const log = openSync(join(this.#logDir, `${spec.name}.log`), 'a');
    const argv = spec.netns === null ? spec.argv : ['nsenter', `--net=/run/netns/${spec.netns}`, '--', ...spec.argv];
    const [command = '', ...args] = argv;
    const child = spawn(command, args, { stdio: ['ignore', log, log], env: { ...process.env, ...spec.env }, detached: true });
    closeSync(log);
    if (child.pid === undefined) throw new MeshError('io', `${spec.name} did not start: ${argv.join(' ')}`);
    const pid = child.pid;
    this.#running.set(spec.name, { spec, child });
    child.on('exit', (code, signal) => {
      if (!this.#told.has(pid)) this.unexpected.push(`${spec.name} (${signal ?? `exit code ${code}`})`);
      if (this.#running.get(spec.name)?.child === child) this.#running.delete(spec.name);
    });
    return pid;
  }

  names(): readonly string[] {
    return [...this.#running.keys()];
  }

  pidOf(name: string): number | null {
    return this.#running.get(name)?.child.pid ?? null;
  }

  /** Resident memory in MiB. */
  memoryOf(name: string): number | null {
    const pid = this.pidOf(name);
    if (pid === null) return null;
    const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kib === undefined ? null : Math.round(Number(kib) / 1024);
  }

  logTail(name: string, lines = 12): string {
    try {
      return readFileSync(join(this.#logDir, `${name}.log`), 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
    } catch (error) {
      return `(no log: ${(error as Error).message})`;
    }
  }

  /** SIGKILL, as a crash would; resolves when it is gone. */
  async kill9(name: string): Promise<DaemonSpec> {
    return this.#end(name, 'SIGKILL');
  }

  async stop(name: string, deadlineMs = 10_000): Promise<void> {
    const running = this.#running.get(name);
    if (running === undefined) return;
    const timer = setTimeout(() => running.child.kill('SIGKILL'), deadlineMs);
    await this.#end(name, 'SIGTERM');
    clearTimeout(timer);
  }

  async #end(name: string, signal: 'SIGKILL' | 'SIGTERM'): Promise<DaemonSpec> {
    const running = this.#running.get(name);
    if (running?.child.pid === undefined) throw new MeshError('not-found', `${name} is not running`);
    this.#told.add(running.child.pid);
    const gone = new Promise<void>((resolve) => running.child.once('exit', () => resolve()));
    running.child.kill(signal);
    await gone;
    this.#running.delete(name);
    return running.spec;
  }

  /** Kills and starts again under the same name. */
  async restart(name: string): Promise<number> {
    const spec = await this.kill9(name);
    return this.start(spec);
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.stop(name)));
  }
}
