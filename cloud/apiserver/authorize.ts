/** Default deny. Masters may do everything; nodes what their agents need; tenants only what is inside their own tenant. */
import type { ResourceId } from '../../api/client.ts';
import type { Identity } from './identity.ts';
import { isMaster, NODES, SYSTEM_TENANT } from './identity.ts';

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

export interface Ask {
  readonly verb: Verb;
  readonly resource: ResourceId;
  readonly subresource: string;
  readonly tenant: string | null;
}

const isRead = (v: Verb): boolean => v === 'get' || v === 'list' || v === 'watch';

const NODE_WRITES = new Set(['/nodes', '/pods', '/events', 'coordination.k8s.io/leases', 'mizar.com/droplets', 'mizar.com/endpoints', 'mizar.com/subnets', 'mizar.com/vpcs', 'mizar.com/bouncers', 'mizar.com/dividers']);
const NODE_READS = new Set(['/namespaces', '/tenants', '/configmaps', '/secrets', '/services', 'mesh.proxima.io/sites', 'mesh.proxima.io/presences', 'arktos.futurewei.com/networks', 'apps/deployments', 'apps/replicasets']);
/** What a tenant only reads in its own space: results of planning and of network operators; a forged one would reach beyond the tenant. */
const TENANT_READ_ONLY = new Set(['mesh.proxima.io/placements', 'mizar.com/subnets', 'mizar.com/bouncers', 'mizar.com/dividers', 'mizar.com/endpoints']);

/** Null = allowed, else why not. */
export function authorize(who: Identity, ask: Ask): string | null {
  if (isMaster(who)) return null;
  const id = `${ask.resource.group}/${ask.resource.plural}`;
  if (who.tenant === SYSTEM_TENANT) {
    if (!who.groups.includes(NODES)) return 'the credential has no role';
    if (id === '/pods' && ask.verb === 'create') return 'agents run pods, they do not make them';
    if (NODE_WRITES.has(id)) return null;
    return isRead(ask.verb) && NODE_READS.has(id) ? null : 'not a resource of node agents';
  }
  if (ask.resource.scope === 'cluster') {
    const ownTenant = ask.resource.plural === 'tenants' && ask.verb === 'get' && ask.tenant === who.tenant;
    return ownTenant ? null : 'cluster-wide resources are the operators\'';
  }
  if (ask.tenant !== who.tenant) return `the credential is of tenant "${who.tenant}"`;
  if (!isRead(ask.verb) && (TENANT_READ_ONLY.has(id) || ask.subresource === 'status' || ask.subresource === 'binding')) return 'tenants read it; the mesh writes it';
  return null;
}
