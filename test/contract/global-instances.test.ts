/** Three global processes on one etcd, each with its own API: they deal the applications among themselves, and any of them may be killed. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Agent, request } from 'undici';
import type { Client } from '../../api/client.ts';
import { createHttpClient } from '../../api/http-client.ts';
import type { Deployment } from '../../api/kinds/core.ts';
import type { Application } from '../../api/kinds/mesh.ts';
import { loadKubeconfig, writeKubeconfig } from '../../api/kubeconfig.ts';
import { Resources } from '../../api/resources.ts';
import { testApiServer } from '../kit/api-server.ts';
import { hasEtcd, startEtcd } from '../kit/etcd.ts';
import { suite, type CaseContext } from '../kit/suite.ts';

const { it, skip, run } = suite('global instances', { timeoutMs: 90_000 });
const MAIN = join(import.meta.dirname, '..', '..', 'cloud', 'global.ts');
const PROGRAM = `
import { globalStart } from ${JSON.stringify(MAIN)};
process.stdin.resume().on('end', () => process.exit(1)); // the test is gone
const global = await globalStart(JSON.parse(process.argv[1]));
console.log(JSON.stringify({ url: global.url }));
`;
const SHARDS = 16;
const NAMES = Array.from({ length: 8 }, (_, i) => `app-${i}`);
const PLACE = { tenant: 'acme', namespace: 'default' };

interface Instance {
  readonly child: ChildProcess;
  readonly url: string;
  readonly client: Client;
  kill(): Promise<void>;
}

async function until(what: string, ms: number, isSo: () => Promise<boolean>): Promise<number> {
  const from = Date.now();
  while (!(await isSo())) {
    if (Date.now() - from > ms) assert.fail(`not within ${ms / 1000} s: ${what}`);
    await new Promise((r) => setTimeout(r, 100));
  }
  return Date.now() - from;
}

interface Lab {
  readonly instances: Instance[];
  readonly region: Client;
  readonly shards: (i: Instance) => Promise<number>;
}

async function lab(t: CaseContext, count: number): Promise<Lab> {
  const dir = await mkdtemp(join(tmpdir(), 'px-globals-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const [etcd] = await startEtcd(t, 1);
  const server = await testApiServer(t);
  const { authority } = server;
  const region = server.client('global', ['system:masters']);
  await region.create(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: 'west-1' }, spec: { kind: 'zone', region: 'west', front: '192.0.2.1' } } as never);
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  await writeKubeconfig(join(dir, 'west.kubeconfig'), server.access('global', ['system:masters']));
  const own = authority.issue({ cn: 'api' });
  const files = { cert: await file('api.crt', own.cert), key: await file('api.key', own.key), ca: await file('ca.crt', authority.ca) };
  const master = authority.issue({ cn: 'admin', o: ['system:masters'] });
  const agent = new Agent({ connect: { ca: authority.ca, cert: master.cert, key: master.key } });
  t.after(() => agent.close());
  const start = async (n: number): Promise<Instance> => {
    const config = {
      identity: `global-${n}`, dataDir: join(dir, `data-${n}`), store: { kind: 'etcd', endpoints: [etcd?.url] }, api: { port: 0, ...files }, rest: { port: 0 },
      regions: [{ name: 'west', kubeconfig: join(dir, 'west.kubeconfig') }], clientRegions: [{ name: 'metro', cidrs: ['198.51.100.0/24'] }], intervalMs: 200, startGraceMs: 500, shards: SHARDS, leaseMs: 3_000, logLevel: 'error',
    };
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', PROGRAM, JSON.stringify(config)], { stdio: ['pipe', 'pipe', 'inherit'] });
    const gone = new Promise((r) => child.once('exit', r));
    const kill = async (): Promise<void> => {
      child.kill('SIGKILL');
      await gone;
    };
    t.after(kill);
    const line = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', resolve);
      child.once('exit', (code) => reject(new Error(`instance ${n} ended with ${code}`)));
    });
    const { url } = JSON.parse(line) as { readonly url: string };
    await writeKubeconfig(join(dir, `${n}.kubeconfig`), { server: url, ca: authority.ca, credential: { kind: 'certificate', ...master } });
    const client = createHttpClient(await loadKubeconfig(join(dir, `${n}.kubeconfig`)));
    t.after(() => client.close());
    return { child, url, client, kill };
  };
  const shards = async (i: Instance): Promise<number> => Number(/^proxima_global_shards_held (\d+)/m.exec(await (await request(`${i.url}/metrics`, { dispatcher: agent })).body.text())?.[1] ?? -1);
  return { instances: await Promise.all(Array.from({ length: count }, (_, n) => start(n))), region, shards };
}

async function replicas(region: Client): Promise<readonly number[]> {
  const { items } = await region.list<Deployment>(Resources.Deployment, { tenant: 'all' });
  return NAMES.map((n) => items.find((d) => d.metadata.name === `${n}-west-1`)?.spec.replicas ?? 0);
}

async function ask(client: Client, min: number): Promise<void> {
  for (const name of NAMES) await client.patch(Resources.Application, PLACE, name, { spec: { policy: { instances: { min, max: 9 } } } });
}

const TITLE = 'share the applications, and take over what a killed one had, within seconds';
if (!hasEtcd) skip(TITLE, 'no etcd on this machine');
else it(TITLE, async (t) => {
  const l = await lab(t, 3);
  const [a, b, c] = l.instances as [Instance, Instance, Instance];
  const held = async (of: readonly Instance[]): Promise<readonly number[]> => Promise.all(of.map((i) => l.shards(i)));
  const isAll = (parts: readonly number[]): boolean => parts.reduce((x, y) => x + y, 0) === SHARDS && parts.every((p) => p >= Math.floor(SHARDS / parts.length));
  await until('shards dealt evenly', 30_000, async () => isAll(await held([a, b, c])));
  await a.client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await a.client.create(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } } as never);
  for (const [i, name] of NAMES.entries()) {
    const app: Application = { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name, ...PLACE }, spec: { vpc: 'main', service: { port: 8000 + i }, template: { spec: { containers: [{ name: 'web', image: 'web', resources: { requests: { cpu: '1m', memory: '1Mi' } } }] } }, policy: { instances: { min: 1, max: 9 } } } };
    await a.client.create(Resources.Application, app);
  }
  await until('every application placed, whoever has it', 20_000, async () => (await replicas(l.region)).every((n) => n === 1));
  await b.kill();
  const took = await until('the shards of the killed one taken over', 15_000, async () => isAll(await held([a, c])));
  assert.ok(took < 10_000, `took ${took} ms`);
  await ask(c.client, 2); // another instance's API, the same store
  await until('what is asked after the death being done, for every application', 15_000, async () => (await replicas(l.region)).every((n) => n === 2));
  await a.kill();
  await ask(c.client, 3);
  await until('the last one doing all of it', 20_000, async () => (await replicas(l.region)).every((n) => n === 3));
  console.log(`# taken over ${(took / 1000).toFixed(1)} s after kill -9`);
});

run();
