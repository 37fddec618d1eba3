import * as assert from 'uvu/assert';
import { goalKey, type GoalBackend, type GoalEntry } from '../../../api/goal.ts';
import { lostBackends, lostFlows } from '../../../dataplane/transit/flows.ts';
import { decodeModes, encode, FRONT_SLOTS, slotsOf } from '../../../dataplane/transit/layout.ts';
import { chooseLan } from '../../../dataplane/transit/modes.ts';
import { desired, plan, type MapContents, type PlanContext } from '../../../dataplane/transit/plan.ts';
import { modesToTry } from '../../../dataplane/transit/uplink.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('dataplane/plan');

const here: PlanContext = { address: '192.168.1.1', hasTunnel: false, local: new Map([['5/10.0.1.1', { ifindex: 9, isTap: false, mac: '02:00:00:00:00:01' }]]) };
const nothing: MapContents = { endpoints: new Map(), prefixes: new Map(), droplets: new Map(), droplet_slots: new Map(), fronts: new Map(), regions: new Map(), scaled: new Map() };
const endpoint = (address: string, droplet: string): GoalEntry => ({ kind: 'endpoint', vni: 5, address, mac: '02:00:00:00:00:02', droplet });
const key = (b: Buffer): string => b.toString('hex');
const backend = (address: string, weight: number): GoalBackend => ({ address, port: 80, weight });
const shares = (backends: readonly GoalBackend[]): Readonly<Record<string, number>> => {
  const out: Record<string, number> = {};
  for (const b of slotsOf(backends)) out[b.address] = (out[b.address] ?? 0) + 1;
  return out;
};

it('what is attached here stays, whatever a goal says of it', () => {
  const want = desired([endpoint('10.0.1.1', '192.168.1.2')], here);
  assert.is(want.endpoints.get(key(encode.vpcAddr(5, '10.0.1.1'))), key(encode.endpoint({ droplet: null, ifindex: 9, mac: '02:00:00:00:00:01', isTap: false })));
  assert.is(desired([], here).endpoints.size, 1);
});

it('an endpoint that should be here, but is not attached, is nowhere yet', () => {
  assert.is(desired([endpoint('10.0.1.7', here.address)], here).endpoints.size, 1);
});

it('writes only the difference, and nothing twice', () => {
  const first = desired([endpoint('10.0.1.2', '192.168.1.2'), { kind: 'vpc', vni: 5, cidr: '10.0.0.0/16', dividers: [] }], here);
  const second = desired([endpoint('10.0.1.2', '192.168.1.3')], here);
  assert.equal(plan(first, first), []);
  assert.equal(plan(first, nothing).map((s) => [s.map, s.put.length, s.drop.length]), [['endpoints', 2, 0], ['prefixes', 1, 0]]);
  assert.equal(plan(second, first).map((s) => [s.map, s.put.length, s.drop.length]), [['endpoints', 1, 0], ['prefixes', 0, 1]]);
});

it('a route as wide as its VPC wins over the VPC in either order', () => {
  const entries: readonly GoalEntry[] = [{ kind: 'vpc', vni: 5, cidr: '10.0.0.0/16', dividers: [] }, { kind: 'route', vni: 5, cidr: '10.0.0.0/16', relay: '192.168.1.9' }];
  for (const order of [entries, entries.toReversed()]) assert.equal([...desired(order, here).prefixes.values()], [key(encode.prefix('route', ['192.168.1.9']))]);
});

it('a droplet does not bounce to itself, and believes relays only where it has a tunnel', () => {
  const want = desired([{ kind: 'network', vni: 5, cidr: '10.0.1.0/24', bouncers: [here.address, '192.168.1.2'] }, { kind: 'droplet', address: '100.64.3.1', mac: null }], here);
  assert.equal([...want.prefixes.values()], [key(encode.prefix('network', ['192.168.1.2']))]);
  assert.is(want.droplets.size, 0);
  assert.is(desired([{ kind: 'droplet', address: '100.64.3.1', mac: null }], { ...here, hasTunnel: true }).droplets.size, 1);
});

it('of droplets that share a slot one has it, and both are in the table', () => {
  const droplet = (address: string): GoalEntry => ({ kind: 'droplet', address, mac: null });
  const want = desired([droplet('192.168.4.2'), droplet('192.168.0.2'), droplet('192.168.1.3')], here);
  assert.is(want.droplets.size, 3);
  assert.equal([...want.droplet_slots.entries()], [['02000000', `c0a80002${'00'.repeat(8)}`], ['03010000', `c0a80103${'00'.repeat(8)}`]]);
  for (const order of [['192.168.0.2', '192.168.4.2'], ['192.168.4.2', '192.168.0.2']]) assert.is(desired(order.map(droplet), here).droplet_slots.get('02000000'), `c0a80002${'00'.repeat(8)}`);
});

it('slots follow weights, none for weight 0, and a change moves only what it must', () => {
  assert.equal(shares([backend('10.0.0.1', 0)]), {});
  assert.equal(shares([backend('10.0.0.1', 1), backend('10.0.0.2', 0)]), { '10.0.0.1': FRONT_SLOTS });
  const even = shares([backend('10.0.0.1', 1), backend('10.0.0.2', 1)]);
  assert.ok((even['10.0.0.1'] ?? 0) > 20 && (even['10.0.0.2'] ?? 0) > 20, JSON.stringify(even));
  const uneven = shares([backend('10.0.0.1', 3), backend('10.0.0.2', 1)]);
  assert.ok((uneven['10.0.0.1'] ?? 0) > (uneven['10.0.0.2'] ?? 0) * 1.8, JSON.stringify(uneven));
  const two = slotsOf([backend('10.0.0.1', 1), backend('10.0.0.2', 1)]);
  const three = slotsOf([backend('10.0.0.1', 1), backend('10.0.0.2', 1), backend('10.0.0.3', 1)]);
  assert.ok(three.every((b, i) => b.address === '10.0.0.3' || b.address === two[i]?.address));
});

it('the front is in XDP only where frames have whole checksums', () => {
  assert.equal(modesToTry('auto', 'veth'), ['tc']);
  assert.equal(modesToTry('auto', 'tun'), ['tc']);
  assert.equal(modesToTry('auto', ''), ['tc']);
  assert.equal(modesToTry('auto', 'tap'), ['xdp-native', 'xdp-generic', 'tc']);
  assert.equal(modesToTry('auto', 'virtio_net'), ['xdp-native', 'tc']);
  assert.equal(modesToTry('xdp-generic', 'veth'), ['xdp-generic']);
});

it('the bouncer is in XDP where something is passed on and frames come whole, and where it was asked for', () => {
  const nic = { driver: 'ixgbe', features: 7 };
  const mode = (...args: Parameters<typeof chooseLan>): string => {
    const c = chooseLan(...args);
    return 'refusal' in c ? c.next : `${c.mode}: ${c.reason}`;
  };
  assert.is(mode('auto', true, nic), 'xdp-native: the driver has XDP, and its frames come whole');
  assert.is(mode('auto', false, nic), 'tc: nothing is passed on here: no bouncer');
  assert.is(mode('auto', true, { ...nic, features: 0 }), 'tc: the driver has no native XDP');
  assert.match(mode('auto', true, { driver: 'veth', features: 7 }), /^tc: .* measured slower in XDP$/);
  assert.match(mode('auto', true, { driver: '', features: 7 }), /^tc: /);
  assert.is(mode('tcx', true, nic), 'tc: as configured');
  assert.is(mode('xdp', false, { driver: 'veth', features: 7 }), 'xdp-native: as configured');
  assert.is(mode('xdp', true, { driver: 'veth', features: 3 }), 'ethtool -K <its other end> gro on');
  assert.is(mode('xdp', true, { ...nic, features: 0 }), 'dataPlane.mode: auto');
});

it('modes and reasons are read from the map as they were written', () => {
  const config = { lanIfindex: 4, lanAddress: '192.168.1.1', tunnelIfindex: 0, tunnelAddress: null, uplinkIfindex: 0, hasScaled: false, lanRoom: 1450, tunnelRoom: 1370, isVeth: false };
  const lan = { mode: 'xdp-native', reason: 'as configured' } as const;
  assert.equal(decodeModes(encode.config({ ...config, lan, front: null })), { lan, front: null });
  const front = { mode: 'xdp-generic', reason: 'only generic XDP is there' } as const;
  assert.equal(decodeModes(encode.config({ ...config, lan, front })), { lan, front });
  assert.is(decodeModes(Buffer.alloc(36)), null);
});

it('UDP flows to a backend that is gone are found, those to a drained one are not', () => {
  const front = (...backends: readonly GoalBackend[]): GoalEntry => ({ kind: 'front', address: '192.0.2.1', port: 53, protocol: 'UDP', vni: 5, application: 1, backends });
  const map = (e: GoalEntry): ReadonlyMap<string, GoalEntry> => new Map([[goalKey(e), e]]);
  const both = front(backend('10.0.0.1', 1), backend('10.0.0.2', 1));
  const drained = front(backend('10.0.0.1', 1), backend('10.0.0.2', 0));
  const gone = front(backend('10.0.0.1', 1));
  assert.equal([lostBackends(map(both), map(drained)), lostBackends(map(drained), map(gone)), lostBackends(map(gone), map(both)), lostBackends(map(gone), new Map())], [false, true, false, true]);
  const flow = (protocol: number, to: string): { key: Buffer; value: Buffer } => ({
    key: Buffer.from([9, 9, 9, 9, 192, 0, 2, 1, 0x9c, 0x40, 0, 53, protocol, 0, 0, 0]),
    value: Buffer.concat([encode.backend(backend(to, 1)).subarray(0, 6), Buffer.from([7, 0])]),
  });
  const have = { flows: [flow(17, '10.0.0.1'), flow(17, '10.0.0.2'), flow(6, '10.0.0.2')], scaled_flows: [] };
  assert.equal(lostFlows([drained], have).flows, []);
  assert.equal(lostFlows([gone], have).flows, [have.flows[1]?.key]);
  assert.is(lostFlows([], have).flows.length, 2);
});

it('sends what no known network has to a divider, and a divider passes on to networks that it does not serve itself', () => {
  const entries: readonly GoalEntry[] = [{ kind: 'network', vni: 5, cidr: '10.0.1.0/24', bouncers: ['192.168.1.3'] }, { kind: 'vpc', vni: 5, cidr: '10.0.0.0/16', dividers: ['192.168.1.2'] }];
  const values = (address: string): readonly string[] => [...desired(entries, { ...here, address }).prefixes.values()];
  assert.equal(values('192.168.1.4'), [encode.prefix('network', ['192.168.1.3']), encode.prefix('vpc', ['192.168.1.2'])].map((b) => b.toString('hex')));
  assert.equal(values('192.168.1.2'), [encode.prefix('divided', ['192.168.1.3']), encode.prefix('vpc', [])].map((b) => b.toString('hex')));
});

run();
