/** An Allocation in the words of the planner: one Application for each of its resources. Pure. */
import type { PodTemplate } from '../../api/kinds/core.ts';
import type { Allocation, AllocationResource, AllocationSelector, Application, Flavor, PolicySpec, SiteSelector } from '../../api/kinds/mesh.ts';
import type { SiteModel } from './model.ts';

export const ALLOCATION_LABEL = 'mesh.proxima.io/allocation';
const GEO = ['country', 'area', 'province', 'city'] as const;
const OPERATOR_LABEL = 'mesh.proxima.io/operator';
const ZONE_LABEL = 'topology.kubernetes.io/zone';

/** What was chosen for it: the flavor of each resource by `<group>/<resource>`, and of each centralized group the site. */
export interface Choice {
  readonly flavors: ReadonlyMap<string, number>;
  readonly sites: ReadonlyMap<string, string>;
}

export interface Member {
  readonly group: string;
  readonly resource: AllocationResource;
  /** Key in `Choice.flavors`. */
  readonly id: string;
  /** Name of its Application. */
  readonly application: string;
}

export function membersOf(allocation: Allocation): readonly Member[] {
  return allocation.spec.resourceGroups.flatMap((group) => group.resources.map((resource) => ({ group: group.name, resource, id: `${group.name}/${resource.name}`, application: `${allocation.metadata.name}-${group.name}-${resource.name}` })));
}

export const isCentral = (allocation: Allocation): boolean => (allocation.spec.strategy ?? 'centralize') === 'centralize';
export const replicasOf = (allocation: Allocation): number => allocation.spec.replicas ?? 1;

export function fitsSelector(selector: AllocationSelector | undefined, site: SiteModel): boolean {
  if (selector === undefined) return true;
  const { geoLocation, regions, operator } = selector;
  if (GEO.some((g) => geoLocation?.[g] !== undefined && site.labels[`mesh.proxima.io/${g}`] !== geoLocation[g])) return false;
  if (operator !== undefined && site.labels[OPERATOR_LABEL] !== operator) return false;
  return regions === undefined || regions.some((r) => r.region === site.region && (r.zones === undefined || r.zones.includes(site.labels[ZONE_LABEL] ?? site.name)));
}

/** As rules where rules can say it, so that sites that come later count too; zones of single regions are only said by the names of today's sites. */
function required(selector: AllocationSelector | undefined, sites: readonly SiteModel[]): SiteSelector | null {
  if (selector === undefined) return null;
  if (selector.regions?.some((r) => r.zones !== undefined) === true) return { names: sites.filter((s) => fitsSelector(selector, s)).map((s) => s.name) };
  const labels = Object.fromEntries([
    ...GEO.flatMap((g) => (selector.geoLocation?.[g] === undefined ? [] : [[`mesh.proxima.io/${g}`, selector.geoLocation[g]]])),
    ...(selector.operator === undefined ? [] : [[OPERATOR_LABEL, selector.operator]]),
  ]) as Record<string, string>;
  const regions = selector.regions?.map((r) => r.region);
  if (regions === undefined && Object.keys(labels).length === 0) return null;
  return { ...(regions === undefined ? {} : { regions }), ...(Object.keys(labels).length === 0 ? {} : { labels }) };
}

function policyOf(allocation: Allocation, group: string, choice: Choice, sites: readonly SiteModel[]): PolicySpec {
  const n = replicasOf(allocation);
  const site = choice.sites.get(group);
  const where = site === undefined ? required(allocation.spec.selector, sites) : { names: [site] };
  return { instances: { min: n, max: n }, ...(where === null ? {} : { sites: { required: where } }), ...(isCentral(allocation) || n === 1 ? {} : { spread: { over: 'site', min: n } }) };
}

/** The template with the flavor as request and limit of its VM, or of its first container. */
function sized(template: PodTemplate, flavor: Flavor | undefined): PodTemplate {
  if (flavor === undefined) return template;
  const size = { cpu: flavor.cpu, memory: flavor.memory };
  const resources = { requests: size, limits: size };
  const { virtualMachine, containers } = template.spec;
  if (virtualMachine !== undefined) return { ...template, spec: { ...template.spec, virtualMachine: { ...virtualMachine, resources } } };
  return { ...template, spec: { ...template.spec, ...(containers === undefined ? {} : { containers: containers.map((c, i) => (i === 0 ? { ...c, resources } : c)) }) } };
}

export function applicationOf(allocation: Allocation, member: Member, choice: Choice, sites: readonly SiteModel[]): Application {
  const { name, namespace = 'default', tenant = 'system', uid = '' } = allocation.metadata;
  const { resource } = member;
  return {
    apiVersion: 'mesh.proxima.io/v1',
    kind: 'Application',
    metadata: { name: member.application, namespace, tenant, labels: { [ALLOCATION_LABEL]: name }, ownerReferences: [{ apiVersion: 'mesh.proxima.io/v1', kind: 'Allocation', name, uid, controller: true }] },
    spec: {
      vpc: allocation.spec.vpc,
      service: resource.service,
      template: sized(resource.template, resource.flavors?.[choice.flavors.get(member.id) ?? 0]),
      ...(resource.capacity === undefined ? {} : { capacity: resource.capacity }),
      policy: policyOf(allocation, member.group, choice, sites),
    },
  };
}

export const isOwned = (app: Application, uid: string | undefined): boolean => app.metadata.ownerReferences?.some((o) => o.kind === 'Allocation' && o.uid === uid) === true;
