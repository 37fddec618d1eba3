/**
 * Kubernetes' strategic merge patch: lists with a merge key in the schema merge item by item, `$patch`, `$retainKeys`,
 * `$deleteFromPrimitiveList/<list>` and `$setElementOrder/<list>` are its directives. Never changes its arguments.
 */
import { resolveType } from '../../api/kubernetes-types.ts';
import { asText, type Json, type JsonObject } from '../../api/definition.ts';
import type { Schema } from '../../api/schema.ts';
import { badRequest } from './errors.ts';
import { isMap } from './merge-patch.ts';

const DELETE_PRIMITIVES = '$deleteFromPrimitiveList/';
const ELEMENT_ORDER = '$setElementOrder/';
const META: Schema = { $ref: 'meta.v1.ObjectMeta' };

export function strategicMerge(schema: Schema, live: JsonObject, patch: JsonObject): JsonObject {
  return mergeMaps({ ...schema, properties: { ...schema.properties, metadata: META } }, live, patch);
}

const resolved = (s: Schema | undefined): Schema | undefined => (s?.$ref === undefined ? s : { ...resolveType(s.$ref), ...keep(s) });

/** The merge directives stand beside the reference, not in the type that it names. */
function keep(s: Schema): Partial<Schema> {
  const strategy = s['x-kubernetes-patch-strategy'];
  return strategy === undefined ? {} : { 'x-kubernetes-patch-strategy': strategy };
}

function mergeMaps(schema: Schema | undefined, live: JsonObject, patch: JsonObject): JsonObject {
  const directive = patch['$patch'];
  if (directive === 'replace') return stripped(patch);
  if (directive === 'delete') return {};
  if (directive !== undefined && directive !== 'merge') throw badRequest(`unknown patch type found: "${asText(directive)}"`);
  const out: JsonObject = { ...live };
  retainKeys(out, patch);
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith('$')) continue;
    const child = resolved(schema?.properties?.[key] ?? (typeof schema?.additionalProperties === 'object' ? schema.additionalProperties : undefined));
    if (value === null) delete out[key];
    else if (isMap(value)) out[key] = mergeMaps(child, isMap(out[key]) ? out[key] : {}, value);
    else if (Array.isArray(value)) out[key] = mergeLists(child, listOf(out[key]), value, patch[`${ELEMENT_ORDER}${key}`]);
    else out[key] = value;
  }
  for (const [key, value] of Object.entries(patch)) {
    const name = key.slice(key.indexOf('/') + 1);
    if (key.startsWith(DELETE_PRIMITIVES)) out[name] = listOf(out[name]).filter((v) => !listOf(value).includes(v));
    const child = resolved(schema?.properties?.[name]);
    if (key.startsWith(ELEMENT_ORDER) && patch[name] === undefined && Array.isArray(out[name])) out[name] = ordered(child, out[name], listOf(value), out[name]);
  }
  return out;
}

const listOf = (v: Json | undefined): Json[] => (Array.isArray(v) ? v : []);

/** Without directives, and nested nulls gone: what a replacing patch leaves. */
function stripped(patch: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(patch).filter(([k, v]) => !k.startsWith('$') && v !== null));
}

function retainKeys(out: JsonObject, patch: JsonObject): void {
  const retain = patch['$retainKeys'];
  if (!Array.isArray(retain)) return;
  for (const key of Object.keys(out)) if (!retain.includes(key)) delete out[key];
}

function mergeLists(schema: Schema | undefined, live: readonly Json[], patch: readonly Json[], order: Json | undefined): Json[] {
  const mergeKey = schema?.['x-kubernetes-patch-merge-key'];
  const merges = (schema?.['x-kubernetes-patch-strategy'] ?? '').split(',').includes('merge');
  if (!merges) return patch.map((v) => (isMap(v) ? stripped(v) : v));
  if (mergeKey === undefined) {
    const merged = [...live, ...patch.filter((v) => !live.includes(v))];
    return ordered(schema, merged, order === undefined ? patch : listOf(order), live);
  }
  const directives = patch.filter(isMap);
  if (directives.some((p) => p['$patch'] === 'replace')) return directives.filter((p) => p['$patch'] === undefined).map(stripped);
  let merged: Json[] = [...live];
  const added: Json[] = [];
  const item = resolved(schema?.items);
  for (const p of directives) {
    const key = p[mergeKey];
    if (key === undefined) throw badRequest(`map: ${JSON.stringify(p)} does not contain declared merge key: ${mergeKey}`, mergeKey);
    const same = (v: Json): boolean => isMap(v) && v[mergeKey] === key;
    if (p['$patch'] === 'delete') merged = merged.filter((v) => !same(v));
    else if (merged.some(same)) merged = merged.map((v) => (same(v) && isMap(v) ? mergeMaps(item, v, p) : v));
    else added.push(mergeMaps(item, {}, p));
  }
  const all = [...merged, ...added];
  return ordered(schema, all, order === undefined ? directives : listOf(order), live);
}

/**
 * Items named by the order come in that order; the rest keep their place among the live ones: an item that was before an ordered one in the live
 * list stays before it.
 */
function ordered(schema: Schema | undefined, items: readonly Json[], order: readonly Json[], live: readonly Json[]): Json[] {
  const mergeKey = schema?.['x-kubernetes-patch-merge-key'];
  const id = (v: Json): string => JSON.stringify(mergeKey !== undefined && isMap(v) ? (v[mergeKey] ?? null) : v);
  const rank = new Map(order.map((v, i) => [id(v), i]));
  const place = new Map(live.map((v, i) => [id(v), i]));
  const named = items.filter((v) => rank.has(id(v))).sort((a, b) => (rank.get(id(a)) ?? 0) - (rank.get(id(b)) ?? 0));
  const others = items.filter((v) => !rank.has(id(v)));
  const out: Json[] = [];
  while (named.length > 0 && others.length > 0) {
    const [n, o] = [named[0] as Json, others[0] as Json];
    const nPlace = place.get(id(n));
    const oPlace = place.get(id(o));
    const othersFirst = nPlace !== undefined && oPlace !== undefined && oPlace < nPlace;
    out.push(othersFirst ? (others.shift() as Json) : (named.shift() as Json));
  }
  return [...out, ...named, ...others];
}
