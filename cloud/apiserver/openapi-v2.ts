/**
 * OpenAPI v2 in gnostic's protobuf, which kubectl up to 1.28 insists on: its definitions carry the merge keys that a strategic merge patch is
 * made with. Encoded by hand from the v3 documents; field numbers of `openapi.v2.Document`:
 *
 *   Document    swagger=1 info=2 paths=8 definitions=9        PathItem   patch=8
 *   Definitions NamedSchema=1 {name=1 value=2}                Operation  consumes=7 parameters=8 vendor_extension=13
 *   Schema      _ref=1 format=2 description=4 required=19 additional_properties=21 {schema=1 boolean=2}
 *               type=22 {value=1} items=23 {schema=1} properties=25 {NamedSchema=1} vendor_extension=31
 *   NamedAny    name=1 value=2 {yaml=2}
 */
import { asText, type Json, type JsonObject } from '../../api/definition.ts';
import { isMap } from './merge-patch.ts';

function varint(n: number): Buffer {
  const bytes: number[] = [];
  let rest = n;
  while (rest >= 0x80) {
    bytes.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

function message(number: number, ...content: readonly Buffer[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([varint(number * 8 + 2), varint(body.length), body]);
}

const text = (number: number, value: string): Buffer => message(number, Buffer.from(value));
const flag = (number: number, value: boolean): Buffer => Buffer.concat([varint(number * 8), varint(value ? 1 : 0)]);
const extension = (number: number, name: string, value: Json): Buffer => message(number, text(1, name), message(2, text(2, JSON.stringify(value))));

/** `documents`: the v3 documents of every group that is served. */
export function openApiV2(documents: readonly JsonObject[]): Buffer {
  const schemas = new Map<string, JsonObject>();
  const paths: Buffer[] = [];
  for (const d of documents) {
    for (const [name, s] of Object.entries((d['components'] as JsonObject)['schemas'] as JsonObject)) schemas.set(name, s as JsonObject);
    for (const [path, item] of Object.entries(d['paths'] as JsonObject)) if (isMap(item) && isMap(item['patch'])) paths.push(message(2, text(1, path), message(2, message(8, operation(item['patch'])))));
  }
  return Buffer.concat([
    text(1, '2.0'),
    message(2, text(1, 'Proxima'), text(2, 'v1')),
    message(8, ...paths),
    message(9, ...[...schemas].map(([name, s]) => message(1, text(1, name), message(2, schema(s))))),
  ]);
}

/** What clients look for here: which patch types PATCH takes, may it be tried without effect, does the server check fields. */
function operation(patch: JsonObject): Buffer {
  const parameters = Array.isArray(patch['parameters']) ? patch['parameters'].filter(isMap) : [];
  const query = (name: string): Buffer => message(8, message(1, message(2, message(3, text(2, 'query'), text(4, name), text(6, 'string')))));
  const types = isMap(patch['requestBody']) && isMap(patch['requestBody']['content']) ? Object.keys(patch['requestBody']['content']) : [];
  return Buffer.concat([...types.map((type) => text(7, type)), ...parameters.map((p) => query(asText(p['name']))), extension(13, 'x-kubernetes-group-version-kind', patch['x-kubernetes-group-version-kind'] ?? {})]);
}

const REF = '#/components/schemas/';

function schema(s: JsonObject): Buffer {
  const parts: Buffer[] = [];
  const all = Array.isArray(s['allOf']) ? s['allOf'] : [];
  const ref = s['$ref'] ?? (isMap(all[0]) ? all[0]['$ref'] : undefined);
  if (typeof ref === 'string') parts.push(text(1, `#/definitions/${ref.slice(REF.length)}`));
  const isEither = s['x-kubernetes-int-or-string'] === true;
  const isOpen = s['x-kubernetes-preserve-unknown-fields'] === true;
  if (isEither) parts.push(text(2, 'int-or-string'));
  if (typeof s['description'] === 'string') parts.push(text(4, s['description']));
  if (Array.isArray(s['required'])) parts.push(...s['required'].map((r) => text(19, asText(r))));
  if (isMap(s['additionalProperties'])) parts.push(message(21, message(1, schema(s['additionalProperties']))));
  else if (typeof s['additionalProperties'] === 'boolean') parts.push(message(21, flag(2, s['additionalProperties'])));
  const type = isEither ? 'string' : s['type'];
  // An open map has no type at all here: clients then take anything.
  if (typeof type === 'string' && !isOpen) parts.push(message(22, text(1, type)));
  if (isMap(s['items'])) parts.push(message(23, message(1, schema(s['items']))));
  if (isMap(s['properties'])) parts.push(message(25, ...Object.entries(s['properties']).map(([name, p]) => message(1, text(1, name), message(2, schema(p as JsonObject))))));
  for (const [name, value] of Object.entries(s)) if (name.startsWith('x-kubernetes-') && value !== undefined) parts.push(extension(31, name, value));
  return Buffer.concat(parts);
}
