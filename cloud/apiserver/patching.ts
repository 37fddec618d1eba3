/** The patch types of a PATCH request, as changes of the live object. */
import fastJsonPatch from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import type { JsonObject, KindDefinition } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import { metaOf } from './bytes.ts';
import { decodeBody } from './body.ts';
import { badRequest } from './errors.ts';
import { isMap, mergePatch } from './merge-patch.ts';
import type { Change } from './registry.ts';
import { strategicMerge } from './strategic-merge.ts';

const ACCEPTED = 'application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json';

export function applyPatch(def: KindDefinition, contentType: string, body: Buffer | null): Change {
  if (contentType === 'application/apply-patch+yaml') {
    throw new MeshError('unsupported', `the body of the request was in an unknown format - accepted media types include: ${ACCEPTED}`, { next: 'server-side apply is not served here: use kubectl apply without --server-side' });
  }
  const isKnown = ['application/json-patch+json', 'application/merge-patch+json', 'application/strategic-merge-patch+json'].includes(contentType);
  if (!isKnown) throw new MeshError('unsupported', `the body of the request was in an unknown format - accepted media types include: ${ACCEPTED}`);
  const patch = decodeBody(contentType, body);
  if (contentType === 'application/json-patch+json') {
    if (!Array.isArray(patch)) throw badRequest('a JSON patch is a list of operations');
    return (live) => jsonPatch(live, patch as unknown as readonly Operation[]);
  }
  if (!isMap(patch ?? undefined)) throw badRequest('the patch must be an object');
  const map = patch as JsonObject;
  const apply = contentType === 'application/merge-patch+json' ? (live: JsonObject) => mergePatch(live, map) as JsonObject : (live: JsonObject) => strategicMerge(def.schema, live, map);
  return (live) => {
    const next = apply(live);
    // A patch is conditional only when it names a version itself; the version that was read is not its author's.
    const named = isMap(map['metadata']) && map['metadata']['resourceVersion'] !== undefined;
    if (!named) delete metaOf(next)['resourceVersion'];
    return next;
  };
}

function jsonPatch(live: JsonObject, operations: readonly Operation[]): JsonObject {
  const before = metaOf(live)['resourceVersion'];
  let next: JsonObject;
  try {
    next = fastJsonPatch.applyPatch(live, operations, true, false, true).newDocument;
  } catch (error) {
    const name = (error as { name?: string }).name ?? '';
    const text = name === 'TEST_OPERATION_FAILED' ? 'Testing value failed' : (error as Error).message.split('\n')[0];
    throw new MeshError('invalid', `the server rejected our request due to an error in our request: ${String(text)}`, { cause: error, fields: { reason: 'Invalid', path: '' } });
  }
  if (!isMap(next)) throw badRequest('the patch leaves no object');
  if (metaOf(next)['resourceVersion'] === before) delete metaOf(next)['resourceVersion'];
  return next;
}
