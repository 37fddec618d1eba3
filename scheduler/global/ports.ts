/**
 * Every front serves every application at its own port, so a port and protocol can be of one application only, in all tenants together. The
 * older one holds it. Pure; what is decided follows from the objects alone, so every pass and every process decides the same.
 */
import type { Application } from '../../api/kinds/mesh.ts';
import { keyOf } from './region-objects.ts';

export interface PortRefusal {
  readonly message: string;
  /** Pending: never, as it is written. Unmet: right, but somebody else was first. */
  readonly phase: 'Pending' | 'Unmet';
}

/** What a site's front node listens on itself; a front would take its packets first. */
const RESERVED: ReadonlyMap<number, { readonly what: string; readonly protocol?: 'TCP' | 'UDP' }> = new Map([
  [22, { what: 'SSH' }],
  [6081, { what: 'Geneve', protocol: 'UDP' }],
  [6443, { what: "the region's API" }],
  [7443, { what: 'the cloud gateway' }],
  [7444, { what: 'enrolment' }],
  [8443, { what: 'the edge gateway' }],
  [8883, { what: 'MQTT' }],
  [10_250, { what: 'the node agent' }],
  [50_051, { what: 'goal states' }],
  [51_820, { what: 'WireGuard', protocol: 'UDP' }],
]);

const tenantOf = (app: Application): string => app.metadata.tenant ?? 'system';

function reservedFor(port: number, protocol: 'TCP' | 'UDP'): string | null {
  const r = RESERVED.get(port);
  return r === undefined || (r.protocol !== undefined && r.protocol !== protocol) ? null : r.what;
}

/** By application key: who may not have the port it asks for, and why. */
export function portRefusals(applications: Iterable<Application>): ReadonlyMap<string, PortRefusal> {
  const out = new Map<string, PortRefusal>();
  const holders = new Map<string, Application>();
  const age = (app: Application): number => Date.parse(app.metadata.creationTimestamp ?? '') || 0;
  const byAge = [...applications].sort((a, b) => age(a) - age(b) || (keyOf(a) < keyOf(b) ? -1 : 1));
  for (const app of byAge) {
    const { port, protocol = 'TCP' } = app.spec.service;
    const slot = `${port}/${protocol}`;
    const what = reservedFor(port, protocol);
    const holder = holders.get(slot);
    if (what !== null) out.set(keyOf(app), { phase: 'Pending', message: `spec.service.port: ${slot} is reserved for ${what} at every front; choose another port` });
    else if (holder === undefined) holders.set(slot, app);
    else out.set(keyOf(app), { phase: 'Unmet', message: `spec.service.port: ${slot} is held at every front by ${holderName(holder, tenantOf(app))}, which is older; choose another port` });
  }
  return out;
}

/** Whose it is in another tenant is nobody's business. */
function holderName(holder: Application, asker: string): string {
  return tenantOf(holder) === asker ? `application ${holder.metadata.namespace ?? 'default'}/${holder.metadata.name}` : 'an application of another tenant';
}
