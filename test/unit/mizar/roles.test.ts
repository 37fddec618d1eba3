import * as assert from 'uvu/assert';
import fc from 'fast-check';
import type { ClaimTable } from '../../../cloud/mizar/claims.ts';
import { formatHolder } from '../../../cloud/mizar/claims.ts';
import { assignApplicationIds, parseApplicationIds, applicationIdsMap, parseClientRegions, configMap } from '../../../cloud/mizar/names.ts';
import { relayPeers } from '../../../cloud/mizar/relays.ts';
import type { Step } from '../../../cloud/mizar/steps.ts';
import { decideSubnet, subnetProblem } from '../../../cloud/mizar/subnets.ts';
import { decideVpc, placeRole } from '../../../cloud/mizar/vpcs.ts';
import type { World } from '../../../cloud/mizar/world.ts';
import { viewOf } from '../../../cloud/mizar/world.ts';
import { suite } from '../../kit/suite.ts';
import { bouncer, droplet, front, node, relaySpec, subnet, twoSites, vpc, world } from './kit.ts';

const { it, run } = suite('VPCs, roles and records');
const table = (all: Record<string, string> = {}): ClaimTable => ({ holderOf: (name) => all[name] ?? null, heldBy: (h) => Object.keys(all).filter((name) => all[name] === h) });
const statusOf = (steps: readonly Step[]): Readonly<Record<string, unknown>> | undefined => steps.flatMap((s) => (s.kind === 'status' ? [s.status] : []))[0];
const none = (): null => null;

it('gives a VPC the VNI that its spec names, else a free one of its own range, and claims it first', () => {
  const given = decideVpc('acme/v', viewOf(world({ vpcs: [vpc('v', '10.0.0.0/8', { vni: 42 }, null)] })), table(), none);
  assert.equal(given.map((s) => s.kind), ['claim', 'status']);
  assert.is(statusOf(given)?.['vni'], 42);
  const own = statusOf(decideVpc('acme/v', viewOf(world({ vpcs: [vpc('v', '10.0.0.0/8', {}, null)] })), table(), none))?.['vni'] as number;
  assert.ok(own >= 0x800000 && own <= 0xfffffe);
  const other = statusOf(decideVpc('acme/v', viewOf(world({ vpcs: [vpc('v', '10.0.0.0/8', {}, null)] })), table({ [`vni-${own}`]: 'vpc/x//y/z' }), none))?.['vni'];
  assert.is.not(other, own);
});

it('refuses a VNI of somebody else, a bad CIDR and a bad VNI, and says which field', () => {
  const message = (w: World, t = table()): unknown => statusOf(decideVpc('acme/v', viewOf(w), t, none))?.['message'];
  assert.match(String(message(world({ vpcs: [vpc('v', '10.0.0.0/8', { vni: 42 }, null)] }), table({ 'vni-42': 'vpc/other//w/u' }))), /spec\.vni: 42 belongs to/);
  assert.match(String(message(world({ vpcs: [vpc('v', '10.0.0.1/8', {}, null)] }))), /spec\.cidr/);
  assert.match(String(message(world({ vpcs: [vpc('v', '10.0.0.0/8', { vni: 2 ** 24 }, null)] }))), /spec\.vni/);
});

it('has nothing more to do once a VPC is as it should be', () => {
  const holder = formatHolder({ kind: 'vpc', tenant: 'acme', namespace: '', name: 'v', uid: 'uid-v' });
  assert.equal(decideVpc('acme/v', viewOf(world({ vpcs: [vpc('v', '10.0.0.0/8')] })), table({ 'vni-7': holder }), none), []);
});

it('places one bouncer per subnet and none for a virtual one', () => {
  const w = { ...twoSites(), bouncers: [] };
  const placed = (key: string): string[] => decideSubnet(key, viewOf(w), none).flatMap((s) => (s.kind === 'create' ? [s.object.metadata.name] : []));
  assert.is(placed('acme/shop-a').length, 1);
  assert.match(placed('acme/shop-1')[0] ?? '', /^shop-1-e[12]$/);
  assert.equal(placed('acme/shop-far'), []);
  assert.is(statusOf(decideSubnet('acme/shop-far', viewOf(w), none))?.['phase'], 'Provisioned');
});

it('replaces a bouncer whose droplet went away or died, and keeps it where all look dead', () => {
  const w = twoSites();
  const kinds = (more: Partial<World>): string[] => decideSubnet('acme/shop-a', viewOf({ ...w, ...more }), none).map((s) => s.kind).filter((k) => k !== 'status');
  assert.equal(kinds({}), []);
  assert.equal(kinds({ droplets: w.droplets.filter((d) => d.metadata.name !== 'a2') }), ['create', 'delete']);
  assert.equal(kinds({ nodes: [node('a1', 'zone-a'), node('a2', 'zone-a', 'Unknown')] }), ['create', 'delete']);
  assert.equal(kinds({ nodes: [node('a1', 'zone-a', 'Unknown'), node('a2', 'zone-a', 'Unknown')] }), []);
  assert.equal(decideSubnet('acme/gone', viewOf({ ...w, bouncers: [bouncer('shop', 'gone', 'a1')] }), none).map((s) => s.kind), ['delete']);
});

it('moves only the roles that it must when a droplet leaves', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 12 }), fc.integer({ min: 1, max: 4 }), fc.nat(11), (n, count, leaver) => {
      const all = Array.from({ length: n }, (_, i) => droplet(`d${i}`, 's', `10.0.0.${i + 1}`));
      const have = placeRole('k', [], all, count, viewOf(world())).add;
      assert.is(have.length, Math.min(n, count));
      const left = all.filter((d) => d.metadata.name !== `d${leaver % n}`);
      const next = placeRole('k', have, left, count, viewOf(world()));
      assert.equal([...next.drop], have.filter((name) => name === `d${leaver % n}`));
      assert.is(have.length - next.drop.size + next.add.length, Math.min(left.length, count));
    }),
  );
});

it('says what is wrong with a subnet, and refuses the younger of two that overlap', () => {
  const w = twoSites();
  const problem = (s: ReturnType<typeof subnet>): string => subnetProblem(s, viewOf({ ...w, subnets: [...w.subnets, s] })) ?? '';
  assert.match(problem(subnet('x', 'nope', '10.8.3.0/24', 's')), /spec\.vpc/);
  assert.match(problem(subnet('x', 'shop', '10.9.3.0/24', 's')), /is not inside 10\.8\.0\.0\/16/);
  assert.match(problem(subnet('x', 'shop', '10.8.3.1/24', 's')), /spec\.cidr: expected/);
  assert.match(problem(subnet('zz', 'shop', '10.8.1.128/25', 's')), /overlaps 10\.8\.1\.0\/24 of subnet "shop-a"/);
  assert.is(problem(subnet('aa', 'shop', '10.8.1.128/25', 's')), '');
});

it('gives both ends of every relay pair the same way, in both regions', () => {
  const spokes = ['e1', 'e2', 'e3', 'e4'];
  const labels = (r: string, kind: string, own: string): { labels?: Record<string, string> } => (r === own ? {} : { labels: { 'mesh.proxima.io/foreign': 'true', 'topology.kubernetes.io/region': r, 'mesh.proxima.io/site-kind': kind } });
  const seenFrom = (own: string): ReturnType<typeof viewOf> =>
    viewOf(
      world({
        region: own,
        droplets: [
          ...['east', 'west'].map((r, i) => droplet(`hub-${r}`, `zone-${r}`, '10.0.0.1', { relay: relaySpec(`100.64.1.${i}`, `172.16.0.${i}:51820`), ...labels(r, 'zone', own) })),
          ...spokes.map((s, i) => droplet(`d-${s}`, s, '10.0.0.1', { relay: relaySpec(`100.64.2.${i}`), ...labels(i < 2 ? 'east' : 'west', 'edge', own) })),
        ],
      }),
    );
  const views = { east: seenFrom('east'), west: seenFrom('west') };
  const peersOf = (i: number): ReturnType<typeof relayPeers> => relayPeers(spokes[i]!, i < 2 ? views.east : views.west);
  for (let a = 0; a < 4; a++) {
    assert.equal(peersOf(a).map((p) => p.site), ['zone-east', 'zone-west']);
    const ips = peersOf(a).flatMap((p) => p.allowedIps);
    assert.is(new Set(ips).size, ips.length);
    for (let b = 0; b < 4; b++) {
      if (a === b) continue;
      const via = (from: number, to: number): string | undefined => peersOf(from).find((p) => p.allowedIps.includes(`100.64.2.${to}/32`))?.site;
      assert.ok(via(a, b) !== undefined);
      assert.is(via(a, b), via(b, a));
      if (a < 2 === b < 2) assert.is(via(a, b), a < 2 ? 'zone-east' : 'zone-west');
    }
  }
  assert.equal(relayPeers('zone-east', views.east).map((p) => [p.site, p.allowedIps.length, p.endpoint]), [['e1', 1, null], ['e2', 1, null], ['e3', 1, null], ['e4', 1, null], ['zone-west', 1, '172.16.0.1:51820']]);
});

it('keeps an application its id, over restarts and while others come', () => {
  const w = { ...twoSites(), endpoints: [front('f1', 'shop', 'zone-a', '172.16.0.1', 'shop'), front('f2', 'shop', 'zone-a', '172.16.0.1', 'other/web')] };
  const first = assignApplicationIds(new Map(), viewOf(w));
  assert.equal([...first], [['acme/shop', 1], ['other/web', 2]]);
  assert.equal(parseApplicationIds(applicationIdsMap(first)), first);
  const more = assignApplicationIds(first, viewOf({ ...w, endpoints: [...w.endpoints, front('f3', 'shop', 'zone-a', '172.16.0.1', 'about')] }));
  assert.is(more.get('acme/about'), 3);
  assert.is(more.get('acme/shop'), 1);
  assert.is(assignApplicationIds(more, viewOf(w)), more);
});

it('reads client regions and names the keys it cannot read', () => {
  const { regions, problems } = parseClientRegions(configMap('client-regions', { '2:coast': '203.0.113.0/24, 198.51.100.0/24', '0:zero': '', wild: '10.0.0.0/8' }));
  assert.equal(regions, [{ id: 2, name: 'coast', cidrs: ['203.0.113.0/24', '198.51.100.0/24'] }]);
  assert.is(problems.length, 2);
});

run();
