/**
 * The region's side of joining and renewing. Names are given, not asked for: at enrolment they follow from the token, at renewal from the
 * old certificate. The token is spent before anything is signed, so that two racing users get one certificate between them.
 */
import { verify, X509Certificate } from 'node:crypto';
import { MeshError } from '../api/errors.ts';
import { issueLeaf, parseChain, pemOf, verifyChain } from './authority.ts';
import type { Authority } from './authority.ts';
import { renewalProof } from './enrol.ts';
import type { CertificateUse, EnrolRequest, EnrolResponse, RegionEndpoints, RenewRequest } from './enrol.ts';
import { identityOf, spiffe } from './names.ts';
import { hashSecret } from './token.ts';
import { verifyCsr } from './x509.ts';

/** Spends tokens. The real one is over JoinToken objects (`token-store.ts`). */
export interface TokenPort {
  /** Throws unauthenticated (unknown, used) or expired. Of two concurrent calls exactly one resolves. What `admit` throws leaves the token as it is. */
  consume(secretHash: string, by: TokenUser, admit: (granted: Granted) => void): Promise<Granted>;
}

export interface TokenUser {
  readonly site: string;
  readonly node: string;
  readonly address: string;
}

export interface Granted {
  readonly site: string;
  readonly role: 'edge' | 'node';
}

export interface EnrolmentOptions {
  readonly authority: Authority;
  readonly tokens: TokenPort;
  readonly endpoints: () => RegionEndpoints;
  readonly isRevoked: (serial: string) => boolean;
  /** @default 30 days */
  readonly lifetimeMs?: number;
  readonly now: () => number;
}

const NAME = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/;

function text(body: Record<string, unknown>, key: string, max: number): string {
  const value = body[key];
  if (typeof value !== 'string' || value.length === 0 || value.length > max) throw new MeshError('invalid', `${key}: expected text of 1 to ${max} characters`, { fields: { path: key } });
  return value;
}

function record(body: unknown, keys: readonly string[]): Record<string, unknown> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new MeshError('invalid', 'body: expected an object', { fields: { path: '' } });
  const unknown = Object.keys(body).find((k) => !keys.includes(k));
  if (unknown !== undefined) throw new MeshError('invalid', `${unknown}: unknown key, expected one of ${keys.join(', ')}`, { fields: { path: unknown } });
  return body as Record<string, unknown>;
}

export function decodeEnrolRequest(input: unknown): EnrolRequest {
  const body = record(input, ['secret', 'site', 'node', 'csrs']);
  const node = text(body, 'node', 63);
  if (!NAME.test(node)) throw new MeshError('invalid', 'node: expected lower-case letters, digits, "-" or "."', { fields: { path: 'node' } });
  const csrs = body['csrs'];
  if (!Array.isArray(csrs) || csrs.length < 1 || csrs.length > 2) throw new MeshError('invalid', 'csrs: expected one or two requests', { fields: { path: 'csrs' } });
  const decoded = csrs.map((c: unknown, i) => {
    const entry = record(c, ['use', 'csr']);
    const use = entry['use'];
    if (use !== 'gateway' && use !== 'node') throw new MeshError('invalid', `csrs[${i}].use: expected gateway or node`, { fields: { path: `csrs[${i}].use` } });
    return { use: use as CertificateUse, csr: text(entry, 'csr', 8_192) };
  });
  if (new Set(decoded.map((d) => d.use)).size !== decoded.length) throw new MeshError('invalid', 'csrs: the same use twice', { fields: { path: 'csrs' } });
  return { secret: text(body, 'secret', 256), site: text(body, 'site', 63), node, csrs: decoded };
}

export class Enrolment {
  readonly #o: EnrolmentOptions;

  constructor(options: EnrolmentOptions) {
    this.#o = options;
  }

  trust(): { readonly trust: string } {
    return { trust: pemOf(this.#o.authority.root) };
  }

  async enrol(input: unknown, address: string): Promise<EnrolResponse> {
    const request = decodeEnrolRequest(input);
    // Everything that can be refused is, before the token is spent.
    const keys = request.csrs.map(({ use, csr }) => ({ use, publicKey: verifyCsr(csr) }));
    const admit = (granted: Granted): void => {
      if (granted.role === 'node' && keys.some((k) => k.use === 'gateway')) throw new MeshError('forbidden', `the token lets a node join site ${granted.site}, not a gateway`, { next: 'proxima site create makes a token for the first node' });
    };
    const granted = await this.#o.tokens.consume(hashSecret(request.secret), { site: request.site, node: request.node, address }, admit);
    const certificates = keys.map(({ use, publicKey }) => {
      const uri = use === 'gateway' ? spiffe.gateway(granted.site) : spiffe.node(granted.site, request.node);
      const dns = use === 'gateway' ? [`gateway.${granted.site}.site.proxima`, 'gateway.site.proxima'] : [`${request.node}.${granted.site}.node.proxima`];
      const issued = issueLeaf(this.#o.authority, { publicKey, uri, dns, now: this.#o.now(), ...(this.#o.lifetimeMs === undefined ? {} : { lifetimeMs: this.#o.lifetimeMs }) });
      return { use, chain: issued.chainPem };
    });
    return { certificates, trust: pemOf(this.#o.authority.root), endpoints: this.#o.endpoints() };
  }

  /** Dates are not looked at: a site that was away for months proves that it still holds its key. */
  renew(input: unknown): { readonly chain: string } {
    const body = record(input, ['certificate', 'csr', 'proof']);
    const request: RenewRequest = { certificate: text(body, 'certificate', 32_768), csr: text(body, 'csr', 8_192), proof: text(body, 'proof', 1_024) };
    const chain = parseChain(request.certificate);
    const [old] = chain;
    const verdict = verifyChain(chain, [this.#o.authority.root, this.#o.authority.certificate], null);
    if (old === undefined || !verdict.ok) throw new MeshError('unauthenticated', verdict.ok ? 'no certificate was sent' : verdict.reason);
    if (this.#o.isRevoked(old.serialNumber)) throw new MeshError('unauthenticated', `certificate ${old.serialNumber} is revoked`, { next: 'join again with a new token (proxima site create)' });
    if (!verify('sha256', renewalProof(request.csr), old.publicKey, Buffer.from(request.proof, 'base64'))) throw new MeshError('unauthenticated', 'the proof was not made with the key of the certificate');
    const identity = identityOf(old);
    const subject = parseSubject(old);
    const names = (old.subjectAltName ?? '').split(', ');
    const of = (prefix: string): string[] => names.filter((n) => n.startsWith(prefix)).map((n) => n.slice(prefix.length));
    const issued = issueLeaf(this.#o.authority, {
      publicKey: verifyCsr(request.csr),
      uri: identity.uri,
      ...subject,
      dns: of('DNS:'),
      ips: of('IP Address:'),
      now: this.#o.now(),
      ...(this.#o.lifetimeMs === undefined ? {} : { lifetimeMs: this.#o.lifetimeMs }),
    });
    return { chain: issued.chainPem };
  }
}

function parseSubject(certificate: X509Certificate): { readonly commonName: string; readonly organizations: readonly string[] } {
  const lines = certificate.subject.split('\n');
  const of = (key: string): string[] => lines.filter((l) => l.startsWith(`${key}=`)).map((l) => l.slice(key.length + 1));
  return { commonName: of('CN')[0] ?? '', organizations: of('O') };
}
