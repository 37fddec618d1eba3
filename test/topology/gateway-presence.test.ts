import { connect as tlsConnect } from 'node:tls';
import { connect } from 'node:net';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { Resources } from '../../api/resources.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import { enrol } from '../../certs/enrol.ts';
import { spiffe } from '../../certs/names.ts';
import { fetchTls, gatewayPair, httpService, tcpService } from '../kit/gateway-pair.ts';
import type { Credential, Pair } from '../kit/gateway-pair.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const { it, run } = suite('gateway/presences', { timeoutMs: 20_000 });

const ALLOW = [{ methods: ['GET', 'POST'], path: '/api/*' }];
const anyNode = ['spiffe://proxima/site/s1/node/*', 'spiffe://proxima/tenant/acme/*'];

function httpPresence(port: number, more: Record<string, unknown> = {}): Parameters<Pair['presence']>[0] {
  return { metadata: { name: 'web', tenant: 'acme' }, spec: { direction: 'edge-to-cloud', protocol: 'http', service: { host: '127.0.0.1', port }, listen: { sites: ['s1'], port: 0 }, callers: anyNode, allow: ALLOW, ...more } };
}

function echo(port: number, who: Credential | null, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const s = who === null ? connect(port, '127.0.0.1') : tlsConnect({ host: '127.0.0.1', port, key: who.key, cert: who.cert, rejectUnauthorized: false });
    let out = '';
    s.on('data', (d: Buffer) => (out += d.toString()));
    s.on('end', () => resolve(out));
    s.on('close', () => resolve(out));
    s.on('error', reject);
    s.end(text);
  });
}

it('carries HTTP from an edge caller to a cloud service, with the caller named by its certificate alone', async (t) => {
  const service = await httpService(t, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (d: Buffer) => parts.push(d));
    request.on('end', () => response.end(JSON.stringify({ method: request.method, url: request.url, caller: request.headers['x-proxima-caller'], bytes: Buffer.concat(parts).length })));
  });
  const pair = await gatewayPair(t);
  await pair.presence(httpPresence(service));
  const port = await pair.portOf(pair.edge, 'acme/web');
  const ann = pair.credential(spiffe.tenant('acme', 'ann'));
  const got = await fetchTls(port, '/api/x?y=1', ann, { headers: { 'X-Proxima-Caller': 'spiffe://proxima/global' } });
  assert.equal(JSON.parse(got.body), { method: 'GET', url: '/api/x?y=1', caller: 'spiffe://proxima/tenant/acme/ann', bytes: 0 });
  const posted = await fetchTls(port, '/api/x', ann, { method: 'POST', body: Buffer.alloc(3_000_000, 1) });
  assert.is((JSON.parse(posted.body) as { bytes: number }).bytes, 3_000_000);
  const chunked = await fetchTls(port, '/api/x', ann, { method: 'POST', headers: { 'transfer-encoding': 'chunked' }, body: Buffer.alloc(100_000, 1) });
  assert.is((JSON.parse(chunked.body) as { bytes: number }).bytes, 100_000);
  const entry = await pair.portOf(pair.edge, '@entry');
  assert.is((await fetchTls(entry, '/api/e', ann, { headers: { host: 'web.acme' } })).status, 200);
  const site = (await pair.cloud.ask({ do: 'get', resource: Resources.Site, name: 's1' })) as Site;
  assert.is(site.status?.gateway?.connected, true);
  assert.is(site.status?.phase, 'Ready');
  assert.ok(site.status?.lastSeen);
});

it('refuses, each time with its reason: not exposed, no certificate, not a caller, method, path, revoked, a second use of a token', async (t) => {
  const service = await httpService(t, (_request, response) => response.end('reached'));
  const pair = await gatewayPair(t);
  await pair.presence(httpPresence(service));
  await pair.presence({ ...httpPresence(service, { listen: { sites: ['s2'], port: 0 } }), metadata: { name: 'elsewhere', tenant: 'acme' } });
  const port = await pair.portOf(pair.edge, 'acme/web');
  const entry = await pair.portOf(pair.edge, '@entry');
  const ann = pair.credential(spiffe.tenant('acme', 'ann'));
  const bob = pair.credential(spiffe.tenant('other', 'bob'));
  const cases: readonly [string, () => Promise<{ readonly status: number; readonly body: string }>, RegExp][] = [
    ['notExposed', () => fetchTls(entry, '/api/x', ann, { headers: { host: 'ledger.acme' } }), /no presence acme\/ledger is exposed/],
    ['site', () => fetchTls(entry, '/api/x', ann, { headers: { host: 'elsewhere.acme' } }), /not exposed to site s1/],
    ['caller', () => fetchTls(port, '/api/x', null), /needs a client certificate/],
    ['caller', () => fetchTls(port, '/api/x', bob), /tenant\/other\/bob is not a caller/],
    ['method', () => fetchTls(port, '/api/x', ann, { method: 'DELETE' }), /does not allow DELETE/],
    ['method', () => fetchTls(port, '/secret', ann), /does not allow the path \/secret/],
    ['malformed', () => fetchTls(port, '/api/../secret', ann), /not in normal form/],
  ];
  for (const [code, answer, reason] of cases) {
    const { status, body } = await answer();
    assert.ok(status === 403 || status === 400, `${code}: ${status} ${body}`);
    assert.match(body, reason);
    assert.is((JSON.parse(body) as { code: string }).code, code);
  }
  await pair.cloud.ask({ do: 'revoke', serial: ann.serial });
  const revoked = await until('the revocation arrives', async () => {
    const a = await fetchTls(port, '/api/x', ann);
    return a.status === 403 ? a : null;
  });
  assert.match(revoked.body, /is revoked/);
  const token = await pair.token('s9');
  await enrol(token, { dir: join(pair.dir, 'one'), node: 'n1', uses: ['gateway'] });
  try {
    await enrol(token, { dir: join(pair.dir, 'two'), node: 'n2', uses: ['gateway'] });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /token was already used at 20.* by n1/);
  }
  const codes = await until('every refusal is kept', async () => {
    const seen = new Set((await pair.refusals()).map((r) => r.code));
    return ['notExposed', 'site', 'caller', 'method', 'malformed', 'revoked', 'token'].every((c) => seen.has(c)) ? seen : null;
  });
  assert.ok(codes.size >= 7);
  const denied = await fetchTls(pair.ports.enrol, '/refusals', bob);
  assert.is(denied.status, 403);
});

it('carries TCP both ways of direction, half-closes included, and HTTP to a service at the edge', async (t) => {
  const upper = await tcpService(t, (s) => {
    let text = '';
    s.on('data', (d) => (text += d.toString()));
    s.on('end', () => s.end(text.toUpperCase()));
  });
  const edgeService = await httpService(t, (request, response) => response.end(`edge saw ${String(request.headers['x-proxima-caller'])}`));
  const pair = await gatewayPair(t, { services: { 'region-api': { host: '127.0.0.1', port: upper } } });
  await pair.presence({ metadata: { name: 'raw', tenant: 'acme' }, spec: { direction: 'edge-to-cloud', protocol: 'tcp', service: { host: '127.0.0.1', port: upper }, listen: { sites: ['s1'], port: 0 }, callers: anyNode } });
  await pair.presence({ metadata: { name: 'sensor', tenant: 'acme' }, spec: { direction: 'cloud-to-edge', protocol: 'http', service: { host: '127.0.0.1', port: edgeService, site: 's1' }, listen: { sites: ['r1'], port: 0 }, callers: ['spiffe://proxima/global'], allow: [{ methods: ['GET'], path: '/read' }] } });
  await pair.presence({ metadata: { name: 'sensor-raw', tenant: 'acme' }, spec: { direction: 'cloud-to-edge', protocol: 'tcp', service: { host: '127.0.0.1', port: upper, site: 's1' }, listen: { sites: ['r1'], port: 0 }, callers: ['spiffe://proxima/global'] } });
  const ann = pair.credential(spiffe.tenant('acme', 'ann'));
  const global = pair.credential(spiffe.global());
  assert.is(await echo(await pair.portOf(pair.edge, 'acme/raw'), ann, 'hello'), 'HELLO');
  assert.is(await echo(await pair.portOf(pair.edge, 'acme/raw'), null, 'hello').catch(() => ''), '');
  assert.is(await echo(await pair.portOf(pair.edge, '@region-api'), null, 'plain passes'), 'PLAIN PASSES');
  const sensor = await pair.portOf(pair.cloud, 'acme/sensor');
  const answer = await until('the edge knows the presence', async () => {
    const a = await fetchTls(sensor, '/read', global);
    return a.status === 200 ? a : null;
  });
  assert.is(answer.body, 'edge saw spiffe://proxima/global');
  assert.match((await fetchTls(sensor, '/write', global)).body, /does not allow the path/);
  assert.match((await fetchTls(sensor, '/read', ann)).body, /is not a caller/);
  assert.is(await echo(await pair.portOf(pair.cloud, 'acme/sensor-raw'), global, 'down'), 'DOWN');
});

it('says so when the service or the uplink is down, and refuses a revoked edge gateway at once', async (t) => {
  const pair = await gatewayPair(t);
  await pair.presence(httpPresence(1));
  const port = await pair.portOf(pair.edge, 'acme/web');
  const ann = pair.credential(spiffe.tenant('acme', 'ann'));
  const down = await fetchTls(port, '/api/x', ann);
  assert.is(down.status, 503);
  assert.match(down.body, /service of presence acme\/web .* cannot be reached: connect ECONNREFUSED/);
  const site = (await pair.cloud.ask({ do: 'get', resource: Resources.Site, name: 's1' })) as Site;
  await pair.cloud.ask({ do: 'revoke', serial: site.status?.gateway?.serial ?? '' });
  await until('the edge hears why', () => /the region refuses this gateway.*|revoked/.test(pair.edge.log()) && pair.edge.log().includes('the region refuses this gateway'));
  const cut = await until('the uplink is gone', async () => {
    const a = await fetchTls(port, '/api/x', ann);
    return a.status === 503 && a.body.includes('uplink') ? a : null;
  });
  assert.match(cut.body, /uplink to the region is down/);
  const after = await until('the site shows as unreachable', async () => {
    const s = (await pair.cloud.ask({ do: 'get', resource: Resources.Site, name: 's1' })) as Site;
    return s.status?.phase === 'Unreachable' ? s : null;
  });
  assert.is(after.status?.gateway?.connected, false);
});

run();
