/** Bytes of the maps: the twin of `bpf/types.h`. Addresses and ports are in network order, all else in the host's (little endian). */
import { MeshError } from '../../api/errors.ts';
import type { GoalBackend } from '../../api/goal.ts';
import { MODES, REASONS, type Chosen } from './modes.ts';

/** Sizes that the shapes in the object must have. */
export const SIZES = { vpc_addr: 8, endpoint: 16, port: 20, droplet_slot: 12, prefix_key: 12, prefix: 36, droplet: 8, front_key: 8, front: 520, flow_key: 16, flow: 8, reply_key: 20, reply: 24, count_key: 4, count: 48, region_key: 8, config: 36, scaled_key: 12, backend: 8 } as const;

/** `divided`: a network, on a divider of its VPC. */
export const PREFIX = { vpc: 1, network: 2, route: 3, divided: 4 } as const;
export const MAX_HOPS = 8;
export const SLOTS = 1024;
export const FRONT_SLOTS = 64;
export const PROTOCOL = { TCP: 6, UDP: 17 } as const;

/** By number, as in `bpf/verdict.h`. */
export const DROP_REASONS: Readonly<Record<number, string>> = {
  1: 'unknown-port',
  2: 'spoofed',
  3: 'no-route',
  4: 'not-believed',
  5: 'malformed',
  6: 'ttl',
  7: 'no-backend',
  8: 'unsupported',
  9: 'kernel',
  10: 'too-big',
};

export function ipBytes(address: string): Buffer {
  const parts = address.split('.').map(Number);
  if (parts.length !== 4 || !parts.every((n) => Number.isInteger(n) && n >= 0 && n <= 255)) throw new MeshError('invalid', `expected an IPv4 address, got "${address}"`, { fields: { path: 'address' } });
  return Buffer.from(parts);
}

export function macBytes(mac: string): Buffer {
  const parts = mac.split(':').map((h) => Number.parseInt(h, 16));
  if (parts.length !== 6 || !parts.every((n) => n >= 0 && n <= 255)) throw new MeshError('invalid', `expected a MAC address, got "${mac}"`, { fields: { path: 'mac' } });
  return Buffer.from(parts);
}

export function cidrParts(cidr: string): { readonly address: Buffer; readonly bits: number } {
  const [address = '', bits = '32'] = cidr.split('/');
  const n = Number(bits);
  if (!Number.isInteger(n) || n < 0 || n > 32) throw new MeshError('invalid', `expected a CIDR, got "${cidr}"`, { fields: { path: 'cidr' } });
  return { address: ipBytes(address), bits: n };
}

const u32 = (n: number): Buffer => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(n);
  return b;
};
const be32 = (n: number): Buffer => {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(n);
  return b;
};
const be16 = (n: number): Buffer => {
  const b = Buffer.alloc(2);
  b.writeUInt16BE(n);
  return b;
};
const u16 = (n: number): Buffer => {
  const b = Buffer.alloc(2);
  b.writeUInt16LE(n);
  return b;
};

export interface DropletConfig {
  readonly lanIfindex: number;
  readonly lanAddress: string;
  readonly tunnelIfindex: number;
  readonly tunnelAddress: string | null;
  readonly uplinkIfindex: number;
  readonly hasScaled: boolean;
  /** The largest IP packet of a VPC that fits in Geneve there, bytes. */
  readonly lanRoom: number;
  readonly tunnelRoom: number;
  /** Whether the LAN's interface is one. */
  readonly isVeth: boolean;
  readonly lan: Chosen;
  /** null = no front here. */
  readonly front: Chosen | null;
}

export const encode = {
  u32,
  vpcAddr: (vni: number, address: string): Buffer => Buffer.concat([u32(vni), ipBytes(address)]),
  endpoint: (e: { readonly droplet: string | null; readonly ifindex: number; readonly mac: string; readonly isTap: boolean }): Buffer =>
    Buffer.concat([e.droplet === null ? Buffer.alloc(4) : ipBytes(e.droplet), u32(e.ifindex), macBytes(e.mac), Buffer.from([e.isTap ? 1 : 0, 0])]),
  port: (ifindex: number, vni: number, address: string, mac: string): Buffer => Buffer.concat([u32(ifindex), u32(vni), ipBytes(address), macBytes(mac), Buffer.alloc(2)]),
  portSlot: (ifindex: number): Buffer => u32(ifindex % SLOTS),
  dropletSlot: (address: Buffer): Buffer => u32(address.readUInt32BE(0) % SLOTS),
  prefixKey: (vni: number, cidr: string): Buffer => {
    const { address, bits } = cidrParts(cidr);
    return Buffer.concat([u32(32 + bits), be32(vni), address]);
  },
  prefix: (kind: keyof typeof PREFIX, hops: readonly string[]): Buffer => {
    const kept = hops.slice(0, MAX_HOPS);
    const out = Buffer.alloc(SIZES.prefix);
    out[0] = PREFIX[kind];
    out[1] = kept.length;
    kept.forEach((h, i) => ipBytes(h).copy(out, 4 + 4 * i));
    return out;
  },
  /** `mac` of a droplet on the LAN itself. */
  droplet: (viaTunnel: boolean, mac: string | null): Buffer => Buffer.concat([Buffer.from([viaTunnel ? 1 : 0, mac === null ? 0 : 1]), mac === null ? Buffer.alloc(6) : macBytes(mac)]),
  frontKey: (address: string, port: number, protocol: 'TCP' | 'UDP'): Buffer => Buffer.concat([ipBytes(address), be16(port), Buffer.from([PROTOCOL[protocol], 0])]),
  backend: (b: GoalBackend): Buffer => Buffer.concat([ipBytes(b.address), be16(b.port), Buffer.alloc(2)]),
  front: (vni: number, application: number, backends: readonly GoalBackend[]): Buffer => {
    const slots = slotsOf(backends);
    return Buffer.concat([u32(vni), u16(application), u16(slots.length), ...slots.map(encode.backend), Buffer.alloc(8 * (FRONT_SLOTS - slots.length))]);
  },
  scaledKey: (vni: number, address: string, port: number, protocol: 'TCP' | 'UDP'): Buffer => Buffer.concat([u32(vni), ipBytes(address), be16(port), Buffer.from([PROTOCOL[protocol], 0])]),
  regionKey: (cidr: string): Buffer => {
    const { address, bits } = cidrParts(cidr);
    return Buffer.concat([u32(bits), address]);
  },
  config: (c: DropletConfig): Buffer =>
    Buffer.concat([
      u32(c.lanIfindex), ipBytes(c.lanAddress), u32(c.tunnelIfindex), c.tunnelAddress === null ? Buffer.alloc(4) : ipBytes(c.tunnelAddress), u32(c.uplinkIfindex), u32(c.hasScaled ? 1 : 0),
      u16(c.lanRoom), u16(c.tunnelRoom), u16(Math.min(c.lanRoom, c.tunnelRoom)),
      Buffer.from([MODES.indexOf(c.lan.mode), REASONS.indexOf(c.lan.reason), c.front === null ? MODES.length : MODES.indexOf(c.front.mode), c.front === null ? 0 : REASONS.indexOf(c.front.reason), c.isVeth ? 1 : 0, 0]),
    ]),
};

/**
 * Each backend as often as it weighs, spread by rank so that a change of one weight moves few slots: slot i goes to the backend with the
 * highest score of (weight, hash(slot, backend)) (weighted rendezvous hashing).
 */
export function slotsOf(backends: readonly GoalBackend[]): readonly GoalBackend[] {
  const live = backends.filter((b) => b.weight > 0);
  if (live.length === 0) return [];
  return Array.from({ length: FRONT_SLOTS }, (_, slot) => {
    let best: GoalBackend | undefined;
    let bestScore = -1;
    for (const b of live) {
      const h = (hash(`${slot}|${b.address}:${b.port}`) + 1) / 4_294_967_297;
      const score = b.weight / -Math.log(h);
      if (score > bestScore) {
        bestScore = score;
        best = b;
      }
    }
    return best as GoalBackend;
  });
}

/** FNV-1a with a final mix: the last character alone must reach every bit. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export interface CountRow {
  readonly application: number;
  readonly clientRegion: number;
  readonly connections: number;
  readonly packetsIn: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Mean over all handshakes; null = none ended well. */
  readonly rttMs: number | null;
  readonly handshakes: number;
}

type Entries = readonly { readonly key: Buffer; readonly value: Buffer }[];

/** Entries of the per-CPU `counts` map, summed over the CPUs. */
export function decodeCounts(entries: Entries): readonly CountRow[] {
  return entries.map(({ key, value }) => {
    const sum = [0, 0, 0, 0, 0, 0];
    for (let cpu = 0; cpu < value.length; cpu += SIZES.count) {
      for (let f = 0; f < 6; f++) sum[f] = (sum[f] ?? 0) + Number(value.readBigUInt64LE(cpu + 8 * f));
    }
    const [connections = 0, packetsIn = 0, bytesIn = 0, bytesOut = 0, rttNs = 0, rtts = 0] = sum;
    return { application: key.readUInt16LE(0), clientRegion: key.readUInt16LE(2), connections, packetsIn, bytesIn, bytesOut, rttMs: rtts === 0 ? null : rttNs / rtts / 1e6, handshakes: rtts };
  });
}

/** Which programs are attached, from the entry of the `config` map; null = the droplet has not been configured yet. */
export function decodeModes(config: Buffer): { readonly lan: Chosen; readonly front: Chosen | null } | null {
  const chosen = (at: number): Chosen | null => {
    const [mode, reason] = [MODES[config[at] ?? 0], REASONS[config[at + 1] ?? 0]];
    return mode === undefined || reason === undefined ? null : { mode, reason };
  };
  const lan = config.readUInt32LE(0) === 0 ? null : chosen(30);
  return lan === null ? null : { lan, front: chosen(32) };
}

/** Entries of the per-CPU `drops` map: packets by reason. */
export function decodeDrops(entries: Entries): Readonly<Record<string, number>> {
  const out: Record<string, number> = {};
  for (const { key, value } of entries) {
    const reason = DROP_REASONS[key.readUInt32LE(0)];
    if (reason === undefined) continue;
    out[reason] = 0;
    for (let at = 0; at < value.length; at += 8) out[reason] += Number(value.readBigUInt64LE(at));
  }
  return out;
}
