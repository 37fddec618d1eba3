/**
 * The OpenAPI v3 document of one group and version, from the same schemas that validate. kubectl reads from it what it explains, whether the server
 * checks fields itself (`fieldValidation` on PATCH) and which kinds take a strategic merge patch (without which apply of a VM pod fails).
 */
import type { Json, JsonObject, KindDefinition } from '../../api/definition.ts';
import { openApiName, resolveType } from '../../api/kubernetes-types.ts';
import type { Schema } from '../../api/schema.ts';

const PATCH_TYPES = ['application/json-patch+json', 'application/merge-patch+json', 'application/strategic-merge-patch+json'];

export function openApiDocument(kinds: readonly KindDefinition[]): JsonObject {
  const schemas: JsonObject = {};
  const paths: JsonObject = {};
  for (const d of kinds) {
    const { group, version, kind } = d.resource;
    const gvk = { group, version, kind };
    const id = schemaName(d);
    collect(d.schema, schemas);
    schemas[id] = { ...convert(withMetadata(d.schema)), 'x-kubernetes-group-version-kind': [gvk] };
    schemas[`${id}List`] = {
      type: 'object',
      description: `A list of ${kind} objects.`,
      required: ['items'],
      properties: { apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { type: 'object' }, items: { type: 'array', items: { $ref: `#/components/schemas/${id}` } } },
      'x-kubernetes-group-version-kind': [{ group, version, kind: `${kind}List` }],
    };
    Object.assign(paths, pathsOf(d, gvk, id));
  }
  collect({ $ref: 'meta.v1.ObjectMeta' }, schemas);
  return { openapi: '3.0.0', info: { title: 'Proxima', version: 'v1' }, paths, components: { schemas } };
}

function schemaName(d: KindDefinition): string {
  const { group, version, kind } = d.resource;
  const known = group === '' ? `core.${version}.${kind}` : `${group.split('.')[0]}.${version}.${kind}`;
  return d.ours ? `io.proxima.${group === '' ? 'core' : group}.${version}.${kind}` : openApiName(known);
}

function withMetadata(s: Schema): Schema {
  return { ...s, properties: { ...s.properties, metadata: { $ref: 'meta.v1.ObjectMeta', description: 'Name, labels and the like.' } } };
}

/** Adds every referenced type, and what it refers to, once. */
function collect(s: Schema, into: JsonObject): void {
  if (s.$ref !== undefined) {
    const id = openApiName(s.$ref);
    if (into[id] !== undefined) return;
    into[id] = {};
    const target = resolveType(s.$ref);
    into[id] = convert(target);
    collect(target, into);
    return;
  }
  for (const child of Object.values(s.properties ?? {})) collect(child, into);
  if (s.items !== undefined) collect(s.items, into);
  if (typeof s.additionalProperties === 'object') collect(s.additionalProperties, into);
}

function convert(s: Schema): JsonObject {
  const { $ref, properties, items, additionalProperties, ...rest } = s;
  if ($ref !== undefined) {
    const target = { $ref: `#/components/schemas/${openApiName($ref)}` };
    return Object.keys(rest).length === 0 ? target : { ...(rest as JsonObject), allOf: [target] };
  }
  const out: JsonObject = { ...(JSON.parse(JSON.stringify(rest)) as JsonObject) };
  if (out['x-kubernetes-int-or-string'] === true) Object.assign(out, { format: 'int-or-string', oneOf: [{ type: 'integer' }, { type: 'string' }] });
  if (properties !== undefined) out['properties'] = Object.fromEntries(Object.entries(properties).map(([name, p]) => [name, convert(p)]));
  if (items !== undefined) out['items'] = convert(items);
  if (additionalProperties !== undefined) out['additionalProperties'] = typeof additionalProperties === 'boolean' ? additionalProperties : convert(additionalProperties);
  return out;
}

function pathsOf(d: KindDefinition, gvk: JsonObject, id: string): JsonObject {
  const { group, version, plural, scope } = d.resource;
  const base = `${group === '' ? `/api/${version}` : `/apis/${group}/${version}`}${scope === 'namespace' ? '/namespaces/{namespace}' : ''}/${plural}`;
  const schema = { $ref: `#/components/schemas/${id}` };
  const ok = { '200': { description: 'OK', content: { 'application/json': { schema } } } };
  const query = (name: string): Json => ({ name, in: 'query', schema: { type: 'string', uniqueItems: true } });
  const operation = (action: string, more: JsonObject = {}): JsonObject => ({ 'x-kubernetes-action': action, 'x-kubernetes-group-version-kind': gvk, responses: ok, ...more });
  const body = (types: readonly string[], content: JsonObject): JsonObject => ({ requestBody: { required: true, content: Object.fromEntries(types.map((t) => [t, { schema: content }])) } });
  const write = { parameters: [query('dryRun'), query('fieldManager'), query('fieldValidation')] };
  const inPath = (name: string): Json => ({ name, in: 'path', required: true, schema: { type: 'string', uniqueItems: true } });
  const place = scope === 'namespace' ? [inPath('namespace')] : [];
  return {
    [base]: {
      get: operation('list', { parameters: ['limit', 'continue', 'labelSelector', 'fieldSelector', 'resourceVersion', 'watch'].map(query) }),
      post: operation('post', { ...write, ...body(['application/json', 'application/yaml'], schema) }),
      delete: operation('deletecollection'),
      parameters: place,
    },
    [`${base}/{name}`]: {
      get: operation('get'),
      put: operation('put', { ...write, ...body(['application/json', 'application/yaml'], schema) }),
      patch: operation('patch', { ...write, ...body(PATCH_TYPES, { type: 'object' }) }),
      delete: operation('delete'),
      parameters: [...place, inPath('name')],
    },
  };
}
