/**
 * Where each role's programs are attached, and why: pure. The choice is per droplet and role, by what the driver can do and by what was measured
 * (docs/dataplane.md). Mode and reason are kept as numbers in the `config` map, for whoever looks while no daemon runs.
 */

/** By number, as in the `config` map; never reordered. */
export const MODES = ['tc', 'xdp-native', 'xdp-generic'] as const;
export type Mode = (typeof MODES)[number];

export const REASONS = [
  'as configured',
  'the driver has XDP, and its frames come whole',
  'frames on a veth or tun with offloads are larger than a wire\'s, or unfinished: measured slower in XDP',
  'the driver has no native XDP',
  'nothing is passed on here: no bouncer',
  'the driver refused the program',
  'only generic XDP is there',
] as const;
export type Reason = (typeof REASONS)[number];

export interface Chosen {
  readonly mode: Mode;
  readonly reason: Reason;
}

/** What an interface is, as far as it matters here. */
export interface Device {
  /** As `ethtool -i` says it; `tap` = a tun without offloads; '' = unknown, of which nothing is assumed. */
  readonly driver: string;
  /** Bits of `enum netdev_xdp_act`. */
  readonly features: number;
}

export const XDP_BASIC = 1;
/** Frames can be sent out of it from XDP: of a veth, whether its other end polls (GRO or XDP is on there). */
export const XDP_TRANSMIT = 4;

/** Devices whose frames may be larger than a wire's and have checksums that their sender never finished. */
const SUPER_FRAMES: ReadonlySet<string> = new Set(['veth', 'tun']);

export type DataPlaneMode = 'auto' | 'xdp' | 'tcx';

/** The bouncer's half at the LAN. `refusal` = what was asked for cannot be, and why. */
export function chooseLan(wanted: DataPlaneMode, isBouncer: boolean, device: Device): Chosen | { readonly refusal: string; readonly next: string } {
  if (wanted === 'tcx') return { mode: 'tc', reason: 'as configured' };
  const isNative = (device.features & XDP_BASIC) !== 0;
  if (wanted === 'xdp') {
    if (!isNative) return { refusal: `the driver "${device.driver}" has no native XDP`, next: 'dataPlane.mode: auto' };
    if (device.driver === 'veth' && (device.features & XDP_TRANSMIT) === 0) return { refusal: 'the other end of this veth takes no frames from XDP', next: 'ethtool -K <its other end> gro on' };
    return { mode: 'xdp-native', reason: 'as configured' };
  }
  if (!isBouncer) return { mode: 'tc', reason: 'nothing is passed on here: no bouncer' };
  if (device.driver === '' || SUPER_FRAMES.has(device.driver)) return { mode: 'tc', reason: 'frames on a veth or tun with offloads are larger than a wire\'s, or unfinished: measured slower in XDP' };
  if (!isNative) return { mode: 'tc', reason: 'the driver has no native XDP' };
  return { mode: 'xdp-native', reason: 'the driver has XDP, and its frames come whole' };
}
