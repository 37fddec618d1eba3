/**
 * Join tokens: px1.<base64url(json)>. The token carries everything a new site needs to find its region and to know it is the right one;
 * the API keeps only the SHA-256 of the secret, so that reading JoinToken objects lets nobody in.
 */
import { createHash, randomBytes } from 'node:crypto';
import { MeshError } from '../api/errors.ts';
import type { JoinToken } from '../api/kinds/mesh.ts';

export interface JoinTicket {
  /** host:port of the region's enrolment service. */
  readonly gateway: string;
  readonly site: string;
  readonly secret: string;
  /** Hex SHA-256 of the root's public key (SPKI). */
  readonly caPin: string;
  /** Unix seconds. */
  readonly exp: number;
}

const KEYS = ['gateway', 'site', 'secret', 'caPin', 'exp'] as const;

export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

export function encodeToken(ticket: JoinTicket): string {
  return `px1.${Buffer.from(JSON.stringify(ticket)).toString('base64url')}`;
}

export function decodeToken(text: string): JoinTicket {
  const bad = (why: string): MeshError => new MeshError('invalid', `join token: ${why}`, { fields: { path: 'token' }, next: 'copy the whole token again, from px1. to its end, or make a new one: proxima site create' });
  const trimmed = text.trim();
  if (!trimmed.startsWith('px1.')) throw bad(/^px\d+\./.test(trimmed) ? `its version "${trimmed.slice(0, trimmed.indexOf('.'))}" is not known to this program` : 'expected it to begin with px1.');
  if (trimmed.length > 2_048) throw bad('too long');
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(trimmed.slice(4), 'base64url').toString('utf8'));
  } catch {
    throw bad('it is cut off or damaged'); // the parser's own words would quote parts of the secret
  }
  if (typeof json !== 'object' || json === null) throw bad('it is damaged');
  const o = json as Record<string, unknown>;
  for (const key of KEYS) if (typeof o[key] !== (key === 'exp' ? 'number' : 'string')) throw bad(`${key} is missing`);
  const ticket: JoinTicket = { gateway: String(o['gateway']), site: String(o['site']), secret: String(o['secret']), caPin: String(o['caPin']), exp: Number(o['exp']) };
  if (!/^[^\s:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$/.test(ticket.gateway)) throw bad(`gateway: expected host:port, got "${ticket.gateway}"`);
  if (!/^[0-9a-f]{64}$/.test(ticket.caPin)) throw bad('caPin: expected 64 hex digits');
  return ticket;
}

/** A fresh secret: the token for the field engineer, and the object for the region's API. */
export function createToken(options: { readonly gateway: string; readonly site: string; readonly caPin: string; readonly role: 'edge' | 'node'; readonly lifetimeMs: number; readonly now?: number }): { readonly token: string; readonly object: JoinToken } {
  const now = options.now ?? Date.now();
  const secret = randomBytes(24).toString('base64url');
  const expiresAt = now + options.lifetimeMs;
  const secretHash = hashSecret(secret);
  return {
    token: encodeToken({ gateway: options.gateway, site: options.site, secret, caPin: options.caPin, exp: Math.floor(expiresAt / 1000) }),
    object: {
      apiVersion: 'mesh.proxima.io/v1',
      kind: 'JoinToken',
      // The name is found from the secret, so that use is one read and one conditional write.
      metadata: { name: tokenName(secretHash) },
      spec: { site: options.site, secretHash, expiresAt: new Date(expiresAt).toISOString(), role: options.role },
    },
  };
}

export function tokenName(secretHash: string): string {
  return `join-${secretHash.slice(0, 20)}`;
}
