/**
 * Structural schemas in JSON Schema's words, and the one walker over them. Paths are Kubernetes': `spec.containers[0].ports[1].name`.
 * `$ref` names a type of the Kubernetes field table (`api/kubernetes-types.ts`), resolved lazily.
 */
import type { Issue, Json, JsonObject } from './definition.ts';
import { patternOf, type SchemaWords } from './schema-words.ts';

export interface Schema extends SchemaWords<Schema> {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  readonly description?: string;
  readonly additionalProperties?: Schema | boolean;
  readonly enum?: readonly (string | number)[];
  readonly format?: string;
  readonly default?: Json;
  readonly $ref?: string;
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
  readonly 'x-kubernetes-patch-merge-key'?: string;
  readonly 'x-kubernetes-patch-strategy'?: string;
  /** On a list: one item may stand for a list of one. */
  readonly 'x-proxima-one-or-many'?: boolean;
}

export type Resolve = (ref: string) => Schema;

/** Checks of string formats beyond a pattern. Each returns what was expected, or null when the value is right. */
const IPV4 = /^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;

/** How clients and servers write times; it costs a tenth of the general parser. */
const USUAL_TIME = /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ$/;

const QUANTITY = /^[+-]?(\d+|\d+\.\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?$/;

const formats: Readonly<Record<string, (v: string) => string | null>> = {
  ipv4: (v) => (IPV4.test(v) ? null : 'must be an IPv4 address such as 10.0.0.1'),
  cidr: checkCidr,
  mac: (v) => (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(v) ? null : 'must be a MAC address such as 02:00:00:00:00:01'),
  'host-port': (v) => (/^[^\s:]+:\d{1,5}$/.test(v) && Number(v.slice(v.lastIndexOf(':') + 1)) <= 65535 ? null : 'must be host:port'),
  'date-time': (v) => (!USUAL_TIME.test(v) && Number.isNaN(Date.parse(v)) ? 'must be an RFC 3339 time such as 2030-01-31T12:00:00Z' : null),
  'dns-label': (v) => (v.length <= 63 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(v) ? null : 'must be lower case letters, digits and "-", at most 63 characters'),
};

function checkCidr(v: string): string | null {
  const [address = '', bits = '', extra] = v.split('/');
  const length = Number(bits);
  if (extra !== undefined || !IPV4.test(address) || !/^\d{1,2}$/.test(bits) || length > 32) return 'must be an IPv4 range such as 10.0.0.0/16';
  const number = address.split('.').reduce((n, part) => n * 256 + Number(part), 0);
  return length > 0 && number % 2 ** (32 - length) !== 0 ? `has bits set after the /${length} prefix` : null;
}

export interface Walk {
  readonly issues: Issue[];
  readonly unknown: Issue[];
  readonly resolve: Resolve;
}

export function validate(schema: Schema, value: Json, path: string, walk: Walk): void {
  const s = schema.$ref === undefined ? schema : walk.resolve(schema.$ref);
  if (value === null) return; // Kubernetes reads null as absent; `prune` has removed what can be removed
  if (s['x-kubernetes-int-or-string'] === true) {
    if (typeof value !== 'number' && typeof value !== 'string') wrong(walk, path, 'must be an integer or a string');
    else if (s.format === 'quantity' && !QUANTITY.test(String(value))) wrong(walk, path, `"${value}": quantities must match ${QUANTITY.source}`);
    return;
  }
  switch (s.type) {
    case 'object':
      return validateObject(s, value, path, walk);
    case 'array':
      return validateArray(s, value, path, walk);
    case 'string':
      return validateString(s, value, path, walk);
    case 'integer':
    case 'number':
      return validateNumber(s, value, path, walk);
    case 'boolean':
      if (typeof value !== 'boolean') wrong(walk, path, 'must be true or false');
      return;
    case undefined:
      return;
  }
}

function wrong(walk: Walk, path: string, message: string): void {
  walk.issues.push({ path, message, reason: 'invalid' });
}

function validateObject(s: Schema, value: Json, path: string, walk: Walk): void {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return wrong(walk, path, 'must be a map');
  for (const name of s.required ?? []) {
    if (value[name] === undefined || value[name] === null) walk.issues.push({ path: join(path, name), message: 'is required', reason: 'required' });
  }
  for (const name of Object.keys(value)) {
    const known = s.properties?.[name];
    const child = value[name] as Json;
    if (known !== undefined) validate(known, child, join(path, name), walk);
    else if (typeof s.additionalProperties === 'object') validate(s.additionalProperties, child, `${path}[${name}]`, walk);
    else if (s.properties !== undefined && s['x-kubernetes-preserve-unknown-fields'] !== true && s.additionalProperties !== true) {
      walk.unknown.push({ path: join(path, name), message: `unknown field "${join(path, name)}"`, reason: 'unknown' });
    }
  }
}

function validateArray(s: Schema, value: Json, path: string, walk: Walk): void {
  if (s['x-proxima-one-or-many'] === true && s.items !== undefined && !Array.isArray(value)) return validate(s.items, value, path, walk);
  if (!Array.isArray(value)) return wrong(walk, path, 'must be a list');
  if (s.minItems !== undefined && value.length < s.minItems) wrong(walk, path, `must have at least ${s.minItems} item${s.minItems === 1 ? '' : 's'}`);
  if (s.maxItems !== undefined && value.length > s.maxItems) wrong(walk, path, `must have at most ${s.maxItems} items`);
  const items = s.items;
  if (items !== undefined) for (const [i, v] of value.entries()) validate(items, v, `${path}[${i}]`, walk);
}

function validateString(s: Schema, value: Json, path: string, walk: Walk): void {
  if (typeof value !== 'string') return wrong(walk, path, 'must be a string');
  if (s.enum !== undefined && !s.enum.includes(value)) {
    walk.issues.push({ path, message: `Unsupported value: "${value}": supported values: ${s.enum.map((e) => `"${e}"`).join(', ')}`, reason: 'unsupported' });
  }
  if (s.minLength !== undefined && value.length < s.minLength) wrong(walk, path, 'must not be empty');
  if (s.maxLength !== undefined && value.length > s.maxLength) wrong(walk, path, `must be at most ${s.maxLength} characters`);
  if (s.pattern !== undefined && !patternOf(s.pattern).test(value)) wrong(walk, path, `must match ${s.pattern}`);
  const expected = s.format === undefined ? null : (formats[s.format]?.(value) ?? null);
  if (expected !== null) wrong(walk, path, expected);
}

function validateNumber(s: Schema, value: Json, path: string, walk: Walk): void {
  if (typeof value !== 'number' || (s.type === 'integer' && !Number.isInteger(value))) return wrong(walk, path, s.type === 'integer' ? 'must be an integer' : 'must be a number');
  if (s.minimum !== undefined && value < s.minimum) wrong(walk, path, s.maximum === undefined ? `must be at least ${s.minimum}` : `must be between ${s.minimum} and ${s.maximum}`);
  else if (s.maximum !== undefined && value > s.maximum) wrong(walk, path, s.minimum === undefined ? `must be at most ${s.maximum}` : `must be between ${s.minimum} and ${s.maximum}`);
}

export function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

const defaults = new WeakMap<Schema, readonly (readonly [name: string, value: Json])[]>();

/** The properties of a schema that have a default: few have, and every write asks. */
function defaultsOf(s: Schema): readonly (readonly [name: string, value: Json])[] {
  let known = defaults.get(s);
  if (known === undefined) {
    known = Object.entries(s.properties ?? {}).flatMap(([name, child]) => (child.default === undefined ? [] : [[name, child.default] as const]));
    defaults.set(s, known);
  }
  return known;
}

/** Fills in `default` values of the schema, in place, inside maps that are there. */
export function applyDefaults(schema: Schema, value: Json, resolve: Resolve): void {
  const s = schema.$ref === undefined ? schema : resolve(schema.$ref);
  if (value === null || typeof value !== 'object') return;
  if (Array.isArray(value)) {
    if (s.items !== undefined) for (const v of value) applyDefaults(s.items, v, resolve);
    return;
  }
  if (s['x-proxima-one-or-many'] === true && s.items !== undefined) return applyDefaults(s.items, value, resolve);
  const { properties } = s;
  if (properties === undefined) return;
  for (const [name, given] of defaultsOf(s)) if (value[name] === undefined) value[name] = structuredClone(given);
  for (const name of Object.keys(value)) {
    const child = properties[name];
    const inner = value[name];
    if (child !== undefined && inner !== null && typeof inner === 'object') applyDefaults(child, inner, resolve);
  }
}

/** Removes nulls from maps, in place: in a stored object null and absent are the same. */
export function prune(value: Json): void {
  if (value === null || typeof value !== 'object') return;
  if (Array.isArray(value)) {
    for (const v of value) prune(v);
    return;
  }
  const object: JsonObject = value;
  for (const name of Object.keys(object)) {
    if (object[name] === null) delete object[name];
    else prune(object[name] as Json);
  }
}
