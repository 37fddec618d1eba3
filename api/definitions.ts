/** Every kind's definition. A server is given the list of those that it serves. */
import type { KindDefinition } from './definition.ts';
import { apps } from './definitions/apps.ts';
import { core } from './definitions/core.ts';
import { mesh } from './definitions/mesh.ts';
import { mizar } from './definitions/mizar.ts';
import type { ResourceName } from './resources.ts';
import { Resources } from './resources.ts';

const all: readonly KindDefinition[] = [...core, ...apps, ...mizar, ...mesh];

function definitionOf(name: ResourceName): KindDefinition {
  const found = all.find((d) => d.resource === Resources[name]);
  if (found === undefined) throw new Error(`api/definitions has no ${name}`);
  return found;
}

export const definitions = Object.fromEntries((Object.keys(Resources) as ResourceName[]).map((name) => [name, definitionOf(name)])) as Readonly<Record<ResourceName, KindDefinition>>;

/** The definitions of some kinds, in the order given: what `createApiServer` takes. */
export const kinds = (...names: readonly ResourceName[]): readonly KindDefinition[] => names.map((n) => definitions[n]);
