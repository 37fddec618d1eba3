/** net droplets|endpoints|drops: the network as the region plans it, and what this machine's data plane counts. */
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import type { Droplet, Endpoint } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import { withClient } from '../connect.ts';
import { formatOf, next, print } from '../output.ts';

interface Options {
  readonly kubeconfig?: string;
  readonly output?: string;
}

async function droplets(o: Options): Promise<void> {
  const format = formatOf(o.output);
  const modes = process.getuid?.() === 0 ? (await import('../pinned-maps.ts')).readModes() : [];
  await withClient(o.kubeconfig, async ({ client }) => {
    const { items } = await client.list<Droplet>(Resources.Droplet);
    const withModes = items.map((d) => ({ ...d, modes: modes.filter((m) => m.droplet === d.metadata.name) }));
    print(format, withModes, ['droplet', 'site', 'interface', 'address', 'relay', 'front', 'goal', 'phase'], items.map((d) => [d.metadata.name, d.spec.site, d.spec.interface, d.spec.address, d.spec.relay?.address ?? null, d.spec.front?.address ?? null, d.status?.goalVersion ?? null, d.status?.phase ?? 'Init']));
    if (format === 'table' && modes.length > 0) {
      console.log('');
      print(format, null, ['on this machine', 'role', 'mode', 'because'], modes.map((m) => [m.droplet, m.role, m.mode, m.reason]));
    }
    next(format, 'proxima net endpoints', 'on a node: sudo ./proxima net drops');
    if (modes.length === 0) next(format, 'on a node: sudo ./proxima net droplets says where its programs are attached, and why');
  });
}

function endpointRow(e: Endpoint): (string | number | null)[] {
  const name = `${e.metadata.tenant ?? 'system'}/${e.metadata.name}`;
  const { spec } = e;
  const phase = e.status?.phase === 'Error' ? `Error: ${e.status.message ?? ''}` : (e.status?.phase ?? 'Init');
  if (spec.type === 'simple') return [name, spec.type, spec.vpc, spec.address, spec.droplet, null, phase];
  const backends = spec.backends.map((b) => `${b.address}:${b.port} (${b.weight})`).join('\n');
  return [name, spec.type, spec.vpc, spec.type === 'front' ? `${spec.address}:${spec.port}` : spec.address, spec.type === 'front' ? spec.site : null, backends === '' ? 'none' : backends, phase];
}

async function endpoints(o: Options & { readonly vpc?: string }): Promise<void> {
  const format = formatOf(o.output);
  await withClient(o.kubeconfig, async ({ client }) => {
    const all = (await client.list<Endpoint>(Resources.Endpoint, { tenant: 'all' })).items;
    const items = o.vpc === undefined ? all : all.filter((e) => e.spec.vpc === o.vpc);
    print(format, items, ['endpoint', 'type', 'vpc', 'address', 'at', 'backends (weight)', 'phase'], items.map(endpointRow));
    next(format, 'proxima net droplets');
  });
}

async function drops(droplet: string | undefined, o: { readonly output?: string }): Promise<void> {
  const format = formatOf(o.output);
  if (process.getuid?.() !== 0) throw new MeshError('missing-capability', 'reading eBPF maps needs root', { next: 'sudo ./proxima net drops' });
  const { pinnedDroplets, readPinned } = await import('../pinned-maps.ts');
  const here = pinnedDroplets();
  if (droplet !== undefined && !here.includes(droplet)) throw new MeshError('not-found', `no data plane of droplet "${droplet}" on this machine; there are ${here.join(', ') || 'none'}`, { next: 'proxima net droplets shows all of the region' });
  if (here.length === 0) throw new MeshError('not-found', 'no data plane is on this machine', { next: 'sudo ./proxima up' });
  const found = (droplet === undefined ? here : [droplet]).map((name) => ({ droplet: name, ...readPinned(name) }));
  print(format, found, ['droplet', 'reason', 'packets dropped'], found.flatMap((d) => Object.entries(d.drops).map(([reason, n]) => [d.droplet, reason, n])));
  const counted = found.flatMap((d) => d.fronts.map((c) => [d.droplet, c.application, c.clientRegion, c.connections, c.packetsIn, c.bytesIn, c.bytesOut, c.rttMs === null ? null : Math.round(c.rttMs * 100) / 100]));
  if (format === 'table' && counted.length > 0) {
    console.log('');
    print(format, null, ['droplet', 'application', 'client region', 'connections', 'packets in', 'bytes in', 'bytes out', 'rtt ms'], counted);
  }
  next(format, 'proxima net endpoints');
}

export function register(program: Command): void {
  const net = program.command('net').description('the data plane: droplets, endpoints, drops');
  const output = (c: Command): Command => c.option('-o, --output <format>', 'table, json or yaml');
  const region = (c: Command): Command => output(c.option('--kubeconfig <file>', 'of the region'));
  region(net.command('droplets').description('nodes on the substrate, the goal state that each has applied and, on a node, the mode of its programs')).action(droplets);
  region(net.command('endpoints').description('addresses: of pods, of services, of fronts').option('--vpc <name>', 'only of this VPC')).action(endpoints);
  output(net.command('drops [droplet]').description('on a node: packets that its data plane dropped, by reason, and what its front counted')).action(drops);
}
