import * as assert from 'uvu/assert';
import fc from 'fast-check';
import type { GoalEntry } from '../../../api/goal.ts';
import { goalKey } from '../../../api/goal.ts';
import { applyGoal, DIRECT_ENDPOINTS, DIRECT_NETWORKS, goalDelta, goalFor, goalMap } from '../../../cloud/mizar/goal.ts';
import type { World } from '../../../cloud/mizar/world.ts';
import { viewOf } from '../../../cloud/mizar/world.ts';
import { suite } from '../../kit/suite.ts';
import { bouncer, divider, droplet, front, simple, subnet, twoSites, vpc, world } from './kit.ts';

const { it, run } = suite('goal state');

function goalOf(name: string, w: World): readonly GoalEntry[] {
  const view = viewOf(w);
  return goalFor(view.droplets.get(name)!, view);
}
const keys = (entries: readonly GoalEntry[], kind: GoalEntry['kind']): string[] => entries.filter((e) => e.kind === kind).map(goalKey);

it('sends other networks to the own relay, and from the relay to the other relay', () => {
  const routes = (name: string): unknown => goalOf(name, twoSites()).flatMap((e) => (e.kind === 'route' ? [[e.cidr, e.relay]] : []));
  assert.equal(routes('a2'), [['10.8.2.0/24', '192.168.10.1'], ['10.8.9.0/24', '192.168.10.1']]);
  assert.equal(routes('a1'), [['10.8.2.0/24', '100.64.2.1'], ['10.8.9.0/24', '100.64.9.1']]);
  assert.equal(routes('e1'), [['10.8.1.0/24', '100.64.1.1'], ['10.8.9.0/24', '100.64.9.1']]);
});

it('tells a droplet its own endpoints, a bouncer those of its subnet, the relay those of its site', () => {
  assert.equal(keys(goalOf('a2', twoSites()), 'endpoint'), ['endpoint/7/10.8.1.5']);
  assert.equal(keys(goalOf('a1', twoSites()), 'endpoint'), ['endpoint/7/10.8.1.5']);
  assert.equal(keys(goalOf('e2', twoSites()), 'endpoint'), ['endpoint/7/10.8.2.5']);
  const onE2 = goalOf('e2', twoSites()).find((e) => e.kind === 'endpoint');
  assert.is(onE2?.kind === 'endpoint' ? onE2.droplet : null, '192.168.50.1');
});

/** twoSites with a third node in zone-a that hosts a pod of the VPC `shop` and has no other part in it, and `count` more pods on a2. */
function withHost(count: number): World {
  const w = twoSites();
  const address = (i: number): string => `10.8.${3 + (i >> 8)}.${i & 255}`;
  const more = Array.from({ length: count }, (_, i) => simple(`more-${String(i).padStart(4, '0')}`, 'shop', 'shop-a', address(i), 'a2'));
  return { ...w, droplets: [...w.droplets, droplet('a3', 'zone-a', '192.168.10.3')], endpoints: [...w.endpoints, simple('zz', 'shop', 'shop-a', '10.8.1.9', 'a3'), ...more] };
}

it('tells who hosts a VPC the way to its other endpoints at the site, never to those of other sites, and no longer once they are gone', () => {
  assert.equal(keys(goalOf('a3', withHost(0)), 'endpoint'), ['endpoint/7/10.8.1.5', 'endpoint/7/10.8.1.9']);
  const gone = { ...withHost(0), endpoints: [simple('zz', 'shop', 'shop-a', '10.8.1.9', 'a3')] };
  assert.equal(keys(goalOf('a3', gone), 'endpoint'), ['endpoint/7/10.8.1.9']);
});

it('bounds the direct ways by order of name, so that one more endpoint moves one way at most; the bouncer knows all', () => {
  const ways = (count: number): Set<string> => new Set(keys(goalOf('a3', withHost(count)), 'endpoint'));
  assert.is(ways(1_000).size, DIRECT_ENDPOINTS + 1, 'and its own, wherever that comes');
  assert.equal([...ways(1_000)].filter((k) => !ways(999).has(k)), []);
  assert.is(keys(goalOf('a2', withHost(1_000)), 'endpoint').length, 1_002);
});

it('tells hosts a bounded number of networks and their own, and dividers all; without a divider at the site hosts know all', () => {
  const w = withHost(0);
  const networks = Array.from({ length: 200 }, (_, i) => subnet(`net-${String(i).padStart(3, '0')}`, 'shop', `10.8.${i + 20}.0/24`, 'zone-a'));
  const big = (isUp: boolean): World => ({ ...w, subnets: [...w.subnets, ...networks], dividers: [{ ...divider('shop', 'a2'), ...(isUp ? { status: { phase: 'Provisioned' as const } } : {}) }] });
  const count = (name: string, world: World): number => keys(goalOf(name, world), 'network').length + keys(goalOf(name, world), 'route').length;
  assert.is(count('a3', big(true)), DIRECT_NETWORKS + 1);
  assert.ok(keys(goalOf('a3', big(true)), 'network').includes('network/7/10.8.1.0/24'), 'its own, though last by name');
  for (const name of ['a1', 'a2']) assert.is(count(name, big(true)), 203, name);
  assert.is(count('a3', big(false)), 203, 'a divider that does not know the networks yet is not relied on');
  assert.is(count('e2', big(true)), 203, 'no divider at this site');
});

it('believes droplets of the own site, and on the relay the other relays', () => {
  assert.equal(keys(goalOf('a2', twoSites()), 'droplet'), ['droplet/192.168.10.1']);
  assert.equal(keys(goalOf('a1', twoSites()), 'droplet'), ['droplet/100.64.2.1', 'droplet/100.64.9.1', 'droplet/192.168.10.2']);
});

it('gives a droplet without a part in a VPC nothing of it, and a foreign droplet nothing at all', () => {
  const w = twoSites();
  const idle = { ...w, droplets: [...w.droplets, droplet('a3', 'zone-a', '192.168.10.3')] };
  assert.equal(goalOf('a3', idle).map((e) => e.kind), ['droplet', 'droplet']);
  assert.equal(goalOf('far1', w), []);
});

it('keeps two VPCs with the same addresses apart by their VNI', () => {
  const w = twoSites();
  const both = { ...w, vpcs: [...w.vpcs, vpc('lab', '10.8.0.0/16', {}, 9)], subnets: [...w.subnets, subnet('lab-a', 'lab', '10.8.1.0/24', 'zone-a')], endpoints: [...w.endpoints, simple('lab-1', 'lab', 'lab-a', '10.8.1.5', 'a2')] };
  assert.equal(keys(goalOf('a2', both), 'endpoint'), ['endpoint/7/10.8.1.5', 'endpoint/9/10.8.1.5']);
});

it('puts fronts and client regions on the front droplet of their site only', () => {
  const w = { ...twoSites(), clientRegions: [{ id: 3, name: 'coast', cidrs: ['203.0.113.0/24'] }], applications: new Map([['acme/shop', 5]]) };
  const fronts = { ...w, endpoints: [...w.endpoints, front('f', 'shop', 'zone-a', '172.16.0.1', 'shop')] };
  const entry = goalOf('a1', fronts).find((e) => e.kind === 'front');
  assert.is(entry?.kind === 'front' ? entry.application : null, 5);
  assert.equal(keys(goalOf('a1', fronts), 'client-region'), ['client-region/203.0.113.0/24']);
  assert.equal(keys(goalOf('a2', fronts), 'front'), []);
  assert.equal(keys(goalOf('a2', fronts), 'client-region'), []);
});

it('lets others use a new bouncer only once it has its endpoints', () => {
  const w = twoSites();
  const growing = { ...w, bouncers: [bouncer('shop', 'shop-a', 'a2'), bouncer('shop', 'shop-a', 'a1', false)], endpoints: [...w.endpoints] };
  const bouncersSeenBy = (name: string): readonly string[] => goalOf(name, growing).flatMap((e) => (e.kind === 'network' ? e.bouncers : []));
  assert.equal(bouncersSeenBy('a2'), ['192.168.10.2']);
  assert.equal(bouncersSeenBy('a1'), ['192.168.10.1', '192.168.10.2']);
});

it('says nothing of a VPC without a VNI', () => {
  const w = { ...twoSites(), vpcs: [vpc('shop', '10.8.0.0/16', {}, null)] };
  assert.equal(goalOf('a2', w).map((e) => e.kind), ['droplet']);
});

const entries = fc.uniqueArray(
  fc.record({ kind: fc.constant('endpoint' as const), vni: fc.integer({ min: 1, max: 2 }), address: fc.constantFrom('10.0.0.2', '10.0.0.3', '10.0.0.4'), mac: fc.constantFrom('0a:00', '0a:01'), droplet: fc.constantFrom('192.168.0.1', '192.168.0.2') }, { noNullPrototype: true }),
  { selector: goalKey },
);

it('turns the old goal into the new one with any delta, and says nothing when nothing changed', () => {
  fc.assert(
    fc.property(entries, entries, (a, b) => {
      const old = goalMap(a);
      const next = goalMap(b);
      const delta = goalDelta(old, next);
      const reached = delta === null ? old : applyGoal(old, { droplet: 'd', version: 2, base: 1, ...delta });
      assert.equal(Object.fromEntries(reached), Object.fromEntries(next));
      assert.is(goalDelta(reached, next), null);
    }),
  );
});

it('does not depend on the order in which objects are listed', () => {
  const w = twoSites();
  fc.assert(
    fc.property(fc.shuffledSubarray([...w.droplets], { minLength: w.droplets.length }), fc.shuffledSubarray([...w.endpoints], { minLength: 2 }), (droplets, endpoints) => {
      for (const name of ['a1', 'a2', 'e1', 'e2']) assert.equal(goalOf(name, { ...w, droplets, endpoints }), goalOf(name, w));
    }),
    { numRuns: 30 },
  );
});

it('leaves out what points to a droplet that is gone', () => {
  const w = twoSites();
  assert.equal(keys(goalOf('e2', { ...w, droplets: w.droplets.filter((d) => d.metadata.name !== 'e1') }), 'endpoint'), []);
  assert.equal(goalOf('x', { ...world(), droplets: [droplet('x', 's', '10.0.0.1')] }), []);
});

run();
