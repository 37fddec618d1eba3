/** DER building blocks over node-forge's ASN.1. forge speaks binary strings; everything that leaves this file is a Buffer. */
import forge from 'node-forge';

const { asn1 } = forge;
export type Node = forge.asn1.Asn1;

const UNIVERSAL = asn1.Class.UNIVERSAL;
const CONTEXT = asn1.Class.CONTEXT_SPECIFIC;

export const Oid = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  ecdsaSha256: '1.2.840.10045.4.3.2',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAltName: '2.5.29.17',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  crlNumber: '2.5.29.20',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

export const sequence = (...items: readonly Node[]): Node => asn1.create(UNIVERSAL, asn1.Type.SEQUENCE, true, [...items]);
export const set = (...items: readonly Node[]): Node => asn1.create(UNIVERSAL, asn1.Type.SET, true, [...items]);
export const oid = (id: string): Node => asn1.create(UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(id).getBytes());
export const bool = (value: boolean): Node => asn1.create(UNIVERSAL, asn1.Type.BOOLEAN, false, value ? '\xff' : '\0');
export const utf8 = (text: string): Node => asn1.create(UNIVERSAL, asn1.Type.UTF8, false, Buffer.from(text, 'utf8').toString('latin1'));
export const octets = (bytes: Uint8Array): Node => asn1.create(UNIVERSAL, asn1.Type.OCTETSTRING, false, Buffer.from(bytes).toString('latin1'));
export const bits = (bytes: Uint8Array, unusedBits = 0): Node => asn1.create(UNIVERSAL, asn1.Type.BITSTRING, false, String.fromCharCode(unusedBits) + Buffer.from(bytes).toString('latin1'));
export const context = (tag: number, constructed: boolean, value: Node[] | string): Node => asn1.create(CONTEXT, tag as forge.asn1.Type, constructed, value);

/** Big-endian two's complement of a non-negative number, shortest form. */
export function integer(bytes: Uint8Array): Node {
  let at = 0;
  while (at < bytes.length - 1 && bytes[at] === 0) at += 1;
  const body = Buffer.from(bytes.subarray(at));
  const positive = (body[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), body]) : body;
  return asn1.create(UNIVERSAL, asn1.Type.INTEGER, false, positive.toString('latin1'));
}

/** UTCTime until 2049, GeneralizedTime from then on (RFC 5280 4.1.2.5). */
export function time(at: Date): Node {
  return at.getUTCFullYear() < 2050
    ? asn1.create(UNIVERSAL, asn1.Type.UTCTIME, false, asn1.dateToUtcTime(at))
    : asn1.create(UNIVERSAL, asn1.Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(at));
}

export function encode(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1');
}

export function decode(der: Uint8Array): Node {
  return asn1.fromDer(forge.util.createBuffer(Buffer.from(der).toString('latin1')));
}

export function children(node: Node | undefined): readonly Node[] {
  return node !== undefined && Array.isArray(node.value) ? (node.value as Node[]) : [];
}

/** The raw contents of a primitive; forge decodes a bit string that happens to hold DER, so that is undone here. */
export function contents(node: Node | undefined): Buffer {
  if (node === undefined) return Buffer.alloc(0);
  const bitString = (node as { bitStringContents?: string }).bitStringContents;
  if (bitString !== undefined) return Buffer.from(bitString, 'latin1');
  return typeof node.value === 'string' ? Buffer.from(node.value, 'latin1') : encode(node);
}

export function oidOf(node: Node | undefined): string {
  return node !== undefined && node.type === asn1.Type.OID && typeof node.value === 'string' ? asn1.derToOid(forge.util.createBuffer(node.value)) : '';
}
