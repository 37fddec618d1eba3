/** The global process as it is started, with one region behind HTTPS and sites that have coordinates; and credentials for anybody. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import type { Client } from '../../api/client.ts';
import { createHttpClient } from '../../api/http-client.ts';
import { type Access, loadKubeconfig, writeKubeconfig } from '../../api/kubeconfig.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { globalStart, type RunningGlobal } from '../../cloud/global.ts';
import { testApiServer } from './api-server.ts';
import type { CaseContext } from './suite.ts';

export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface TestGlobal {
  readonly global: RunningGlobal;
  /** Of the global API and of the region's, as operator. */
  readonly client: Client;
  readonly region: Client;
  readonly dir: string;
  /** Writes a kubeconfig for a certificate with these organizations. */
  readonly kubeconfig: (name: string, o: readonly string[], prefix?: string) => Promise<string>;
  /** `base` null = the REST listener. `o` null = no certificate. */
  readonly ask: (method: 'GET' | 'POST', path: string, options?: { readonly o?: readonly string[] | null; readonly token?: string; readonly body?: unknown; readonly raw?: string; readonly onApi?: boolean }) => Promise<Answer>;
}

export const TOKEN = '0123456789abcdef-acme';
/** Seattle and New York; clients in New York and, 5,500 km from it, London. */
const SITES = [
  ['west-1', 'zone', 'west', 47.6, -122.3, {}],
  ['ny-1', 'zone', 'west', 40.7, -74, { tier: 'gold' }],
] as const satisfies readonly SiteRow[];
const CLIENTS = [
  { name: 'new-york', cidrs: ['198.51.100.0/25'], location: { latitude: 40.7, longitude: -74 } },
  { name: 'london', cidrs: ['198.51.100.128/25'], location: { latitude: 51.5, longitude: -0.1 } },
] as const;

type SiteRow = readonly [name: string, kind: 'zone' | 'edge', region: string, latitude: number, longitude: number, labels: Readonly<Record<string, string>>];

export interface TestGlobalOptions {
  readonly sites?: readonly SiteRow[];
  readonly clientRegions?: readonly { readonly name: string; readonly cidrs: readonly string[]; readonly location: { readonly latitude: number; readonly longitude: number } }[];
}

export async function testGlobal(t: CaseContext, rest: object = {}, { sites = SITES, clientRegions = CLIENTS }: TestGlobalOptions = {}): Promise<TestGlobal> {
  const dir = await mkdtemp(join(tmpdir(), 'px-global-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const region = await testApiServer(t);
  const { authority } = region;
  const west = region.client('global', ['system:masters']);
  for (const [name, kind, of, latitude, longitude, labels] of sites) await west.create(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name }, spec: { kind, region: of, front: `192.0.2.${name.length}`, location: { latitude, longitude }, labels } } as never);
  const api = authority.issue({ cn: 'api' });
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  await writeKubeconfig(join(dir, 'west.kubeconfig'), region.access('global', ['system:masters']));
  const cert = { cert: await file('api.crt', api.cert), key: await file('api.key', api.key) };
  const global = await globalStart(
    {
      dataDir: join(dir, 'data'), api: { host: '127.0.0.1', port: 0, ...cert, ca: await file('ca.crt', authority.ca), tokens: await file('tokens', `# tokens\n${TOKEN},bob,1,"tenant:acme"\n`) },
      rest: { port: 0, ...rest }, regions: [{ name: 'west', kubeconfig: join(dir, 'west.kubeconfig') }, { name: 'east', kubeconfig: join(dir, 'west.kubeconfig') }], clientRegions, intervalMs: 200, startGraceMs: 500,
    },
    { log: silentLogger },
  );
  t.after(() => global.stop());
  const access = (o: readonly string[], prefix = ''): Access => ({ server: `${global.url}${prefix}`, ca: authority.ca, credential: { kind: 'certificate', ...authority.issue({ cn: 'somebody', o: [...o] }) } });
  const kubeconfig = async (name: string, o: readonly string[], prefix = ''): Promise<string> => {
    await writeKubeconfig(join(dir, name), access(o, prefix));
    return join(dir, name);
  };
  const client = createHttpClient(await loadKubeconfig(await kubeconfig('admin', ['system:masters'])));
  t.after(() => client.close());
  for (const name of ['acme', 'other']) {
    await client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name } });
    await client.create(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: name }, spec: { cidr: '10.20.0.0/16' } } as never);
  }
  const agents = new Map<string, Agent>();
  t.after(() => Promise.all([...agents.values()].map((a) => a.close())));
  const agentOf = (o: readonly string[] | null): Agent => {
    const key = JSON.stringify(o);
    const made = agents.get(key) ?? new Agent({ connect: { ca: authority.ca, ...(o === null ? {} : authority.issue({ cn: 'somebody', o: [...o] })) } });
    agents.set(key, made);
    return made;
  };
  return {
    global, client, region: west, dir, kubeconfig,
    async ask(method, path, options = {}) {
      const { o = ['system:masters'], token, body, raw, onApi } = options;
      const content = raw ?? (body === undefined ? null : JSON.stringify(body));
      const answer = await request(`${onApi === true ? global.url : `https://127.0.0.1:${global.restPort}`}${path}`, {
        method, dispatcher: agentOf(o), headers: { ...(content === null ? {} : { 'content-type': 'application/json' }), ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) }, body: content,
      });
      const text = await answer.body.text();
      return { status: answer.statusCode, body: text.startsWith('{') ? (JSON.parse(text) as Answer['body']) : { text } };
    },
  };
}

