/** Frames as bytes, made by hand, and their checksums worked out from the start: an independent twin of what the programs do. */
export const ipv4 = (address: string): Buffer => Buffer.from(address.split('.').map(Number));
export const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
export const u16 = (n: number): Buffer => Buffer.from([n >> 8, n & 0xff]);

export function checksum(...parts: readonly Buffer[]): number {
  const all = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < all.length; i += 2) sum += (all[i] ?? 0) * 256 + (all[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

export const ethernet = (to: string, from: string, type = 0x0800): Buffer => Buffer.concat([mac(to), mac(from), u16(type)]);

export function ipHeader(src: string, dst: string, protocol: number, payload: number, ttl = 64): Buffer {
  const h = Buffer.concat([Buffer.from([0x45, 0]), u16(20 + payload), Buffer.from([0, 0, 0, 0, ttl, protocol, 0, 0]), ipv4(src), ipv4(dst)]);
  h.writeUInt16BE(checksum(h), 10);
  return h;
}

/** Of a TCP or UDP segment, with its pseudo header; 0 when the segment carries the right one. */
const l4 = (src: string, dst: string, protocol: number, segment: Buffer): number => checksum(ipv4(src), ipv4(dst), Buffer.from([0, protocol]), u16(segment.length), segment);

export interface Ports {
  readonly src: string;
  readonly sport: number;
  readonly dst: string;
  readonly dport: number;
}

export function udp(p: Ports, data: string | Buffer, options: { readonly noChecksum?: boolean; readonly ttl?: number; readonly dontFragment?: boolean } = {}): Buffer {
  const body = Buffer.from(data);
  const segment = Buffer.concat([u16(p.sport), u16(p.dport), u16(8 + body.length), u16(0), body]);
  if (options.noChecksum !== true) segment.writeUInt16BE(l4(p.src, p.dst, 17, segment) || 0xffff, 6);
  const head = ipHeader(p.src, p.dst, 17, segment.length, options.ttl);
  if (options.dontFragment === true) {
    head.writeUInt16BE(0x4000, 6);
    head.writeUInt16BE(0, 10);
    head.writeUInt16BE(checksum(head), 10);
  }
  return Buffer.concat([head, segment]);
}

export const TCP = { fin: 1, syn: 2, ack: 16 } as const;

/** `options` are a multiple of four bytes. */
export function tcp(p: Ports, flags: number, data = '', options: Buffer = Buffer.alloc(0)): Buffer {
  const segment = Buffer.concat([u16(p.sport), u16(p.dport), Buffer.from([0, 0, 0, 1, 0, 0, 0, 2, 0x50 + options.length * 4, flags]), u16(64_000), u16(0), u16(0), options, Buffer.from(data)]);
  segment.writeUInt16BE(l4(p.src, p.dst, 6, segment), 16);
  return Buffer.concat([ipHeader(p.src, p.dst, 6, segment.length), segment]);
}

export interface Parsed extends Ports {
  readonly isIpChecksumRight: boolean;
  /** A UDP checksum of 0 counts as right. */
  readonly isL4ChecksumRight: boolean;
  readonly l4Checksum: number;
}

/** An IPv4 packet without options that carries TCP or UDP. */
export function parseIp(p: Buffer): Parsed {
  const [src, dst] = [[...p.subarray(12, 16)].join('.'), [...p.subarray(16, 20)].join('.')];
  const segment = p.subarray(20, p.readUInt16BE(2));
  const protocol = p[9] ?? 0;
  const sum = segment.readUInt16BE(protocol === 6 ? 16 : 6);
  return { src, dst, sport: segment.readUInt16BE(0), dport: segment.readUInt16BE(2), isIpChecksumRight: checksum(p.subarray(0, 20)) === 0, isL4ChecksumRight: (protocol === 17 && sum === 0) || l4(src, dst, protocol, segment) === 0, l4Checksum: sum };
}

/** Outer IP, UDP and Geneve headers of a frame of `inner` bytes. */
export function geneve(vni: number, from: string, to: string, inner: number, o: { readonly sourcePort: number; readonly ttl?: number; readonly options?: Buffer; readonly flags?: number }): Buffer {
  const options = o.options ?? Buffer.alloc(0);
  const header = Buffer.concat([Buffer.from([options.length / 4, o.flags ?? 0]), u16(0x6558), Buffer.from([vni >> 16, (vni >> 8) & 0xff, vni & 0xff, 0]), options]);
  const length = 8 + header.length + inner;
  return Buffer.concat([ipHeader(from, to, 17, length, o.ttl), u16(o.sourcePort), u16(6081), u16(length), u16(0), header]);
}

export function arp(operation: number, from: { readonly mac: string; readonly ip: string }, to: { readonly mac: string; readonly ip: string }): Buffer {
  return Buffer.concat([u16(1), u16(0x0800), Buffer.from([6, 4]), u16(operation), mac(from.mac), ipv4(from.ip), mac(to.mac), ipv4(to.ip)]);
}

export function pcap(frames: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(65_535, 16);
  head.writeUInt32LE(1, 20); // Ethernet
  return Buffer.concat([head, ...frames.flatMap((f) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(f.length, 8);
    record.writeUInt32LE(f.length, 12);
    return [record, f];
  })]);
}
