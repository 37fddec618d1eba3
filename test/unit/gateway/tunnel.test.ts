import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { checkSpec, decideTunnel, parseDump } from '../../../gateway/tunnel/tunnel.ts';
import type { ObservedTunnel, TunnelPeer, TunnelSpec, TunnelStep } from '../../../gateway/tunnel/tunnel.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('gateway/tunnel plan');

const KEYS = ['A', 'B', 'C'].map((c) => `${c.repeat(43)}=`);
const peers = fc.uniqueArray(fc.record({ publicKey: fc.constantFrom(...KEYS), endpoint: fc.constantFrom(null, '192.0.2.1:51820'), allowedIps: fc.uniqueArray(fc.constantFrom('100.64.1.1/32', '100.64.2.1/32'), { minLength: 1 }), keepalive: fc.constantFrom(0, 25) }), { selector: (p) => p.publicKey });
const specs = fc.record({ interface: fc.constant('wg0'), address: fc.constantFrom('100.64.9.1/32', '100.64.8.1/32'), privateKeyFile: fc.constant('/k'), listenPort: fc.constantFrom(null, 51_820), mtu: fc.constantFrom(1_420, 1_400), peers });

function apply(steps: readonly TunnelStep[], from: ObservedTunnel | null): ObservedTunnel {
  let at: ObservedTunnel = from ?? { privateKey: '', publicKey: '', listenPort: 0, address: null, mtu: 1_500, isUp: false, routes: [], peers: [] };
  const traffic = { lastHandshakeSeconds: 0, rxBytes: 0, txBytes: 0 };
  for (const s of steps) {
    if (s.kind === 'key') at = { ...at, privateKey: 'key' };
    if (s.kind === 'port') at = { ...at, listenPort: s.port };
    if (s.kind === 'remove-peer') at = { ...at, peers: at.peers.filter((p) => p.publicKey !== s.publicKey) };
    if (s.kind === 'peer') at = { ...at, peers: [...at.peers.filter((p) => p.publicKey !== s.peer.publicKey), { ...s.peer, endpoint: s.peer.endpoint ?? at.peers.find((p) => p.publicKey === s.peer.publicKey)?.endpoint ?? null, ...traffic }] };
    if (s.kind === 'address') at = { ...at, address: s.address };
    if (s.kind === 'up') at = { ...at, isUp: true, mtu: s.mtu };
    if (s.kind === 'route') at = { ...at, routes: [...at.routes, s.to] };
  }
  return at;
}

it('converges: after the steps nothing is left to do, from nothing and from any other tunnel', () => {
  fc.assert(
    fc.property(specs, specs, (one, two) => {
      const first = apply(decideTunnel(one, 'key', null), null);
      assert.equal(decideTunnel(one, 'key', first), []);
      const second = apply(decideTunnel(two, 'key', first), first);
      assert.equal(decideTunnel(two, 'key', second), []);
    }),
  );
});

it('leaves a peer alone that has roamed', () => {
  const peer: TunnelPeer = { publicKey: KEYS[0] ?? '', endpoint: '192.0.2.1:1', allowedIps: ['100.64.1.1/32'], keepalive: 0 };
  const spec: TunnelSpec = { interface: 'wg0', address: '100.64.9.1/32', privateKeyFile: '/k', listenPort: null, mtu: 1_420, peers: [peer] };
  const have = apply(decideTunnel(spec, 'key', null), null);
  assert.equal(decideTunnel(spec, 'key', { ...have, peers: have.peers.map((p) => ({ ...p, endpoint: '203.0.113.9:7' })) }), []);
});

it('reads what wg dumps', () => {
  const dump = parseDump(`priv\tpub\t51820\toff\n${KEYS[0]}\t(none)\t192.0.2.1:51820\t100.64.1.1/32,100.64.2.1/32\t1700000000\t12\t34\t25\n${KEYS[1]}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n`);
  assert.is(dump.listenPort, 51_820);
  assert.equal(dump.peers[0], { publicKey: KEYS[0], endpoint: '192.0.2.1:51820', allowedIps: ['100.64.1.1/32', '100.64.2.1/32'], keepalive: 25, lastHandshakeSeconds: 1_700_000_000, rxBytes: 12, txBytes: 34 });
  assert.equal(dump.peers[1]?.allowedIps, []);
  assert.is(dump.peers[1]?.endpoint, null);
});

it('names the wrong field', () => {
  const spec: TunnelSpec = { interface: 'wg0', address: '100.64.9.1/32', privateKeyFile: '/k', listenPort: null, mtu: 1_420, peers: [] };
  assert.throws(() => checkSpec({ ...spec, interface: 'a-name-that-is-too-long' }), /tunnel\.interface/);
  assert.throws(() => checkSpec({ ...spec, address: '::1' }), /tunnel\.address/);
  assert.throws(() => checkSpec({ ...spec, peers: [{ publicKey: 'x', endpoint: null, allowedIps: [], keepalive: 0 }] }), /tunnel\.peers\[0\]\.publicKey/);
});

run();
