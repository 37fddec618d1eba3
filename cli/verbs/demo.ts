/** demo: the whole story in a lab of network namespaces on this machine. */
import { join } from 'node:path';
import type { Command } from 'commander';

const stateOf = (): string => process.env['PROXIMA_STATE'] ?? join(import.meta.dirname, '..', '..', '.proxima');

async function demo(options: { readonly keep?: boolean }): Promise<void> {
  const { runDemo } = await import('../demo/demo.ts');
  const lines = await runDemo({ state: stateOf(), keep: options.keep === true });
  process.exitCode = lines.length > 0 && lines.every((l) => l.passed) ? 0 : 1;
}

export function register(program: Command): void {
  program.command('demo').description('the whole story: two regions, three edge sites, an application that follows its clients').option('--keep', 'leave the lab up and say how to look around').action(demo);
}
