/** The boundary for JSON from outside: limits on bytes, depth and list length first, shape after; errors name the path. */
import type { Json } from './definition.ts';
import { MeshError } from './errors.ts';

export interface Limits {
  readonly bytes: number;
  readonly depth: number;
  /** Items of one list, keys of one map. */
  readonly items: number;
}

export const DEFAULT_LIMITS: Limits = { bytes: 3 * 1024 * 1024, depth: 64, items: 20_000 };

export function decodeJson(bytes: Uint8Array, limits: Limits = DEFAULT_LIMITS): Json {
  if (bytes.byteLength > limits.bytes) throw new MeshError('too-large', `Request entity too large: limit is ${limits.bytes}`, { fields: { limit: limits.bytes } });
  let value: Json;
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')) as Json;
  } catch (error) {
    throw new MeshError('invalid', `error decoding JSON: ${(error as Error).message}`, { cause: error, fields: { path: '', reason: 'BadRequest' } });
  }
  checkShape(value, limits);
  return value;
}

/** Keys that would change what a map is instead of what it holds. */
const POISON = new Set(['__proto__']);

export function checkShape(value: Json, limits: Limits, path = '', depth = 0): void {
  if (value === null || typeof value !== 'object') return;
  if (depth >= limits.depth) throw tooDeep(path, limits.depth);
  if (Array.isArray(value)) {
    if (value.length > limits.items) throw new MeshError('too-large', `${path}: more than ${limits.items} items`, { fields: { path } });
    for (let i = 0; i < value.length; i++) {
      const v = value[i];
      if (v !== null && typeof v === 'object') checkShape(v, limits, `${path}[${i}]`, depth + 1);
    }
    return;
  }
  const keys = Object.keys(value);
  if (keys.length > limits.items) throw new MeshError('too-large', `${path}: more than ${limits.items} keys`, { fields: { path } });
  for (const key of keys) {
    if (POISON.has(key)) throw new MeshError('invalid', `${path}: key "${key}" is not allowed`, { fields: { path, reason: 'BadRequest' } });
    const v = value[key] as Json;
    if (v !== null && typeof v === 'object') checkShape(v, limits, path === '' ? key : `${path}.${key}`, depth + 1);
  }
}

function tooDeep(path: string, depth: number): MeshError {
  return new MeshError('too-large', `${path}: nested deeper than ${depth} levels`, { fields: { path } });
}
