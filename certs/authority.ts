/**
 * The mesh authority: root -> region -> leaf, all P-256. The root's key signs only regions and is needed only to add one;
 * a region's key lives with its cloud gateway and signs that region's leaves.
 */
import { createPrivateKey } from 'node:crypto';
import type { KeyObject, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../api/errors.ts';
import { parseChain, pemOf } from './chain.ts';
import { readText, writeDurably } from './files.ts';
import { parseSpiffe, spiffe } from './names.ts';
import { generateKey, keyPem, signCertificate, signCrl } from './x509.ts';
import type { RevokedEntry } from './x509.ts';

const DAY_MS = 86_400_000;
/** A leaf is valid from a little before now, so that a clock slightly behind still takes it. */
const SKEW_MS = 300_000;

export interface Authority {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  readonly root: X509Certificate;
}

export interface LeafRequest {
  readonly publicKey: KeyObject;
  readonly uri: string;
  /** Defaults to what the Kubernetes API expects for the identity: see subjectFor. */
  readonly commonName?: string;
  readonly organizations?: readonly string[];
  readonly dns?: readonly string[];
  readonly ips?: readonly string[];
  /** @default ['server', 'client'] */
  readonly usage?: readonly ('server' | 'client')[];
  /** @default 30 days */
  readonly lifetimeMs?: number;
  readonly now?: number;
}

export interface Issued {
  readonly certificate: X509Certificate;
  readonly serial: string;
  /** Leaf and intermediate: what a TLS end presents. */
  readonly chainPem: string;
  /** The root: what a TLS end trusts. */
  readonly trustPem: string;
}

function paths(dir: string, name: string): { readonly crt: string; readonly key: string } {
  return { crt: join(dir, `${name}.crt`), key: join(dir, `${name}.key`) };
}

function save(dir: string, name: string, authority: Authority): Authority {
  const at = paths(dir, name);
  writeDurably(at.key, keyPem(authority.key), 0o600);
  writeDurably(at.crt, pemOf(authority.certificate) + (authority.certificate === authority.root ? '' : pemOf(authority.root)));
  return authority;
}

/** Makes `root.crt` and `root.key` (0600) in `dir`; refuses to replace one, since that would orphan every certificate under it. */
export function createAuthority(dir: string, options: { readonly name?: string; readonly now?: number } = {}): Authority {
  if (existsSync(paths(dir, 'root').key)) throw new MeshError('already-exists', `${paths(dir, 'root').key} exists: this folder has an authority`, { next: 'use another folder, or load the one that is there' });
  const now = options.now ?? Date.now();
  const key = generateKey();
  const certificate = signCertificate({ subject: { commonName: options.name ?? 'Proxima root', organizations: ['proxima'] }, issuer: null, publicKey: key.publicKey, signingKey: key.privateKey, notBefore: new Date(now - SKEW_MS), notAfter: new Date(now + 3650 * DAY_MS), pathLength: 1, usage: [] });
  return save(dir, 'root', { certificate, key: key.privateKey, root: certificate });
}

/** Makes `region-<name>.crt` (with the root after it) and `.key` in `dir`. */
export function createRegionAuthority(root: Authority, region: string, dir: string, options: { readonly now?: number } = {}): Authority {
  const now = options.now ?? Date.now();
  const key = generateKey();
  const certificate = signCertificate({ subject: { commonName: `Proxima region ${region}`, organizations: ['proxima'] }, issuer: root.certificate, publicKey: key.publicKey, signingKey: root.key, notBefore: new Date(now - SKEW_MS), notAfter: new Date(now + 1825 * DAY_MS), pathLength: 0, usage: [], uris: [spiffe.region(region)] });
  return save(dir, `region-${region}`, { certificate, key: key.privateKey, root: root.root });
}

/** Loads an authority from a certificate file (its own certificate first, the root last) and its key. */
export function loadAuthority(certFile: string, keyFile: string): Authority {
  const chain = parseChain(readText(certFile, 'authority certificate'));
  const [certificate] = chain;
  const root = chain.at(-1);
  if (certificate === undefined || root === undefined) throw new MeshError('invalid', `${certFile}: no certificate in it`, { fields: { path: certFile } });
  const key = createPrivateKey(readText(keyFile, 'authority key'));
  if (!certificate.checkPrivateKey(key)) throw new MeshError('invalid', `${keyFile} is not the key of ${certFile}`, { fields: { path: keyFile } });
  return { certificate, key, root };
}

export function loadRoot(dir: string): Authority {
  const at = paths(dir, 'root');
  return loadAuthority(at.crt, at.key);
}

/** How the Kubernetes API reads an identity: CN is the user, O the groups. */
export function subjectFor(uri: string): { readonly commonName: string; readonly organizations: readonly string[] } {
  const id = parseSpiffe(uri);
  if (id === null) throw new MeshError('invalid', `uri: "${uri}" is no mesh identity`, { fields: { path: 'uri' } });
  switch (id.kind) {
    case 'global':
      return { commonName: 'global', organizations: ['system:masters'] };
    case 'admin':
      return { commonName: id.name ?? '', organizations: ['system:masters'] };
    case 'region':
      return { commonName: `region:${id.region}`, organizations: ['system:masters'] };
    case 'cloud-gateway':
      return { commonName: `gateway:${id.region}`, organizations: ['system:masters'] };
    case 'gateway':
      return { commonName: `gateway:${id.site}`, organizations: ['proxima:gateways'] };
    case 'node':
      return { commonName: `system:node:${id.node}`, organizations: ['system:nodes'] };
    case 'tenant':
      return { commonName: id.name ?? '', organizations: [`tenant:${id.tenant}`] };
  }
}

export function issueLeaf(authority: Authority, request: LeafRequest): Issued {
  const now = request.now ?? Date.now();
  const standard = subjectFor(request.uri);
  const notAfter = Math.min(now + (request.lifetimeMs ?? 30 * DAY_MS), Date.parse(authority.certificate.validTo));
  const certificate = signCertificate({
    subject: { commonName: request.commonName ?? standard.commonName, organizations: request.organizations ?? standard.organizations },
    issuer: authority.certificate,
    publicKey: request.publicKey,
    signingKey: authority.key,
    notBefore: new Date(now - SKEW_MS),
    notAfter: new Date(notAfter),
    pathLength: null,
    usage: request.usage ?? ['server', 'client'],
    uris: [request.uri],
    dns: request.dns ?? [],
    ips: request.ips ?? [],
  });
  const middle = authority.certificate === authority.root ? '' : pemOf(authority.certificate);
  return { certificate, serial: certificate.serialNumber, chainPem: pemOf(certificate) + middle, trustPem: pemOf(authority.root) };
}

/** Key, certificate and trust in files: `<name>.key` (0600), `<name>.crt` (chain), `trust.pem`. For identities that need no enrolment. */
export function issueToFiles(authority: Authority, dir: string, name: string, request: Omit<LeafRequest, 'publicKey'>): { readonly keyFile: string; readonly certFile: string; readonly trustFile: string; readonly serial: string } {
  const key = generateKey();
  const issued = issueLeaf(authority, { ...request, publicKey: key.publicKey });
  const files = { ...paths(dir, name), trust: join(dir, 'trust.pem') };
  writeDurably(files.key, keyPem(key.privateKey), 0o600);
  writeDurably(files.crt, issued.chainPem);
  writeDurably(files.trust, issued.trustPem);
  return { keyFile: files.key, certFile: files.crt, trustFile: files.trust, serial: issued.serial };
}

export function issueCrl(authority: Authority, revoked: readonly RevokedEntry[], options: { readonly number: number; readonly now?: number }): string {
  const now = options.now ?? Date.now();
  return signCrl({ issuer: authority.certificate, key: authority.key, number: options.number, thisUpdate: new Date(now), nextUpdate: new Date(now + 7 * DAY_MS), revoked });
}

export { parseChain, pemOf, verifyChain } from './chain.ts';
export { pinOf } from './pem.ts';
