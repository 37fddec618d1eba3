/** up, down: one region with this machine as its node, for real use. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import { integer } from '../connect.ts';
import { formatOf, next, print } from '../output.ts';

interface UpCliOptions {
  readonly dir: string;
  readonly node?: string;
  readonly listen: string;
  readonly port: string;
  readonly goalPort: string;
  readonly agentPort: string;
  readonly interface: string;
  readonly address: string;
  readonly cidr: string;
  readonly images?: string;
  readonly vms: boolean;
  readonly preflight: boolean;
  readonly output?: string;
}

const progress = (line: string): void => console.error(`  ${line}`);

function needRoot(verb: string): void {
  if (process.getuid?.() !== 0) throw new MeshError('missing-capability', `${verb} runs containers and eBPF programs, so it needs root`, { next: `sudo ./proxima ${verb}` });
}

function shaped(option: string, value: string, shape: RegExp, what: string): string {
  if (!shape.test(value)) throw new MeshError('invalid', `${option}: expected ${what}, got "${value}"`, { fields: { path: option } });
  return value;
}

async function up(o: UpCliOptions): Promise<void> {
  const format = formatOf(o.output);
  const octet = '(25[0-5]|2[0-4]\\d|1?\\d?\\d)';
  for (const option of ['listen', 'address'] as const) shaped(`--${option}`, o[option], new RegExp(`^${octet}(\\.${octet}){3}$`), 'an IPv4 address');
  shaped('--cidr', o.cidr, new RegExp(`^${octet}(\\.${octet}){3}/([89]|1\\d|2\\d)$`), 'a network such as 10.200.0.0/16');
  if (o.node !== undefined) shaped('--node', o.node, /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits, "." or "-"');
  shaped('--interface', o.interface, /^[a-zA-Z0-9._-]{1,14}$/, 'at most 14 letters, digits, ".", "_" or "-"');
  const { checkSettings, nodeName, pathsOf, readSettings } = await import('../up/settings.ts');
  const paths = pathsOf(o.dir);
  const ports = { port: integer('--port', o.port, 1, 65_535), goalPort: integer('--goal-port', o.goalPort, 1, 65_535), agentPort: integer('--agent-port', o.agentPort, 1, 65_535) };
  const asked = checkSettings({ node: o.node ?? nodeName(), listen: o.listen, ...ports, interface: o.interface, address: o.address, cidr: o.cidr, images: o.images ?? join(paths.dir, 'images'), withVms: o.vms });
  needRoot('up');
  const before = readSettings(paths);
  const { isRunning } = await import('../up/machine.ts');
  const runs = isRunning(paths, 'region') || isRunning(paths, 'agent');
  const changed = before === null ? [] : (Object.keys(asked) as (keyof typeof asked)[]).filter((k) => asked[k] !== before[k]);
  if (runs && changed.length > 0) throw new MeshError('already-exists', `a region is up in ${paths.dir} with another ${changed.join(', ')}`, { next: `sudo ./proxima down --dir ${paths.dir}, then up again` });
  const steps = await import('../up/up.ts');
  await steps.up({ paths, settings: asked, preflight: o.preflight, say: progress });
  const kubectl = `kubectl --kubeconfig ${paths.kubeconfig}`;
  const summary = { region: 'local', node: asked.node, status: 'Ready', kubeconfig: paths.kubeconfig, api: /server: (.+)/.exec(readFileSync(paths.kubeconfig, 'utf8'))?.[1] ?? '' };
  print(format, summary, ['region', 'node', 'status', 'kubeconfig'], [[summary.region, summary.node, summary.status, summary.kubeconfig]]);
  next(format, `${kubectl} get nodes`, `${kubectl} create deployment web --image=localhost/proxima-web:1`, `${kubectl} get pods -o wide`);
}

async function down(o: { readonly dir: string; readonly purge?: boolean }): Promise<void> {
  const { pathsOf, readSettings } = await import('../up/settings.ts');
  const paths = pathsOf(o.dir);
  needRoot('down');
  const settings = readSettings(paths);
  if (settings === null) {
    console.log(`nothing is up in ${paths.dir}`);
    return;
  }
  const steps = await import('../up/down.ts');
  await steps.down(paths, settings, { purge: o.purge === true, say: progress });
  console.log(o.purge === true ? `the region is gone, and its data in ${paths.dir}` : `the region is down; its data stays in ${paths.dir}`);
  console.log(`next: sudo ./proxima ${o.purge === true ? 'up' : `up --dir ${paths.dir}, or down --dir ${paths.dir} --purge`}`);
}

export function register(program: Command): void {
  program
    .command('up')
    .description('one region with this machine as its node, in the background; prints the kubeconfig')
    .option('--dir <dir>', 'its data (at most 58 characters)', '/var/lib/proxima')
    .option('--node <name>', 'this node\'s name (default: the machine\'s)')
    .option('--listen <address>', 'of the API', '127.0.0.1')
    .option('--port <port>', 'of the API', '6443')
    .option('--goal-port <port>', 'of the network plane', '50051')
    .option('--agent-port <port>', 'of the node agent', '10250')
    .option('--interface <name>', 'the node\'s place on the substrate; made when it is not there', 'proxima0')
    .option('--address <address>', 'on that interface', '169.254.77.1')
    .option('--cidr <cidr>', 'of the tenant\'s network for pods', '10.200.0.0/16')
    .option('--images <dir>', 'where the demo images are made (default: in --dir)')
    .option('--no-vms', 'containers only')
    .option('--no-preflight', 'do not check the machine first')
    .option('-o, --output <format>', 'table, json or yaml')
    .action(up);
  program.command('down').description('end what up made; data stays').option('--dir <dir>', 'as given to up', '/var/lib/proxima').option('--purge', 'remove the data too').action(down);
}
