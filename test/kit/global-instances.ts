/** Any number of global processes on one etcd, each with its own API, over one region's API; any of them may be killed or paused. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { Agent, request } from 'undici';
import type { Client } from '../../api/client.ts';
import { createHttpClient } from '../../api/http-client.ts';
import { type Access, loadKubeconfig, writeKubeconfig } from '../../api/kubeconfig.ts';
import { Resources } from '../../api/resources.ts';
import { testApiServer, type TestApiServer } from './api-server.ts';
import { startEtcd } from './etcd.ts';
import type { CaseContext } from './suite.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'cloud', 'global.ts');
const PROGRAM = `
import { globalStart } from ${JSON.stringify(MAIN)};
process.stdin.resume().on('end', () => process.exit(1)); // the test is gone
const global = await globalStart(JSON.parse(process.argv[1]));
console.log(JSON.stringify({ url: global.url }));
`;
export const SHARDS = 16;
export const PLACE = { tenant: 'acme', namespace: 'default' } as const;

export interface Instance {
  readonly child: ChildProcess;
  readonly client: Client;
  /** Of its API: the status and what it says. */
  ready(): Promise<{ readonly status: number; readonly text: string }>;
  /** What it has logged, lines of JSON, when it was started with `log`. */
  logged(): string;
  /** The sum of a metric's samples whose line has the text; 0 when there is none. */
  metric(name: string, text?: string): Promise<number>;
  readonly kill: () => Promise<void>;
}

export interface StartOptions {
  /** How it reaches the region, when not directly. */
  readonly west?: Access;
  /** `http://host:port` instead of etcd's own. */
  readonly etcd?: string;
  /** Its log is kept, from this level on. */
  readonly log?: 'info' | 'warn';
}

export interface Instances {
  readonly server: TestApiServer;
  /** Of the region's API, as operator. */
  readonly region: Client;
  start(n: number, options?: StartOptions): Promise<Instance>;
  /** `http://host:port` */
  readonly etcd: string;
  /** Of any address of the lab, as operator. */
  scrape(url: string): Promise<string>;
}

export interface GlobalProcess {
  readonly child: ChildProcess;
  readonly url: string;
  readonly kill: () => Promise<void>;
  readonly logged: () => string;
}

export async function spawnGlobal(t: CaseContext, config: { readonly identity: string }, keepsLog = false): Promise<GlobalProcess> {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', PROGRAM, JSON.stringify(config)], { stdio: ['pipe', 'pipe', keepsLog ? 'pipe' : 'inherit'] });
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (log += text));
  const gone = new Promise((r) => child.once('exit', r));
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
  };
  t.after(kill);
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout as Readable }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`instance ${config.identity} ended with ${code} ${log}`)));
  });
  return { child, kill, logged: () => log, ...(JSON.parse(line) as { readonly url: string }) };
}

export function sumOf(text: string, name: string, part = ''): number {
  return text.split('\n').filter((l) => (l.startsWith(`${name} `) || l.startsWith(`${name}{`)) && l.includes(part)).reduce((sum, l) => sum + Number(l.slice(l.lastIndexOf(' '))), 0);
}

export async function globalInstances(t: CaseContext): Promise<Instances> {
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
  const own = authority.issue({ cn: 'api' });
  const files = { cert: await file('api.crt', own.cert), key: await file('api.key', own.key), ca: await file('ca.crt', authority.ca) };
  const master = authority.issue({ cn: 'admin', o: ['system:masters'] });
  const agent = new Agent({ connect: { ca: authority.ca, cert: master.cert, key: master.key } });
  t.after(() => agent.close());
  const scrape = async (url: string): Promise<string> => (await request(`${url}/metrics`, { dispatcher: agent })).body.text();
  const direct = server.access('global', ['system:masters']);

  async function start(n: number, { west = direct, etcd: through = etcd?.url, log }: StartOptions = {}): Promise<Instance> {
    await writeKubeconfig(join(dir, `west-${n}.kubeconfig`), west);
    const config = {
      identity: `global-${n}`, dataDir: join(dir, `data-${n}`), store: { kind: 'etcd', endpoints: [through] }, api: { port: 0, ...files }, rest: { port: 0 },
      regions: [{ name: 'west', kubeconfig: join(dir, `west-${n}.kubeconfig`) }], clientRegions: [{ name: 'metro', cidrs: ['198.51.100.0/24'] }], intervalMs: 200, startGraceMs: 500, shards: SHARDS, leaseMs: 3_000, logLevel: log ?? 'error',
    };
    const { child, url, kill, logged } = await spawnGlobal(t, config, log !== undefined);
    await writeKubeconfig(join(dir, `${n}.kubeconfig`), { server: url, ca: authority.ca, credential: { kind: 'certificate', ...master } });
    const client = createHttpClient(await loadKubeconfig(join(dir, `${n}.kubeconfig`)));
    t.after(() => client.close());
    const ready = async (): Promise<{ readonly status: number; readonly text: string }> => {
      const { statusCode, body } = await request(`${url}/readyz`, { dispatcher: agent });
      return { status: statusCode, text: await body.text() };
    };
    return { child, client, kill, ready, logged, metric: async (name, text) => sumOf(await scrape(url), name, text) };
  }
  return { server, region, start, scrape, etcd: etcd?.url ?? '' };
}
