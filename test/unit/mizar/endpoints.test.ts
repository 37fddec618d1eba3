import * as assert from 'uvu/assert';
import fc from 'fast-check';
import type { Endpoint } from '../../../api/kinds/mizar.ts';
import { formatAddress, macOf, parseAddress, parseCidr, pickAddress } from '../../../cloud/mizar/addresses.ts';
import type { ClaimTable } from '../../../cloud/mizar/claims.ts';
import { decideEndpoint, holderOf } from '../../../cloud/mizar/endpoints.ts';
import type { Step } from '../../../cloud/mizar/steps.ts';
import type { World } from '../../../cloud/mizar/world.ts';
import { viewOf } from '../../../cloud/mizar/world.ts';
import { suite } from '../../kit/suite.ts';
import { node, pod, simple, subnet, twoSites, vpc, world } from './kit.ts';

const { it, run } = suite('endpoints and addresses');

class Table implements ClaimTable {
  readonly all = new Map<string, string>();
  holderOf(name: string): string | null {
    return this.all.get(name) ?? null;
  }
  heldBy(holder: string): readonly string[] {
    return [...this.all].filter(([, h]) => h === holder).map(([name]) => name);
  }
}
const decide = (w: World, key: string, claims: ClaimTable = new Table()): ReturnType<typeof decideEndpoint> => decideEndpoint(key, viewOf(w), claims, () => null);
const created = (steps: readonly Step[]): Endpoint | null => steps.flatMap((s) => (s.kind === 'create' ? [s.object as Endpoint] : []))[0] ?? null;

it('gives a bound pod an address of its site, named after it and owned by it', () => {
  const w = { ...twoSites(), nodes: [node('e2', 'edge-1')], pods: [pod('api', 'e2', { vpc: 'shop' })] };
  const { steps, problem } = decide(w, 'acme/default.api');
  assert.is(problem, null);
  assert.equal(steps.map((s) => s.kind), ['claim', 'create']);
  const e = created(steps);
  assert.is(e?.metadata.name, 'default.api');
  assert.is(e?.metadata.labels?.['mesh.proxima.io/pod-uid'], 'uid-api');
  assert.is(e?.metadata.ownerReferences?.[0]?.uid, 'uid-api');
  assert.match(e?.spec.type === 'simple' ? e.spec.address : '', /^10\.8\.2\./);
});

it('names what is missing: VPC, subnet, room', () => {
  const w = twoSites();
  const reason = (more: Partial<World>): unknown => decide({ ...w, ...more }, 'acme/default.p').problem?.reason;
  assert.is(reason({ pods: [pod('p', 'a2', { vpc: 'nope' })] }), 'NoVpc');
  assert.is(reason({ pods: [pod('p', 'a2')] }), 'NoVpc');
  assert.is(reason({ pods: [pod('p', 'a2', { vpc: 'shop' })], vpcs: [vpc('shop', '10.8.0.0/16', {}, null)] }), 'VpcNotReady');
  assert.is(reason({ pods: [pod('p', 'n9', { vpc: 'shop' })] }), 'NoSite');
  assert.is(reason({ pods: [pod('p', 'n9', { vpc: 'shop' })], nodes: [node('n9', 'elsewhere')] }), 'NoSubnet');
  const small = { subnets: [subnet('s', 'shop', '10.8.1.0/30', 'zone-a')], endpoints: [simple('q', 'shop', 's', '10.8.1.2', 'a2')] };
  assert.is(reason({ ...small, pods: [pod('p', 'a2', { vpc: 'shop' })] }), 'SubnetFull');
});

it('leaves pods alone that are not bound, use the host network or have ended, and releases what they had', () => {
  const w = twoSites();
  assert.equal(decide({ ...w, pods: [pod('p', undefined, { vpc: 'shop' })] }, 'acme/default.p').steps, []);
  assert.equal(decide({ ...w, pods: [pod('p', 'a2', { vpc: 'shop', hostNetwork: true } as object)] }, 'acme/default.p').steps, []);
  const ended = { ...pod('web-1', 'a2', { vpc: 'shop' }), status: { phase: 'Succeeded' as const } };
  assert.equal(decide({ ...w, pods: [ended] }, 'acme/default.web-1').steps.map((s) => s.kind), ['release']);
  assert.equal(decide(w, 'acme/default.web-1').steps.map((s) => s.kind), ['release']);
});

it('releases the endpoint of an earlier pod with the same name before it makes a new one', () => {
  const again = { ...pod('web-1', 'a2', { vpc: 'shop' }), metadata: { ...pod('web-1', 'a2').metadata, uid: 'another' } };
  assert.equal(decide({ ...twoSites(), pods: [again] }, 'acme/default.web-1').steps.map((s) => s.kind), ['release']);
});

it('finds the claim of a pass that was killed before it wrote the endpoint', () => {
  const p = pod('api', 'a2', { vpc: 'shop' });
  const claims = new Table();
  claims.all.set('ip-7-10.8.1.77', holderOf(p));
  const { steps } = decide({ ...twoSites(), pods: [p] }, 'acme/default.api', claims);
  assert.equal(steps.map((s) => s.kind), ['create']);
  const e = created(steps);
  assert.is(e?.spec.type === 'simple' ? e.spec.address : null, '10.8.1.77');
});

it('takes the VPC named default when a pod names none', () => {
  const w = world({ vpcs: [vpc('default', '10.0.0.0/8')], subnets: [subnet('d', 'default', '10.0.1.0/24', 's')], nodes: [node('n', 's')], pods: [pod('p', 'n')] });
  assert.is(created(decide(w, 'acme/default.p').steps)?.spec.vpc, 'default');
});

it('never gives one address twice, nor the network, gateway or broadcast address, until the subnet is full', () => {
  fc.assert(
    fc.property(fc.integer({ min: 27, max: 30 }), fc.array(fc.string(), { minLength: 40, maxLength: 40 }), (prefix, seeds) => {
      const cidr = parseCidr(`10.1.0.0/${prefix}`)!;
      const taken = new Set<string>();
      for (const seed of seeds) {
        const address = pickAddress(cidr, (a) => taken.has(a), seed);
        if (address === null) break;
        const offset = parseAddress(address)! - cidr.base;
        assert.ok(offset >= 2 && offset <= cidr.size - 2, address);
        assert.not(taken.has(address));
        taken.add(address);
      }
      assert.is(taken.size, cidr.size - 3);
    }),
    { numRuns: 40 },
  );
});

it('makes unicast, locally administered MACs, one per address', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0xffffff }), fc.integer({ min: 0, max: 0xffffffff }), (vni, a) => {
      const first = parseInt(macOf(vni, formatAddress(a)).slice(0, 2), 16);
      assert.is(first & 3, 2);
    }),
  );
  assert.is.not(macOf(1, '10.0.0.2'), macOf(1, '10.0.0.3'));
});

it('refuses what is not a network', () => {
  for (const bad of ['10.0.0.0', '10.0.0.1/24', '10.0.0.0/33', '10.0.0/24', '10.0.0.256/32', '', '10.0.0.0/', '010.0.0.0/8', '10.0.0.0/08']) assert.is(parseCidr(bad), null, bad);
  assert.equal(parseCidr('255.255.255.0/24'), { base: 0xffffff00, prefix: 24, size: 256 });
});

run();
