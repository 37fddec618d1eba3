/** The command line. Every verb is a file in `verbs/`, loaded only when it is asked for, so that `--help` stays quick. */
import { Command, CommanderError } from 'commander';
import { exitCodeOf, isMeshError } from '../api/errors.ts';

type Register = (program: Command) => void;

const program = new Command('proxima')
  .description('An edge-centric cloud: container pods and VM pods across data centres and edge sites, placed by where the clients are.')
  .showHelpAfterError('(proxima --help shows every verb)')
  .exitOverride()
  .helpCommand(false)
  .helpOption('-h, --help', 'show this map');

/** The map: who uses a verb comes before what it does. */
const map: readonly [who: string, files: readonly (() => Promise<{ register: Register }>)[]][] = [
  ['See it, check it, measure it:', [() => import('./verbs/demo.ts'), () => import('./verbs/run.ts')]],
  ['One machine, for real use:', [() => import('./verbs/up.ts')]],
  ['At a site, for field engineers:', [() => import('./verbs/site.ts'), () => import('./verbs/leave.ts')]],
  ['Where applications run, for their owners and operators:', [() => import('./verbs/scheduling.ts'), () => import('./verbs/simulate.ts'), () => import('./verbs/vm.ts')]],
  ['Gateways, identity and network, for operators:', [() => import('./verbs/presence.ts'), () => import('./verbs/certs.ts'), () => import('./verbs/net.ts')]],
  ['Labs on this machine:', [() => import('./verbs/topology.ts')]],
  ['Daemons in the foreground, for service managers:', [() => import('./verbs/daemons.ts')]],
];
for (const [who, files] of map) {
  program.commandsGroup(who);
  for (const load of files) (await load()).register(program);
}

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
