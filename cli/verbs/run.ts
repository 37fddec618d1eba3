/** demo, test, bench: the commands of the README. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import { table } from '../output.ts';

const root = join(import.meta.dirname, '..', '..');

/** Runs a program of ours in the foreground; resolves with its exit code. */
function run(command: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
  });
}

async function test(patterns: readonly string[], options: { readonly level?: string; readonly only?: boolean }): Promise<void> {
  const bin = (name: string): string => join(root, 'node_modules', '.bin', name);
  if (options.only !== true && patterns.length === 0 && options.level === undefined) {
    console.log('types');
    if ((await run(bin('tsc'), ['--noEmit', '-p', 'tsconfig.json'])) !== 0) throw new MeshError('internal', 'the type check failed', { next: 'npm run types' });
    console.log('lint');
    if ((await run(bin('oxlint'), ['--config', '.oxlintrc.json', '.'])) !== 0) throw new MeshError('internal', 'lint failed', { next: 'npm run lint' });
  }
  const args = options.level === undefined ? [] : ['--level', options.level];
  process.exitCode = await run(process.execPath, [join(root, 'test', 'run.ts'), ...args, ...patterns]);
}

/** What a benchmark says of itself: the first sentence of its file. */
function aboutOf(file: string): string {
  const head = readFileSync(file, 'utf8').slice(0, 1_000).split('*/')[0] ?? '';
  const text = head.replaceAll(/^\/\*\*|^ \*/gm, '').replaceAll(/\s+/g, ' ').trim();
  return /^.+?(?=[.:;?(] | \(|$)/.exec(text)?.[0] ?? '';
}

async function bench(name: string | undefined, args: readonly string[]): Promise<void> {
  const known = readdirSync(join(root, 'bench')).filter((f) => f.endsWith('.ts')).map((f) => f.slice(0, -3)).sort();
  if (name === undefined) {
    console.log(table(['NAME', 'WHAT'], known.map((n) => [n, aboutOf(join(root, 'bench', `${n}.ts`))])));
    console.log(`next: sudo ./proxima bench ${known[0] ?? 'NAME'}`);
    return;
  }
  const file = join(root, 'bench', `${name}.ts`);
  if (!existsSync(file)) throw new MeshError('not-found', `bench: no benchmark "${name}"; there are ${known.join(', ')}`, { next: `sudo ./proxima bench ${known[0] ?? ''}` });
  process.exitCode = await run(process.execPath, [file, ...args]);
}

export function register(program: Command): void {
  program
    .command('test [pattern...]')
    .description('types, lint and every test; the last line is "N passed, N failed, N skipped"')
    .option('--level <levels>', 'only these levels: unit,contract,wire,sim,dataplane,topology,e2e')
    .option('--only', 'tests alone, without types and lint')
    .action(test);
  program.command('bench [name] [args...]').description('a benchmark: baseline and ours in turn; without a name, the list').allowUnknownOption().action(bench);
}
