/** kubectl logs and VM actions through a region, its cloud gateway and a site's gateway to the endpoint of an agent that nobody in the cloud can dial. */
import { execFile, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { createHttpClient } from '../../api/http-client.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { createAuthority, createRegionAuthority, issueToFiles } from '../../certs/authority.ts';
import { spiffe } from '../../certs/names.ts';
import { regionStart } from '../../cloud/main.ts';
import { AgentEndpoint } from '../../edge/agent/logs.ts';
import { Records } from '../../edge/agent/records.ts';
import type { VmRuntime } from '../../edge/agent/vm/runtime.ts';
import { cloudGatewayStart, edgeGatewayStart } from '../../gateway/main.ts';
import { type CaseContext, suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const { it, run } = suite('gateway/agents', { timeoutMs: 40_000 });
const CLUSTER = { tenant: null, namespace: null } as const;
const PLACE = { tenant: 'system', namespace: 'default' } as const;
const hasKubectl = (process.env['PATH'] ?? '').split(':').some((d) => existsSync(join(d, 'kubectl')));

interface Site {
  readonly dir: string;
  readonly log: (pod: Pod, text: string, attempt?: number) => void;
  readonly actions: string[];
  readonly pod: (name: string, spec: object) => Promise<Pod>;
  readonly ask: (method: string, path: string, body?: string) => Promise<{ readonly status: number; readonly body: string }>;
  readonly edge: Awaited<ReturnType<typeof edgeGatewayStart>>;
  readonly region: Awaited<ReturnType<typeof regionStart>>;
}

async function site(t: CaseContext, agents: object | null): Promise<Site> {
  const dir = mkdtempSync(join(tmpdir(), 'px-gw-agents-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const root = createAuthority(join(dir, 'ca'));
  const authority = createRegionAuthority(root, 'r1', join(dir, 'ca'));
  const local = { ips: ['127.0.0.1'], dns: ['localhost'] };
  issueToFiles(authority, join(dir, 'cp'), 'region', { uri: spiffe.region('r1'), ...local });
  issueToFiles(authority, join(dir, 'cp'), 'gateway', { uri: spiffe.cloudGateway('r1'), ...local });
  issueToFiles(authority, join(dir, 's1'), 'gateway', { uri: spiffe.gateway('s1') });
  const files = issueToFiles(authority, join(dir, 's1'), 'node', { uri: spiffe.node('s1', 'n1') });
  const read = (path: string): string => readFileSync(path, 'utf8');

  const actions: string[] = [];
  const vms = new Proxy({}, { get: (_, action) => (_uid: string, name?: string) => Promise.resolve(actions.push(`${String(action)} ${name ?? ''}`.trim())) }) as unknown as VmRuntime;
  const records = new Records(join(dir, 'pods'), silentLogger);
  records.load();
  const endpoint = new AgentEndpoint({ listen: { address: '127.0.0.1', port: 0 }, region: 'r1', tls: { key: read(files.keyFile), cert: read(files.certFile), ca: read(files.trustFile) }, logDir: join(dir, 'logs'), records, vms, log: silentLogger });
  await endpoint.start();
  t.after(() => endpoint.stop());

  const any = { address: '127.0.0.1', port: 0 };
  // Any port: the region has to know it before the gateway that listens there knows the region.
  const way = 20_000 + (process.pid % 20_000);
  const region = await regionStart({ region: 'r1', dataDir: join(dir, 'data'), listen: { port: 0 }, identity: { dir: join(dir, 'cp') }, kubeconfig: join(dir, 'kubeconfig'), gateways: [`127.0.0.1:${way}`] }, { log: silentLogger });
  t.after(() => region.stop());
  const cloud = await cloudGatewayStart({ region: 'r1', identity: { dir: join(dir, 'cp') }, authority: { cert: join(dir, 'ca', 'region-r1.crt'), key: join(dir, 'ca', 'region-r1.key') }, mux: any, enrol: any, agents: { ...any, port: way }, api: { server: region.url } }, { log: silentLogger });
  t.after(() => cloud.stop());
  const edge = await edgeGatewayStart({ site: 's1', identity: { dir: join(dir, 's1') }, stateDir: join(dir, 's1', 'state'), gateways: [`127.0.0.1:${cloud.ports.mux}`], enrol: `127.0.0.1:${cloud.ports.enrol}`, agents: agents ?? { port: endpoint.port } }, { log: silentLogger });
  t.after(() => edge.stop());
  const admin = { key: read(join(dir, 'cp', 'region.key')), cert: read(join(dir, 'cp', 'region.crt')), ca: read(join(dir, 'cp', 'trust.pem')) };
  const client = createHttpClient({ server: region.url, ca: admin.ca, credential: { kind: 'certificate', cert: admin.cert, key: admin.key } });
  t.after(() => client.close());
  await client.create(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: 's1' }, spec: { kind: 'edge', region: 'r1' } } as never);
  await client.create(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1', labels: { 'mesh.proxima.io/site': 's1' } } });
  await client.patch(Resources.Node, CLUSTER, 'n1', { status: { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }], daemonEndpoints: { kubeletEndpoint: { Port: endpoint.port } } } }, { subresource: 'status' });
  return {
    dir,
    edge,
    region,
    actions,
    log(pod, text, attempt = 0) {
      const folder = join(dir, 'logs', pod.metadata.uid ?? '', 'web');
      mkdirSync(folder, { recursive: true });
      const lines = text.split('\n').map((l) => `2026-01-01T00:00:00Z stdout F ${l}\n`).join('');
      const file = join(folder, `${attempt}.log`);
      if (existsSync(file)) appendFileSync(file, lines);
      else writeFileSync(file, lines);
    },
    async pod(name, spec) {
      const made = await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name, ...PLACE }, spec: { nodeName: 'n1', ...spec } } as Pod);
      records.desire(made);
      return made;
    },
    ask: (method, path, body) => new Promise((resolve, reject) => {
      const call = request(`${region.url}${path}`, { method, ...admin, agent: false, headers: body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } }, (answer) => {
        let text = '';
        answer.on('data', (d: Buffer) => (text += d.toString())).on('end', () => resolve({ status: answer.statusCode ?? 0, body: text })).on('error', reject);
      });
      call.on('error', reject).end(body);
    }),
  };
}

const POD = '/api/v1/namespaces/default/pods';
const WEB = { containers: [{ name: 'web', image: 'web:1' }] };

it('brings a log, its tail, the one before and what follows, and VM actions, from a node behind a gateway', async (t) => {
  const s = await site(t, null);
  await until('the site is connected', () => s.edge.gateway.isConnected);
  const web = await s.pod('web', WEB);
  s.log(web, 'old', 0);
  s.log(web, 'one\ntwo\nthree', 1);
  const logs = await until('the log', async () => {
    const answer = await s.ask('GET', `${POD}/web/log`);
    return answer.status === 200 ? answer : null;
  });
  assert.is(logs.body, 'one\ntwo\nthree\n');
  if (hasKubectl) {
    const kubectl = async (...args: string[]): Promise<string> => (await promisify(execFile)('kubectl', ['--kubeconfig', join(s.dir, 'kubeconfig'), 'logs', ...args], { timeout: 20_000, env: { ...process.env, HOME: s.dir } })).stdout;
    assert.is(await kubectl('web', '--tail=1'), 'three\n');
    assert.is(await kubectl('web', '--previous'), 'old\n');
    const follow = spawn('kubectl', ['--kubeconfig', join(s.dir, 'kubeconfig'), 'logs', '-f', 'web', '--tail=1'], { env: { ...process.env, HOME: s.dir } });
    t.after(() => follow.kill('SIGKILL'));
    let seen = '';
    follow.stdout.on('data', (d: Buffer) => (seen += d.toString()));
    await until('it follows', () => seen === 'three\n');
    s.log(web, 'four', 1);
    await until('what came later', () => seen === 'three\nfour\n');
  }
  await s.pod('vm', { virtualMachine: { name: 'vm', image: 'x' } });
  assert.equal(await s.ask('POST', `${POD}/vm/vm/reboot`), { status: 204, body: '' });
  assert.is((await s.ask('POST', `${POD}/vm/vm/snapshot?name=before`)).status, 204);
  const action = await s.ask('POST', `${POD}/vm/action`, JSON.stringify({ apiVersion: 'v1', kind: 'CustomAction', operation: 'restore', restoreParams: { snapshotID: 'before' } }));
  assert.equal([action.status, JSON.parse(action.body)['message']], [201, "Created action 'restore' for Pod 'vm'"]);
  assert.equal(s.actions, ['reboot', 'snapshot before', 'restore before']);
  assert.match((await s.ask('POST', `${POD}/vm/vm/explode`)).body, /"message":"node n1: unknown VM action[^"]*".*"code":400/);
  assert.match((await s.ask('POST', `${POD}/vm/action`, '{"operation":"explode"}')).body, /Unsupported operation 'explode' for Pod 'vm'/);
  assert.is((await s.ask('GET', `${POD}/nobody/log`)).status, 404);
});

it('says why where the site allows no agent, and where it is not connected', async (t) => {
  const s = await site(t, { port: 1 });
  await until('the site is connected', () => s.edge.gateway.isConnected);
  await s.pod('web', WEB);
  const refused = await s.ask('GET', `${POD}/web/log`);
  assert.is(refused.status, 403);
  assert.match(refused.body, /cannot be reached through the gateway of site s1: agents of this site listen at port 1, not/);
  await s.edge.stop();
  await until('the region knows that the site is away', async () => (await s.ask('GET', `${POD}/web/log`)).body.includes('site s1 is not connected'));
  assert.is((await s.ask('GET', `${POD}/web/log`)).status, 503);
});

run();
