import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import * as assert from 'uvu/assert';
import { spiffe } from '../../certs/names.ts';
import { fetchTls, gatewayPair, httpService, tcpService } from '../kit/gateway-pair.ts';
import type { Credential } from '../kit/gateway-pair.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const { it, run } = suite('gateway/load', { timeoutMs: 30_000 });
const callers = ['spiffe://proxima/tenant/acme/*'];
const dial = (port: number, who: Credential): TLSSocket => tlsConnect({ host: '127.0.0.1', port, key: who.key, cert: who.cert, rejectUnauthorized: false });

it('holds little for a reader that does not read, serves others meanwhile, and loses no byte of it', async (t) => {
  const TOTAL = 120_000_000;
  const source = await tcpService(t, (s) => {
    let left = TOTAL;
    const chunk = Buffer.alloc(65_536, 7);
    const more = (): void => {
      while (left > 0) {
        const n = Math.min(left, chunk.length);
        left -= n;
        if (!s.write(chunk.subarray(0, n))) return void s.once('drain', more);
      }
      s.end();
    };
    more();
  });
  const quick = await httpService(t, (_request, response) => response.end('quick'));
  const pair = await gatewayPair(t);
  const spec = { direction: 'edge-to-cloud', listen: { sites: ['s1'], port: 0 }, callers } as const;
  await pair.presence({ metadata: { name: 'bulk', tenant: 'acme' }, spec: { ...spec, protocol: 'tcp', service: { host: '127.0.0.1', port: source } } });
  await pair.presence({ metadata: { name: 'web', tenant: 'acme' }, spec: { ...spec, protocol: 'http', service: { host: '127.0.0.1', port: quick }, allow: [{ methods: ['GET'], path: '/*' }] } });
  const ann = pair.credential(spiffe.tenant('acme', 'ann'));
  const web = await pair.portOf(pair.edge, 'acme/web');
  const memory = async (): Promise<number> => ((await pair.edge.ask({ do: 'memory' })) as number) + ((await pair.cloud.ask({ do: 'memory' })) as number);
  assert.is((await fetchTls(web, '/', ann)).body, 'quick');
  const before = await memory();
  const slow = dial(await pair.portOf(pair.edge, 'acme/bulk'), ann);
  await new Promise((resolve) => slow.once('secureConnect', resolve));
  slow.pause();
  for (let i = 0; i < 20; i++) assert.is((await fetchTls(web, '/', ann)).body, 'quick', 'others are served while one does not read');
  await new Promise((r) => setTimeout(r, 1_500));
  const grown = (await memory()) - before;
  assert.ok(grown < 60e6, `${(grown / 1e6).toFixed(0)} MB more for one slow reader of ${TOTAL / 1e6} MB`);
  let got = 0;
  slow.on('data', (d: Buffer) => (got += d.length));
  slow.resume();
  await until('everything arrives', () => got === TOTAL, { withinMs: 20_000 });
});

it('changes its certificate without dropping a connection', async (t) => {
  const echo = await tcpService(t, (s) => s.pipe(s));
  const pair = await gatewayPair(t);
  await pair.presence({ metadata: { name: 'echo', tenant: 'acme' }, spec: { direction: 'edge-to-cloud', protocol: 'tcp', service: { host: '127.0.0.1', port: echo }, listen: { sites: ['s1'], port: 0 }, callers } });
  const port = await pair.portOf(pair.edge, 'acme/echo');
  const ann = pair.credential(spiffe.tenant('acme', 'ann'));
  const old = dial(port, ann);
  const say = async (s: TLSSocket, text: string): Promise<string> => {
    const answer = new Promise<string>((resolve, reject) => {
      s.once('data', (d: Buffer) => resolve(d.toString()));
      s.once('close', () => reject(new Error('dropped')));
    });
    s.write(text);
    return answer;
  };
  assert.is(await say(old, 'one'), 'one');
  await pair.edge.ask({ do: 'rotate' });
  assert.is(await say(old, 'two'), 'two', 'the open connection goes on');
  const fresh = dial(port, ann);
  assert.is(await say(fresh, 'three'), 'three');
  for (const s of [old, fresh]) s.destroy();
  assert.match(pair.edge.log(), /certificate renewed/);
});

it('starts without its region and offers what it offered before', async (t) => {
  const service = await httpService(t, (_request, response) => response.end('here'));
  const pair = await gatewayPair(t);
  await pair.presence({ metadata: { name: 'web', tenant: 'acme' }, spec: { direction: 'edge-to-cloud', protocol: 'http', service: { host: '127.0.0.1', port: service }, listen: { sites: ['s1'], port: 0 }, callers, allow: [{ methods: ['GET'], path: '/*' }] } });
  const port = await pair.portOf(pair.edge, 'acme/web');
  await pair.cloud.kill();
  await pair.edge.kill();
  const again = await pair.startEdge(pair.edgeConfig);
  assert.is(await pair.portOf(again.process, 'acme/web'), port);
  const answer = await fetchTls(port, '/', pair.credential(spiffe.tenant('acme', 'ann')));
  assert.is(answer.status, 503);
  assert.match(answer.body, /uplink to the region is down/);
});

it('serves the general path: a rewritten prefix, and the same policy', async (t) => {
  const service = await httpService(t, (request, response) => response.end(`${request.url} for ${String(request.headers['x-proxima-caller'])}`));
  const pair = await gatewayPair(t);
  await pair.presence({ metadata: { name: 'web', tenant: 'acme', annotations: { 'mesh.proxima.io/rewrite-prefix': '/v1' } }, spec: { direction: 'edge-to-cloud', protocol: 'http', service: { host: '127.0.0.1', port: service }, listen: { sites: ['s1'], port: 0 }, callers, allow: [{ methods: ['GET'], path: '/api/*' }] } });
  const port = await pair.portOf(pair.edge, 'acme/web');
  const ann = pair.credential(spiffe.tenant('acme', 'ann'));
  assert.is((await fetchTls(port, '/api/x', ann, { headers: { 'x-proxima-caller': 'spiffe://proxima/global' } })).body, '/v1/api/x for spiffe://proxima/tenant/acme/ann');
  assert.match((await fetchTls(port, '/other', ann)).body, /does not allow the path/);
});

run();
