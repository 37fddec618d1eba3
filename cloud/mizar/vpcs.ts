/** VPC operator: a VNI of its own, and dividers on droplets. Pure. */
import type { ResourceId } from '../../api/client.ts';
import type { Bouncer, Divider, Droplet, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import { apiVersionOf, Resources } from '../../api/resources.ts';
import { choose, hash32, parseCidr } from './addresses.ts';
import type { ClaimTable } from './claims.ts';
import { formatHolder, vniClaim } from './claims.ts';
import type { GoalMap } from './goal.ts';
import type { Step } from './steps.ts';
import { statusSteps } from './steps.ts';
import type { View } from './world.ts';
import { isAlive, tenantOf, vniOf } from './world.ts';

/** VNIs that the region gives out itself: the upper half, so that those the global scheduler counts up from below stay clear of them. */
const FIRST_OWN_VNI = 0x800000;
const LAST_VNI = 0xfffffe;

export type AckedGoal = (droplet: string) => GoalMap | null;

export function decideVpc(key: string, view: View, claims: ClaimTable, acked: AckedGoal): readonly Step[] {
  const vpc = view.vpcs.get(key);
  const dividers = view.dividersByVpc.get(key) ?? [];
  if (vpc === undefined || vpc.metadata.deletionTimestamp !== undefined) return dividers.map((object) => ({ kind: 'delete', resource: Resources.Divider, object }));
  return [...decideVni(vpc, claims), ...decideDividers(key, vpc, dividers, view, acked)];
}

function decideVni(vpc: Vpc, claims: ClaimTable): readonly Step[] {
  const problem = vpcProblem(vpc);
  if (problem !== null) return statusSteps(Resources.Vpc, vpc, { phase: 'Error', message: problem, vni: null });
  const holder = formatHolder({ kind: 'vpc', tenant: tenantOf(vpc), namespace: '', name: vpc.metadata.name, uid: vpc.metadata.uid ?? '' });
  const held = claims.heldBy(holder).map((name) => Number(name.slice('vni-'.length)));
  // A status that names a VNI without a claim behind it is one that was restored or written by hand: it has to be claimed like any other.
  const wish = vpc.spec.vni ?? held[0] ?? vpc.status?.vni;
  const isFree = (vni: number): boolean => [null, holder].includes(claims.holderOf(vniClaim(vni)));
  if (vpc.spec.vni !== undefined && !isFree(vpc.spec.vni)) {
    return statusSteps(Resources.Vpc, vpc, { phase: 'Error', message: `spec.vni: ${vpc.spec.vni} belongs to ${claims.holderOf(vniClaim(vpc.spec.vni))}`, vni: null });
  }
  const vni = wish !== undefined && isFree(wish) ? wish : freeVni(holder, isFree);
  const claim: Step[] = held.includes(vni) ? [] : [{ kind: 'claim', name: vniClaim(vni), holder }];
  return [...claim, ...statusSteps(Resources.Vpc, vpc, { phase: 'Provisioned', message: null, vni })];
}

export function vpcProblem(vpc: Vpc): string | null {
  const cidr = parseCidr(vpc.spec.cidr);
  if (cidr === null) return `spec.cidr: expected an IPv4 network such as 10.8.0.0/16 with no bit set after its prefix, got "${vpc.spec.cidr}"`;
  const { vni } = vpc.spec;
  if (vni !== undefined && !(Number.isInteger(vni) && vni >= 1 && vni <= LAST_VNI)) return `spec.vni: expected 1..${LAST_VNI}, got ${vni}`;
  return null;
}

function freeVni(seed: string, isFree: (vni: number) => boolean): number {
  const room = LAST_VNI - FIRST_OWN_VNI + 1;
  let vni = FIRST_OWN_VNI + (hash32(seed) % room);
  while (!isFree(vni)) vni = vni === LAST_VNI ? FIRST_OWN_VNI : vni + 1;
  return vni;
}

function decideDividers(key: string, vpc: Vpc, have: readonly Divider[], view: View, acked: AckedGoal): readonly Step[] {
  const sites = new Set((view.subnetsByVpc.get(key) ?? []).map((s) => s.spec.site));
  const candidates = [...sites].flatMap((site) => view.dropletsBySite.get(site) ?? []);
  const wanted = placeRole(`divider/${key}`, have.map((d) => d.spec.droplet), candidates, vpc.spec.dividers ?? 1, view);
  const name = vpc.metadata.name;
  return [
    ...wanted.add.map((droplet): Step => ({
      kind: 'create',
      resource: Resources.Divider,
      object: { apiVersion: apiVersionOf(Resources.Divider), kind: 'Divider', metadata: { name: `${name}-${droplet}`, tenant: tenantOf(vpc), ownerReferences: [ownerOf(vpc)] }, spec: { vpc: name, droplet } } as Divider,
    })),
    ...have.flatMap((object): readonly Step[] => {
      if (wanted.drop.has(object.spec.droplet)) return [{ kind: 'delete', resource: Resources.Divider, object }];
      const entry = acked(object.spec.droplet)?.get(`vpc/${vniOf(vpc) ?? ''}`);
      const address = view.droplets.get(object.spec.droplet)?.spec.address ?? '';
      return roleStatus(Resources.Divider, object, entry?.kind === 'vpc' && entry.dividers.includes(address));
    }),
  ];
}

/** Roles reach Provisioned when their droplet has them in its kernel, and stay so: a plane that restarts has not yet heard from anybody. */
export function roleStatus(resource: ResourceId, object: Divider | Bouncer, isAcked: boolean): readonly Step[] {
  return isAcked || object.status === undefined ? statusSteps(resource, object, { phase: isAcked ? 'Provisioned' : 'Init', message: null }) : [];
}

/**
 * Keeps what is well placed, replaces what went away, adds and removes to meet `count`. Where every droplet looks dead (the site is cut
 * off from us) nothing moves: moving helps nobody there.
 */
export function placeRole(key: string, have: readonly string[], candidates: readonly Droplet[], count: number, view: View): { readonly add: readonly string[]; readonly drop: ReadonlySet<string> } {
  const present = new Set(candidates.map((d) => d.metadata.name));
  const alive = new Set(candidates.filter((d) => isAlive(d, view)).map((d) => d.metadata.name));
  const pool = alive.size > 0 ? alive : present;
  const kept = choose(key, [...new Set(have)].filter((name) => pool.has(name)), count);
  const add = choose(key, [...pool].filter((name) => !kept.includes(name)), count - kept.length);
  return { add, drop: new Set(have.filter((name) => !kept.includes(name))) };
}

export function ownerOf(object: Vpc | Subnet): { apiVersion: string; kind: string; name: string; uid: string } {
  return { apiVersion: object.apiVersion, kind: object.kind, name: object.metadata.name, uid: object.metadata.uid ?? '' };
}
