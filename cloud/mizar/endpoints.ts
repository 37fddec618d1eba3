/**
 * Endpoint operator and IPAM: a pod that is bound to a node and belongs to a VPC gets an address of the VPC's subnet in that node's site.
 * The address is claimed first and written into the Endpoint second; a crash between the two leaves a claim that the next pass finds. Pure.
 */
import type { Pod } from '../../api/kinds/core.ts';
import type { Endpoint, Subnet } from '../../api/kinds/mizar.ts';
import type { Condition } from '../../api/object.ts';
import { apiVersionOf, Resources } from '../../api/resources.ts';
import { contains, macOf, parseAddress, parseCidr, pickAddress } from './addresses.ts';
import type { ClaimTable } from './claims.ts';
import { addressClaim, formatHolder } from './claims.ts';
import { hasEndpoint } from './goal.ts';
import type { Step } from './steps.ts';
import { isTerminal, statusSteps } from './steps.ts';
import type { AckedGoal } from './vpcs.ts';
import type { SimpleEndpoint, View } from './world.ts';
import { keyOf, POD_UID_LABEL, podKey, siteOfNode, SYSTEM, tenantOf, vniOf, vpcKeyOf } from './world.ts';

export type ProblemReason = 'NoVpc' | 'VpcNotReady' | 'NoSite' | 'NoSubnet' | 'SubnetFull' | 'NameTaken';

export interface Problem {
  readonly reason: ProblemReason;
  readonly message: string;
}

export interface EndpointDecision {
  readonly steps: readonly Step[];
  /** Why the pod has no address yet. */
  readonly problem: Problem | null;
}

/** `key` is `<tenant>/<namespace>.<pod>`: the pod's and its endpoint's. */
export function decideEndpoint(key: string, view: View, claims: ClaimTable, acked: AckedGoal): EndpointDecision {
  const pod = view.pods.get(key);
  const endpoint = view.endpoints.get(key);
  const wants = pod !== undefined && wantsEndpoint(pod);
  if (endpoint !== undefined && endpoint.spec.type !== 'simple') {
    return { steps: endpointStatus(endpoint, view, acked), problem: wants ? { reason: 'NameTaken', message: `the ${endpoint.spec.type} endpoint ${key} has the name that this pod's endpoint needs` } : null };
  }
  if (endpoint !== undefined) {
    const simple = endpoint as SimpleEndpoint;
    const isCurrent = wants && simple.spec.pod.uid === pod.metadata.uid && simple.spec.droplet === pod.spec.nodeName;
    return { steps: isCurrent ? endpointStatus(simple, view, acked) : [{ kind: 'release', endpoint: simple }], problem: null };
  }
  if (!wants) return { steps: [], problem: null };
  return allocate(pod, view, claims);
}

function wantsEndpoint(pod: Pod): boolean {
  const { hostNetwork } = pod.spec as { readonly hostNetwork?: boolean };
  return pod.spec.nodeName !== undefined && pod.spec.nodeName !== '' && hostNetwork !== true && !isTerminal(pod);
}

function allocate(pod: Pod, view: View, claims: ClaimTable): EndpointDecision {
  const no = (reason: ProblemReason, message: string): EndpointDecision => ({ steps: [], problem: { reason, message } });
  const tenant = tenantOf(pod);
  const vpcName = pod.spec.vpc ?? 'default';
  const vpc = view.vpcs.get(`${tenant}/${vpcName}`);
  if (vpc === undefined) {
    // Pods of the system itself live on the substrate unless they ask for a VPC.
    if (pod.spec.vpc === undefined && tenant === SYSTEM.tenant) return { steps: [], problem: null };
    return no('NoVpc', pod.spec.vpc === undefined ? `spec.vpc is absent and tenant ${tenant} has no VPC named default` : `spec.vpc: tenant ${tenant} has no VPC "${vpcName}"`);
  }
  const vni = vniOf(vpc);
  if (vni === null) return no('VpcNotReady', `VPC "${vpcName}" is not provisioned: ${vpc.status?.message ?? 'it has no VNI yet'}`);
  const site = siteOfNode(pod.spec.nodeName ?? '', view);
  if (site === null) return no('NoSite', `node ${pod.spec.nodeName} names no site: it has neither the label mesh.proxima.io/site nor a droplet`);
  const subnets = (view.subnetsByVpc.get(`${tenant}/${vpcName}`) ?? []).filter((s) => s.spec.site === site && s.spec.virtual !== true);
  if (subnets.length === 0) return no('NoSubnet', `VPC "${vpcName}" has no subnet in site "${site}"`);
  const holder = holderOf(pod);
  const held = claims.heldBy(holder).flatMap((claim) => heldIn(claim, vni, subnets));
  for (const subnet of subnets) {
    const address = held[0]?.address ?? freeAddress(subnet, vni, pod, view, claims);
    if (address === null) continue;
    const home = held[0]?.subnet ?? subnet;
    const name = addressClaim(vni, address);
    const claim: Step[] = claims.holderOf(name) === holder ? [] : [{ kind: 'claim', name, holder }];
    return { steps: [...claim, { kind: 'create', resource: Resources.Endpoint, object: endpointOf(pod, home, vni, address) }], problem: null };
  }
  return no('SubnetFull', `no address is left in ${subnets.map((s) => `${s.metadata.name} (${s.spec.cidr})`).join(', ')} of VPC "${vpcName}"`);
}

/** Endpoints count besides claims: a region that was restored from a manifest may have some without. */
function freeAddress(subnet: Subnet, vni: number, pod: Pod, view: View, claims: ClaimTable): string | null {
  const cidr = parseCidr(subnet.spec.cidr);
  if (cidr === null) return null;
  const used = new Set((view.simpleBySubnet.get(keyOf(subnet)) ?? []).map((e) => e.spec.address));
  for (const e of view.scaledByVpc.get(vpcKeyOf(subnet)) ?? []) used.add(e.spec.address);
  return pickAddress(cidr, (a) => used.has(a) || claims.holderOf(addressClaim(vni, a)) !== null, pod.metadata.uid ?? '');
}

export const ADDRESSED = 'Addressed';

/** The pod's conditions with what we have to say about its address; null when they say so already. A pod that never had a problem needs none. */
export function withProblem(pod: Pod, problem: Problem | null, now: number): readonly Condition[] | null {
  const all = pod.status?.conditions ?? [];
  const old = all.find((c) => c.type === ADDRESSED);
  const status = problem === null ? 'True' : 'False';
  if (old === undefined ? problem === null : old.status === status && (problem === null || (old.reason === problem.reason && old.message === problem.message))) return null;
  const lastTransitionTime = old?.status === status && old.lastTransitionTime !== undefined ? old.lastTransitionTime : new Date(now).toISOString();
  return [...all.filter((c) => c.type !== ADDRESSED), { type: ADDRESSED, status, ...problem, lastTransitionTime }];
}

export function holderOf(pod: Pod): string {
  return formatHolder({ kind: 'pod', tenant: tenantOf(pod), namespace: pod.metadata.namespace ?? 'default', name: pod.metadata.name, uid: pod.metadata.uid ?? '' });
}

function heldIn(claim: string, vni: number, subnets: readonly Subnet[]): readonly { readonly subnet: Subnet; readonly address: string }[] {
  const prefix = addressClaim(vni, '');
  const address = claim.startsWith(prefix) ? claim.slice(prefix.length) : '';
  const value = parseAddress(address);
  if (value === null) return [];
  return subnets.filter((s) => isInside(s, value)).map((subnet) => ({ subnet, address }));
}

function isInside(subnet: Subnet, value: number): boolean {
  const cidr = parseCidr(subnet.spec.cidr);
  return cidr !== null && contains(cidr, { base: value, prefix: 32, size: 1 });
}

function endpointOf(pod: Pod, subnet: Subnet, vni: number, address: string): Endpoint {
  const namespace = pod.metadata.namespace ?? 'default';
  const uid = pod.metadata.uid ?? '';
  return {
    apiVersion: apiVersionOf(Resources.Endpoint),
    kind: 'Endpoint',
    metadata: {
      name: podKey(pod).slice(tenantOf(pod).length + 1),
      tenant: tenantOf(pod),
      labels: { [POD_UID_LABEL]: uid },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: pod.metadata.name, uid, controller: true }],
    },
    spec: { type: 'simple', vpc: subnet.spec.vpc, subnet: subnet.metadata.name, address, mac: macOf(vni, address), droplet: pod.spec.nodeName ?? '', pod: { namespace, name: pod.metadata.name, uid } },
  };
}

/** Provisioned once a droplet that serves it has it in its kernel; never back, because a plane that restarts has not yet heard from anybody. */
function endpointStatus(endpoint: Endpoint, view: View, acked: AckedGoal): readonly Step[] {
  const vni = vniOf(view.vpcs.get(vpcKeyOf(endpoint)));
  const isUp = vni !== null && servingDroplets(endpoint, view).some((d) => serves(acked(d), vni, endpoint));
  if (isUp) return statusSteps(Resources.Endpoint, endpoint, { phase: 'Provisioned', message: null });
  if (!view.vpcs.has(vpcKeyOf(endpoint))) return statusSteps(Resources.Endpoint, endpoint, { phase: 'Error', message: `spec.vpc: tenant ${tenantOf(endpoint)} has no VPC "${endpoint.spec.vpc}"` });
  return endpoint.status?.phase === 'Provisioned' ? [] : statusSteps(Resources.Endpoint, endpoint, { phase: 'Init', message: null });
}

function servingDroplets(endpoint: Endpoint, view: View): readonly string[] {
  if (endpoint.spec.type === 'simple') return [endpoint.spec.droplet];
  const names = (ds: readonly { readonly metadata: { readonly name: string } }[]): string[] => ds.map((d) => d.metadata.name);
  if (endpoint.spec.type === 'front') return names((view.dropletsBySite.get(endpoint.spec.site) ?? []).filter((d) => d.spec.front !== undefined));
  return names([...view.dropletsBySite.values()].flat());
}

function serves(goal: ReturnType<AckedGoal>, vni: number, endpoint: Endpoint): boolean {
  if (goal === null) return false;
  const { spec } = endpoint;
  if (spec.type === 'simple') return hasEndpoint(goal, vni, endpoint);
  if (spec.type === 'front') return goal.has(`front/${spec.address}/${spec.protocol}/${spec.port}`);
  return spec.ports.some((p) => goal.has(`scaled/${vni}/${spec.address}/${p.protocol}/${p.port}`));
}
