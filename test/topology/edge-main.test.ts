import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createHttpClient } from '../../api/http-client.ts';
import type { Lease, Node, Pod } from '../../api/kinds/core.ts';
import type { Droplet } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import { createAuthority, createRegionAuthority, issueToFiles } from '../../certs/authority.ts';
import { identityFiles } from '../../certs/enrol.ts';
import { spiffe } from '../../certs/names.ts';
import { removeNode } from '../../edge/agent/containerd.ts';
import { run as exec } from '../../edge/agent/exec.ts';
import { buildImages, WEB_IMAGE } from '../../edge/images/build.ts';
import { testApiServer } from '../kit/api-server.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const until = waiter({ withinMs: 25_000, everyMs: 50, retriesErrors: true });
const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const refused = !existsSync('/usr/bin/containerd') ? 'no containerd on this machine' : await inOwnNetns(import.meta.filename, () => buildImages(cache, { containersOnly: true }));
const { it, skip, run } = suite('agent process', { timeoutMs: 45_000 });

interface Pems {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

function ask(port: number, path: string, as: Pems): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const r = request({ host: '127.0.0.1', port, path, ...as, agent: false, checkServerIdentity: () => undefined }, (reply) => {
      let body = '';
      reply.on('data', (d: Buffer) => (body += d.toString()));
      reply.on('end', () => resolve({ status: reply.statusCode ?? 0, body }));
    });
    r.on('error', reject);
    r.end();
  });
}

if (refused !== null) skip('real containerd', refused);
else {
  it('registers node, lease and droplet, runs a pod from the real API, serves its log to the region alone, in little memory', async (t) => {
    await exec('ip', ['link', 'set', 'lo', 'up']);
    const dir = mkdtempSync('/tmp/px-');
    const root = createAuthority(join(dir, 'ca'));
    const authority = createRegionAuthority(root, 'r1', join(dir, 'ca'));
    const pems = (use: string, uri: string, dns: readonly string[] = []): Pems => {
      issueToFiles(authority, join(dir, 'id'), use, { uri, dns });
      const files = identityFiles(join(dir, 'id'), use);
      return { key: readFileSync(files.key, 'utf8'), cert: readFileSync(files.cert, 'utf8'), ca: readFileSync(files.trust, 'utf8') };
    };
    const region = pems('region', spiffe.region('r1'), ['api.r1.proxima']);
    const node = pems('node', spiffe.node('s1', 'n1'));
    const api = await testApiServer(t, { tls: region, systemNamespaces: ['default', 'node-lease'] });
    const admin = pems('admin', spiffe.admin('tester'));
    const client = createHttpClient({ server: api.server.url, ca: admin.ca, credential: { kind: 'certificate', cert: admin.cert, key: admin.key }, serverName: 'api.r1.proxima' });
    t.after(() => client.close());
    const config = { node: 'n1', site: 's1', region: 'r1', dir: join(dir, 'n'), identity: { dir: join(dir, 'id') }, api: { server: api.server.url, serverName: 'api.r1.proxima' }, droplet: { interface: 'lo', address: '127.0.0.1', mac: '02:00:00:00:00:01' }, listen: { address: '127.0.0.1', port: 10_251 }, cniPlugin: process.execPath, images: { containers: [join(cache, 'web.tar'), join(cache, 'pause.tar')], vmDir: '' } };
    const file = join(dir, 'agent.json');
    writeFileSync(file, JSON.stringify(config));
    const main = join(import.meta.dirname, '..', '..', 'edge', 'main.ts');
    // As the launcher starts it: compiled code kept on disk (then no type stripper stays in memory), a small young generation.
    const env = { ...process.env, NODE_COMPILE_CACHE: join(cache, '..', 'compile'), MALLOC_ARENA_MAX: '1' };
    await exec(process.execPath, ['-e', `import(${JSON.stringify(main)})`], { env });
    const child = spawn(process.execPath, ['--max-semi-space-size=1', '--max-old-space-size=96', '-e', `import(${JSON.stringify(main)}).then((m) => m.agentStart(JSON.parse(require('fs').readFileSync(${JSON.stringify(file)}, 'utf8'))));`], { stdio: ['ignore', 'inherit', process.env['PX_VERBOSE'] === undefined ? 'ignore' : 'inherit'], env });
    t.after(async () => {
      child.kill('SIGKILL');
      await removeNode(join(dir, 'n'), 'n1');
      rmSync(dir, { recursive: true, force: true });
    });

    const registered = await until('node is Ready', async () => {
      const n = await client.get<Node>(Resources.Node, { tenant: null, namespace: null }, 'n1');
      return n.status?.conditions?.some((c) => c.type === 'ContainerRuntimeReady' && c.status === 'True') === true && n;
    });
    assert.is(registered.metadata.labels?.['mesh.proxima.io/site'], 's1');
    assert.is(registered.status?.conditions?.find((c) => c.type === 'VmRuntimeReady')?.status, 'False');
    const droplet = await until('droplet', () => client.get<Droplet>(Resources.Droplet, { tenant: null, namespace: null }, 'n1'));
    assert.equal([droplet.spec.site, droplet.spec.address], ['s1', '127.0.0.1']);
    const lease = await until('lease', () => client.get<Lease>(Resources.Lease, { tenant: 'system', namespace: 'node-lease' }, 'n1'));

    const place = { tenant: 'system', namespace: 'default' };
    await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', ...place }, spec: { nodeName: 'n1', containers: [{ name: 'web', image: WEB_IMAGE, env: [{ name: 'PORT', value: '8099' }], readinessProbe: { httpGet: { path: '/', port: 8099 }, periodSeconds: 1 } }] } });
    const pod = await until('pod is Ready', async () => {
      const p = await client.get<Pod>(Resources.Pod, place, 'web');
      return p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true && p;
    });
    assert.is(pod.status?.podIP, '127.0.0.1');

    assert.equal(await ask(10_251, '/logs/system/default/web?tailLines=1', region), { status: 200, body: 'serving on port 8099\n' });
    assert.match((await ask(10_251, '/logs/system/default/web?timestamps=true', admin)).body, /^\d{4}-.* serving on port 8099\n$/);
    assert.is((await ask(10_251, '/logs/system/default/web', node)).status, 403);
    assert.is((await ask(10_251, '/logs/system/default/nobody', region)).status, 404);
    await until('the lease is renewed', async () => (await client.get<Lease>(Resources.Lease, { tenant: 'system', namespace: 'node-lease' }, 'n1')).spec.renewTime !== lease.spec.renewTime);
    const rss = Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024);
    console.log(`agent: ${rss} MiB resident`);
    assert.ok(rss <= 120, `${rss} MiB`);
    await client.delete(Resources.Pod, place, 'web', { gracePeriodSeconds: 1 });
    await until('pod is gone', async () => (await client.list<Pod>(Resources.Pod, { tenant: 'all' })).items.length === 0);
  });
}

run();
