/** PEM text and key pins; kept apart from `der.ts`, so that a process that only reads certificates does not load the ASN.1 library. */
import { createHash } from 'node:crypto';
import type { KeyObject, X509Certificate } from 'node:crypto';

export function toPem(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der).toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** Every block of one label in a PEM text, in order. */
export function fromPem(label: string, pem: string): Buffer[] {
  const blocks = pem.matchAll(new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`, 'g'));
  return [...blocks].map((m) => Buffer.from(m[1] ?? '', 'base64'));
}

export function spkiOf(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}

/** What a join token pins: SHA-256 of the public key, so that a re-signed root with the same key keeps its pin. */
export function pinOf(certificate: X509Certificate): string {
  return createHash('sha256').update(spkiOf(certificate.publicKey)).digest('hex');
}
