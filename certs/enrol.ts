/**
 * A new node's side of joining: fetch the trust, compare it with the token's pin, make keys here, send requests and the secret, keep what
 * comes back. Nothing is written before the gateway has proved to be the one that the token names; keys never leave the node.
 */
import { sign, createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../api/errors.ts';
import { parseChain } from './chain.ts';
import { readText, writeDurably } from './files.ts';
import { exchange } from './https.ts';
import { identityOf } from './names.ts';
import type { PeerIdentity } from './names.ts';
import { decodeToken } from './token.ts';
import { pinOf } from './pem.ts';

export type CertificateUse = 'gateway' | 'node';

export interface EnrolRequest {
  readonly secret: string;
  readonly site: string;
  readonly node: string;
  readonly csrs: readonly { readonly use: CertificateUse; readonly csr: string }[];
}

/** What a site has to know of its region. */
export interface RegionEndpoints {
  readonly region: string;
  /** host:port of every mux server of the region. */
  readonly gateways: readonly string[];
  readonly enrol: string;
}

export interface EnrolResponse {
  readonly certificates: readonly { readonly use: CertificateUse; readonly chain: string }[];
  readonly trust: string;
  readonly endpoints: RegionEndpoints;
}

export interface RenewRequest {
  readonly certificate: string;
  readonly csr: string;
  /** Base64 signature by the old key over renewalProof(csr). */
  readonly proof: string;
}

export interface Enrolled {
  readonly site: string;
  readonly endpoints: RegionEndpoints;
  readonly identities: readonly PeerIdentity[];
}

export const ENDPOINTS_FILE = 'endpoints.json';

export interface IdentityFiles {
  readonly key: string;
  readonly cert: string;
  readonly trust: string;
}

export function identityFiles(dir: string, use: string): IdentityFiles {
  return { key: join(dir, `${use}.key`), cert: join(dir, `${use}.crt`), trust: join(dir, 'trust.pem') };
}

export function renewalProof(csr: string): Buffer {
  return Buffer.from(`proxima renewal\n${csr}`);
}

/** The root behind the pin, or a refusal: an attacker on the path can give us any bundle but not one with this key. */
async function fetchTrust(gateway: string, pin: string): Promise<string> {
  const answer = (await exchange({ gateway, path: '/trust', trustPem: null })) as { trust?: unknown };
  const roots = typeof answer.trust === 'string' ? parseChain(answer.trust) : [];
  const root = roots.find((r) => pinOf(r) === pin && r.verify(r.publicKey));
  if (root === undefined) throw new MeshError('unauthenticated', `gateway ${gateway}: its authority is not the one that the token names`, { next: 'the address leads to another mesh, or something on the path answers in its place: make a new token (proxima site create)' });
  return `${root.toString().trimEnd()}\n`;
}

function decodeEnrolled(answer: unknown): EnrolResponse {
  const a = answer as Partial<EnrolResponse>;
  if (!Array.isArray(a.certificates) || typeof a.trust !== 'string' || a.endpoints === undefined || !Array.isArray(a.endpoints.gateways)) {
    throw new MeshError('unsupported', 'the gateway answered in a form that this program does not know', { next: 'use the same version on both sides' });
  }
  return a as EnrolResponse;
}

/** `uses`: ['gateway', 'node'] for the first node of a site, ['node'] for another. Writes <use>.key, <use>.crt, trust.pem, endpoints.json into `dir`. */
export async function enrol(tokenText: string, options: { readonly dir: string; readonly node: string; readonly uses: readonly CertificateUse[]; readonly now?: number }): Promise<Enrolled> {
  const ticket = decodeToken(tokenText);
  const now = options.now ?? Date.now();
  if (ticket.exp * 1000 < now) throw new MeshError('expired', `join token: it expired at ${new Date(ticket.exp * 1000).toISOString()}`, { next: 'make a new one (proxima site create), or check the clock of this machine' });
  for (const use of options.uses) {
    const { cert } = identityFiles(options.dir, use);
    if (existsSync(cert)) throw new MeshError('already-exists', `${cert} exists: this node has joined already`, { next: 'proxima leave first, to join again' });
  }
  const trust = await fetchTrust(ticket.gateway, ticket.caPin);
  const { createCsr, generateKey, keyPem } = await import('./x509.ts');
  const keys = options.uses.map((use) => ({ use, pair: generateKey() }));
  const body: EnrolRequest = { secret: ticket.secret, site: ticket.site, node: options.node, csrs: keys.map(({ use, pair }) => ({ use, csr: createCsr({ commonName: `${use}.${options.node}` }, pair) })) };
  const answer = decodeEnrolled(await exchange({ gateway: ticket.gateway, path: '/enrol', trustPem: trust, body }));
  const identities: PeerIdentity[] = [];
  for (const { use, pair } of keys) {
    const chain = answer.certificates.find((c) => c.use === use)?.chain ?? '';
    const [leaf] = parseChain(chain);
    if (leaf === undefined || !leaf.checkPrivateKey(pair.privateKey)) throw new MeshError('unsupported', `the gateway sent no ${use} certificate for our key`);
    identities.push(identityOf(leaf));
    const files = identityFiles(options.dir, use);
    writeDurably(files.key, keyPem(pair.privateKey), 0o600);
    writeDurably(files.trust, trust);
    writeDurably(files.cert, chain);
  }
  writeDurably(join(options.dir, ENDPOINTS_FILE), `${JSON.stringify(answer.endpoints, null, 2)}\n`);
  return { site: ticket.site, endpoints: answer.endpoints, identities };
}

/** When to renew: at two thirds of the lifetime, so that a third is left for whatever is in the way. */
export function renewalDue(certificate: X509Certificate): number {
  const from = Date.parse(certificate.validFrom);
  return from + ((Date.parse(certificate.validTo) - from) * 2) / 3;
}

/** Renews when due; works for an expired certificate too, by proof of its key. Resolves with true when the files have changed. */
export async function renewIfDue(options: { readonly dir: string; readonly use: string; readonly gateway: string; readonly now: number; readonly force?: boolean }): Promise<boolean> {
  const files = identityFiles(options.dir, options.use);
  const chain = readText(files.cert, 'certificate');
  const [leaf] = parseChain(chain);
  if (leaf === undefined) throw new MeshError('invalid', `${files.cert}: no certificate in it`, { fields: { path: files.cert } });
  if (options.force !== true && options.now < renewalDue(leaf)) return false;
  // Loaded when it is needed, once in weeks: the ASN.1 library is a tenth of an edge gateway's memory.
  const { createCsr, generateKey, keyPem } = await import('./x509.ts');
  const pair = generateKey();
  const csr = createCsr({ commonName: options.use }, pair);
  const proof = sign('sha256', renewalProof(csr), createPrivateKey(readText(files.key, 'key'))).toString('base64');
  const body: RenewRequest = { certificate: chain, csr, proof };
  const answer = (await exchange({ gateway: options.gateway, path: '/renew', trustPem: readText(files.trust, 'trust'), body })) as { chain?: unknown };
  const fresh = typeof answer.chain === 'string' ? answer.chain : '';
  const [renewed] = parseChain(fresh);
  if (renewed === undefined || !renewed.checkPrivateKey(pair.privateKey)) throw new MeshError('unsupported', 'the gateway sent no certificate for our key');
  // A crash between the two renames leaves a new key beside an old certificate: loadIdentity finds the right pair from the .next files.
  writeDurably(`${files.key}.next`, keyPem(pair.privateKey), 0o600);
  writeDurably(`${files.cert}.next`, fresh);
  settle(files);
  return true;
}

/** Puts a finished renewal in place; harmless when there is none or when it was interrupted. */
function settle(files: IdentityFiles): void {
  if (!existsSync(`${files.key}.next`) || !existsSync(`${files.cert}.next`)) return;
  const key = readText(`${files.key}.next`, 'renewed key');
  const cert = readText(`${files.cert}.next`, 'renewed certificate');
  const [leaf] = parseChain(cert);
  if (leaf?.checkPrivateKey(createPrivateKey(key)) !== true) return; // an older, half-written attempt
  writeDurably(files.key, key, 0o600);
  writeDurably(files.cert, cert);
}

export interface LoadedIdentity {
  readonly keyPem: string;
  readonly chainPem: string;
  readonly trustPem: string;
  readonly certificate: X509Certificate;
  readonly identity: PeerIdentity;
}

export function loadIdentity(dir: string, use: string): LoadedIdentity {
  const files = identityFiles(dir, use);
  const read = (): { key: string; chain: string; leaf: X509Certificate | undefined } => {
    const chain = readText(files.cert, `${use} certificate`);
    return { key: readText(files.key, `${use} key`), chain, leaf: parseChain(chain)[0] };
  };
  let found = read();
  if (found.leaf?.checkPrivateKey(createPrivateKey(found.key)) !== true) {
    settle(files);
    found = read();
  }
  if (found.leaf?.checkPrivateKey(createPrivateKey(found.key)) !== true) throw new MeshError('invalid', `${files.key} is not the key of ${files.cert}`, { fields: { path: files.key }, next: 'join again: proxima leave, then proxima join' });
  return { keyPem: found.key, chainPem: found.chain, trustPem: readText(files.trust, 'trust'), certificate: found.leaf, identity: identityOf(found.leaf) };
}
