/** Who a certificate speaks for. The URI is the identity; nothing in a payload ever is. */
import type { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { MeshError } from '../api/errors.ts';

const PREFIX = 'spiffe://proxima/';
const SEGMENT = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/;

export const spiffe = {
  global: (): string => `${PREFIX}global`,
  admin: (name: string): string => `${PREFIX}admin/${segment('name', name)}`,
  region: (region: string): string => `${PREFIX}region/${segment('region', region)}`,
  cloudGateway: (region: string): string => `${PREFIX}region/${segment('region', region)}/gateway`,
  gateway: (site: string): string => `${PREFIX}site/${segment('site', site)}/gateway`,
  node: (site: string, node: string): string => `${PREFIX}site/${segment('site', site)}/node/${segment('node', node)}`,
  tenant: (tenant: string, name: string): string => `${PREFIX}tenant/${segment('tenant', tenant)}/${segment('name', name)}`,
} as const;

export type IdentityKind = 'global' | 'admin' | 'region' | 'cloud-gateway' | 'gateway' | 'node' | 'tenant';

export interface Identity {
  readonly uri: string;
  readonly kind: IdentityKind;
  readonly region: string | null;
  readonly site: string | null;
  readonly node: string | null;
  readonly tenant: string | null;
  readonly name: string | null;
}

export interface PeerIdentity extends Identity {
  /** Upper-case hex, as in `openssl x509 -serial`. */
  readonly serial: string;
  readonly notAfter: number;
}

function segment(field: string, value: string): string {
  if (!SEGMENT.test(value)) throw new MeshError('invalid', `${field}: expected lower-case letters, digits, '.', '_' or '-', at most 63, got "${value}"`, { fields: { path: field } });
  return value;
}

export function parseSpiffe(uri: string): Identity | null {
  if (!uri.startsWith(PREFIX)) return null;
  const parts = uri.slice(PREFIX.length).split('/');
  if (!parts.every((p) => SEGMENT.test(p))) return null;
  const [head, a, b, c] = parts;
  const none = { uri, region: null, site: null, node: null, tenant: null, name: null };
  if (head === 'global' && parts.length === 1) return { ...none, kind: 'global' };
  if (a === undefined) return null;
  if (head === 'admin' && parts.length === 2) return { ...none, kind: 'admin', name: a };
  if (head === 'region' && parts.length === 2) return { ...none, kind: 'region', region: a };
  if (head === 'region' && parts.length === 3 && b === 'gateway') return { ...none, kind: 'cloud-gateway', region: a };
  if (head === 'site' && parts.length === 3 && b === 'gateway') return { ...none, kind: 'gateway', site: a };
  if (head === 'site' && parts.length === 4 && b === 'node' && c !== undefined) return { ...none, kind: 'node', site: a, node: c };
  if (head === 'tenant' && parts.length === 3 && b !== undefined) return { ...none, kind: 'tenant', tenant: a, name: b };
  return null;
}

/** Exactly one of our URIs, or it is nobody: a certificate with two names could be read as either. */
export function identityOf(certificate: X509Certificate | PeerCertificate): PeerIdentity {
  const isX509 = 'subjectAltName' in certificate;
  const names = (isX509 ? certificate.subjectAltName : (certificate as PeerCertificate).subjectaltname) ?? '';
  // Node quotes a name with odd characters; none of ours has any, and a quoted one could hide a separator.
  const uris = names.includes('"') ? [] : names.split(', ').filter((n) => n.startsWith('URI:')).map((n) => n.slice(4));
  const identity = uris.length === 1 ? parseSpiffe(uris[0] ?? '') : null;
  if (identity === null) {
    throw new MeshError('unauthenticated', `the certificate names no mesh identity (subject alternative names: ${names === '' ? 'none' : names})`, { next: 'use a certificate issued by the mesh authority (proxima certs issue)' });
  }
  const notAfter = Date.parse(isX509 ? certificate.validTo : (certificate as PeerCertificate).valid_to);
  return { ...identity, serial: certificate.serialNumber, notAfter };
}

/** `spiffe://proxima/site/a/*` names everyone below; without `*` the whole URI has to be equal. */
export function matchesPattern(pattern: string, uri: string): boolean {
  return pattern.endsWith('*') ? pattern.length > 1 && uri.startsWith(pattern.slice(0, -1)) : pattern === uri;
}
