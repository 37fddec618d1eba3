/** Certificate chains: reading and verifying them. */
import { X509Certificate } from 'node:crypto';
import { fromPem } from './pem.ts';

export const pemOf = (certificate: X509Certificate): string => `${certificate.toString().trimEnd()}\n`;

export type ChainVerdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Leaf first. `at` null = ignore dates (for the renewal of what expired while its holder was away). */
export function verifyChain(chain: readonly X509Certificate[], trust: readonly X509Certificate[], at: number | null): ChainVerdict {
  const [leaf, ...rest] = chain;
  if (leaf === undefined) return { ok: false, reason: 'no certificate was sent' };
  if (leaf.ca) return { ok: false, reason: 'an authority is no end entity' };
  let current = leaf;
  for (let depth = 0; depth < 4; depth++) {
    if (at !== null && at < Date.parse(current.validFrom)) return { ok: false, reason: `certificate ${current.serialNumber} is valid only from ${current.validFrom}: check both clocks` };
    if (at !== null && at > Date.parse(current.validTo)) return { ok: false, reason: `certificate ${current.serialNumber} expired at ${current.validTo}` };
    const below = current;
    const signed = (by: X509Certificate): boolean => by.ca && below.checkIssued(by) && below.verify(by.publicKey);
    if (trust.some((t) => signed(t) && (at === null || at <= Date.parse(t.validTo)))) return { ok: true };
    const next = rest.find(signed);
    if (next === undefined || next === current) break;
    current = next;
  }
  return { ok: false, reason: `certificate ${leaf.serialNumber} was not issued by this mesh` };
}

export function parseChain(pem: string): X509Certificate[] {
  return fromPem('CERTIFICATE', pem).map((der) => new X509Certificate(der));
}
