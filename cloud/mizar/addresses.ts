/** IPv4 arithmetic for the network plane. Addresses are unsigned 32-bit numbers inside, dotted strings outside. */

export interface Cidr {
  readonly base: number;
  readonly prefix: number;
  readonly size: number;
}

export function parseAddress(text: string): number | null {
  const parts = text.split('.');
  if (parts.length !== 4) return null;
  let value = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return null;
    value = value * 256 + Number(part);
  }
  return value;
}

export function formatAddress(value: number): string {
  return `${(value >>> 24) & 255}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

/** null unless `text` is a.b.c.d/n with no bit set below the prefix: 10.0.0.7/24 is a mistake, not a network. */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf('/');
  const base = parseAddress(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (slash < 0 || base === null || !/^(0|[1-9]\d?)$/.test(digits) || Number(digits) > 32) return null;
  const prefix = Number(digits);
  const size = 2 ** (32 - prefix);
  return base % size === 0 ? { base, prefix, size } : null;
}

export function contains(outer: Cidr, inner: Cidr): boolean {
  return inner.prefix >= outer.prefix && inner.base >= outer.base && inner.base < outer.base + outer.size;
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return contains(a, b) || contains(b, a);
}

/** How many endpoints fit: all but the network address, the gateway (.1) and the broadcast address. */
export function capacityOf(cidr: Cidr): number {
  return Math.max(0, cidr.size - 3);
}

/**
 * A free address, probing from a place given by `seed`: allocators that race start apart from each other, and an address that was just
 * released is not the next one to be given. null = full.
 */
export function pickAddress(cidr: Cidr, isTaken: (address: string) => boolean, seed: string): string | null {
  const room = capacityOf(cidr);
  const start = room === 0 ? 0 : hash32(seed) % room;
  for (let i = 0; i < room; i++) {
    const address = formatAddress(cidr.base + 2 + ((start + i) % room));
    if (!isTaken(address)) return address;
  }
  return null;
}

/** Locally administered (bit 1 of the first octet), unicast (bit 0 clear), unique in a VPC because the address is. */
export function macOf(vni: number, address: string): string {
  const value = parseAddress(address) ?? 0;
  const octets = [0x0a, vni & 255, (value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  return octets.map((o) => o.toString(16).padStart(2, '0')).join(':');
}

/** FNV-1a with a final mix, so that names that differ in their last letter land far apart. */
export function hash32(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Rendezvous hashing: which of `names` serve `key`. Adding or removing a name moves only what it must. */
export function choose(key: string, names: readonly string[], count: number): readonly string[] {
  return names
    .map((name) => ({ name, score: hash32(`${key}|${name}`) }))
    .sort((a, b) => b.score - a.score || (a.name < b.name ? -1 : 1))
    .slice(0, count)
    .map((s) => s.name);
}
