/** site create|ls|rm and join: the edge site bootstrap kit. */
import { hostname } from 'node:os';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { connect, integer } from '../connect.ts';
import { formatOf, next, print } from '../output.ts';

const CLUSTER = { tenant: null, namespace: null } as const;

interface CreateOptions {
  readonly kubeconfig?: string;
  readonly region: string;
  readonly gateway?: string;
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

interface TokenWishes {
  readonly gateway: string;
  readonly role: 'edge' | 'node';
  readonly lifetimeMs: number;
}

/** null = a zone of the region, whose nodes need no token. */
function tokenWishes(o: CreateOptions): TokenWishes | null {
  if (o.role !== 'edge' && o.role !== 'node') throw new MeshError('invalid', `--role: expected edge or node, got "${o.role}"`, { fields: { path: '--role' } });
  const lifetimeMs = integer('--lifetime', o.lifetime, 1, 525_600) * 60_000;
  if (o.kind === 'zone') return null;
  if (o.gateway === undefined) throw new MeshError('invalid', '--gateway: an edge site needs HOST:PORT where its nodes enrol', { fields: { path: '--gateway' }, next: 'name the region\'s cloud gateway: --gateway HOST:7444' });
  if (!/^[^\s:]+:\d{1,5}$/.test(o.gateway)) throw new MeshError('invalid', `--gateway: expected HOST:PORT, got "${o.gateway}"`, { fields: { path: '--gateway' } });
  return { gateway: o.gateway, role: o.role, lifetimeMs };
}

/** Makes the site where it is not there yet; a further token for a site that is there is how its next node joins. */
async function create(name: string, o: CreateOptions): Promise<void> {
  const format = formatOf(o.output);
  const wanted = siteOf(name, o);
  const wishes = tokenWishes(o);
  const { client, access } = await connect(o.kubeconfig);
  try {
    const { items } = await client.list<Site>(Resources.Site);
    if (!items.some((s) => s.metadata.name === name)) await client.create<Site>(Resources.Site, wanted);
    if (wishes === null) {
      print(format, { site: name }, ['site', 'kind', 'region'], [[name, o.kind, o.region]]);
      return;
    }
    const { ca } = access;
    if (ca === null) throw new MeshError('invalid', 'the kubeconfig holds no certificate authority, so the token could not pin one');
    const { createToken } = await import('../../certs/token.ts');
    const { parseChain, pinOf } = await import('../../certs/authority.ts');
    const root = parseChain(ca).at(-1);
    if (root === undefined) throw new MeshError('invalid', 'the kubeconfig\'s certificate authority is empty');
    const { token, object } = createToken({ site: name, caPin: pinOf(root), ...wishes });
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
  readonly relay?: string;
  readonly probe: readonly string[];
  readonly probeClients: readonly string[];
  /** false = --no-echo. */
  readonly echo: string | false;
  readonly images?: string;
  readonly preflight: boolean;
}

function at(option: string, value: string | undefined): { readonly interface: string; readonly address: string } | undefined {
  if (value === undefined) return undefined;
  const m = /^([^=]+)=(\d+\.\d+\.\d+\.\d+)$/.exec(value);
  if (m === null) throw new MeshError('invalid', `${option}: expected INTERFACE=ADDRESS, got "${value}"`, { fields: { path: option } });
  return { interface: m[1] ?? '', address: m[2] ?? '' };
}

/** ADDRESS, or INTERFACE=ADDRESS. */
function relayOf(value: string | undefined): { readonly address: string; readonly interface?: string } | undefined {
  if (value === undefined) return undefined;
  return value.includes('=') ? at('--relay', value) : { address: value };
}

function probesOf(option: string, kind: 'site' | 'client-region', values: readonly string[], echoPort?: number): readonly { readonly to: string; readonly kind: 'site' | 'client-region'; readonly address: string; readonly port: number; readonly protocol: 'tcp'; readonly echoPort?: number }[] {
  return values.map((value) => {
    const [, to = '', address = '', port = ''] = /^([^=]+)=([^\s:]+):(\d+)$/.exec(value) ?? [];
    if (to === '') throw new MeshError('invalid', `${option}: expected NAME=HOST:PORT, got "${value}"`, { fields: { path: option } });
    return { to, kind, address, port: integer(option, port, 1, 65_535), protocol: 'tcp', ...(echoPort === undefined ? {} : { echoPort }) };
  });
}

function imagesOf(value: string | undefined): { readonly containers: string[]; readonly vmDir: string } | undefined {
  if (value === undefined) return undefined;
  const expected = 'expected JSON such as {"containers": ["/images/web.tar"], "vmDir": "/images/vm"}';
  try {
    const images = JSON.parse(value) as { containers?: string[]; vmDir?: string } | null;
    if (images !== null && typeof images === 'object') return images as { containers: string[]; vmDir: string };
  } catch (cause) {
    throw new MeshError('invalid', `--images: ${expected}: ${(cause as Error).message}`, { fields: { path: '--images' }, cause });
  }
  throw new MeshError('invalid', `--images: ${expected}, got ${value}`, { fields: { path: '--images' } });
}

async function joinSite(token: string, o: JoinCliOptions): Promise<void> {
  const [lan, front, relay, images] = [at('--lan', o.lan), at('--front', o.front), relayOf(o.relay), imagesOf(o.images)];
  const echoPort = o.echo === false || o.probe.length === 0 ? undefined : integer('--echo', o.echo, 1, 65_535);
  const probes = [...probesOf('--probe', 'site', o.probe, echoPort), ...probesOf('--probe-clients', 'client-region', o.probeClients)];
  const { join } = await import('../../edge/bootstrap/join.ts');
  const joined = await join({
    token, dir: o.dir, node: o.node, probes, skipPreflight: !o.preflight, onProgress: (line) => console.error(`  ${line}`),
    ...(o.dataDir === undefined ? {} : { dataDir: o.dataDir }), ...(lan === undefined ? {} : { lan }), ...(front === undefined ? {} : { front }), ...(o.gatewayLan === undefined ? {} : { gatewayLan: o.gatewayLan }),
    ...(relay === undefined ? {} : { relay }), ...(images === undefined ? {} : { images }), ...(echoPort === undefined ? {} : { echoPort }),
  });
  for (const w of joined.warnings) console.error(`  warning: ${w.check}: ${w.detail}; ${w.fix}`);
  console.log(`${o.node} joined site ${joined.site} of region ${joined.region}`);
  for (const command of joined.next) console.log(`next: sudo ./${command}`);
}

const repeated = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export function register(program: Command): void {
  const site = program.command('site').description('edge sites of a region: create (prints a one-use token), ls, rm');
  site
    .command('create <name>')
    .description('make a site and a token with which its next node joins')
    .requiredOption('--region <name>', 'the region that it is attached to')
    .option('--gateway <host:port>', 'where the region\'s cloud gateway enrols; for a zone not needed')
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
    .option('--relay <address>', 'on the first node: its end of the tunnels to other sites, such as 100.64.3.1; INTERFACE=ADDRESS names the device too')
    .option('--probe <name=host:port>', 'another site to measure the distance to; may be repeated', repeated, [])
    .option('--probe-clients <name=host:port>', 'a client region to measure the distance to; may be repeated', repeated, [])
    .option('--echo <port>', 'with --probe: the UDP port where sites answer each other\'s short packet trains, for the bandwidth between them', '7007')
    .option('--no-echo', 'neither answer nor send packet trains')
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
