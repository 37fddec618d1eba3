/** How a kind's definition is written down: the resource, and only what differs from the plain case. */
import { Type, type TSchema } from 'typebox';
import type { Column, Issue, Json, JsonObject, KindDefinition } from '../definition.ts';
import type { ResourceName } from '../resources.ts';
import { Resources } from '../resources.ts';
import type { Schema } from '../schema.ts';

export function define(name: ResourceName, o: Partial<KindDefinition> & { readonly schema: Schema }): KindDefinition {
  const resource = Resources[name];
  return {
    resource,
    singular: resource.kind.toLowerCase(),
    shortNames: [],
    categories: [],
    ours: false,
    hasStatus: true,
    hasScale: false,
    columns: [nameColumn, ageColumn],
    immutable: [],
    selectable: [],
    defaults: () => undefined,
    check: () => [],
    ...o,
  };
}

/** A kind of ours: `spec` and `status` as typebox schemas; every map is closed. */
export function ours(name: ResourceName, description: string, spec: TSchema, status: TSchema | null, o: Partial<KindDefinition> = {}): KindDefinition {
  const schema: Schema = {
    type: 'object',
    description,
    required: ['spec'],
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { $ref: 'meta.v1.ObjectMeta' },
      spec: spec as unknown as Schema,
      ...(status === null ? {} : { status: status as unknown as Schema }),
    },
  };
  return define(name, { schema, ours: true, hasStatus: status !== null, ...o });
}

export const text = (description: string, o: object = {}): ReturnType<typeof Type.String> => Type.String({ description, ...o });
export const name = (description: string): ReturnType<typeof Type.String> => text(description, { minLength: 1, maxLength: 253 });
export const integer = (description: string, minimum: number, maximum?: number): ReturnType<typeof Type.Integer> => Type.Integer({ description, minimum, ...(maximum === undefined ? {} : { maximum }) });
export const port = (description: string): ReturnType<typeof Type.Integer> => integer(description, 1, 65535);
export const number = (description: string, minimum: number, maximum?: number): ReturnType<typeof Type.Number> => Type.Number({ description, minimum, ...(maximum === undefined ? {} : { maximum }) });
export const oneOf = (values: readonly string[], description: string): TSchema => Type.Unsafe<string>({ type: 'string', enum: values, description });
export const labels = (description: string): TSchema => Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' }, description });
export const ref = (type: string, description: string): TSchema => Type.Unsafe<unknown>({ $ref: type, description });
export const protocol = oneOf(['TCP', 'UDP'], 'TCP or UDP.');

/** Reads a dotted path of an object that came from outside. */
export function get(object: Json | undefined, path: string): Json | undefined {
  let value: Json | undefined = object;
  for (const part of path.split('.')) {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
    value = value[part];
  }
  return value;
}

export const list = (object: Json | undefined, path: string): readonly Json[] => {
  const v = get(object, path);
  return Array.isArray(v) ? v : [];
};

export const map = (object: Json | undefined, path: string): JsonObject => {
  const v = get(object, path);
  return v !== null && typeof v === 'object' && !Array.isArray(v) ? v : {};
};

export const issue = (path: string, message: string, reason: Issue['reason'] = 'invalid'): Issue => ({ path, message, reason });

/** A cell as text: '' prints as `<none>`. */
export function show(value: Json | undefined): string {
  if (value === undefined || value === null || value === '') return '<none>';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

export function column(columnName: string, from: string | ((o: JsonObject, now: number) => string | number), o: { readonly wide?: boolean; readonly type?: Column['type']; readonly description?: string } = {}): Column {
  const value = typeof from === 'string' ? (object: JsonObject): string => show(get(object, from)) : from;
  return { name: columnName, type: o.type ?? 'string', priority: o.wide === true ? 1 : 0, description: o.description ?? (typeof from === 'string' ? from : columnName), value };
}

export const nameColumn = column('Name', 'metadata.name', { description: 'Unique in its namespace, tenant or server.' });
export const ageColumn = column('Age', (o, now) => age(get(o, 'metadata.creationTimestamp'), now), { description: 'Time since creation.' });

/** Time since, as kubectl writes it: 45s, 4m10s, 3h5m, 2d3h, 40d, 2y30d. */
export function age(since: Json | undefined, now: number): string {
  const then = typeof since === 'string' ? Date.parse(since) : Number.NaN;
  if (Number.isNaN(then)) return '<unknown>';
  const s = Math.max(0, Math.floor((now - then) / 1000));
  const two = (a: number, au: string, b: number, bu: string): string => (b === 0 ? `${a}${au}` : `${a}${au}${b}${bu}`);
  const [m, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86_400)];
  if (s < 120) return `${s}s`;
  if (m < 10) return two(m, 'm', s % 60, 's');
  if (h < 3) return `${m}m`;
  if (h < 8) return two(h, 'h', m % 60, 'm');
  if (h < 48) return `${h}h`;
  if (d < 8) return two(d, 'd', h % 24, 'h');
  if (d < 730) return `${d}d`;
  return d < 2920 ? two(Math.floor(d / 365), 'y', d % 365, 'd') : `${Math.floor(d / 365)}y`;
}
