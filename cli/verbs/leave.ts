/** leave: this machine is a node no more. The reverse of join. */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';

async function leave(o: { readonly dir: string; readonly purge?: boolean }): Promise<void> {
  if (process.getuid?.() !== 0) throw new MeshError('missing-capability', 'leaving ends containers and takes eBPF programs away, so it needs root', { next: 'sudo ./proxima leave' });
  if (existsSync(`${o.dir}/up.json`)) throw new MeshError('invalid', `${o.dir} holds a region of its own, made by up`, { fields: { path: '--dir' }, next: `sudo ./proxima down --dir ${o.dir}` });
  const { leaveMesh } = await import('../up/leave.ts');
  const left = await leaveMesh(o.dir, { purge: o.purge === true, say: (line) => console.error(`  ${line}`) });
  console.log(`${left.node} left site ${left.site}`);
  for (const line of left.next) console.log(`next: ${line}`);
}

export function register(program: Command): void {
  program
    .command('leave')
    .description('this machine is a node no more: the reverse of join')
    .option('--dir <dir>', 'as given to join', '/etc/proxima')
    .option('--purge', 'remove the node\'s data too')
    .action(leave);
}
