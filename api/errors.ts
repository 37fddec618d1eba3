/**
 * One error type for the mesh. Families say who is at fault:
 * peer (bad input; do not retry), world (I/O; may be retried), bug (a broken invariant of ours).
 */
export type ErrorKind =
  // peer
  | 'invalid' // a field is wrong; `fields.path` names it
  | 'unauthenticated'
  | 'forbidden'
  | 'not-found'
  | 'already-exists'
  | 'conflict' // resourceVersion moved on
  | 'expired' // token, certificate, watch position
  | 'too-large'
  | 'unsupported'
  // world
  | 'unavailable' // peer unreachable or not ready
  | 'timeout'
  | 'port-in-use'
  | 'missing-capability'
  | 'missing-file'
  | 'disk-full'
  | 'clock-skew'
  | 'io'
  // bug
  | 'internal';

const RETRYABLE: ReadonlySet<ErrorKind> = new Set(['unavailable', 'timeout', 'io', 'conflict']);

export interface MeshErrorOptions {
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
  /** The command or action to try next, shown to the user. */
  readonly next?: string;
}

export class MeshError extends Error {
  static override readonly name = 'MeshError';
  readonly kind: ErrorKind;
  readonly retryable: boolean;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly next: string | null;

  constructor(kind: ErrorKind, message: string, options: MeshErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MeshError';
    this.kind = kind;
    this.retryable = RETRYABLE.has(kind);
    this.fields = options.fields ?? {};
    this.next = options.next ?? null;
  }
}

export function isMeshError(error: unknown, kind?: ErrorKind): error is MeshError {
  return error instanceof MeshError && (kind === undefined || error.kind === kind);
}

/** Exit codes of the command line: 2 bad input, 3 something outside is missing or unreachable, 4 refused, 1 anything else. */
export function exitCodeOf(error: unknown): number {
  if (!isMeshError(error)) return 1;
  switch (error.kind) {
    case 'invalid':
    case 'already-exists':
    case 'not-found':
    case 'unsupported':
    case 'too-large':
      return 2;
    case 'unavailable':
    case 'timeout':
    case 'port-in-use':
    case 'missing-capability':
    case 'missing-file':
    case 'disk-full':
    case 'clock-skew':
      return 3;
    case 'unauthenticated':
    case 'forbidden':
    case 'expired':
      return 4;
    default:
      return 1;
  }
}
