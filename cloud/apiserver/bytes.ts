/**
 * Objects as bytes. A stored object begins `{"apiVersion":..,"kind":..,"metadata":{` and has no resourceVersion: that is the revision of its
 * key, put in behind this fixed head when it is served, so that lists and watches forward stored bytes without parsing them.
 */
import type { Json, JsonObject } from '../../api/definition.ts';
import type { ResourceId } from '../../api/client.ts';
import { apiVersionOf } from '../../api/resources.ts';

const heads = new Map<ResourceId, Buffer>();

function headOf(resource: ResourceId): Buffer {
  let head = heads.get(resource);
  if (head === undefined) {
    head = Buffer.from(`${beginOf(resource)}{`);
    heads.set(resource, head);
  }
  return head;
}

const beginOf = (resource: ResourceId): string => `{"apiVersion":"${apiVersionOf(resource)}","kind":"${resource.kind}","metadata":`;

/** The bytes to store: fixed key order at the head, no resourceVersion, no managedFields (nobody here owns fields). */
export function encode(resource: ResourceId, object: JsonObject): Buffer {
  const { resourceVersion: _, managedFields: __, selfLink: ___, ...metadata } = object['metadata'] as JsonObject;
  // Part by part: to copy the rest into a new object for one call costs as much as the text of it.
  let text = `${beginOf(resource)}${JSON.stringify(metadata)}`;
  for (const key of Object.keys(object)) {
    if (key === 'apiVersion' || key === 'kind' || key === 'metadata' || object[key] === undefined) continue;
    text += `,${JSON.stringify(key)}:${JSON.stringify(object[key])}`;
  }
  return Buffer.from(`${text}}`);
}

/** A stored object as it is served: with the resourceVersion behind the head. */
export function served(resource: ResourceId, bytes: Uint8Array, revision: number): Buffer {
  const head = headOf(resource);
  const version = `"resourceVersion":"${revision}",`;
  const out = Buffer.allocUnsafe(bytes.length + version.length);
  out.set(head);
  out.write(version, head.length, 'latin1');
  out.set(bytes.subarray(head.length), head.length + version.length);
  return out;
}

const parsed = new WeakMap<Uint8Array, JsonObject>();

/** Parses stored bytes; watchers of one event share the result, so it must not be changed. */
export function peek(bytes: Uint8Array): JsonObject {
  let object = parsed.get(bytes);
  if (object === undefined) {
    object = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')) as JsonObject;
    parsed.set(bytes, object);
  }
  return object;
}

/** A cheap look before parsing: bytes without the words cannot hold the field. */
export function mentions(bytes: Uint8Array, words: Buffer): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(words);
}

/** Parses stored bytes into an object of the caller's own. */
export function decode(bytes: Uint8Array, revision: number): JsonObject {
  const object = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')) as JsonObject;
  (object['metadata'] as JsonObject)['resourceVersion'] = String(revision);
  return object;
}

export function metaOf(object: JsonObject): JsonObject {
  const meta = object['metadata'];
  if (meta === undefined || meta === null || typeof meta !== 'object' || Array.isArray(meta)) {
    const made: JsonObject = {};
    object['metadata'] = made;
    return made;
  }
  return meta;
}

export function at(object: Json | undefined, path: string): Json | undefined {
  let value: Json | undefined = object;
  for (const part of path.split('.')) {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
    value = value[part];
  }
  return value;
}
