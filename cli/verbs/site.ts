/** site create|ls|rm and join: the edge site bootstrap kit. */
import { hostname } from 'node:os';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { connect } from '../connect.ts';
import { formatOf, next, print } from '../output.ts';

const CLUSTER = { tenant: null, namespace: null } as const;

interface CreateOptions {
  readonly kubeconfig?: string;
  readonly region: string;
  readonly gateway: string;
  readonly kind: string;
  readonly front?: string;
  readonly location?: string;
  readonly lifetime: string;
  readonly role: string;
  readonly output?: string;
}

function siteOf(name: string, o: CreateOptions): Site {
  if (o.kind !== 'edge' && o.kind !== 'zone') throw new MeshError('invalid', `--kind: expected edge or zone, got "${o.kind}"`, { fields: { path: '--kind' } });
  const at = o.location?.split(',').map(Number);
  if (at !== undefined && (at.length !== 2 || !at.every(Number.isFinite))) throw new MeshError('invalid', `--location: expected LATITUDE,LONGITUDE, got "${o.location}"`, { fields: { path: '--location' } });
  return {
    apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name },
    spec: { kind: o.kind, region: o.region, ...(o.front === undefined ? {} : { front: o.front }), ...(at === undefined ? {} : { location: { latitude: at[0] ?? 0, longitude: at[1] ?? 0 } }) },
  };
}

/** Makes the site where it is not there yet; a further token for a site that is there is how its next node joins. */
async function create(name: string, o: CreateOptions): Promise<void> {
  const format = formatOf(o.output);
  const { client, access } = await connect(o.kubeconfig);
  try {
    const { items } = await client.list<Site>(Resources.Site);
    if (!items.some((s) => s.metadata.name === name)) await client.create<Site>(Resources.Site, siteOf(name, o));
    if (o.kind === 'zone') {
      print(format, { site: name }, ['site', 'kind', 'region'], [[name, o.kind, o.region]]);
      return;
    }
    const { ca } = access;
    if (ca === null) throw new MeshError('invalid', 'the kubeconfig holds no certificate authority, so the token could not pin one');
    const { createToken } = await import('../../certs/token.ts');
    const { parseChain, pinOf } = await import('../../certs/authority.ts');
    const root = parseChain(ca).at(-1);
    if (root === undefined) throw new MeshError('invalid', 'the kubeconfig\'s certificate authority is empty');
    const role = o.role === 'node' ? 'node' : 'edge';
    const { token, object } = createToken({ gateway: o.gateway, site: name, caPin: pinOf(root), role, lifetimeMs: Number(o.lifetime) * 60_000 });
    await client.create(Resources.JoinToken, object);
    if (format === 'table') console.log(token);
    else print(format, { site: name, token, expiresAt: object.spec.expiresAt }, [], []);
    next(format, `on the site's node, within ${o.lifetime} minutes: sudo ./proxima join ${token.slice(0, 12)}...`);
  } finally {
    await client.close();
  }
}

async function ls(o: { readonly kubeconfig?: string; readonly output?: string }): Promise<void> {
  const format = formatOf(o.output);
  const { client } = await connect(o.kubeconfig);
  try {
    const { items } = await client.list<Site>(Resources.Site);
    print(format, items, ['site', 'kind', 'region', 'phase', 'front', 'gateway'], items.map((s) => [s.metadata.name, s.spec.kind, s.spec.region, s.status?.phase ?? 'Pending', s.spec.front ?? null, s.status?.gateway?.connected === true ? 'connected' : s.spec.kind === 'edge' ? 'not connected' : null]));
    next(format, 'proxima site create NAME --region REGION --gateway HOST:PORT');
  } finally {
    await client.close();
  }
}

async function rm(name: string, o: { readonly kubeconfig?: string }): Promise<void> {
  const { client } = await connect(o.kubeconfig);
  try {
    await client.delete(Resources.Site, CLUSTER, name);
    console.log(`site ${name} is gone`);
    console.log('next: proxima certs revoke SERIAL for each certificate that it still has');
  } finally {
    await client.close();
  }
}

interface JoinCliOptions {
  readonly dir: string;
  readonly dataDir?: string;
  readonly node: string;
  readonly lan?: string;
  readonly front?: string;
  readonly gatewayLan?: string;
  readonly images?: string;
  readonly preflight: boolean;
}

function at(option: string, value: string | undefined): { readonly interface: string; readonly address: string } | undefined {
  if (value === undefined) return undefined;
  const m = /^([^=]+)=(\d+\.\d+\.\d+\.\d+)$/.exec(value);
  if (m === null) throw new MeshError('invalid', `${option}: expected INTERFACE=ADDRESS, got "${value}"`, { fields: { path: option } });
  return { interface: m[1] ?? '', address: m[2] ?? '' };
}

async function joinSite(token: string, o: JoinCliOptions): Promise<void> {
  const { join } = await import('../../edge/bootstrap/join.ts');
  const lan = at('--lan', o.lan);
  const front = at('--front', o.front);
  const joined = await join({
    token, dir: o.dir, node: o.node, skipPreflight: !o.preflight, onProgress: (line) => console.error(`  ${line}`),
    ...(o.dataDir === undefined ? {} : { dataDir: o.dataDir }), ...(lan === undefined ? {} : { lan }), ...(front === undefined ? {} : { front }), ...(o.gatewayLan === undefined ? {} : { gatewayLan: o.gatewayLan }),
    ...(o.images === undefined ? {} : { images: JSON.parse(o.images) as { containers: string[]; vmDir: string } }),
  });
  for (const w of joined.warnings) console.error(`  warning: ${w.check}: ${w.detail}; ${w.fix}`);
  console.log(`${o.node} joined site ${joined.site} of region ${joined.region}`);
  for (const command of joined.next) console.log(`next: sudo ./${command}`);
}

export function register(program: Command): void {
  const site = program.command('site').description('edge sites of a region: create (prints a one-use token), ls, rm');
  site
    .command('create <name>')
    .description('make a site and a token with which its next node joins')
    .requiredOption('--region <name>', 'the region that it is attached to')
    .requiredOption('--gateway <host:port>', 'where the region\'s cloud gateway enrols')
    .option('--kind <kind>', 'edge, or zone for a zone of the region itself (no token)', 'edge')
    .option('--front <address>', 'the site\'s address for clients')
    .option('--location <lat,lon>', 'where it is')
    .option('--role <role>', 'edge: the site\'s first node, with the gateway; node: a further one', 'edge')
    .option('--lifetime <minutes>', 'of the token', '15')
    .option('--kubeconfig <file>', 'of the region')
    .option('-o, --output <format>', 'table, json or yaml')
    .action(create);
  site.command('ls').description('the sites').option('--kubeconfig <file>', 'of the region').option('-o, --output <format>', 'table, json or yaml').action(ls);
  site.command('rm <name>').description('remove a site').option('--kubeconfig <file>', 'of the region').action(rm);
  program
    .command('join <token>')
    .description('make this machine a node of the site that the token names')
    .option('--dir <dir>', 'configuration and certificates', '/etc/proxima')
    .option('--data-dir <dir>', 'the node\'s data (at most 60 characters)')
    .option('--node <name>', 'this node\'s name', hostname())
    .option('--lan <interface=address>', 'this node on the site\'s own network')
    .option('--front <interface=address>', 'where clients reach the site, on its first node')
    .option('--gateway-lan <address>', 'for a further node: the site\'s gateway')
    .option('--images <json>', 'container archives to import and the folder of VM images')
    .option('--no-preflight', 'do not check the machine first')
    .action(joinSite);
  program
    .command('doctor')
    .description('what this machine can run, and what to do about what it cannot')
    .option('--dir <dir>', 'where data would live', '/var/lib/proxima')
    .option('--gateway <host:port...>', 'cloud gateways that have to be reachable')
    .option('-o, --output <format>', 'table, json or yaml')
    .action(async (o: { readonly dir: string; readonly gateway?: readonly string[]; readonly output?: string }) => {
      const format = formatOf(o.output);
      const { doctor } = await import('../../edge/bootstrap/doctor.ts');
      const rows = await doctor({ dir: o.dir, gateways: o.gateway ?? [] });
      print(format, rows, ['check', 'ok', 'detail', 'what to do'], rows.map((r) => [r.check, r.ok ? 'yes' : r.optional ? 'no (optional)' : 'NO', r.detail, r.ok ? '' : r.fix]));
      if (rows.some((r) => !r.ok && !r.optional)) process.exitCode = 3;
    });
}
