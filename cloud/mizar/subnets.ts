/** Subnet operator: checks the subnet against its VPC and neighbours, and places its bouncers on droplets of its site. Pure. */
import type { Bouncer, Subnet } from '../../api/kinds/mizar.ts';
import { apiVersionOf, Resources } from '../../api/resources.ts';
import { capacityOf, contains, overlaps, parseCidr } from './addresses.ts';
import type { Step } from './steps.ts';
import { statusSteps } from './steps.ts';
import type { AckedGoal } from './vpcs.ts';
import { ownerOf, placeRole, roleStatus } from './vpcs.ts';
import type { View } from './world.ts';
import { keyOf, tenantOf, vniOf, vpcKeyOf } from './world.ts';

export function decideSubnet(key: string, view: View, acked: AckedGoal): readonly Step[] {
  const subnet = view.subnets.get(key);
  const have = view.bouncersBySubnet.get(key) ?? [];
  if (subnet === undefined || subnet.metadata.deletionTimestamp !== undefined) return have.map((object) => ({ kind: 'delete', resource: Resources.Bouncer, object }));
  const problem = subnetProblem(subnet, view);
  if (problem !== null) return statusSteps(Resources.Subnet, subnet, { phase: 'Error', message: problem });
  const wanted = subnet.spec.virtual === true ? 0 : (subnet.spec.bouncers ?? 1);
  const placed = placeRole(`bouncer/${key}`, have.map((b) => b.spec.droplet), view.dropletsBySite.get(subnet.spec.site) ?? [], wanted, view);
  return [
    ...placed.add.map((droplet): Step => ({ kind: 'create', resource: Resources.Bouncer, object: bouncerOn(subnet, droplet) })),
    ...have.flatMap((object): readonly Step[] =>
      placed.drop.has(object.spec.droplet) ? [{ kind: 'delete', resource: Resources.Bouncer, object }] : roleStatus(Resources.Bouncer, object, isServing(object, subnet, view, acked)),
    ),
    ...statusSteps(Resources.Subnet, subnet, subnetStatus(subnet, have.filter((b) => !placed.drop.has(b.spec.droplet)), placed.add.length, view)),
  ];
}

/** Why this subnet cannot be; null when it can. Of two that overlap, the younger is refused, so a mistake never takes down what works. */
export function subnetProblem(subnet: Subnet, view: View): string | null {
  const cidr = parseCidr(subnet.spec.cidr);
  if (cidr === null) return `spec.cidr: expected an IPv4 network such as 10.8.1.0/24 with no bit set after its prefix, got "${subnet.spec.cidr}"`;
  if (subnet.spec.virtual !== true && capacityOf(cidr) === 0) return `spec.cidr: ${subnet.spec.cidr} has no room for an endpoint, expected /29 or shorter`;
  const vpc = view.vpcs.get(vpcKeyOf(subnet));
  if (vpc === undefined) return `spec.vpc: tenant ${tenantOf(subnet)} has no VPC "${subnet.spec.vpc}"`;
  const outer = parseCidr(vpc.spec.cidr);
  if (outer === null || !contains(outer, cidr)) return `spec.cidr: ${subnet.spec.cidr} is not inside ${vpc.spec.cidr} of VPC "${subnet.spec.vpc}"`;
  for (const other of view.subnetsByVpc.get(vpcKeyOf(subnet)) ?? []) {
    const theirs = parseCidr(other.spec.cidr);
    if (keyOf(other) === keyOf(subnet) || theirs === null || !overlaps(theirs, cidr) || !isOlder(other, subnet)) continue;
    return `spec.cidr: ${subnet.spec.cidr} overlaps ${other.spec.cidr} of subnet "${other.metadata.name}"`;
  }
  return null;
}

function isOlder(a: Subnet, b: Subnet): boolean {
  const age = (s: Subnet): string => `${s.metadata.creationTimestamp ?? ''} ${s.metadata.name}`;
  return age(a) < age(b);
}

function subnetStatus(subnet: Subnet, bouncers: readonly Bouncer[], added: number, view: View): Readonly<Record<string, unknown>> {
  if (subnet.spec.virtual === true) return { phase: vniOf(view.vpcs.get(vpcKeyOf(subnet))) === null ? 'Init' : 'Provisioned', message: null };
  const allocated = view.simpleBySubnet.get(keyOf(subnet))?.length ?? 0;
  const isUp = subnet.status?.phase === 'Provisioned' || bouncers.some((b) => b.status?.phase === 'Provisioned');
  if (bouncers.length > 0 && isUp) return { phase: 'Provisioned', message: null, allocated };
  const isBare = bouncers.length + added === 0 && (subnet.spec.bouncers ?? 1) > 0;
  return { phase: 'Init', message: isBare ? `waiting for a droplet in site "${subnet.spec.site}"` : 'waiting for its bouncers to take their goal state', allocated };
}

function isServing(b: Bouncer, subnet: Subnet, view: View, acked: AckedGoal): boolean {
  const vni = vniOf(view.vpcs.get(vpcKeyOf(subnet)));
  const entry = acked(b.spec.droplet)?.get(`network/${vni ?? ''}/${subnet.spec.cidr}`);
  return entry?.kind === 'network' && entry.bouncers.includes(view.droplets.get(b.spec.droplet)?.spec.address ?? '');
}

function bouncerOn(subnet: Subnet, droplet: string): Bouncer {
  return {
    apiVersion: apiVersionOf(Resources.Bouncer),
    kind: 'Bouncer',
    metadata: { name: `${subnet.metadata.name}-${droplet}`, tenant: tenantOf(subnet), ownerReferences: [ownerOf(subnet)] },
    spec: { vpc: subnet.spec.vpc, subnet: subnet.metadata.name, droplet },
  };
}
