/** Every kind's definition. A server is given the list of those that it serves. */
import type { KindDefinition } from './definition.ts';
import type { ResourceName } from './resources.ts';
import { Resources } from './resources.ts';

export function define(name: ResourceName, o: Partial<KindDefinition> = {}): KindDefinition {
  const resource = Resources[name];
  return {
    resource,
    singular: resource.kind.toLowerCase(),
    shortNames: [],
    categories: [],
    schema: {},
    ours: false,
    hasStatus: true,
    hasScale: false,
    columns: [],
    immutable: [],
    selectable: [],
    defaults: () => undefined,
    check: () => [],
    ...o,
  };
}

export const definitions: Readonly<Record<ResourceName, KindDefinition>> = Object.fromEntries(
  (Object.keys(Resources) as ResourceName[]).map((name) => [name, define(name, { selectable: name === 'Pod' ? ['spec.nodeName', 'status.phase'] : [], hasStatus: name !== 'ConfigMap' })]),
) as unknown as Readonly<Record<ResourceName, KindDefinition>>;
