/** The REST face of the real global process: who may ask what, dry runs that write nothing, refusals that name the path. */
import assert from 'node:assert/strict';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import { testGlobal, TOKEN, type TestGlobal } from '../kit/global-process.ts';
import { suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const until = waiter({ withinMs: 20_000, everyMs: 100 });
const { it, run } = suite('global REST', { timeoutMs: 60_000 });

const application = (name: string, o: object = {}, policy: object = { instances: { min: 2, max: 4 } }): object => ({
  apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name, namespace: 'default', ...o },
  spec: { vpc: 'main', service: { port: 80 }, template: { spec: { containers: [{ name, image: name }] } }, policy },
});

/** Every object that people or the scheduler keep, with its version. */
async function versions(g: TestGlobal): Promise<readonly string[]> {
  const all = { tenant: 'all' } as const;
  const lists = await Promise.all([
    ...[Resources.Application, Resources.PlacementPolicy, Resources.Placement, Resources.Vpc].map((r) => g.client.list<KubeObject>(r, all)), g.client.list<KubeObject>(Resources.Site), g.client.list<KubeObject>(Resources.Tenant),
    g.region.list<KubeObject>(Resources.Deployment, all),
  ]);
  return lists.flatMap((l) => l.items.map((i) => `${i.kind} ${i.metadata.tenant ?? ''}/${i.metadata.name} ${i.metadata.resourceVersion ?? ''}`));
}

async function placed(g: TestGlobal): Promise<void> {
  await g.client.create(Resources.Application, application('web', { tenant: 'acme' }) as never);
  await g.client.create(Resources.Application, { ...application('hidden', { tenant: 'other' }), spec: { ...(application('hidden') as { spec: object }).spec, service: { port: 81 } } } as never);
  await until('both are placed', async () => ((await g.ask('GET', '/v1/placements')).body['placements'] as readonly unknown[] | undefined)?.length === 2);
  await until('nothing is left to change', async () => JSON.stringify((await g.ask('GET', '/v1/plan')).body['changes']) === '[]');
  let last = '';
  await until('nothing is written any more', async () => {
    await new Promise((r) => setTimeout(r, 500));
    const was = last;
    last = JSON.stringify(await versions(g));
    return was === last;
  });
}

it('answers nobody without a credential, and a tenant only of its own', async (t) => {
  const g = await testGlobal(t);
  await placed(g);
  const acme = ['tenant:acme'];
  for (const path of ['/v1/plan', '/v1/placements', '/v1/why?application=web', '/v1/demand', '/v1/traffic?application=web', '/v1/links?site=ny-1', '/v1/sites', '/v1/steering?application=acme/default/web&clientRegion=london']) {
    const { status, body } = await g.ask('GET', path, { o: null });
    assert.deepEqual([status, body['error']], [401, 'unauthenticated'], path);
  }
  assert.equal((await g.ask('POST', '/v1/plan', { o: null, body: { objects: [application('x')] } })).status, 401);
  assert.equal((await g.ask('GET', '/v1/plan', { o: null, token: 'no-such-token-at-all' })).status, 401);
  assert.equal((await g.ask('GET', '/v1/plan', { o: ['system:nodes'] })).status, 403);
  for (const way of [{ o: acme }, { o: null, token: TOKEN }, { o: acme, onApi: true }]) {
    const own = await g.ask('GET', '/v1/placements', way);
    assert.deepEqual((own.body['placements'] as readonly { readonly application: string }[]).map((p) => p.application), ['acme/default/web']);
    assert.ok(!JSON.stringify((await g.ask('GET', '/v1/demand', way)).body).includes('other/'));
    assert.equal((await g.ask('GET', '/v1/why?application=other/default/hidden', way)).status, 404);
    assert.equal((await g.ask('GET', '/v1/why?application=hidden', way)).status, 404);
    assert.equal((await g.ask('GET', '/v1/traffic?application=other/default/hidden', way)).status, 404);
    assert.equal((await g.ask('GET', '/v1/why?application=web', way)).body['application'], 'acme/default/web');
    assert.equal((await g.ask('GET', '/v1/sites', way)).status, 403);
    assert.equal((await g.ask('GET', '/v1/links?site=ny-1', way)).status, 403);
  }
  assert.deepEqual(((await g.ask('GET', '/tenants/other/v1/placements', { onApi: true })).body['placements'] as readonly { readonly application: string }[]).map((p) => p.application), ['other/default/hidden']);
  assert.equal((await g.ask('GET', '/tenants/other/v1/placements', { onApi: true, o: acme })).status, 403);
  assert.equal((await g.ask('GET', '/v1/sites')).status, 200);
  const { links, holes } = (await g.ask('GET', '/v1/links?site=ny-1')).body as { readonly links: unknown; readonly holes: readonly { readonly clientRegion: string; readonly takenMs: number | null }[] };
  assert.deepEqual(links, []);
  assert.ok(holes.some((h) => h.clientRegion === 'london' && (h.takenMs === null || h.takenMs > 0)), JSON.stringify(holes));
  assert.ok((await g.ask('GET', '/v1/links?site=nowhere')).status >= 400);
  const foreign = await g.ask('POST', '/v1/plan', { o: acme, body: { objects: [application('x', { tenant: 'other' })] } });
  assert.deepEqual([foreign.status, foreign.body['path']], [403, 'objects[0].metadata.tenant']);
});

it('leaves steering open when told so, and nothing else', async (t) => {
  const g = await testGlobal(t, { openSteering: true });
  await g.client.create(Resources.Application, application('web', { tenant: 'acme' }) as never);
  await until('steering answers anybody', async () => (await g.ask('GET', '/v1/steering?application=acme/default/web&clientRegion=london', { o: null })).status === 200);
  assert.equal((await g.ask('GET', '/v1/placements', { o: null })).status, 401);
  assert.equal((await g.ask('GET', '/v1/openapi.json', { o: null })).status, 200);
});

it('tries objects, losses and traffic without writing anything', async (t) => {
  const g = await testGlobal(t);
  await placed(g);
  const before = await versions(g);
  const objects = [{ apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } }, application('api', { tenant: 'acme' }, { instances: { min: 3, max: 3 }, sites: { required: { names: ['ny-1'] } } })];
  (objects[1] as { spec: { service: { port: number } } }).spec.service.port = 90;
  const tried = await g.ask('POST', '/v1/plan', { body: { objects } });
  assert.equal(tried.status, 200, JSON.stringify(tried.body));
  assert.deepEqual((tried.body['changes'] as readonly Record<string, unknown>[]).map((c) => [c['application'], c['site'], c['from'], c['to']]), [['acme/default/api', 'ny-1', 0, 3]]);
  const summary = tried.body['summary'] as { readonly instancesStarted: number; readonly costPerHour: { readonly before: number; readonly after: number }; readonly latencyMs: readonly { readonly clientRegion: string; readonly after: number }[] };
  assert.equal(summary.instancesStarted, 3);
  assert.equal(summary.costPerHour.after - summary.costPerHour.before, 3);
  assert.ok(summary.latencyMs.some((l) => l.clientRegion === 'new-york' && l.after > 0));
  const [site] = (await g.ask('GET', '/v1/why?application=acme/default/web')).body['sites'] as readonly { readonly site: string }[];
  const down = await g.ask('POST', '/v1/what-if', { body: { siteDown: [site?.site] } });
  assert.ok((down.body['changes'] as readonly Record<string, unknown>[]).some((c) => c['application'] === 'acme/default/web' && c['site'] !== site?.site && Number(c['to']) > 0));
  const busy = await g.ask('POST', '/v1/what-if', { body: { traffic: { web: { london: 350 } } } });
  assert.match(JSON.stringify(busy.body['changes']), /client region london sends 350\.0 req\/s/);
  const tooMuch = await g.ask('POST', '/v1/what-if', { body: { traffic: { 'acme/default/web': { 'new-york': 5000 } } } });
  assert.match(JSON.stringify(tooMuch.body['unmet']), /instances\.max = 4/);
  const clash = await g.ask('POST', '/v1/plan', { body: { objects: [application('web2', { tenant: 'other' })] } });
  assert.match(JSON.stringify(clash.body['refused']), /80\/TCP is held at every front by an application of another tenant/);
  const vpc = await g.ask('POST', '/v1/plan', { body: { objects: [{ ...application('v', { tenant: 'acme' }), spec: { ...(objects[1] as { spec: object }).spec, vpc: 'none' } }] } });
  assert.match(JSON.stringify(vpc.body['refused']), /spec\.vpc: no VPC \\"none\\"/);
  await new Promise((r) => setTimeout(r, 600)); // three more passes
  assert.deepEqual(await versions(g), before);
});

it('refuses what it cannot read, with the path', async (t) => {
  const g = await testGlobal(t);
  await placed(g);
  const app = (spec: object): object => ({ objects: [{ ...application('x', { tenant: 'acme' }), spec: { ...(application('x') as { spec: object }).spec, ...spec } }] });
  const cases: readonly (readonly [path: string, body: unknown, status: number, at: string, message: RegExp])[] = [
    ['/v1/plan', { objekts: [] }, 400, 'objekts', /unknown field "objekts"/],
    ['/v1/plan', { objects: [] }, 400, 'objects', /at least 1 item/],
    ['/v1/plan', { objects: [{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' } }] }, 400, 'objects[0].kind', /"Pod" is not one of Application/],
    ['/v1/plan', app({ policy: { instances: { min: 9, max: 2 } } }), 400, 'objects[0].spec.policy.instances.min', /9 is more than/],
    ['/v1/plan', app({ policy: { minTrusst: 1 } }), 400, 'objects[0].spec.policy.minTrusst', /unknown field/],
    ['/v1/plan', app({ policy: { residency: ['north'] } }), 400, 'objects[0].spec.policy.residency[0]', /no region "north"; there are east, west/],
    ['/v1/plan', app({ policy: { latency: [{ percentile: 95, milliseconds: 5, clientRegion: 'london' }] } }), 400, 'objects[0].spec.policy.latency[0].milliseconds', /5 ms is less than light needs from client region london to the nearest allowed site \(55\.\d ms\)/],
    ['/v1/what-if', {}, 400, '', /the body is empty/],
    ['/v1/what-if', { siteDown: ['west-1', 'nowhere'] }, 404, 'siteDown[1]', /no site "nowhere"; there are ny-1, west-1/],
    ['/v1/what-if', { traffic: { web: { paris: 5 } } }, 400, 'traffic[web][paris]', /no client region "paris"/],
    ['/v1/what-if', { traffic: { none: { london: 5 } } }, 400, 'traffic[none]', /no application "none"/],
    ['/v1/what-if', { traffic: { web: { london: '2x' } } }, 400, 'traffic[web][london]', /a factor such as x2/],
    ['/v1/what-if', { traffic: { '*': { london: 5 } } }, 400, 'traffic[*][london]', /for "\*" give a factor/],
  ];
  for (const [path, body, status, at, message] of cases) {
    const answer = await g.ask('POST', path, { body });
    assert.deepEqual([answer.status, answer.body['path']], [status, at], JSON.stringify(answer.body));
    assert.match(String(answer.body['message']), message);
  }
  assert.equal((await g.ask('POST', '/v1/plan', { raw: '{' })).status, 400);
  assert.equal((await g.ask('POST', '/v1/plan', { raw: ' '.repeat(1024 * 1024 + 1) })).status, 413);
  assert.equal((await g.ask('POST', '/v1/plan', { raw: `${'{"a":'.repeat(40)}1${'}'.repeat(40)}` })).status, 413);
  assert.equal((await g.ask('POST', '/v1/why')).status, 405);
  assert.equal((await g.ask('GET', '/v1/nothing')).status, 404);
  assert.match(String((await g.ask('GET', '/v1/why?application=web&site=ny-1&siet=x')).body['message']), /unknown parameter "siet"/);
});

it('describes itself: every route, its body and its answers; and counts what it is asked', async (t) => {
  const g = await testGlobal(t);
  await g.ask('GET', '/v1/nothing');
  assert.match(String((await g.ask('GET', '/metrics', { onApi: true })).body['text']), /proxima_global_rest_requests_total\{path="other",status="404"\} 1/);
  const { body } = await g.ask('GET', '/v1/openapi.json');
  const paths = body['paths'] as Readonly<Record<string, Readonly<Record<string, { readonly summary: string; readonly requestBody?: unknown }>>>>;
  assert.deepEqual(Object.entries(paths).flatMap(([p, methods]) => Object.keys(methods).map((m) => `${m} ${p}`)).sort(), ['get /v1/demand', 'get /v1/links', 'get /v1/placements', 'get /v1/plan', 'get /v1/sites', 'get /v1/steering', 'get /v1/traffic', 'get /v1/what-if', 'get /v1/why', 'post /v1/plan', 'post /v1/what-if']);
  const schemas = (body['components'] as { readonly schemas: Readonly<Record<string, unknown>> }).schemas;
  for (const [, name] of JSON.stringify(body).matchAll(/#\/components\/schemas\/(\w+)/g)) assert.ok(schemas[name ?? ''] !== undefined, name);
  assert.match(JSON.stringify(schemas['PlacementPolicy']), /stabilisationSeconds/);
});

run();
