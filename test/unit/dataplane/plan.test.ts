import * as assert from 'uvu/assert';
import type { GoalBackend, GoalEntry } from '../../../api/goal.ts';
import { encode, FRONT_SLOTS, slotsOf } from '../../../dataplane/transit/layout.ts';
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
  assert.equal([...want.droplet_slots.entries()], [['02000000', 'c0a8000200000000'], ['03010000', 'c0a8010300000000']]);
  for (const order of [['192.168.0.2', '192.168.4.2'], ['192.168.4.2', '192.168.0.2']]) assert.is(desired(order.map(droplet), here).droplet_slots.get('02000000'), 'c0a8000200000000');
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

run();
