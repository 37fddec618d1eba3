/**
 * From goal entries to map writes: pure. The kernel holds what the last goal said, and `Kernel` is that, by map and key in hex, so that a
 * restarted daemon reads it back from the pinned maps and writes only the difference.
 */
import type { GoalEntry } from '../../api/goal.ts';
import { encode, ipBytes, type PREFIX } from './layout.ts';

export type MapName = 'endpoints' | 'prefixes' | 'droplets' | 'droplet_slots' | 'fronts' | 'regions' | 'scaled';
export const GOAL_MAPS: readonly MapName[] = ['endpoints', 'prefixes', 'droplets', 'droplet_slots', 'fronts', 'regions', 'scaled'];

/** hex key -> hex value, per map. */
export type MapContents = Readonly<Record<MapName, ReadonlyMap<string, string>>>;

export interface LocalEndpoint {
  readonly ifindex: number;
  readonly isTap: boolean;
}

export interface PlanContext {
  readonly address: string;
  readonly hasTunnel: boolean;
  /** Whether an address is on the LAN itself, so that frames may be sent to its MAC; default: none is. */
  readonly isOnLan?: (address: string) => boolean;
  /** Interfaces that are attached on this droplet, by `vni/address`. */
  readonly local: ReadonlyMap<string, LocalEndpoint & { readonly mac: string }>;
}

export interface MapStep {
  readonly map: MapName;
  readonly put: readonly (readonly [key: string, value: string])[];
  readonly drop: readonly string[];
}

const RELAY_RANGE = /^100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./;
export const isTunnelAddress = (address: string): boolean => RELAY_RANGE.test(address);

/** What the maps should hold. Of two entries of one prefix (a route as wide as the VPC) the more exact one stays: the network or route. */
export function desired(goal: Iterable<GoalEntry>, context: PlanContext): MapContents {
  const entries = [...goal];
  const others = (hops: readonly string[]): readonly string[] => hops.filter((h) => h !== context.address);
  /** VNIs of VPCs that this droplet is a divider of. */
  const divided = new Set(entries.flatMap((e) => (e.kind === 'vpc' && e.dividers.includes(context.address) ? [e.vni] : [])));
  const out: Record<MapName, Map<string, string>> = { endpoints: new Map(), prefixes: new Map(), droplets: new Map(), droplet_slots: new Map(), fronts: new Map(), regions: new Map(), scaled: new Map() };
  const set = (map: MapName, key: Buffer, value: Buffer): void => void out[map].set(key.toString('hex'), value.toString('hex'));
  const setPrefix = (vni: number, cidr: string, kind: keyof typeof PREFIX, hops: readonly string[]): void => {
    const key = encode.prefixKey(vni, cidr);
    if (kind === 'vpc' && out.prefixes.has(key.toString('hex'))) return;
    set('prefixes', key, encode.prefix(kind, hops));
  };
  for (const e of entries) {
    switch (e.kind) {
      case 'vpc':
        setPrefix(e.vni, e.cidr, 'vpc', divided.has(e.vni) ? [] : e.dividers);
        break;
      case 'network':
        setPrefix(e.vni, e.cidr, divided.has(e.vni) ? 'divided' : 'network', others(e.bouncers));
        break;
      case 'route':
        setPrefix(e.vni, e.cidr, 'route', [e.relay]);
        break;
      case 'endpoint':
        if (e.droplet !== context.address) set('endpoints', encode.vpcAddr(e.vni, e.address), encode.endpoint({ droplet: e.droplet, ifindex: 0, mac: e.mac, isTap: false }));
        break;
      case 'droplet':
        if (!isTunnelAddress(e.address) || context.hasTunnel) set('droplets', ipBytes(e.address), encode.droplet(isTunnelAddress(e.address), context.isOnLan?.(e.address) === true ? e.mac : null));
        break;
      case 'front':
        set('fronts', encode.frontKey(e.address, e.port, e.protocol), encode.front(e.vni, e.application, e.backends));
        break;
      case 'client-region':
        set('regions', encode.regionKey(e.cidr), encode.u32(e.id));
        break;
      case 'scaled':
        set('scaled', encode.scaledKey(e.vni, e.address, e.port, e.protocol), encode.front(e.vni, 0, e.backends));
        break;
    }
  }
  // What is attached here is here, whatever a goal that is a moment old says.
  for (const [at, local] of context.local) {
    const [vni = '0', address = ''] = at.split('/');
    set('endpoints', encode.vpcAddr(Number(vni), address), encode.endpoint({ droplet: null, ifindex: local.ifindex, mac: local.mac, isTap: local.isTap }));
  }
  // Of several droplets that share a slot, the lowest address has it; the others are found in `droplets`.
  for (const [address, value] of [...out.droplets].toSorted(([a], [b]) => (a < b ? 1 : -1))) set('droplet_slots', encode.dropletSlot(Buffer.from(address, 'hex')), Buffer.from(address + value, 'hex'));
  return out;
}

/** Adds before it removes, so that no packet meets a gap. */
export function plan(want: MapContents, have: MapContents): readonly MapStep[] {
  return GOAL_MAPS.flatMap((map) => {
    const put = [...want[map]].filter(([k, v]) => have[map].get(k) !== v);
    const drop = [...have[map].keys()].filter((k) => !want[map].has(k));
    return put.length === 0 && drop.length === 0 ? [] : [{ map, put, drop }];
  });
}
