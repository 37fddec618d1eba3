/**
 * Runs every test file in a child process of its own, a few at a time, and sums what they report.
 *   node test/run.ts [--jobs N] [--level unit,contract,...] [pattern ...]
 * The last line is `N passed, N failed, N skipped`; any failure, crash, hang or unrun suite makes the exit code 1.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

const here = import.meta.dirname;
/** Levels that touch the kernel run one at a time, after the others. */
const LEVELS = ['unit', 'contract', 'wire', 'sim', 'dataplane', 'topology', 'e2e'] as const;
const SERIAL = new Set(['dataplane', 'topology', 'e2e']);
const FILE_TIMEOUT_MS: Record<string, number> = { e2e: 600_000, dataplane: 180_000, topology: 180_000 };

interface Result {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

function filesOf(level: string): string[] {
  const out: string[] = [];
  const walk = (dir: string): void => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (entry.isDirectory()) walk(join(dir, entry.name));
      else if (entry.name.endsWith('.test.ts')) out.push(join(dir, entry.name));
    }
  };
  try {
    walk(join(here, level));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return out.sort();
}

function runFile(file: string, level: string): Promise<Result> {
  return new Promise((resolve) => {
    const started = Date.now();
    const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, FORCE_COLOR: '0', NO_COLOR: '1' } });
    let output = '';
    child.stdout.on('data', (d: Buffer) => (output += d.toString()));
    child.stderr.on('data', (d: Buffer) => (output += d.toString()));
    let hung = false;
    const timer = setTimeout(() => {
      hung = true;
      child.kill('SIGKILL');
    }, FILE_TIMEOUT_MS[level] ?? 120_000);
    child.on('close', (code) => {
      clearTimeout(timer);
      const sum = (label: string): number => [...output.matchAll(new RegExp(`^\\s*${label}:\\s+(\\d+)`, 'gm'))].reduce((n, m) => n + Number(m[1]), 0);
      const total = sum('Total');
      const passed = sum('Passed');
      const skipped = sum('Skipped');
      let failed = total - passed;
      if ((code !== 0 || hung || total + skipped === 0) && failed <= 0) failed = 1;
      const name = relative(here, file);
      const seconds = ((Date.now() - started) / 1000).toFixed(1);
      console.log(`${failed > 0 ? 'FAIL' : 'ok  '} ${name}  ${passed} passed${skipped ? `, ${skipped} skipped` : ''}  ${seconds} s`);
      for (const line of output.split('\n')) if (line.startsWith('SKIP ')) console.log(`     ${line}`);
      if (failed > 0) console.log(`${hung ? '     killed: it hung\n' : ''}${output.trimEnd().split('\n').slice(-120).join('\n')}`);
      resolve({ passed, failed, skipped });
    });
  });
}

async function main(argv: readonly string[]): Promise<number> {
  let jobs = 2;
  let levels: readonly string[] = LEVELS;
  const patterns: RegExp[] = [];
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--jobs') jobs = Number(argv[++i]);
    else if (argv[i] === '--level') levels = (argv[++i] ?? '').split(',');
    else patterns.push(new RegExp(argv[i] ?? ''));
  }
  const unknown = levels.find((l) => !(LEVELS as readonly string[]).includes(l));
  if (unknown !== undefined) {
    console.error(`--level: unknown "${unknown}", expected one of ${LEVELS.join(', ')}`);
    return 2;
  }
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const serial of [false, true]) {
    const queue = levels.filter((l) => SERIAL.has(l) === serial).flatMap((level) => filesOf(level).map((file) => ({ file, level })));
    const chosen = queue.filter((q) => patterns.length === 0 || patterns.some((p) => p.test(q.file)));
    const worker = async (): Promise<void> => {
      for (let next = chosen.shift(); next !== undefined; next = chosen.shift()) {
        const r = await runFile(next.file, next.level);
        sum.passed += r.passed;
        sum.failed += r.failed;
        sum.skipped += r.skipped;
      }
    };
    await Promise.all(Array.from({ length: serial ? 1 : jobs }, worker));
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  return sum.failed > 0 || sum.passed === 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
