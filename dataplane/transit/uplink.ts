/** How the front is attached at the uplink: an XDP half before the tc program where frames come with whole checksums, else tc alone. */
import { existsSync, rmSync } from 'node:fs';
import { execa } from 'execa';
import type { Logger } from '../../base/log.ts';
import type { Native, Programs } from '../native.ts';

export type FrontMode = 'xdp-native' | 'xdp-generic' | 'tc';

/**
 * Devices that hand on frames whose checksums their sender never finished. virtio does not once native XDP is on it, and a tap does only where
 * its other end speaks of offloads.
 */
const UNFINISHED: Readonly<Record<'xdp-native' | 'xdp-generic', ReadonlySet<string>>> = {
  'xdp-native': new Set(['veth', 'tun']),
  'xdp-generic': new Set(['veth', 'tun', 'virtio_net']),
};

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

export interface UplinkOptions {
  readonly native: Native;
  readonly programs: Programs;
  readonly interface: string;
  readonly mode: FrontMode | 'auto';
  /** Where the XDP link is pinned. */
  readonly pin: string;
  readonly log: Logger;
}

/** The XDP half only: the tc program is attached whatever the mode, as it does all that XDP leaves to it. */
export async function attachFrontXdp(o: UplinkOptions): Promise<FrontMode> {
  for (const mode of modesToTry(o.mode, o.mode === 'auto' ? await driverOf(o.interface) : '')) {
    // A link keeps the mode that it was made in: one of another mode goes first.
    const pin = `${o.pin}~${mode}`;
    for (const other of ['xdp-native', 'xdp-generic'] as const) if (other !== mode) rmSync(`${o.pin}~${other}`, { force: true });
    if (mode === 'tc') return mode;
    try {
      o.native.attachXdp(o.programs, 'from_uplink_xdp', o.interface, pin, mode === 'xdp-native');
      return mode;
    } catch (error) {
      if (o.mode !== 'auto') throw error;
      if (existsSync(pin)) rmSync(pin, { force: true });
      o.log.info('XDP mode is not available at the uplink', { interface: o.interface, mode, reason: (error as Error).message });
    }
  }
  return 'tc';
}
