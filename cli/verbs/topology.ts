/** topology deploy|inspect|exec|link|destroy: labs from containerlab files, without Docker. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import { formatOf, next, print } from '../output.ts';

export const stateDir = (): string => join(process.env['PROXIMA_STATE'] ?? join(import.meta.dirname, '..', '..', '.proxima'), 'labs');
const run = (): Promise<typeof import('../../topologies/run.ts')> => import('../../topologies/run.ts');
const progress = (line: string): void => console.error(`  ${line}`);

/** A file's lab, or a lab's name as it is. */
async function labOf(fileOrLab: string): Promise<string> {
  if (!/\.ya?ml$/.test(fileOrLab)) return fileOrLab;
  const { loadTopology } = await import('../../topologies/load.ts');
  return loadTopology(fileOrLab).name;
}

export function register(program: Command): void {
  const topology = program.command('topology').description('labs from containerlab files: network namespaces, emulated WAN, no Docker');
  topology
    .command('deploy <file>')
    .description('make the lab; again is harmless')
    .action(async (file: string) => {
      const { loadTopology } = await import('../../topologies/load.ts');
      const { deploy } = await run();
      const state = await deploy(loadTopology(file), { stateDir: stateDir(), onProgress: progress });
      console.log(`${state.lab}: ${state.nodes.length} nodes are Ready`);
      next('table', `sudo ./proxima topology inspect ${file}`, `sudo ./proxima topology exec ${file} ${state.nodes[0]?.name ?? 'NODE'} -- ip addr`);
    });
  topology
    .command('inspect <file>')
    .description('nodes, their namespaces and addresses')
    .option('-o, --output <format>', 'table, json or yaml')
    .action(async (file: string, options: { readonly output?: string }) => {
      const format = formatOf(options.output);
      const rows = await (await run()).inspect(await labOf(file), { stateDir: stateDir() });
      print(format, rows, ['node', 'kind', 'up', 'role', 'addresses', 'namespace'], rows.map((r) => [r.node, r.kind, r.up, r.labels['proxima.role'] ?? null, r.addresses.join(', '), r.netns]));
      next(format, `sudo ./proxima topology destroy ${file}`);
    });
  topology
    .command('exec <file> <node> <command...>')
    .description('run a command inside a node')
    .action(async (file: string, node: string, command: readonly string[]) => {
      const child = (await run()).spawnIn(await labOf(file), node, command, { stdio: 'inherit' });
      process.exitCode = await new Promise<number>((resolve, reject) => child.on('error', reject).on('close', (code) => resolve(code ?? 1)));
    });
  topology
    .command('link <file> <a> <b> <state>')
    .description('cut ("down") or restore ("up") the WAN link between two nodes')
    .action(async (file: string, a: string, b: string, state: string) => {
      if (state !== 'up' && state !== 'down') throw new MeshError('invalid', `state: expected up or down, got "${state}"`);
      await (await run()).setLink(await labOf(file), a, b, { up: state === 'up' }, { stateDir: stateDir() });
      console.log(`the link between ${a} and ${b} is ${state}`);
    });
  topology
    .command('destroy <file>')
    .description('remove everything of the lab; again is harmless')
    .action(async (file: string) => {
      const lab = await labOf(file);
      await (await run()).destroy(lab, { stateDir: stateDir(), onProgress: progress });
      console.log(`${lab} is gone`);
    });
}
