/** Every resource we serve or speak to, by name. The schemas behind them are in `api/kinds/`. */
import type { ResourceId } from './client.ts';

const core = (plural: string, kind: string, scope: ResourceId['scope'] = 'namespace'): ResourceId => ({ group: '', version: 'v1', plural, kind, scope });
const apps = (plural: string, kind: string): ResourceId => ({ group: 'apps', version: 'v1', plural, kind, scope: 'namespace' });
const mizar = (plural: string, kind: string, scope: ResourceId['scope'] = 'tenant'): ResourceId => ({ group: 'mizar.com', version: 'v1', plural, kind, scope });
const mesh = (plural: string, kind: string, scope: ResourceId['scope']): ResourceId => ({ group: 'mesh.proxima.io', version: 'v1', plural, kind, scope });

export const Resources = {
  Tenant: core('tenants', 'Tenant', 'cluster'),
  Namespace: core('namespaces', 'Namespace', 'tenant'),
  Node: core('nodes', 'Node', 'cluster'),
  Pod: core('pods', 'Pod'),
  Event: core('events', 'Event'),
  ConfigMap: core('configmaps', 'ConfigMap'),
  Secret: core('secrets', 'Secret'),
  Service: core('services', 'Service'),
  ServiceAccount: core('serviceaccounts', 'ServiceAccount'),
  Deployment: apps('deployments', 'Deployment'),
  ReplicaSet: apps('replicasets', 'ReplicaSet'),
  Lease: { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease', scope: 'namespace' },
  Network: { group: 'arktos.futurewei.com', version: 'v1', plural: 'networks', kind: 'Network', scope: 'tenant' },
  Vpc: mizar('vpcs', 'Vpc'),
  Subnet: mizar('subnets', 'Subnet'),
  Droplet: mizar('droplets', 'Droplet', 'cluster'),
  Bouncer: mizar('bouncers', 'Bouncer'),
  Divider: mizar('dividers', 'Divider'),
  Endpoint: mizar('endpoints', 'Endpoint'),
  Site: mesh('sites', 'Site', 'cluster'),
  JoinToken: mesh('jointokens', 'JoinToken', 'cluster'),
  Presence: mesh('presences', 'Presence', 'tenant'),
  Application: mesh('applications', 'Application', 'namespace'),
  PlacementPolicy: mesh('placementpolicies', 'PlacementPolicy', 'namespace'),
  Placement: mesh('placements', 'Placement', 'namespace'),
  Allocation: mesh('allocations', 'Allocation', 'namespace'),
  TrafficReport: mesh('trafficreports', 'TrafficReport', 'cluster'),
} as const satisfies Record<string, ResourceId>;

export type ResourceName = keyof typeof Resources;

export function apiVersionOf(resource: ResourceId): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}
