/** MeshErrors as Kubernetes Status objects: code, reason and the texts that clients print. */
import type { JsonObject } from '../../api/definition.ts';
import type { ErrorKind, MeshError } from '../../api/errors.ts';

const CODES: Readonly<Partial<Record<ErrorKind, readonly [number, string]>>> = {
  invalid: [422, 'Invalid'],
  unauthenticated: [401, 'Unauthorized'],
  forbidden: [403, 'Forbidden'],
  'not-found': [404, 'NotFound'],
  'already-exists': [409, 'AlreadyExists'],
  conflict: [409, 'Conflict'],
  expired: [410, 'Expired'],
  'too-large': [413, 'RequestEntityTooLarge'],
  unsupported: [415, 'UnsupportedMediaType'],
  unavailable: [503, 'ServiceUnavailable'],
  timeout: [504, 'Timeout'],
};

export function statusOf(error: MeshError): JsonObject & { readonly code: number } {
  const [kindCode, kindReason] = CODES[error.kind] ?? [500, 'InternalError'];
  const given = error.fields['reason'];
  const reason = typeof given === 'string' ? given : kindReason;
  // A query or body that cannot be read at all is a 400; one that is read and refused by the kind's rules is a 422.
  const isBadRequest = reason === 'BadRequest' || (error.kind === 'invalid' && given !== 'Invalid');
  const code = isBadRequest ? 400 : reason === 'MethodNotAllowed' ? 405 : reason === 'NotAcceptable' ? 406 : kindCode;
  const details = error.fields['details'] as JsonObject | undefined;
  const message = error.next === null ? error.message : `${error.message}; ${error.next}`;
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason: isBadRequest ? 'BadRequest' : reason, ...(details === undefined ? {} : { details }), code };
}

export function success(details: JsonObject): JsonObject {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
}
