/** Runs a program and returns what it printed; a failure is a MeshError that carries the command line and the last lines of its output. */
import { spawn } from 'node:child_process';
import { MeshError } from '../../api/errors.ts';

export interface RunOptions {
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], cwd: options.cwd, env: options.env === undefined ? process.env : { ...process.env, ...options.env } });
    let out = '';
    let err = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000);
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.stderr.on('data', (d: Buffer) => (err += d.toString()));
    child.stdin.on('error', () => undefined); // a program that does not read its input says so by its exit code
    child.stdin.end(options.input ?? '');
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const missing = error.code === 'ENOENT';
      reject(new MeshError(missing ? 'missing-file' : 'io', missing ? `${command}: no such program` : `${command}: ${error.message}`, { cause: error, ...(missing ? { next: `install the package that has ${command}` } : {}) }));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve(out);
      const tail = (err.trim() || out.trim()).split('\n').slice(-4).join(' | ');
      reject(new MeshError(signal === 'SIGKILL' ? 'timeout' : 'io', `${command} ${args.join(' ')}: ${signal ?? `exit code ${code}`}${tail === '' ? '' : `: ${tail}`}`));
    });
  });
}
