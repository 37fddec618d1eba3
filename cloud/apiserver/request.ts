/**
 * What a URL asks for. Three spellings of one place:
 *   /api/v1/tenants/T/namespaces/N/pods/P[/sub]   explicit (T = `all`: every tenant, masters only)
 *   /tenants/T/api/v1/namespaces/N/pods/P         prefix, for a kubeconfig's `server:`
 *   /api/v1/namespaces/N/pods/P                   short, the tenant is the credential's
 */
import { badRequest } from './errors.ts';

export interface ResourcePath {
  readonly group: string;
  readonly version: string;
  /** As written in the URL; null = the short form. */
  readonly tenant: string | null;
  readonly namespace: string | null;
  readonly plural: string;
  readonly name: string;
  readonly subresource: string;
}

export type ApiPath = { readonly kind: 'resource'; readonly at: ResourcePath } | { readonly kind: 'other'; readonly path: string };

const OWN_SUBRESOURCES = new Set(['status', 'finalize']);

/** Agents and controllers ask for the same few hundred paths for ever. */
const KNOWN_PATHS = 1_024;
const KNOWN_LENGTH = 256;
const known = new Map<string, ApiPath>();

export function parsePath(path: string): ApiPath {
  let parsed = known.get(path);
  if (parsed === undefined) {
    parsed = parse(path);
    if (path.length > KNOWN_LENGTH) return parsed;
    if (known.size >= KNOWN_PATHS) known.clear();
    known.set(path, parsed);
  }
  return parsed;
}

function parse(path: string): ApiPath {
  let parts: string[];
  try {
    parts = path.split('/').filter((p) => p !== '');
    if (path.includes('%')) parts = parts.map(decodeURIComponent);
  } catch (error) {
    throw badRequest(`the path is not valid percent-encoding: ${String(error)}`);
  }
  if (parts.some((p) => p.includes('/') || p === '..')) throw badRequest('a path segment may not contain "/" or be ".."');
  let tenant: string | null = null;
  if (parts[0] === 'tenants' && parts.length > 2) {
    tenant = parts[1] ?? null;
    parts = parts.slice(2);
  }
  const isCore = parts[0] === 'api';
  const start = isCore ? 2 : 3;
  if ((!isCore && parts[0] !== 'apis') || parts.length <= start) return { kind: 'other', path: `/${parts.join('/')}` };
  const group = isCore ? '' : (parts[1] ?? '');
  const version = parts[start - 1] ?? '';
  let rest = parts.slice(start);
  if (rest[0] === 'tenants' && !(isCore && isObjectItself(rest))) {
    tenant = rest[1] ?? null;
    rest = rest.slice(2);
  }
  let namespace: string | null = null;
  if (rest[0] === 'namespaces' && !(isCore && isObjectItself(rest))) {
    namespace = rest[1] ?? null;
    rest = rest.slice(2);
  }
  const [plural = '', name = '', ...sub] = rest;
  return { kind: 'resource', at: { group, version, tenant, namespace, plural, name, subresource: sub.join('/') } };
}

/** `tenants`, `tenants/x` and `tenants/x/status` are the Tenant; anything longer is inside it. The same for namespaces. */
function isObjectItself(rest: readonly string[]): boolean {
  return rest.length <= 2 || (rest.length === 3 && OWN_SUBRESOURCES.has(rest[2] ?? ''));
}

const TRUE = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);
const FALSE = new Set(['', '0', 'f', 'F', 'false', 'FALSE', 'False']);

/** Query parameters as Go reads them. */
export class Query {
  /** null = no query: the common case costs nothing. */
  readonly #params: URLSearchParams | null;

  constructor(search: string) {
    this.#params = search === '' ? null : new URLSearchParams(search);
  }

  text(name: string): string {
    return this.#params?.get(name) ?? '';
  }

  all(name: string): readonly string[] {
    return this.#params?.getAll(name) ?? [];
  }

  flag(name: string): boolean {
    const value = this.text(name);
    if (TRUE.has(value)) return true;
    if (FALSE.has(value)) return false;
    throw badRequest(`${name}: "${value}" is neither true nor false`, name);
  }

  /** 0 when absent. */
  count(name: string): number {
    const value = this.text(name);
    if (value === '') return 0;
    const n = Number(value);
    if (!Number.isInteger(n) || n < 0) throw badRequest(`${name}: "${value}" is not a number >= 0`, name);
    return n;
  }
}
