/**
 * What the network plane knows at one moment, indexed so that each decision costs what it outputs and not the size of the region.
 * A View is a value: it is built from the informers' caches when something changed, and never changed afterwards.
 */
import type { Node, Pod } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import type { Bouncer, Divider, Droplet, Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { parseCidr } from './addresses.ts';

export const FOREIGN_LABEL = 'mesh.proxima.io/foreign';
export const SITE_LABEL = 'mesh.proxima.io/site';
export const POD_UID_LABEL = 'mesh.proxima.io/pod-uid';
/** Where the plane keeps its own records. */
export const SYSTEM = { tenant: 'system', namespace: 'default' } as const;

export interface ClientRegion {
  readonly id: number;
  readonly name: string;
  readonly cidrs: readonly string[];
}

export interface World {
  readonly region: string;
  readonly sites: readonly Site[];
  readonly nodes: readonly Node[];
  readonly pods: readonly Pod[];
  readonly vpcs: readonly Vpc[];
  readonly subnets: readonly Subnet[];
  readonly droplets: readonly Droplet[];
  readonly bouncers: readonly Bouncer[];
  readonly dividers: readonly Divider[];
  readonly endpoints: readonly Endpoint[];
  readonly clientRegions: readonly ClientRegion[];
  /** Application (`<tenant>/<name>`) to its 16-bit id. */
  readonly applications: ReadonlyMap<string, number>;
}

export type EndpointOf<T extends Endpoint['spec']['type']> = Endpoint & { readonly spec: Extract<Endpoint['spec'], { type: T }> };
export type SimpleEndpoint = EndpointOf<'simple'>;

export interface View {
  readonly world: World;
  /** By `<tenant>/<name>`. */
  readonly vpcs: ReadonlyMap<string, Vpc>;
  readonly subnets: ReadonlyMap<string, Subnet>;
  readonly pods: ReadonlyMap<string, Pod>;
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly sites: ReadonlyMap<string, Site>;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly droplets: ReadonlyMap<string, Droplet>;
  /** Droplets of this region's API that are ours to configure, by site, in order of name. */
  readonly dropletsBySite: ReadonlyMap<string, readonly Droplet[]>;
  /** One relay per site, foreign sites included. */
  readonly relays: ReadonlyMap<string, Droplet>;
  readonly subnetsByVpc: ReadonlyMap<string, readonly Subnet[]>;
  readonly subnetsBySite: ReadonlyMap<string, readonly Subnet[]>;
  readonly bouncersBySubnet: ReadonlyMap<string, readonly Bouncer[]>;
  readonly bouncersByDroplet: ReadonlyMap<string, readonly Bouncer[]>;
  readonly dividersByVpc: ReadonlyMap<string, readonly Divider[]>;
  readonly dividersByDroplet: ReadonlyMap<string, readonly Divider[]>;
  readonly simpleBySubnet: ReadonlyMap<string, readonly SimpleEndpoint[]>;
  readonly simpleByDroplet: ReadonlyMap<string, readonly SimpleEndpoint[]>;
  readonly scaledByVpc: ReadonlyMap<string, readonly EndpointOf<'scaled'>[]>;
  readonly frontsBySite: ReadonlyMap<string, readonly EndpointOf<'front'>[]>;
}

export function tenantOf(object: KubeObject): string {
  return object.metadata.tenant ?? SYSTEM.tenant;
}

/** `<tenant>/<name>` of a tenant-scoped object. */
export function keyOf(object: KubeObject): string {
  return `${tenantOf(object)}/${object.metadata.name}`;
}

export function podKey(pod: Pod): string {
  return `${tenantOf(pod)}/${pod.metadata.namespace ?? 'default'}.${pod.metadata.name}`;
}

export function vpcKeyOf(object: KubeObject & { readonly spec: { readonly vpc: string } }): string {
  return `${tenantOf(object)}/${object.spec.vpc}`;
}

/** The subnet of an endpoint or a bouncer. */
export function subnetKeyOf(object: KubeObject & { readonly spec: { readonly subnet: string } }): string {
  return `${tenantOf(object)}/${object.spec.subnet}`;
}

export function isForeign(droplet: Droplet): boolean {
  return droplet.metadata.labels?.[FOREIGN_LABEL] === 'true';
}

/** The VPC's VNI once it is provisioned: before that nothing of the VPC may reach a data plane. */
export function vniOf(vpc: Vpc | undefined): number | null {
  return vpc?.status?.phase === 'Provisioned' ? (vpc.status.vni ?? null) : null;
}

export function viewOf(world: World): View {
  const own = world.droplets.filter((d) => !isForeign(d));
  const settled = world.subnets.filter((s) => s.status !== undefined && s.status.phase !== 'Error' && parseCidr(s.spec.cidr) !== null);
  const ofType = <T extends Endpoint['spec']['type']>(type: T): EndpointOf<T>[] => world.endpoints.filter((e): e is EndpointOf<T> => e.spec.type === type);
  const simple = ofType('simple');
  const relays = new Map<string, Droplet>();
  for (const d of [...world.droplets].sort(byName)) if (d.spec.relay !== undefined && !relays.has(d.spec.site)) relays.set(d.spec.site, d);
  return {
    world,
    vpcs: index(world.vpcs, keyOf),
    subnets: index(world.subnets, keyOf),
    pods: index(world.pods, podKey),
    endpoints: index(world.endpoints, keyOf),
    sites: index(world.sites, (s) => s.metadata.name),
    nodes: index(world.nodes, (n) => n.metadata.name),
    droplets: index(world.droplets, (d) => d.metadata.name),
    dropletsBySite: group(own, (d) => d.spec.site),
    relays,
    subnetsByVpc: group(settled, vpcKeyOf),
    subnetsBySite: group(settled, (s) => s.spec.site),
    bouncersBySubnet: group(world.bouncers, subnetKeyOf),
    bouncersByDroplet: group(world.bouncers, (b) => b.spec.droplet),
    dividersByVpc: group(world.dividers, vpcKeyOf),
    dividersByDroplet: group(world.dividers, (d) => d.spec.droplet),
    simpleBySubnet: group(simple, subnetKeyOf),
    simpleByDroplet: group(simple, (e) => e.spec.droplet),
    scaledByVpc: group(ofType('scaled'), vpcKeyOf),
    frontsBySite: group(ofType('front'), (e) => e.spec.site),
  };
}

/** Alive as far as the compute plane knows; a node that it has never heard of is given the benefit of the doubt. */
export function isAlive(droplet: Droplet, view: View): boolean {
  const ready = view.nodes.get(droplet.spec.node)?.status?.conditions?.find((c) => c.type === 'Ready');
  return ready === undefined || ready.status === 'True';
}

/** The site that a node is in: its label, or what its droplet says. */
export function siteOfNode(node: string, view: View): string | null {
  return view.nodes.get(node)?.metadata.labels?.[SITE_LABEL] ?? view.droplets.get(node)?.spec.site ?? null;
}

export function byName(a: KubeObject, b: KubeObject): number {
  return a.metadata.name < b.metadata.name ? -1 : a.metadata.name > b.metadata.name ? 1 : 0;
}

function index<T>(items: readonly T[], key: (item: T) => string): Map<string, T> {
  return new Map(items.map((item) => [key(item), item]));
}

function group<T extends KubeObject>(items: readonly T[], key: (item: T) => string): Map<string, readonly T[]> {
  const out = new Map<string, T[]>();
  for (const item of items) {
    const k = key(item);
    const list = out.get(k);
    if (list === undefined) out.set(k, [item]);
    else list.push(item);
  }
  for (const list of out.values()) list.sort(byName);
  return out;
}
