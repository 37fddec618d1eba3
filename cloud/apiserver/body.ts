/** Request bodies: JSON (also when no type is said), YAML and Kubernetes' protobuf, within the limits of the boundary. */
import { parseAllDocuments } from 'yaml';
import type { Json, JsonObject } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import { decodeJson, DEFAULT_LIMITS, checkShape } from '../../api/decode.ts';
import { decodeProtobuf } from '../../api/protobuf.ts';
import { badRequest } from './errors.ts';

export const PROTOBUF = 'application/vnd.kubernetes.protobuf';

export function mediaType(header: string | undefined): string {
  return (header ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

/** null = no body. */
export function decodeBody(type: string, body: Buffer | null): Json | null {
  if (body === null || body.length === 0) return null;
  switch (type) {
    case PROTOBUF:
      return decodeProtobuf(body);
    case 'application/yaml':
      return decodeYaml(body);
    case '':
    case 'application/json':
    case 'application/json-patch+json':
    case 'application/merge-patch+json':
    case 'application/strategic-merge-patch+json':
      return decodeJson(body);
    default:
      throw new MeshError('unsupported', `the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, ${PROTOBUF}`);
  }
}

function decodeYaml(body: Buffer): Json {
  const documents = parseAllDocuments(body.toString('utf8'), { maxAliasCount: 0 } as object);
  if (!Array.isArray(documents) || documents.length !== 1) throw badRequest('the body must be one YAML document');
  const document = documents[0];
  if (document === undefined || document.errors.length > 0) throw badRequest(`error decoding YAML: ${document?.errors[0]?.message ?? 'empty'}`);
  const value = document.toJS({ maxAliasCount: 0 }) as Json;
  checkShape(value, DEFAULT_LIMITS);
  return value;
}

export function objectBody(type: string, body: Buffer | null): JsonObject {
  const value = decodeBody(type, body);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw badRequest('the body must be an object');
  return value;
}
