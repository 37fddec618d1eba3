/** The global process as it is started: real TLS, the embedded store on disk, a region behind HTTPS. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { createHttpClient } from '../../api/http-client.ts';
import { loadKubeconfig, writeKubeconfig } from '../../api/kubeconfig.ts';
import type { Application } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { globalStart } from '../../cloud/global.ts';
import { testApiServer } from '../kit/api-server.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const { it, run } = suite('global process', { timeoutMs: 30_000 });

it('places an application in a region, steers to it, explains it, and remembers after a restart', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'px-global-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const region = await testApiServer(t);
  const admin = region.client('global', ['system:masters']);
  await admin.create(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: 'west-1' }, spec: { kind: 'zone', region: 'west', front: '192.0.2.1' } } as never);
  const api = region.authority.issue({ cn: 'api' });
  const master = region.authority.issue({ cn: 'admin', o: ['system:masters'] });
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  await writeKubeconfig(join(dir, 'west.kubeconfig'), region.access('global', ['system:masters']));
  const config = {
    dataDir: join(dir, 'data'),
    api: { host: '127.0.0.1', port: 0, cert: await file('api.crt', api.cert), key: await file('api.key', api.key), ca: await file('ca.crt', region.authority.ca) },
    kubeconfig: { path: join(dir, 'global.kubeconfig'), cert: await file('admin.crt', master.cert), key: await file('admin.key', master.key) },
    rest: { port: 0, openSteering: true },
    regions: [{ name: 'west', kubeconfig: join(dir, 'west.kubeconfig') }],
    clientRegions: [{ name: 'metro', cidrs: ['198.51.100.0/24'] }],
    intervalMs: 200,
  };
  const global = await globalStart(config, { log: silentLogger });
  const client = createHttpClient(await loadKubeconfig(join(dir, 'global.kubeconfig')));
  await client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await client.create(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } } as never);
  const app: Application = { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: 'web', namespace: 'default', tenant: 'acme' }, spec: { vpc: 'main', service: { port: 80 }, template: { spec: { containers: [{ name: 'web', image: 'web' }] } }, policy: { instances: { min: 2, max: 4 } } } };
  await client.create(Resources.Application, app);
  const agent = new Agent({ connect: { ca: region.authority.ca, cert: master.cert, key: master.key } });
  t.after(() => agent.close());
  const get = async (path: string, port = global.restPort): Promise<{ readonly status: number; readonly body: Record<string, unknown> }> => {
    const answer = await request(`https://127.0.0.1:${port}${path}`, { dispatcher: agent });
    return { status: answer.statusCode, body: (await answer.body.json()) as Record<string, unknown> };
  };
  await until('a deployment in the region', async () => (await admin.list(Resources.Deployment, { tenant: 'all' })).items.some((d) => d.metadata.name === 'web-west-1'));
  const metrics = await (await request(`${global.url}/metrics`, { dispatcher: agent })).body.text();
  for (const line of [/^apiserver_request_duration_seconds_count/m, /^proxima_moves_started_total\{why="first"\} 1$/m, /^proxima_global_pass_seconds_count [1-9]/m]) assert.match(metrics, line);
  await until('a steered front', async () => JSON.stringify((await get('/v1/steering?application=acme/default/web&clientRegion=metro')).body).includes('192.0.2.1'));
  const why = (await get('/v1/why?application=acme/default/web')).body as { readonly sites?: readonly { readonly reason: string }[] };
  assert.match(why.sites?.[0]?.reason ?? '', /west-1 holds 2 of the minimum of 2/);
  assert.equal((await get('/v1/why?application=acme/default/none')).status, 404);
  assert.match(String((await get('/v1/steering?aplication=x')).body['message']), /unknown parameter "aplication"/);
  await until('nothing left to change', async () => (await get('/v1/plan')).body['changes']?.toString() === '');
  await client.close();
  await global.stop();
  const again = await globalStart(config, { log: silentLogger });
  t.after(() => again.stop());
  await until('the same plan after a restart', async () => JSON.stringify((await get('/v1/placements', again.restPort)).body).includes('west-1'));
});

run();
