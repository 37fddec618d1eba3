/** X.509 v3 certificates, PKCS#10 requests and CRLs: structures by node-forge, P-256 keys and ECDSA-SHA256 by node:crypto. */
import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, verify, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { MeshError } from '../api/errors.ts';
import { bits, bool, children, contents, context, decode, encode, integer, octets, oid, Oid, oidOf, sequence, set, time, utf8 } from './der.ts';
import type { Node } from './der.ts';
import { fromPem, spkiOf, toPem } from './pem.ts';

export interface Subject {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

export interface CertificateTemplate {
  readonly subject: Subject;
  /** The issuer's Name as DER structure, or null for a self-signed one. */
  readonly issuer: X509Certificate | null;
  readonly publicKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** null = an end entity; otherwise how many authorities may follow. */
  readonly pathLength: number | null;
  readonly usage: readonly ('server' | 'client')[];
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  readonly ips?: readonly string[];
}

export function generateKey(): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

export function keyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}

const keyId = (key: KeyObject): Buffer => createHash('sha256').update(spkiOf(key)).digest().subarray(0, 20);
const algorithm = (): Node => sequence(oid(Oid.ecdsaSha256));
const attribute = (type: string, value: string): Node => set(sequence(oid(type), utf8(value)));

function nameOf(subject: Subject): Node {
  return sequence(...(subject.organizations ?? []).map((o) => attribute(Oid.organization, o)), attribute(Oid.commonName, subject.commonName));
}

/** The subject exactly as the issuer's certificate spells it: chains are matched by bytes. */
function issuerName(issuer: X509Certificate): Node {
  const name = children(children(decode(issuer.raw))[0])[5];
  if (name === undefined) throw new MeshError('internal', 'an issuer certificate without a subject');
  return name;
}

function extension(id: string, critical: boolean, value: Node): Node {
  return critical ? sequence(oid(id), bool(true), octets(encode(value))) : sequence(oid(id), octets(encode(value)));
}

function ipBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  if (isIP(address) !== 6) throw new MeshError('invalid', `ips: "${address}" is no IP address`, { fields: { path: 'ips' } });
  const [head = '', tail] = address.split('::');
  const words = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const right = tail === undefined ? [] : words(tail);
  const all = [...words(head), ...Array.from({ length: tail === undefined ? 0 : 8 - words(head).length - right.length }, () => '0'), ...right];
  return Buffer.from(all.map((w) => w.padStart(4, '0')).join(''), 'hex');
}

function extensions(t: CertificateTemplate, issuerKey: KeyObject): Node {
  const isAuthority = t.pathLength !== null;
  const list = [
    extension(Oid.basicConstraints, true, isAuthority ? sequence(bool(true), integer(Buffer.of(t.pathLength))) : sequence()),
    // keyCertSign + cRLSign, or digitalSignature
    extension(Oid.keyUsage, true, isAuthority ? bits(Buffer.of(0x06), 1) : bits(Buffer.of(0x80), 7)),
    extension(Oid.subjectKeyId, false, octets(keyId(t.publicKey))),
    extension(Oid.authorityKeyId, false, sequence(context(0, false, keyId(issuerKey).toString('latin1')))),
  ];
  if (t.usage.length > 0) list.push(extension(Oid.extendedKeyUsage, false, sequence(...t.usage.map((u) => oid(u === 'server' ? Oid.serverAuth : Oid.clientAuth)))));
  const names = [
    ...(t.uris ?? []).map((u) => context(6, false, u)),
    ...(t.dns ?? []).map((d) => context(2, false, d)),
    ...(t.ips ?? []).map((i) => context(7, false, ipBytes(i).toString('latin1'))),
  ];
  if (names.length > 0) list.push(extension(Oid.subjectAltName, false, sequence(...names)));
  return context(3, true, [sequence(...list)]);
}

function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40; // positive, and always 16 bytes long
  return bytes;
}

export function signCertificate(t: CertificateTemplate): X509Certificate {
  const issuerKey = t.issuer === null ? t.publicKey : t.issuer.publicKey;
  const body = sequence(
    context(0, true, [integer(Buffer.of(2))]),
    integer(serialNumber()),
    algorithm(),
    t.issuer === null ? nameOf(t.subject) : issuerName(t.issuer),
    sequence(time(t.notBefore), time(t.notAfter)),
    nameOf(t.subject),
    decode(spkiOf(t.publicKey)),
    extensions(t, issuerKey),
  );
  const signature = sign('sha256', encode(body), t.signingKey);
  return new X509Certificate(encode(sequence(body, algorithm(), bits(signature))));
}

export function createCsr(subject: Subject, key: { readonly publicKey: KeyObject; readonly privateKey: KeyObject }): string {
  const body = sequence(integer(Buffer.of(0)), nameOf(subject), decode(spkiOf(key.publicKey)), context(0, true, []));
  return toPem('CERTIFICATE REQUEST', encode(sequence(body, algorithm(), bits(sign('sha256', encode(body), key.privateKey)))));
}

/** The key a request proves possession of. Its names are not looked at: who the holder is follows from the token or the old certificate. */
export function verifyCsr(pem: string): KeyObject {
  const bad = (why: string, cause?: unknown): MeshError => new MeshError('invalid', `csr: ${why}`, { fields: { path: 'csr' }, cause });
  const der = pem.length > 8_192 ? undefined : fromPem('CERTIFICATE REQUEST', pem)[0];
  if (der === undefined) throw bad('expected one PEM CERTIFICATE REQUEST of at most 8 KiB');
  try {
    const request = decode(der);
    const [body, alg, signature] = children(request);
    if (body === undefined || oidOf(children(alg)[0]) !== Oid.ecdsaSha256) throw bad('expected a request signed with ecdsa-with-SHA256');
    if (!encode(request).equals(der)) throw bad('not in DER');
    const key = createPublicKey({ key: encode(children(body)[2] as Node), format: 'der', type: 'spki' });
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw bad('expected a P-256 key');
    const bytes = contents(signature);
    if (!verify('sha256', encode(body), key, bytes.subarray(1))) throw bad('its signature does not match its key');
    return key;
  } catch (error) {
    throw error instanceof MeshError ? error : bad('cannot be read', error);
  }
}

export interface RevokedEntry {
  readonly serial: string;
  readonly at: Date;
}

export function signCrl(options: { readonly issuer: X509Certificate; readonly key: KeyObject; readonly number: number; readonly thisUpdate: Date; readonly nextUpdate: Date; readonly revoked: readonly RevokedEntry[] }): string {
  const number = Buffer.alloc(6);
  number.writeUIntBE(options.number, 0, 6);
  const entries = options.revoked.map((r) => sequence(integer(Buffer.from(r.serial.length % 2 === 0 ? r.serial : `0${r.serial}`, 'hex')), time(r.at)));
  const body = sequence(
    integer(Buffer.of(1)),
    algorithm(),
    issuerName(options.issuer),
    time(options.thisUpdate),
    time(options.nextUpdate),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    context(0, true, [sequence(extension(Oid.authorityKeyId, false, sequence(context(0, false, keyId(options.issuer.publicKey).toString('latin1')))), extension(Oid.crlNumber, false, integer(number)))]),
  );
  return toPem('X509 CRL', encode(sequence(body, algorithm(), bits(sign('sha256', encode(body), options.key)))));
}
