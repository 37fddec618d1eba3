/** How an object or a list is sent: as it is stored, as metadata only, or as the Table that kubectl prints. */
import type { Json, JsonObject, KindDefinition } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import { apiVersionOf } from '../../api/resources.ts';
import { decode, metaOf, served } from './bytes.ts';
import type { Page } from './reading.ts';
import type { Query } from './request.ts';

export type Form = { readonly as: 'object' | 'table' | 'metadata'; readonly include: 'None' | 'Metadata' | 'Object' };

/** The first of the Accept header's alternatives that we speak; protobuf is never sent, everybody who asks for it takes JSON too. */
export function formOf(accept: string, query: Query): Form {
  const wanted = query.text('includeObject');
  const include = wanted === 'None' || wanted === 'Object' ? wanted : 'Metadata';
  if (accept === '' || accept === 'application/json') return { as: 'object', include };
  for (const alternative of accept.split(',')) {
    const [type = '', ...parameters] = alternative.split(';').map((p) => p.trim());
    if (type !== 'application/json' && type !== '*/*' && type !== 'application/*') continue;
    const as = parameters.find((p) => p.startsWith('as='))?.slice(3);
    if (as === undefined) return { as: 'object', include };
    if (as === 'Table') return { as: 'table', include };
    if (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList') return { as: 'metadata', include };
  }
  throw new MeshError('unsupported', 'only the following media types are accepted: application/json', { fields: { reason: 'NotAcceptable' } });
}

export function renderOne(def: KindDefinition, form: Form, bytes: Uint8Array, revision: number, now: number, columns: { first: boolean } = { first: true }): Buffer {
  if (form.as === 'object') return served(def.resource, bytes, revision);
  const object = decode(bytes, revision);
  if (form.as === 'metadata') return toBuffer(metadataOnly(object));
  const definitions = columns.first ? columnsOf(def) : [];
  columns.first = false;
  return toBuffer({ kind: 'Table', apiVersion: 'meta.k8s.io/v1', metadata: { resourceVersion: String(revision) }, columnDefinitions: definitions, rows: [row(def, form, object, now)] });
}

const COMMA = Buffer.from(',');
const CLOSE = Buffer.from(']}');

export function renderList(def: KindDefinition, form: Form, page: Page, now: number): Buffer {
  const metadata: JsonObject = { resourceVersion: String(page.revision), ...(page.next === '' ? {} : { continue: page.next }) };
  const objects = (): JsonObject[] => page.entries.map((e) => decode(e.value, e.modRevision));
  if (form.as === 'table') {
    return toBuffer({ kind: 'Table', apiVersion: 'meta.k8s.io/v1', metadata, columnDefinitions: columnsOf(def), rows: objects().map((o) => row(def, form, o, now)) });
  }
  if (form.as === 'metadata') return toBuffer({ kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1', metadata, items: objects().map(metadataOnly) });
  const head = JSON.stringify({ kind: `${def.resource.kind}List`, apiVersion: apiVersionOf(def.resource), metadata });
  const parts: Buffer[] = [Buffer.from(`${head.slice(0, -1)},"items":[`)];
  for (const [i, e] of page.entries.entries()) {
    if (i > 0) parts.push(COMMA);
    parts.push(served(def.resource, e.value, e.modRevision));
  }
  parts.push(CLOSE);
  return Buffer.concat(parts);
}

const toBuffer = (value: Json): Buffer => Buffer.from(JSON.stringify(value));

function metadataOnly(object: JsonObject): JsonObject {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: metaOf(object) };
}

function columnsOf(def: KindDefinition): JsonObject[] {
  return def.columns.map((c) => ({ name: c.name, type: c.type === 'date' ? 'string' : c.type, format: c.name === 'Name' ? 'name' : '', description: c.description, priority: c.priority }));
}

function row(def: KindDefinition, form: Form, object: JsonObject, now: number): JsonObject {
  const cells = def.columns.map((c) => c.value(object, now));
  if (form.include === 'None') return { cells };
  return { cells, object: form.include === 'Object' ? object : metadataOnly(object) };
}
