/** Who is calling: from a client certificate's subject or a static bearer token, never from the payload. */
import { createHash } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { MeshError } from '../../api/errors.ts';

export interface Identity {
  readonly name: string;
  readonly groups: readonly string[];
  /** The tenant of the short URL form; `system` for operators, nodes and the mesh itself. */
  readonly tenant: string;
  /** The site that a node's certificate names. */
  readonly site?: string;
}

export const SYSTEM_TENANT = 'system';
export const MASTERS = 'system:masters';
export const NODES = 'system:nodes';

/** The identity of code that runs inside the server. */
export const masterIdentity: Identity = { name: 'system:apiserver', groups: [MASTERS], tenant: SYSTEM_TENANT };

const NODE_NAME = 'system:node:';

/** The node that calls; null = the caller is no node. */
export const nodeOf = (who: Identity): string | null => (who.groups.includes(NODES) && who.name.startsWith(NODE_NAME) ? who.name.slice(NODE_NAME.length) : null);

export const isMaster = (who: Identity): boolean => who.groups.includes(MASTERS);

const SITE_NODE = /(?:^|, )URI:spiffe:\/\/proxima\/site\/([^/,"]+)\/node\/([^/,"]+)(?:, |$)/;

/** O=`tenant:<t>` makes a user of tenant t (two of them are refused); any other O is a group of the system tenant. */
export function identityOfCertificate(subject: PeerCertificate['subject'], subjectaltname = ''): Identity {
  const list = (v: string | readonly string[] | undefined): readonly string[] => (v === undefined ? [] : typeof v === 'string' ? [v] : v);
  const name = list(subject.CN)[0] ?? '';
  const organizations = list(subject.O);
  const tenants = organizations.filter((o) => o.startsWith('tenant:')).map((o) => o.slice('tenant:'.length));
  if (tenants.length > 1) throw new MeshError('unauthenticated', 'more than one organization with tenants specified');
  const tenant = tenants[0];
  if (tenant !== undefined && tenant !== SYSTEM_TENANT) return { name, groups: ['system:authenticated', ...list(subject.OU)], tenant };
  const groups = organizations.filter((o) => !o.startsWith('tenant:'));
  const at = SITE_NODE.exec(subjectaltname);
  // A node is a node by its name, its group and, where it has one, its URI: any alone gives nothing.
  const isNode = name.startsWith(NODE_NAME) && (at === null || name === `${NODE_NAME}${at[2]}`);
  return { name, groups: ['system:authenticated', ...groups.filter((g) => g !== NODES || isNode)], tenant: SYSTEM_TENANT, ...(isNode && at?.[1] !== undefined ? { site: at[1] } : {}) };
}

export interface StaticToken {
  readonly token: string;
  readonly identity: Identity;
}

const digest = (token: string): string => createHash('sha256').update(token).digest('hex');

/** Looks tokens up by their hash, so that the time taken says nothing about a token. */
export function tokenAuthenticator(tokens: readonly StaticToken[]): (token: string) => Identity | null {
  const known = new Map(tokens.map((t) => [digest(t.token), t.identity]));
  return (token) => known.get(digest(token)) ?? null;
}
