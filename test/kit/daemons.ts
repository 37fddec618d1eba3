/** Daemons as the command line starts them, each with its configuration and log in a file of one folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { daemonArgv, daemonEnv, type DaemonVerb } from '../../cli/daemon-command.ts';

const READY_MS = 60_000;
const STOP_MS = 5_000;

export class Daemons {
  readonly #dir: string;
  readonly #children = new Map<string, ChildProcess>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Waits until it says that it is Ready; its pid. */
  async start(name: string, verb: DaemonVerb, config: object): Promise<number> {
    const file = join(this.#dir, `${name.replace(' ', '-')}.json`);
    writeFileSync(file, JSON.stringify(config));
    const logFile = `${file}.log`;
    const log = openSync(logFile, 'w');
    const [command = '', ...args] = daemonArgv(verb, file);
    const child = spawn(command, args, { stdio: ['ignore', log, log], env: { ...process.env, ...daemonEnv(this.#dir) } });
    closeSync(log);
    this.#children.set(name, child);
    for (const end = Date.now() + READY_MS; !readFileSync(logFile, 'utf8').includes('is Ready'); await new Promise((r) => setTimeout(r, 100))) {
      if (child.exitCode !== null || Date.now() > end) throw new Error(`${name} is not Ready:\n${readFileSync(logFile, 'utf8')}`);
    }
    return child.pid ?? 0;
  }

  get pids(): ReadonlyMap<string, number> {
    return new Map([...this.#children].map(([name, child]) => [name, child.pid ?? 0]));
  }

  async kill(name: string): Promise<void> {
    const child = this.#children.get(name);
    if (child === undefined || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    this.#children.delete(name);
  }

  async stop(): Promise<void> {
    for (const child of [...this.#children.values()].reverse()) {
      if (child.exitCode !== null) continue;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await Promise.race([gone, new Promise((r) => setTimeout(r, STOP_MS))]);
      if (child.exitCode === null) child.kill('SIGKILL');
    }
    this.#children.clear();
  }
}
