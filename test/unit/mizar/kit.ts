/** Builders of the network kinds for tests. */
import type { Node, Pod } from '../../../api/kinds/core.ts';
import type { Site } from '../../../api/kinds/mesh.ts';
import type { Bouncer, Divider, Droplet, Endpoint, RelaySpec, Subnet, Vpc } from '../../../api/kinds/mizar.ts';
import type { World } from '../../../cloud/mizar/world.ts';

const api = 'mizar.com/v1';
const tenant = 'acme';

export const vpc = (name: string, cidr: string, more: Partial<Vpc['spec']> = {}, vni: number | null = 7): Vpc => ({
  apiVersion: api,
  kind: 'Vpc',
  metadata: { name, tenant, uid: `uid-${name}` },
  spec: { cidr, ...more },
  ...(vni === null ? {} : { status: { phase: 'Provisioned', vni } }),
});

export const subnet = (name: string, of: string, cidr: string, site: string, more: Partial<Subnet['spec']> = {}): Subnet => ({
  apiVersion: api,
  kind: 'Subnet',
  metadata: { name, tenant, uid: `uid-${name}` },
  spec: { vpc: of, cidr, site, ...more },
  status: { phase: 'Init' },
});

export const relaySpec = (address: string, endpoint?: string): RelaySpec => ({ address, publicKey: `key-${address}`, interface: 'wg0', ...(endpoint === undefined ? {} : { endpoint }) });

export const droplet = (name: string, site: string, address: string, more: Partial<Droplet['spec']> & { readonly labels?: Record<string, string> } = {}): Droplet => {
  const { labels, ...spec } = more;
  return { apiVersion: api, kind: 'Droplet', metadata: { name, ...(labels === undefined ? {} : { labels }) }, spec: { node: name, site, interface: 'eth2', address, mac: '02:00:00:00:00:01', ...spec } };
};

export const node = (name: string, site: string, ready: 'True' | 'False' | 'Unknown' = 'True'): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels: { 'mesh.proxima.io/site': site } },
  status: { conditions: [{ type: 'Ready', status: ready }] },
});

export const site = (name: string, kind: 'zone' | 'edge', region: string): Site => ({ apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name }, spec: { kind, region } });

export const bouncer = (of: string, sub: string, on: string, isUp = true): Bouncer => ({
  apiVersion: api,
  kind: 'Bouncer',
  metadata: { name: `${sub}-${on}`, tenant },
  spec: { vpc: of, subnet: sub, droplet: on },
  ...(isUp ? { status: { phase: 'Provisioned' } } : {}),
});

export const divider = (of: string, on: string): Divider => ({ apiVersion: api, kind: 'Divider', metadata: { name: `${of}-${on}`, tenant }, spec: { vpc: of, droplet: on } });

export const pod = (name: string, on: string | undefined, more: Partial<Pod['spec']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, tenant, namespace: 'default', uid: `uid-${name}` },
  spec: { ...(on === undefined ? {} : { nodeName: on }), ...more },
});

export const simple = (name: string, of: string, sub: string, address: string, on: string): Endpoint => ({
  apiVersion: api,
  kind: 'Endpoint',
  metadata: { name: `default.${name}`, tenant },
  spec: { type: 'simple', vpc: of, subnet: sub, address, mac: '0a:07:0a:08:01:05', droplet: on, pod: { namespace: 'default', name, uid: `uid-${name}` } },
});

export const front = (name: string, of: string, at: string, address: string, application: string): Endpoint => ({
  apiVersion: api,
  kind: 'Endpoint',
  metadata: { name, tenant },
  spec: { type: 'front', vpc: of, site: at, address, port: 80, protocol: 'TCP', application, backends: [{ address: '10.8.1.5', port: 8080, weight: 100 }] },
});

export const world = (more: Partial<World> = {}): World => ({
  region: 'west',
  sites: [],
  nodes: [],
  pods: [],
  vpcs: [],
  subnets: [],
  droplets: [],
  bouncers: [],
  dividers: [],
  endpoints: [],
  clientRegions: [],
  applications: new Map(),
  ...more,
});

/** A region with a zone of two nodes and an edge site of two, one VPC with a subnet in each and one in another region's site. */
export function twoSites(): World {
  return world({
    sites: [site('zone-a', 'zone', 'west'), site('edge-1', 'edge', 'west')],
    vpcs: [vpc('shop', '10.8.0.0/16')],
    subnets: [subnet('shop-a', 'shop', '10.8.1.0/24', 'zone-a'), subnet('shop-1', 'shop', '10.8.2.0/24', 'edge-1'), subnet('shop-far', 'shop', '10.8.9.0/24', 'far', { virtual: true })],
    droplets: [
      droplet('a1', 'zone-a', '192.168.10.1', { relay: relaySpec('100.64.1.1', '172.16.0.1:51820'), front: { interface: 'eth1', address: '172.16.0.1' } }),
      droplet('a2', 'zone-a', '192.168.10.2'),
      droplet('e1', 'edge-1', '192.168.50.1', { relay: relaySpec('100.64.2.1') }),
      droplet('e2', 'edge-1', '192.168.50.2'),
      droplet('far1', 'far', '192.168.50.1', { relay: relaySpec('100.64.9.1'), labels: { 'mesh.proxima.io/foreign': 'true', 'mesh.proxima.io/site-kind': 'edge', 'topology.kubernetes.io/region': 'east' } }),
    ],
    bouncers: [bouncer('shop', 'shop-a', 'a2'), bouncer('shop', 'shop-1', 'e2')],
    endpoints: [simple('web-1', 'shop', 'shop-a', '10.8.1.5', 'a2'), simple('web-2', 'shop', 'shop-1', '10.8.2.5', 'e1')],
  });
}
