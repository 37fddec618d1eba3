/** The command line. Every verb is a file in `verbs/`, loaded only when it is asked for, so that `--help` stays quick. */
import { Command, CommanderError } from 'commander';
import { exitCodeOf, isMeshError } from '../api/errors.ts';

type Register = (program: Command) => void;

const program = new Command('proxima')
  .description('An edge-centric cloud: container pods and VM pods across data centres and edge sites, placed by where the clients are.')
  .showHelpAfterError('(proxima --help shows every verb)')
  .exitOverride()
  .helpOption('-h, --help', 'show this map');

const verbs: readonly [name: string, load: () => Promise<{ register: Register }>][] = [
  ['demo', () => import('./verbs/demo.ts')],
  ['run', () => import('./verbs/run.ts')],
  ['up', () => import('./verbs/up.ts')],
  ['site', () => import('./verbs/site.ts')],
  ['daemons', () => import('./verbs/daemons.ts')],
  ['topology', () => import('./verbs/topology.ts')],
];
for (const [, load] of verbs) (await load()).register(program);

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const message = error instanceof Error ? error.message : String(error);
  console.error(`error: ${message}`);
  if (isMeshError(error) && error.next !== null) console.error(`  next: ${error.next}`);
  if (!isMeshError(error) && error instanceof Error && error.stack !== undefined) console.error(error.stack.split('\n').slice(1, 6).join('\n'));
  return exitCodeOf(error);
}

try {
  await program.parseAsync(process.argv);
} catch (error) {
  process.exitCode = report(error);
}
