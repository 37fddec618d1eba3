/** The command line as a program: its map, its refusals with exit codes, and what it prints of a real region and a real global scheduler. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createHttpClient, type HttpClient } from '../../api/http-client.ts';
import type { Presence, Site } from '../../api/kinds/mesh.ts';
import type { Droplet, Endpoint, Vpc } from '../../api/kinds/mizar.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { loadKubeconfig } from '../../api/kubeconfig.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { issueToFiles, loadRoot } from '../../certs/authority.ts';
import { globalStart } from '../../cloud/global.ts';
import { regionProcess } from '../kit/region-process.ts';
import { suite } from '../kit/suite.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
const { it, run } = suite('command line', { timeoutMs: 90_000 });

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function cli(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const { KUBECONFIG: _k, PROXIMA_GLOBAL: _g, ...env } = process.env;
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, NODE_COMPILE_CACHE: join(tmpdir(), 'proxima-test-cache', 'compile') } });
    let [out, err] = ['', ''];
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.stderr.on('data', (d: Buffer) => (err += d.toString()));
    child.on('error', reject).on('close', (code) => resolve({ code, out, err }));
  });
}

function scratch(t: { after(f: () => unknown): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'px-cli-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const json = <T>(e: Ended): T => {
  assert.is(e.code, 0, e.err);
  return JSON.parse(e.out) as T;
};

it('shows a map by who uses a verb', async () => {
  const { code, out } = await cli('--help');
  assert.is(code, 0);
  const order = ['demo', 'up [options]', 'join', 'placements', 'presence', 'topology', 'region'].map((verb) => out.indexOf(`\n  ${verb}`));
  assert.ok(order.every((n) => n > 0), out);
  assert.equal(order, order.toSorted((a, b) => a - b));
  assert.match(out, /for field engineers:/);
});

it('refuses bad input in one line with what to do, and its exit code', async (t) => {
  const dir = scratch(t);
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const cases: readonly [args: readonly string[], code: number, message: RegExp][] = [
    [['plna'], 2, /unknown command 'plna'/],
    [['net', 'droplets', '--kubconfig', 'x'], 2, /unknown option '--kubconfig'/],
    [['plan'], 2, /expected --kubeconfig FILE of the global API[\s\S]*next: /],
    [['what-if', '--global', 'http://127.0.0.1:1'], 2, /expected --site-down SITE, --traffic FILE/],
    [['plan', '-f', join(dir, 'none.yaml'), '--global', 'http://127.0.0.1:1'], 3, /cannot read .*none\.yaml/],
    [['what-if', '--traffic', file('t.yaml', 'trafic: {}'), '--global', 'http://127.0.0.1:1'], 2, /t\.yaml: trafic: unknown key[\s\S]*next: write: traffic:/],
    [['plan', '--global', 'nonsense'], 2, /--global: expected http/],
    [['plan', '--global', 'http://127.0.0.1:1'], 3, /127\.0\.0\.1:1 cannot be asked: connect ECONNREFUSED[\s\S]*next: /],
    [['presence', 'ls'], 2, /expected --kubeconfig FILE/],
    [['presence', 'ls', '--kubeconfig', join(dir, 'none')], 3, /none/],
    [['net', 'endpoints', '--kubeconfig', file('bad.kubeconfig', '{}')], 2, /bad\.kubeconfig: clusters: is required/],
    [['plan', '-o', 'xml', '--global', 'http://127.0.0.1:1'], 2, /-o: "xml" is not one of/],
    [['region', 'start', '--config', file('region.json', '{"dataDir": "/nowhere", "listn": {}}')], 2, /region\.json: listn: unknown key/],
    [['agent', 'start', '--config', file('agent.json', '{"droplet": {"x": 1}}')], 2, /agent\.json: .*: (unknown key|is required)/],
    [['gateway', 'start', '--config', file('gateway.json', '{not json')], 2, /gateway\.json: not JSON/],
    [['up', '--port', '99999'], 2, /--port: expected a number from 1 to 65535/],
    [['up', '--dir', `/tmp/${'x'.repeat(80)}`], 2, /too long for unix sockets[\s\S]*next: /],
    [['site', 'create', 'a', '--region', 'r', '--gateway', 'h:1', '--role', 'nod'], 2, /--role: expected edge or node, got "nod"/],
    [['site', 'create', 'a', '--region', 'r', '--gateway', 'h:1', '--lifetime', 'soon'], 2, /--lifetime: expected a number/],
    [['site', 'create', 'a', '--region', 'r'], 2, /--gateway: an edge site needs HOST:PORT[\s\S]*next: /],
    [['site', 'create', 'a', '--region', 'r', '--kind', 'zone'], 2, /expected --kubeconfig FILE/],
    [['join', 'px1.x', '--images', '{"containers'], 2, /--images: expected JSON such as/],
    [['join', 'px1.x', '--probe', 'south'], 2, /--probe: expected NAME=HOST:PORT, got "south"/],
    [['leave', '--dir', dir], process.getuid?.() === 0 ? 2 : 3, /agent\.json|root/],
    [['certs', 'issue', '--authority', dir, '--uri', 'x', '--out', dir], 2, /--uri: "x" is no mesh identity[\s\S]*next: /],
    [['vm', 'pause', 'web', '--kubeconfig', join(dir, 'none')], 3, /none/],
  ];
  for (let at = 0; at < cases.length; at += 3) {
    await Promise.all(cases.slice(at, at + 3).map(async ([args, code, message]) => {
      const ended = await cli(...args);
      assert.match(ended.err, message);
      assert.is(ended.code, code, `${args.join(' ')}: ${ended.err}`);
      assert.not.match(ended.err, /\n {4}at /);
    }));
  }
});

it('lists every benchmark with what it measures', async () => {
  const { out } = await cli('bench');
  const [head = '', ...lines] = out.trim().split('\n');
  assert.match(head, /^NAME +WHAT$/);
  const names = readdirSync(join(import.meta.dirname, '../../bench')).filter((f) => f.endsWith('.ts')).map((f) => f.slice(0, -3));
  for (const name of names) assert.ok(lines.some((l) => new RegExp(`^${name} +[A-Z].{8,}`).test(l)), name);
  assert.match(lines.at(-1) ?? '', /^next: /);
});

it('makes an authority, signs, rotates, and replaces nothing by accident', async (t) => {
  const dir = scratch(t);
  const ca = join(dir, 'ca');
  const made = json<{ readonly pin: string; readonly made: readonly { readonly name: string }[] }>(await cli('certs', 'init', '--dir', ca, '--region', 'west', '-o', 'json'));
  assert.equal(made.made.map((m) => m.name), ['root', 'region-west']);
  assert.is((await cli('certs', 'init', '--dir', ca, '--region', 'west')).code, 2);
  const issue = ['certs', 'issue', '--authority', ca, '--region', 'west', '--uri', 'spiffe://proxima/site/a/node/n1', '--ip', '192.0.2.1', '--dns', 'n1.a', '--out', join(dir, 'n1'), '-o', 'json'];
  const issued = json<{ readonly serial: string; readonly certFile: string }>(await cli(...issue));
  assert.match((await cli(...issue)).err, /node\.key exists/);
  const before = readFileSync(issued.certFile, 'utf8');
  const rotated = json<{ readonly uri: string; readonly old: string; readonly new: string }>(await cli('certs', 'rotate', '--dir', join(dir, 'n1'), '--authority', ca, '--region', 'west', '-o', 'json'));
  assert.is(rotated.uri, 'spiffe://proxima/site/a/node/n1');
  assert.is(rotated.old, issued.serial);
  assert.is.not(rotated.new, issued.serial);
  assert.is.not(readFileSync(issued.certFile, 'utf8'), before);
  assert.match((await cli('certs', 'rotate', '--dir', join(dir, 'n1'))).err, /names no gateway[\s\S]*next: /);
});

async function fill(client: HttpClient): Promise<void> {
  await client.create<Site>(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: 'west-1' }, spec: { kind: 'zone', region: 'west', front: '192.0.2.1' } });
  await client.create<Droplet>(Resources.Droplet, { apiVersion: 'mizar.com/v1', kind: 'Droplet', metadata: { name: 'n1' }, spec: { node: 'n1', site: 'west-1', interface: 'eth0', address: '192.0.2.9', mac: '02:00:00:00:00:09' } });
  await client.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'system' }, spec: { cidr: '10.20.0.0/16' } });
  await client.create<Endpoint>(Resources.Endpoint, { apiVersion: 'mizar.com/v1', kind: 'Endpoint', metadata: { name: 'svc', tenant: 'system' }, spec: { type: 'front', vpc: 'main', site: 'west-1', address: '192.0.2.1', port: 80, protocol: 'TCP', application: 'web', backends: [{ address: '10.20.0.5', port: 80, weight: 100 }] } });
  await client.create<Presence>(Resources.Presence, { apiVersion: 'mesh.proxima.io/v1', kind: 'Presence', metadata: { name: 'db', tenant: 'system' }, spec: { direction: 'edge-to-cloud', protocol: 'tcp', service: { host: '127.0.0.1', port: 5432 }, listen: { sites: ['edge-a'], port: 5432 }, callers: ['spiffe://proxima/site/edge-a/*'] } });
  await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'plain', tenant: 'system', namespace: 'default' }, spec: { containers: [{ name: 'c', image: 'i' }] } });
}

it('prints a region as tables and as JSON, with the next command', async (t) => {
  const dir = scratch(t);
  const kubeconfig = join(dir, 'admin.kubeconfig');
  const region = await regionProcess({ region: 'west', dataDir: join(dir, 'region'), listen: { port: 0 }, kubeconfig, logLevel: 'error' });
  t.after(() => region.end('SIGKILL'));
  const client = createHttpClient(await loadKubeconfig(kubeconfig));
  t.after(() => client.close());
  await fill(client);
  const as = ['--kubeconfig', kubeconfig];
  const of = async <T>(...args: readonly string[]): Promise<T> => json<T>(await cli(...args, ...as, '-o', 'json'));
  type Named = readonly { readonly metadata: { readonly name: string } }[];
  const [sites, droplets, endpoints, presences, traced] = await Promise.all([
    of<Named>('site', 'ls'), of<Named>('net', 'droplets'), of<Named>('net', 'endpoints', '--vpc', 'main'), of<Named>('presence', 'ls'),
    of<{ readonly presence: string; readonly spec: { readonly callers: readonly string[] }; readonly refusals: null }>('presence', 'trace', 'system/db'),
  ]);
  for (const [list, name] of [[sites, 'west-1'], [droplets, 'n1'], [endpoints, 'svc'], [presences, 'db']] as const) assert.equal(list.map((o) => o.metadata.name), [name]);
  assert.equal([traced.presence, traced.spec.callers, traced.refusals], ['system/db', ['spiffe://proxima/site/edge-a/*'], null]);
  const [table, none, noVm, revoked] = await Promise.all([cli('net', 'endpoints', ...as), cli('presence', 'trace', 'nobody', ...as), cli('vm', 'pause', 'plain', ...as), cli('certs', 'revoke', 'AB:CD', ...as)]);
  assert.match(table.out, /ENDPOINT +TYPE[\s\S]*system\/svc +front +main +192\.0\.2\.1:80 +west-1 +10\.20\.0\.5:80 \(100\)[\s\S]*\nnext: /);
  assert.equal([none.code, noVm.code], [2, 3]);
  assert.match(noVm.err, /pod plain has no node yet[\s\S]*next: kubectl/);
  assert.is(revoked.code, 0, revoked.err);
  assert.match(JSON.stringify(await client.get(Resources.ConfigMap, { tenant: 'system', namespace: 'default' }, 'proxima-revocations')), /"ABCD"/);
  const stranger = createServer((s) => s.end('hello\n'));
  await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
  t.after(() => stranger.close());
  const { port } = stranger.address() as { port: number };
  assert.is((await cli('plan', '--global', `http://127.0.0.1:${port}`)).code, 3);
});

it('asks the global scheduler', async (t) => {
  const dir = scratch(t);
  const kubeconfig = join(dir, 'west.kubeconfig');
  const region = await regionProcess({ region: 'west', dataDir: join(dir, 'region'), listen: { port: 0 }, kubeconfig, logLevel: 'error' });
  t.after(() => region.end('SIGKILL'));
  const root = loadRoot(join(dir, 'region', 'pki'));
  const files = issueToFiles(root, join(dir, 'global'), 'global', { uri: 'spiffe://proxima/global', dns: ['localhost'], ips: ['127.0.0.1'] });
  const tls = { cert: files.certFile, key: files.keyFile };
  const global = await globalStart({ dataDir: join(dir, 'g'), api: { port: 0, ...tls, ca: files.trustFile }, kubeconfig: { path: join(dir, 'global.kubeconfig'), ...tls }, rest: { port: 0, ...tls }, regions: [{ name: 'west', kubeconfig }], intervalMs: 200 }, { log: silentLogger });
  t.after(() => global.stop());
  const [west, all] = await Promise.all([loadKubeconfig(kubeconfig), loadKubeconfig(join(dir, 'global.kubeconfig'))]).then((a) => a.map((access) => createHttpClient(access))) as [HttpClient, HttpClient];
  t.after(() => Promise.all([west.close(), all.close()]));
  await west.create<Site>(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: 'west-1' }, spec: { kind: 'zone', region: 'west', front: '192.0.2.1' } });
  await all.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await all.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } });
  await all.create(Resources.Application, { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: 'web', namespace: 'default', tenant: 'acme' }, spec: { vpc: 'main', service: { port: 80 }, template: { spec: { containers: [{ name: 'web', image: 'web' }] } }, policy: { instances: { min: 2, max: 4 } } } } as never);
  const at = ['--kubeconfig', join(dir, 'global.kubeconfig')];
  const listener = `https://127.0.0.1:${global.restPort}`;
  let placed: readonly { readonly application: string }[] = [];
  for (let i = 0; i < 20 && placed.length === 0; i++) placed = json(await cli('placements', ...at, '-o', 'json'));
  assert.is(placed[0]?.application, 'acme/default/web');
  const traffic = join(dir, 'traffic.yaml');
  writeFileSync(traffic, 'traffic:\n  web:\n    nowhere: 5\n');
  const api = join(dir, 'api.yaml');
  writeFileSync(api, `apiVersion: mesh.proxima.io/v1\nkind: Application\nmetadata: { name: api, tenant: acme }\nspec:\n  vpc: main\n  service: { port: 81 }\n  template: { spec: { containers: [{ name: api, image: api }] } }\n  policy: { instances: { min: 3 } }\n`);
  const [why, down, plan, tried, wrong, nobody, untrusted, stranger, region2] = await Promise.all([
    cli('why', 'web', ...at, '-o', 'json'), cli('what-if', '--site-down', 'west-1', '--global', listener, ...at, '-o', 'json'), cli('plan', ...at), cli('plan', '-f', api, ...at), cli('what-if', '--traffic', traffic, ...at),
    cli('why', 'acme/default/none', ...at), cli('plan', '--global', listener), cli('plan', '--global', listener, '--ca', files.trustFile), cli('plan', '--kubeconfig', kubeconfig),
  ]);
  assert.is(json<{ readonly sites: readonly { readonly site: string }[] }>(why).sites[0]?.site, 'west-1');
  assert.ok(json<{ readonly changes: readonly { readonly site: string; readonly to: number }[] }>(down).changes.every((c) => c.site !== 'west-1' || c.to === 0));
  assert.match(plan.out, /nothing would move[\s\S]*next: proxima /);
  assert.match(tried.out, /acme\/default\/api +west-1 +0 +3 [\s\S]*cost per hour: 2 -> 5;[\s\S]*moves: 3 instance\(s\) start, 0 stop, in 1 application\(s\)\nnext: kubectl apply -f /);
  assert.equal([wrong.code, nobody.code, untrusted.code, stranger.code, region2.code], [2, 2, 3, 4, 2]);
  assert.match(wrong.err, /traffic\[web\]\[nowhere\]: no client region "nowhere"/);
  assert.match(nobody.err, /no application "acme\/default\/none"[\s\S]*next: /);
  assert.match(untrusted.err, /next: name the mesh authority: --ca FILE/);
  assert.match(stranger.err, /Unauthorized[\s\S]*next: name the global API's kubeconfig/);
  assert.match(region2.err, /is the API of a region, not the global one/);
  assert.ok(existsSync(files.trustFile));
});

run();
