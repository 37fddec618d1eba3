/**
 * TypeBox' way of writing a schema, and its static types, without TypeBox at run time: a daemon reads its configuration once, and would keep
 * 16 MiB of library for it. What is built is plain JSON Schema; the few words of it that configurations use are checked here.
 */
import type { TSchema, Type as Full } from 'typebox';
import { patternOf, type SchemaWords } from './schema-words.ts';

type Words = 'Array' | 'Boolean' | 'Integer' | 'Literal' | 'Null' | 'Number' | 'Object' | 'Optional' | 'Record' | 'String' | 'Union';

interface Schema extends SchemaWords<Schema> {
  readonly type?: string;
  readonly additionalProperties?: unknown;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly [OPTIONAL]?: true;
}

const OPTIONAL = Symbol('optional');

const builders = {
  String: (o?: object) => ({ type: 'string', ...o }),
  Integer: (o?: object) => ({ type: 'integer', ...o }),
  Number: (o?: object) => ({ type: 'number', ...o }),
  Boolean: (o?: object) => ({ type: 'boolean', ...o }),
  Null: (o?: object) => ({ type: 'null', ...o }),
  Literal: (value: unknown, o?: object) => ({ const: value, ...o }),
  Array: (items: Schema, o?: object) => ({ type: 'array', items, ...o }),
  Union: (anyOf: readonly Schema[], o?: object) => ({ anyOf, ...o }),
  Record: (key: Schema, value: Schema, o?: object) => ({ type: 'object', patternProperties: { [key.pattern ?? '']: value }, ...o }),
  Optional: (schema: Schema) => ({ ...schema, [OPTIONAL]: true }),
  Object: (properties: Readonly<Record<string, Schema>>, o?: object) => ({ type: 'object', properties, required: Object.keys(properties).filter((k) => properties[k]?.[OPTIONAL] !== true), ...o }),
};
export const Type = builders as unknown as Pick<typeof Full, Words>;

export interface Problem {
  readonly keyword: string;
  /** A JSON pointer. */
  readonly instancePath: string;
  readonly message: string;
  readonly params: unknown;
}

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
const isOf: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (v) => typeof v === 'string',
  integer: (v) => Number.isInteger(v),
  number: (v) => Number.isFinite(v),
  boolean: (v) => typeof v === 'boolean',
  null: (v) => v === null,
  array: Array.isArray,
  object: isMap,
};

/** Everything that is wrong with `value`; empty when nothing is. */
export function problemsOf(schema: TSchema, value: unknown): readonly Problem[] {
  const found: Problem[] = [];
  check(schema as Schema, value, '', found);
  return found;
}

function check(s: Schema, value: unknown, at: string, found: Problem[]): void {
  const wrong = (keyword: string, message: string, params: unknown = {}): unknown => found.push({ keyword, instancePath: at, message, params });
  if (s.anyOf !== undefined) return checkUnion(s.anyOf, value, at, found);
  if ('const' in s && value !== s.const) wrong('const', 'must be equal to constant', { allowedValue: s.const });
  if (s.type !== undefined && isOf[s.type]?.(value) !== true) {
    wrong('type', `must be ${s.type === 'object' ? 'a map' : s.type === 'array' ? 'a list' : s.type}`);
    return;
  }
  if (typeof value === 'number') {
    if (s.minimum !== undefined && value < s.minimum) wrong('minimum', `must be >= ${s.minimum}`);
    if (s.maximum !== undefined && value > s.maximum) wrong('maximum', `must be <= ${s.maximum}`);
  } else if (typeof value === 'string') {
    if (s.minLength !== undefined && value.length < s.minLength) wrong('minLength', `must not have fewer than ${s.minLength} characters`);
    if (s.maxLength !== undefined && value.length > s.maxLength) wrong('maxLength', `must not have more than ${s.maxLength} characters`);
    if (s.pattern !== undefined && !patternOf(s.pattern).test(value)) wrong('pattern', `must match pattern ${s.pattern}`);
  } else if (Array.isArray(value)) {
    if (s.minItems !== undefined && value.length < s.minItems) wrong('minItems', `must not have fewer than ${s.minItems} items`);
    if (s.maxItems !== undefined && value.length > s.maxItems) wrong('maxItems', `must not have more than ${s.maxItems} items`);
    const { items } = s;
    if (items !== undefined) value.forEach((v: unknown, i) => check(items, v, `${at}/${i}`, found));
  } else if (isMap(value)) checkMap(s, value, at, found);
}

function checkUnion(branches: readonly Schema[], value: unknown, at: string, found: Problem[]): void {
  const problems: Problem[] = [];
  for (const branch of branches) {
    const before = problems.length;
    check(branch, value, at, problems);
    if (problems.length === before) return;
  }
  found.push(...problems, { keyword: 'anyOf', instancePath: at, message: 'must match one of the forms', params: {} });
}

function checkMap(s: Schema, value: Readonly<Record<string, unknown>>, at: string, found: Problem[]): void {
  const missing = (s.required ?? []).filter((k) => value[k] === undefined);
  if (missing.length > 0) found.push({ keyword: 'required', instancePath: at, message: 'is required', params: { requiredProperties: missing } });
  const unknown: string[] = [];
  for (const [key, v] of Object.entries(value)) {
    const child = childOf(s, key);
    if (child === undefined && s.additionalProperties === false) unknown.push(key);
    // A key that is there without a value is as good as not there.
    if (child !== undefined && v !== undefined) check(child, v, `${at}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`, found);
  }
  if (unknown.length > 0) found.push({ keyword: 'additionalProperties', instancePath: at, message: 'must not have additional properties', params: { additionalProperties: unknown } });
}

function childOf(s: Schema, key: string): Schema | undefined {
  if (s.properties !== undefined && Object.hasOwn(s.properties, key)) return s.properties[key];
  return Object.entries(s.patternProperties ?? {}).find(([pattern]) => patternOf(pattern).test(key))?.[1];
}

/** A copy of `value` with the defaults of the schema filled in, also inside of defaults. */
export function withDefaults(schema: TSchema, value: unknown): unknown {
  return fill(schema as Schema, structuredClone(value));
}

function fill(s: Schema, given: unknown): unknown {
  const value: unknown = given === undefined && s.default !== undefined ? structuredClone(s.default) : given;
  if (s.anyOf !== undefined) {
    for (const branch of s.anyOf) {
      const filled = fill(branch, structuredClone(value));
      if (problemsOf(branch as TSchema, filled).length === 0) return filled;
    }
    return value;
  }
  const { items } = s;
  if (Array.isArray(value)) return items === undefined ? value : value.map((v: unknown) => fill(items, v));
  if (!isMap(value) || s.type !== 'object') return value;
  for (const key of new Set([...Object.keys(s.properties ?? {}), ...Object.keys(value)])) {
    const child = childOf(s, key);
    const filled = child === undefined ? value[key] : fill(child, value[key]);
    if (filled !== undefined) value[key] = filled;
  }
  return value;
}
