/** The XDP halves at the uplink and the LAN: attached, replaced or taken away as `modes.ts` chooses. */
import { existsSync, rmSync } from 'node:fs';
import { execa } from 'execa';
import { MeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { Native, Programs } from '../native.ts';
import { chooseLan, type Chosen, type DataPlaneMode, type Device, type Mode, type Reason } from './modes.ts';

export type FrontMode = Mode;

/**
 * Devices that hand on frames whose checksums their sender never finished. virtio does not once native XDP is on it, and a tap does only where
 * its other end speaks of offloads.
 */
const UNFINISHED: Readonly<Record<'xdp-native' | 'xdp-generic', ReadonlySet<string>>> = {
  'xdp-native': new Set(['veth', 'tun']),
  'xdp-generic': new Set(['veth', 'tun', 'virtio_net']),
};
const OF_SUPER_FRAMES: Reason = 'frames on a veth or tun with offloads are larger than a wire\'s, or unfinished: measured slower in XDP';

export function modesToTry(wanted: FrontMode | 'auto', driver: string): readonly FrontMode[] {
  if (wanted !== 'auto') return [wanted];
  const xdp = (['xdp-native', 'xdp-generic'] as const).filter((m) => driver !== '' && !UNFINISHED[m].has(driver));
  return [...xdp, 'tc'];
}

/** '' = unknown, of which nothing is assumed; `tap` = a tun device without offloads. */
async function driverOf(name: string): Promise<string> {
  const { stdout, exitCode } = await execa('ethtool', ['-i', name], { reject: false });
  const driver = exitCode === 0 ? (/^driver: (\S+)/m.exec(stdout)?.[1] ?? '') : '';
  if (driver !== 'tun') return driver;
  const link = await execa('ip', ['-d', '-j', 'link', 'show', 'dev', name], { reject: false });
  return /"type":"tap".*"vnet_hdr":false/.test(link.stdout) ? 'tap' : driver;
}

export async function deviceFor(native: Native, name: string): Promise<Device> {
  return { driver: await driverOf(name), features: native.xdpFeatures(name) };
}

export interface XdpOptions {
  readonly native: Native;
  readonly programs: Programs;
  readonly interface: string;
  /** Where the XDP link is pinned, but for its mode. */
  readonly pin: string;
  readonly log: Logger;
}

/** A link keeps the mode that it was made in: one of another mode goes first. */
function forgetOthers(pin: string, mode: Mode): void {
  for (const other of ['xdp-native', 'xdp-generic'] as const) if (other !== mode) rmSync(`${pin}~${other}`, { force: true });
}

/** The front's XDP half only: the tc program is attached whatever the mode, as it does all that XDP leaves to it. */
export async function attachFrontXdp(o: XdpOptions & { readonly mode: FrontMode | 'auto' }): Promise<Chosen> {
  const driver = o.mode === 'auto' ? await driverOf(o.interface) : '';
  for (const mode of modesToTry(o.mode, driver)) {
    const pin = `${o.pin}~${mode}`;
    forgetOthers(o.pin, mode);
    if (mode === 'tc') break;
    try {
      o.native.attachXdp(o.programs, 'from_uplink_xdp', o.interface, pin, mode === 'xdp-native');
      if (o.mode !== 'auto') return { mode, reason: 'as configured' };
      return { mode, reason: mode === 'xdp-native' ? 'the driver has XDP, and its frames come whole' : 'only generic XDP is there' };
    } catch (error) {
      if (o.mode !== 'auto') throw error;
      if (existsSync(pin)) rmSync(pin, { force: true });
      o.log.info('XDP mode is not available at the uplink', { interface: o.interface, mode, reason: (error as Error).message });
    }
  }
  if (o.mode !== 'auto') return { mode: 'tc', reason: 'as configured' };
  return { mode: 'tc', reason: driver === '' || UNFINISHED['xdp-native'].has(driver) ? OF_SUPER_FRAMES : 'the driver refused the program' };
}

/** The bouncer's XDP half at the LAN, beside the tc program. */
export function attachLanXdp(o: XdpOptions & { readonly wanted: DataPlaneMode; readonly isBouncer: boolean; readonly device: Device }): Chosen {
  const chosen = chooseLan(o.wanted, o.isBouncer, o.device);
  if ('refusal' in chosen) throw new MeshError('unsupported', `XDP at ${o.interface}: ${chosen.refusal}`, { fields: { path: 'dataPlane.mode' }, next: chosen.next });
  forgetOthers(o.pin, chosen.mode);
  if (chosen.mode === 'tc') return chosen;
  try {
    o.native.attachXdp(o.programs, 'from_lan_xdp', o.interface, `${o.pin}~${chosen.mode}`, true);
    return chosen;
  } catch (error) {
    if (o.wanted !== 'auto') throw error;
    o.log.info('XDP is not available at the LAN', { interface: o.interface, reason: (error as Error).message });
    return { mode: 'tc', reason: 'the driver refused the program' };
  }
}
