/** A Status body as a MeshError: what a client makes of a refusal. */
import type { ErrorKind } from './errors.ts';
import { MeshError } from './errors.ts';

const BY_REASON: Readonly<Record<string, ErrorKind>> = {
  Invalid: 'invalid',
  BadRequest: 'invalid',
  Unauthorized: 'unauthenticated',
  Forbidden: 'forbidden',
  NotFound: 'not-found',
  AlreadyExists: 'already-exists',
  Conflict: 'conflict',
  Expired: 'expired',
  Gone: 'expired',
  RequestEntityTooLarge: 'too-large',
  UnsupportedMediaType: 'unsupported',
  MethodNotAllowed: 'unsupported',
  NotAcceptable: 'unsupported',
  ServiceUnavailable: 'unavailable',
  TooManyRequests: 'unavailable',
  Timeout: 'timeout',
  ServerTimeout: 'timeout',
};

const BY_CODE: Readonly<Record<number, ErrorKind>> = { 400: 'invalid', 401: 'unauthenticated', 403: 'forbidden', 404: 'not-found', 409: 'conflict', 410: 'expired', 413: 'too-large', 415: 'unsupported', 422: 'invalid', 429: 'unavailable', 502: 'unavailable', 503: 'unavailable', 504: 'timeout' };

interface StatusLike {
  readonly message?: unknown;
  readonly reason?: unknown;
  readonly code?: unknown;
  readonly details?: { readonly causes?: readonly { readonly field?: unknown; readonly reason?: unknown }[] };
}

export function errorOfStatus(body: unknown, httpCode: number): MeshError {
  const status = (body !== null && typeof body === 'object' ? body : {}) as StatusLike;
  const code = typeof status.code === 'number' ? status.code : httpCode;
  const kind = (typeof status.reason === 'string' ? BY_REASON[status.reason] : undefined) ?? BY_CODE[code] ?? 'internal';
  const message = typeof status.message === 'string' && status.message !== '' ? status.message : `the server answered ${httpCode}`;
  const first = status.details?.causes?.[0];
  const [path, cause] = [first?.field, first?.reason];
  return new MeshError(kind, message, { fields: { code, ...(typeof path === 'string' ? { path } : {}), ...(typeof cause === 'string' ? { cause } : {}) } });
}
