/**
 * Kubernetes' protobuf request bodies as the JSON objects that they stand for. kubectl from 1.32 on sends typed objects like this and
 * does not fall back to JSON.
 *
 *   body    = "k8s\0" runtime.Unknown
 *   Unknown = { typeMeta = 1 { apiVersion = 1, kind = 2 }, raw = 2 }
 */
import { DEFAULT_LIMITS } from './decode.ts';
import type { Json, JsonObject } from './definition.ts';
import { MeshError } from './errors.ts';
import type { Field } from './kubernetes-types.ts';
import { fieldsOf } from './kubernetes-types.ts';

const MAGIC = Buffer.from('k8s\0');

function broken(message: string): MeshError {
  return new MeshError('invalid', `error decoding protobuf: ${message}`, { fields: { path: '', reason: 'BadRequest' } });
}

export function decodeProtobuf(body: Uint8Array): JsonObject {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (bytes.length < 4 || !bytes.subarray(0, 4).equals(MAGIC)) throw broken('provided data does not appear to be a protobuf message');
  let apiVersion = '';
  let kind = '';
  let raw: Buffer = Buffer.alloc(0);
  for (const part of parts(bytes.subarray(4))) {
    if (part.number === 2) raw = part.bytes;
    if (part.number !== 1) continue;
    for (const meta of parts(part.bytes)) {
      if (meta.number === 1) apiVersion = meta.bytes.toString('utf8');
      if (meta.number === 2) kind = meta.bytes.toString('utf8');
    }
  }
  const type = typeOf(apiVersion, kind);
  if (type === null) throw new MeshError('unsupported', `no kind "${kind}" of "${apiVersion}" is read from protobuf here`, { next: 'send JSON' });
  return { kind, apiVersion, ...decodeMessage(type, raw, 0) };
}

function typeOf(apiVersion: string, kind: string): string | null {
  const [group = '', version = ''] = apiVersion.includes('/') ? apiVersion.split('/') : ['core', apiVersion];
  const own = `${group.split('.')[0]}.${version}.${kind}`;
  if (fieldsOf(own) !== null) return own;
  return fieldsOf(`meta.v1.${kind}`) === null ? null : `meta.v1.${kind}`;
}

interface Part {
  readonly number: number;
  readonly wire: number;
  readonly value: bigint;
  readonly bytes: Buffer;
}

const NOTHING = Buffer.alloc(0);

/** The fields of one message, in wire order. */
function* parts(bytes: Buffer): Generator<Part> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw broken('unexpected end');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw broken('a number is too long');
  };
  const take = (length: number): Buffer => {
    if (length > bytes.length - at) throw broken('unexpected end');
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const [number, wire] = [tag >>> 3, tag & 7];
    if (number === 0) throw broken('field number 0');
    if (wire === 0) yield { number, wire, value: varint(), bytes: NOTHING };
    else if (wire === 2) yield { number, wire, value: 0n, bytes: take(Number(varint())) };
    else if (wire === 1 || wire === 5) yield { number, wire, value: 0n, bytes: take(wire === 1 ? 8 : 4) };
    else throw broken(`wire type ${wire}`);
  }
}

const numbers = new Map<string, ReadonlyMap<number, Field>>();

function byNumber(type: string): ReadonlyMap<number, Field> {
  let known = numbers.get(type);
  if (known === undefined) {
    known = new Map((fieldsOf(type) ?? []).map((f) => [f.number, f]));
    numbers.set(type, known);
  }
  return known;
}

function decodeMessage(type: string, bytes: Buffer, depth: number): JsonObject {
  if (depth > DEFAULT_LIMITS.depth) throw broken(`nested deeper than ${DEFAULT_LIMITS.depth} levels`);
  const out: JsonObject = {};
  const fields = byNumber(type);
  for (const part of parts(bytes)) {
    const f = fields.get(part.number);
    if (f === undefined) continue; // a field of a newer Kubernetes
    if (f.isInline) Object.assign(out, decodeMessage(f.type, part.bytes, depth + 1));
    else if (f.shape === 'map') putEntry(out, f, part.bytes, depth);
    else if (f.shape === 'list') putItem(out, f, part, depth);
    else {
      const value = decodeValue(f.type, part, depth);
      if (value !== undefined && (f.isPointer || f.isAlways || !isZero(value))) out[f.name] = value;
    }
  }
  for (const f of fields.values()) if (f.isAlways && out[f.name] === undefined && !f.isInline) fillZero(out, f);
  return out;
}

const isZero = (v: Json): boolean => v === 0 || v === '' || v === false;

/** Go writes these even when they are zero; encoders leave a zero string out. */
function fillZero(out: JsonObject, f: Field): void {
  if (f.shape === 'one' && f.type === 's') out[f.name] = '';
  else if (f.shape === 'one' && f.type === 'i') out[f.name] = 0;
  else if (f.shape === 'one' && f.type === 'b') out[f.name] = false;
}

function putItem(out: JsonObject, f: Field, part: Part, depth: number): void {
  const list = (out[f.name] ??= []) as Json[];
  if (list.length >= DEFAULT_LIMITS.items) throw new MeshError('too-large', `${f.name}: more than ${DEFAULT_LIMITS.items} items`, { fields: { path: f.name } });
  const value = decodeValue(f.type, part, depth);
  if (value !== undefined) list.push(value);
}

function putEntry(out: JsonObject, f: Field, bytes: Buffer, depth: number): void {
  const map = (out[f.name] ??= {}) as JsonObject;
  let key = '';
  let value: Json | undefined = f.type === 's' || f.type === 'y' ? '' : undefined;
  for (const part of parts(bytes)) {
    if (part.number === 1) key = part.bytes.toString('utf8');
    else if (part.number === 2) value = decodeValue(f.type, part, depth);
  }
  if (key === '__proto__') throw broken('a key that is not allowed');
  if (value !== undefined) map[key] = value;
}

/** undefined = a zero time, which JSON leaves out. */
function decodeValue(type: string, part: Part, depth: number): Json | undefined {
  switch (type) {
    case 's':
      return part.bytes.toString('utf8');
    case 'i':
      return Number(BigInt.asIntN(64, part.value));
    case 'b':
      return part.value !== 0n;
    case 'd':
      return part.wire === 1 ? part.bytes.readDoubleLE(0) : part.bytes.readFloatLE(0);
    case 'y':
      return part.bytes.toString('base64');
    case 'meta.v1.Time':
    case 'meta.v1.MicroTime':
      return decodeTime(part.bytes, type === 'meta.v1.MicroTime');
    case 'resource.Quantity':
      return textOf(part.bytes, 1);
    case 'intstr.IntOrString':
      return decodeIntOrString(part.bytes);
    case 'meta.v1.FieldsV1':
    case 'runtime.RawExtension':
      return JSON.parse(textOf(part.bytes, 1) || '{}') as Json;
    default:
      return decodeMessage(type, part.bytes, depth + 1);
  }
}

function textOf(bytes: Buffer, number: number): string {
  let text = '';
  for (const p of parts(bytes)) if (p.number === number) text = p.bytes.toString('utf8');
  return text;
}

function decodeTime(bytes: Buffer, isMicro: boolean): string | undefined {
  let seconds: bigint | null = null;
  let nanos = 0n;
  for (const p of parts(bytes)) {
    if (p.number === 1) seconds = BigInt.asIntN(64, p.value);
    if (p.number === 2) nanos = p.value;
  }
  if (seconds === null) return undefined;
  const date = new Date(Number(seconds) * 1000);
  if (Number.isNaN(date.getTime())) throw broken('a time is out of range');
  const whole = date.toISOString().slice(0, 19);
  return isMicro ? `${whole}.${String(nanos / 1000n).padStart(6, '0')}Z` : `${whole}Z`;
}

function decodeIntOrString(bytes: Buffer): Json {
  let isText = false;
  let number = 0;
  let text = '';
  for (const p of parts(bytes)) {
    if (p.number === 1) isText = p.value === 1n;
    if (p.number === 2) number = Number(BigInt.asIntN(32, p.value));
    if (p.number === 3) text = p.bytes.toString('utf8');
  }
  return isText ? text : number;
}
