/**
 * What a write goes through before it is stored: shape, defaults, the kind's rules, names, what only the system may set. Pure over
 * (incoming, live); looks nothing up.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Issue, Json, JsonObject, KindDefinition } from '../../api/definition.ts';
import type { Schema } from '../../api/schema.ts';
import { applyDefaults, prune, validate } from '../../api/schema.ts';
import { resolveType } from '../../api/kubernetes-types.ts';
import { at, metaOf } from './bytes.ts';
import { badRequest, invalid } from './errors.ts';
import type { Identity } from './identity.ts';
import { isMaster, SYSTEM_TENANT } from './identity.ts';
import { restrictNode } from './node-restriction.ts';

export type FieldValidation = 'Strict' | 'Warn' | 'Ignore';

const NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;
const META: Schema = { $ref: 'meta.v1.ObjectMeta' };

export interface Admission {
  readonly who: Identity;
  readonly fieldValidation: FieldValidation;
  readonly warnings: string[];
}

/** Checks and completes `object` in place. */
export function admit(def: KindDefinition, object: JsonObject, live: JsonObject | null, how: Admission): void {
  prune(object);
  const meta = metaOf(object);
  const name = typeof meta['name'] === 'string' ? meta['name'] : '';
  const issues: Issue[] = [];
  const unknown: Issue[] = [];
  const walk = { issues, unknown, resolve: resolveType };
  validate(META, meta, 'metadata', walk);
  for (const key of Object.keys(object)) {
    if (key === 'apiVersion' || key === 'kind' || key === 'metadata') continue;
    const schema = def.schema.properties?.[key];
    if (schema !== undefined) validate(schema, object[key] as Json, key, walk);
    else if (def.schema.properties !== undefined) unknown.push({ path: key, message: `unknown field "${key}"`, reason: 'unknown' });
  }
  for (const key of def.schema.required ?? []) {
    if (object[key] === undefined && key !== 'metadata') issues.push({ path: key, message: 'is required', reason: 'required' });
  }
  refuseUnknown(def, name, unknown, how);
  if (issues.length > 0) throw invalid(def.resource, name, issues);
  if (!NAME.test(name) || name.length > 253) {
    throw invalid(def.resource, name, [{ path: 'metadata.name', reason: name === '' ? 'required' : 'invalid', message: name === '' ? 'name or generateName is required' : `"${name}": a name consists of lower case letters, digits, "-" and ".", and starts and ends with a letter or digit` }]);
  }
  applyDefaults(def.schema, object, resolveType);
  def.defaults(object, live);
  restrictNode(def, how.who, live === null ? 'create' : 'update', object, live);
  const rules = [...def.check(object, live), ...immutables(def, object, live), ...reserved(def, object, live, how.who)];
  if (rules.length > 0) throw invalid(def.resource, name, rules);
}

function refuseUnknown(def: KindDefinition, name: string, unknown: readonly Issue[], how: Admission): void {
  if (unknown.length === 0) return;
  if (how.fieldValidation === 'Strict') {
    throw badRequest(`${def.resource.kind} in version "${def.resource.version}" cannot be handled as a ${def.resource.kind}: strict decoding error: ${unknown.map((u) => u.message).join(', ')}`, unknown[0]?.path);
  }
  if (def.ours) throw invalid(def.resource, name, unknown);
  if (how.fieldValidation === 'Warn') how.warnings.push(...unknown.map((u) => u.message));
}

function immutables(def: KindDefinition, object: JsonObject, live: JsonObject | null): Issue[] {
  if (live === null) return [];
  return def.immutable
    .filter((path) => at(live, path) !== undefined && !isDeepStrictEqual(at(object, path), at(live, path)))
    .map((path) => ({ path, message: 'field is immutable', reason: 'invalid' as const }));
}

/** A tenant that chose its own VNI could choose another tenant's. */
function reserved(def: KindDefinition, object: JsonObject, live: JsonObject | null, who: Identity): Issue[] {
  if (who.tenant === SYSTEM_TENANT || isMaster(who) || def.resource.plural !== 'vpcs') return [];
  const same = at(object, 'spec.vni') === at(live ?? undefined, 'spec.vni');
  return same ? [] : [{ path: 'spec.vni', message: 'is given by the system', reason: 'forbidden' }];
}
