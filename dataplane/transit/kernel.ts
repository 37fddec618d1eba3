/** What the daemon has in the kernel: programs, pinned maps and pinned links of one droplet. Bytes in, bytes out; meaning is in `layout.ts` and `plan.ts`. */
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { MeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import { loadNative, type MapHandle, type Native, type Programs, type TestRun } from '../native.ts';
import { encode } from './layout.ts';
import { isMounted, liveNetns } from './links.ts';
import { GOAL_MAPS, type MapContents, type MapName, type MapStep } from './plan.ts';
import type { Chosen, DataPlaneMode, Device } from './modes.ts';
import { attachFrontXdp, attachLanXdp, deviceFor, type FrontMode, type XdpOptions } from './uplink.ts';

const OTHER_MAPS = ['config', 'ports', 'port_slots', 'flows', 'scaled_flows', 'counts', 'drops'] as const;
export type AnyMap = MapName | (typeof OTHER_MAPS)[number];

export const OBJECT = join(import.meta.dirname, '..', 'bpf', 'transit.bpf.o');
/** Interface numbers mean something in one network namespace only: what another one pinned under the same name is not ours to take up. */
const NETNS = (/\d+/.exec(readlinkSync('/proc/self/ns/net')) ?? ['0'])[0];
const isArray = (name: AnyMap): boolean => name.endsWith('_slots');
const isZero = (value: Buffer): boolean => value.every((b) => b === 0);
const hex = (s: string): Buffer => Buffer.from(s, 'hex');
/** bpffs refuses names with dots, which VLAN interfaces have. */
const pinName = (interfaceName: string): string => interfaceName.replaceAll('.', '+');

export class Kernel {
  readonly #bpffs: string;
  readonly #root: string;
  readonly #dir: string;
  readonly #log: Logger;
  readonly #native: Native = loadNative();
  readonly #maps = new Map<AnyMap, MapHandle>();
  #programs: Programs | null = null;

  constructor(droplet: string, bpffs: string, log: Logger) {
    this.#bpffs = bpffs;
    this.#root = join(bpffs, 'proxima', droplet);
    this.#dir = join(this.#root, NETNS);
    this.#log = log;
  }

  async open(): Promise<void> {
    if (!isMounted('bpf', this.#bpffs)) {
      mkdirSync(this.#bpffs, { recursive: true });
      await execa('mount', ['-t', 'bpf', 'bpf', this.#bpffs]);
    }
    mkdirSync(join(this.#dir, 'links'), { recursive: true });
    const live = liveNetns();
    for (const other of readdirSync(this.#root)) if (!live.has(other)) rmSync(join(this.#root, other), { recursive: true, force: true });
    this.#programs = this.#load();
    for (const name of [...GOAL_MAPS, ...OTHER_MAPS]) this.#maps.set(name, this.#native.openMap(join(this.#dir, 'maps', name)));
  }

  /** After an upgrade, a map whose shape changed is made anew; the others, and so most pods' traffic, stay. */
  #load(): Programs {
    const maps = join(this.#dir, 'maps');
    for (;;) {
      try {
        return this.#native.loadObject(OBJECT, maps);
      } catch (error) {
        const map = /couldn't reuse pinned map at '([^']+)': parameter mismatch/.exec((error as Error).message)?.[1];
        if (map === undefined || !existsSync(map)) throw error;
        this.#log.warn('a map of another version is replaced', { map });
        rmSync(map);
      }
    }
  }

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }

  #loaded(): Programs {
    if (this.#programs === null) throw new MeshError('unavailable', 'the transit daemon is not started');
    return this.#programs;
  }

  #map(name: AnyMap): MapHandle {
    const map = this.#maps.get(name);
    if (map === undefined) throw new MeshError('unavailable', 'the transit daemon is not started');
    return map;
  }

  #pin(interfaceName: string): string {
    return join(this.#dir, 'links', pinName(interfaceName));
  }

  attach(program: string, interfaceName: string): void {
    const how = this.#native.attachTcx(this.#loaded(), program, interfaceName, this.#pin(interfaceName));
    this.#log.debug('program attached', { program, interface: interfaceName, how });
  }

  #xdp(interfaceName: string): XdpOptions {
    return { native: this.#native, programs: this.#loaded(), interface: interfaceName, pin: this.#pin(interfaceName), log: this.#log };
  }

  attachFrontXdp(interfaceName: string, mode: FrontMode | 'auto'): Promise<Chosen> {
    return attachFrontXdp({ ...this.#xdp(interfaceName), mode });
  }

  device(interfaceName: string): Promise<Device> {
    return deviceFor(this.#native, interfaceName);
  }

  attachLanXdp(interfaceName: string, wanted: DataPlaneMode, isBouncer: boolean, device: Device): Chosen {
    return attachLanXdp({ ...this.#xdp(interfaceName), pin: this.#lanPin(interfaceName), wanted, isBouncer, device });
  }

  hasLanXdp(interfaceName: string): boolean {
    return existsSync(`${this.#lanPin(interfaceName)}~xdp-native`);
  }

  #lanPin(interfaceName: string): string {
    return `${this.#pin(interfaceName)}~lan`;
  }

  detach(interfaceName: string): void {
    rmSync(this.#pin(interfaceName), { force: true });
  }

  /** Links of interfaces that are gone. */
  forgetLinksBut(interfaceNames: Iterable<string>): void {
    const names = new Set([...interfaceNames].map(pinName));
    for (const pin of readdirSync(join(this.#dir, 'links'))) if (!names.has(pin.replace(/~.*$/, ''))) rmSync(join(this.#dir, 'links', pin), { force: true });
  }

  /** For per-CPU maps, a value is all CPUs' values together; a slot of an array that is zero is no entry. */
  read(name: AnyMap): readonly { readonly key: Buffer; readonly value: Buffer }[] {
    const map = this.#map(name);
    const { keySize, valueSize } = this.#native.mapShape(map);
    const all = this.#native.mapEntries(map);
    const entries = Array.from({ length: all.length / (keySize + valueSize) }, (_, i) => {
      const at = i * (keySize + valueSize);
      return { key: all.subarray(at, at + keySize), value: all.subarray(at + keySize, at + keySize + valueSize) };
    });
    return isArray(name) ? entries.filter(({ value }) => !isZero(value)) : entries;
  }

  put(name: AnyMap, key: Buffer, value: Buffer): void {
    this.#native.mapUpdate(this.#map(name), key, value);
  }

  /** Entries of an array cannot go: they become zero. `keys` are any number, one after the other. */
  drop(name: AnyMap, keys: Buffer): void {
    const map = this.#map(name);
    if (!isArray(name)) return this.#native.mapDelete(map, keys);
    const { keySize, valueSize } = this.#native.mapShape(map);
    this.#native.mapUpdate(map, keys, Buffer.alloc((keys.length / keySize) * valueSize));
  }

  contents(): MapContents {
    const of = (name: MapName): ReadonlyMap<string, string> => new Map(this.read(name).map(({ key, value }) => [key.toString('hex'), value.toString('hex')]));
    return { endpoints: of('endpoints'), prefixes: of('prefixes'), droplets: of('droplets'), droplet_slots: of('droplet_slots'), fronts: of('fronts'), regions: of('regions'), scaled: of('scaled') };
  }

  write(step: MapStep): void {
    if (step.put.length > 0) this.put(step.map, Buffer.concat(step.put.map(([k]) => hex(k))), Buffer.concat(step.put.map(([, v]) => hex(v))));
    if (step.drop.length > 0) this.drop(step.map, Buffer.concat(step.drop.map(hex)));
  }

  configure(config: Parameters<typeof encode.config>[0]): void {
    this.put('config', encode.u32(0), encode.config(config));
  }

  testRun(program: string, packet: Buffer, ifindex: number): TestRun {
    return this.#native.testRun(this.#loaded(), program, packet, ifindex);
  }

  timeRuns(program: string, packet: Buffer, ifindex: number, runs: number): readonly number[] {
    return this.#native.timeRuns(this.#loaded(), program, packet, ifindex, runs);
  }
}
