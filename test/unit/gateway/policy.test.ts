import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ChunkScanner, parseHead } from '../../../gateway/presence/http-head.ts';
import { decideListeners } from '../../../gateway/presence/listeners.ts';
import type { ListenSpec } from '../../../gateway/presence/listeners.ts';
import { decideOpen, decideRequest } from '../../../gateway/presence/policy.ts';
import type { OpenQuestion, PresenceRule, Verdict } from '../../../gateway/presence/policy.ts';
import { covers, mayPublish, maySubscribe, rightsOf } from '../../../gateway/broker/rights.ts';
import { parseSpiffe } from '../../../certs/names.ts';
import { decodeCloudConfig, decodeEdgeConfig } from '../../../gateway/main.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('gateway/policy');

const rule: PresenceRule = {
  key: 'acme/web', direction: 'edge-to-cloud', protocol: 'http', service: { host: 'h', port: 1, site: null }, listen: { sites: ['s1'], address: null, port: 1 },
  callers: ['spiffe://proxima/site/s1/node/*'], allow: [{ methods: ['GET'], path: '/api/*' }, { methods: ['POST'], path: '/login' }], general: null,
};
const ask: OpenQuestion = { name: rule.key, rule, direction: 'edge-to-cloud', site: 's1', caller: { uri: 'spiffe://proxima/site/s1/node/n1', serial: 'AA' }, isRevoked: () => false };
const code = (v: Verdict): string => (v.ok ? 'ok' : v.code);

it('opens only what is exposed, here, to this caller, with a certificate that stands', () => {
  assert.is(code(decideOpen(ask)), 'ok');
  assert.is(code(decideOpen({ ...ask, rule: undefined })), 'notExposed');
  assert.is(code(decideOpen({ ...ask, direction: 'cloud-to-edge' })), 'notExposed');
  assert.is(code(decideOpen({ ...ask, site: 's2' })), 'site');
  assert.is(code(decideOpen({ ...ask, caller: { uri: '', serial: '' } })), 'caller');
  assert.is(code(decideOpen({ ...ask, caller: { uri: 'spiffe://other/x', serial: '' } })), 'caller');
  assert.is(code(decideOpen({ ...ask, isRevoked: (s) => s === 'AA' })), 'revoked');
  assert.is(code(decideOpen({ ...ask, rule: { ...rule, callers: [] } })), 'caller', 'nobody named is nobody');
  const wide = { ...rule, callers: ['spiffe://proxima/site/*'], listen: { ...rule.listen, sites: ['s1', 's2'] } };
  assert.is(code(decideOpen({ ...ask, rule: wide, site: 's2' })), 'caller', 'a site cannot speak for another site’s node');
});

it('allows a request by method and path, and refuses every second spelling of a path', () => {
  const of = (method: string, target: string): string => code(decideRequest(rule, method, target));
  assert.is(of('GET', '/api/x?q=/../'), 'ok');
  assert.is(of('POST', '/login'), 'ok');
  assert.is(of('POST', '/api/x'), 'method');
  assert.is(of('GET', '/login/more'), 'method');
  assert.is(of('GET', '/'), 'method');
  for (const target of ['/api/../secret', '/api/./x', '//api/x', '/api//x', '/api/%2e%2e/x', '/api/%2Fx', '/api/..', 'http://h/api/x', '*', '/api/\\x']) assert.is(of('GET', target), 'malformed', target);
});

it('allows nothing when nothing is allowed', () => {
  fc.assert(fc.property(fc.webPath(), (path) => assert.is.not(code(decideRequest({ ...rule, allow: [] }, 'GET', path === '' ? '/' : path)), 'ok')));
});

it('reads a head strictly: what two parsers could read in two ways is refused', () => {
  const of = (...lines: string[]): string => {
    const r = parseHead(['GET /x HTTP/1.1', 'host: h', ...lines].join('\r\n'));
    return r.ok ? r.head.body.kind : 'refused';
  };
  assert.is(of(), 'none');
  assert.is(of('Content-Length: 5'), 'length');
  assert.is(of('Transfer-Encoding: chunked'), 'chunked');
  for (const lines of [['Content-Length: 5', 'Transfer-Encoding: chunked'], ['Content-Length: 5', 'Content-Length: 5'], ['Content-Length: +5'], ['Content-Length: 5, 5'], ['Transfer-Encoding: gzip, chunked'], ['Transfer-Encoding : chunked'], [' folded'], ['host: other'], ['x: a\nb: c'], ['x: a\rb'], ['upgrade: websocket', 'content-length: 1']]) assert.is(of(...lines), 'refused', lines.join(' | '));
  for (const line of ['GET /x HTTP/1.0', 'GET /x', 'get /x HTTP/1.1', 'GET  /x HTTP/1.1', '']) assert.not.ok(parseHead(`${line}\r\nhost: h`).ok, line);
  const spoofed = parseHead('GET /x HTTP/1.1\r\nhost: h\r\nX-Proxima-Caller: spiffe://proxima/global\r\nx: y');
  assert.ok(spoofed.ok && !/x-proxima/i.test(spoofed.head.text) && spoofed.head.text.endsWith('x: y'));
});

it('finds the end of a chunked body however it is cut', () => {
  const body = Buffer.from('5;ext=1\r\nhello\r\n0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n');
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (sizes) => {
      const scanner = new ChunkScanner();
      const all = Buffer.concat([body, Buffer.from('NEXT')]);
      let isDone = false;
      for (let at = 0, i = 0; at < all.length && !isDone; i++) {
        const piece = all.subarray(at, at + (sizes[i % sizes.length] ?? 1));
        const r = scanner.scan(piece, 0);
        assert.ok(r);
        if (r.done) {
          isDone = true;
          assert.is(at + r.end, body.length);
        }
        at += piece.length;
      }
      assert.ok(isDone);
    }),
  );
  for (const bad of ['x\r\n', '5\nhello', '5\r\nhelloXX0\r\n', '-1\r\n', '\r\n']) assert.is(new ChunkScanner().scan(Buffer.from(bad), 0), null, bad);
});

it('gives each identity its own topics and nothing more', () => {
  const rights = (uri: string): ReturnType<typeof rightsOf> => rightsOf(parseSpiffe(uri) ?? assert.unreachable() as never);
  const node = rights('spiffe://proxima/site/s1/node/n1');
  assert.ok(mayPublish(node, 'telemetry/s1/traffic'));
  for (const topic of ['telemetry/s2/traffic', 'telemetry/s1', 'telemetry/s1x/t', 'cmd/s1/x', '$SYS/x', '']) assert.not.ok(mayPublish(node, topic), topic);
  assert.ok(maySubscribe(node, 'cmd/s1/#'));
  for (const filter of ['#', 'cmd/#', 'cmd/+/x', '+/s1/#', 'telemetry/#']) assert.not.ok(maySubscribe(node, filter), filter);
  assert.ok(maySubscribe(rights('spiffe://proxima/global'), 'telemetry/#'));
  assert.not.ok(maySubscribe(rights('spiffe://proxima/tenant/acme/ann'), 'telemetry/#'));
  assert.not.ok(covers('a/#', 'a'));
});

it('plans listeners: closes before it opens, and does nothing when nothing changed', () => {
  const spec = (key: string, port: number): ListenSpec => ({ key, address: '127.0.0.1', port, plain: false, kind: 'http' });
  const have = new Map([['a', spec('a', 1)], ['b', spec('b', 2)]]);
  assert.equal(decideListeners([...have.values()], have), []);
  assert.equal(decideListeners([spec('a', 2)], have).map((s) => (s.kind === 'close' ? `-${s.key}` : `+${s.spec.key}`)), ['-a', '-b', '+a']);
});

it('refuses a config with an unknown, missing or wrong key, by its path', () => {
  const good = { site: 's1', identity: { dir: '/x' }, stateDir: '/y' };
  assert.is(decodeEdgeConfig(good).identity.use, 'gateway');
  assert.throws(() => decodeEdgeConfig({ ...good, mqtt: { listen: [], quota: 1 } }), /mqtt\.quota: unknown key/);
  assert.throws(() => decodeEdgeConfig({ ...good, sitte: 'x' }), /sitte: unknown key/);
  assert.throws(() => decodeEdgeConfig({ site: 's1', identity: {} }), /identity\.dir: is required|stateDir/);
  assert.throws(() => decodeEdgeConfig({ ...good, identity: { dir: '/x', uses: 'y' } }), /identity\.uses: unknown key/);
  assert.throws(() => decodeCloudConfig({}), /is required/);
});

run();
