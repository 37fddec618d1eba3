/**
 * A Client for controller tests: the API server's own rules (conflicts, finalizers, graceful pod deletion, selectors, watches) over a store in
 * memory, without HTTP. The tenants named are there, each with its namespace `default`.
 */
import type { Client, ResourceId } from '../../api/client.ts';
import type { KindDefinition } from '../../api/definition.ts';
import { definitions } from '../../api/definitions.ts';
import { MeshError } from '../../api/errors.ts';
import { Resources } from '../../api/resources.ts';
import { systemClock, type Clock } from '../../base/clock.ts';
import { type Identity, masterIdentity } from '../../cloud/apiserver/identity.ts';
import { LocalClient } from '../../cloud/apiserver/local-client.ts';
import { Registry } from '../../cloud/apiserver/registry.ts';
import { MemoryStore } from './memory-store.ts';

export interface MemoryClientOptions {
  /** @default ['system', 'acme'] */
  readonly tenants?: readonly string[];
  readonly clock?: Clock;
  readonly who?: Identity;
}

export async function memoryClient(options: MemoryClientOptions = {}): Promise<Client & { readonly store: MemoryStore; as(who: Identity): Client }> {
  const store = new MemoryStore();
  const registry = new Registry({ store, clock: options.clock ?? systemClock });
  const byPath = new Map(Object.values(definitions).map((d) => [`${d.resource.group}/${d.resource.plural}`, d]));
  const lookup = (r: ResourceId): KindDefinition => {
    const def = byPath.get(`${r.group}/${r.plural}`);
    if (def === undefined) throw new MeshError('not-found', `no such resource: ${r.plural}`);
    return def;
  };
  const as = (who: Identity): Client => new LocalClient(registry, lookup, who);
  const master = as(masterIdentity);
  for (const name of options.tenants ?? ['system', 'acme']) {
    await master.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name } });
  }
  return Object.assign(as(options.who ?? masterIdentity), { store, as });
}
