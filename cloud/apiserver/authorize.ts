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

/** What an agent writes; `node-restriction.ts` looks at which of them. */
const NODE_WRITES: Readonly<Record<string, readonly Verb[]>> = {
  '/nodes': ['create', 'update', 'patch', 'delete'],
  '/pods': ['update', 'patch', 'delete'],
  'coordination.k8s.io/leases': ['get', 'create', 'update', 'patch', 'delete'],
  'mizar.com/droplets': ['create', 'update', 'patch', 'delete'],
};
const NODE_READS = new Set(['/nodes', '/pods', '/configmaps', 'mesh.proxima.io/sites', 'arktos.futurewei.com/networks', 'mizar.com/droplets', 'mizar.com/endpoints', 'mizar.com/subnets', 'mizar.com/vpcs']);
/** What a tenant only reads in its own space: results of planning and of network operators; a forged one would reach beyond the tenant. */
const TENANT_READ_ONLY = new Set(['mesh.proxima.io/placements', 'mizar.com/subnets', 'mizar.com/bouncers', 'mizar.com/dividers', 'mizar.com/endpoints']);

/** Null = allowed, else why not. */
export function authorize(who: Identity, ask: Ask): string | null {
  if (isMaster(who)) return null;
  const id = `${ask.resource.group}/${ask.resource.plural}`;
  if (who.tenant === SYSTEM_TENANT) {
    if (!who.groups.includes(NODES)) return 'the credential has no role';
    return nodeMay(id, ask);
  }
  if (ask.resource.scope === 'cluster') {
    const ownTenant = ask.resource.plural === 'tenants' && ask.verb === 'get' && ask.tenant === who.tenant;
    return ownTenant ? null : 'cluster-wide resources are the operators\'';
  }
  if (ask.tenant !== who.tenant) return `the credential is of tenant "${who.tenant}"`;
  if (!isRead(ask.verb) && (TENANT_READ_ONLY.has(id) || ask.subresource === 'status' || ask.subresource === 'binding')) return 'tenants read it; the mesh writes it';
  return null;
}

function nodeMay(id: string, { verb, subresource, tenant }: Ask): string | null {
  if (subresource !== '' && subresource !== 'status') return 'node agents are asked, they do not ask';
  if (id === '/configmaps' && isRead(verb)) return tenant === SYSTEM_TENANT ? null : 'node agents read the mesh\'s own config maps';
  if (isRead(verb) && NODE_READS.has(id)) return null;
  if (id === '/pods' && verb === 'create') return 'agents run pods, they do not make them';
  return NODE_WRITES[id]?.includes(verb) === true ? null : 'not a resource of node agents';
}
