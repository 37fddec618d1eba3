/**
 * The transit daemon of one droplet: brings goal states into the kernel and pods' interfaces into their VPC. It forwards nothing itself: the
 * programs and maps are pinned, so traffic flows whether it runs or not, and a new process takes up what it finds.
 */
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { MeshError } from '../../api/errors.ts';
import { goalKey, type GoalAck, type GoalEntry, type GoalState } from '../../api/goal.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { loadNative, type MapHandle, type Native, type Programs } from '../native.ts';
import { decodeCounts, DROP_REASONS, encode, SIZES, type CountRow } from './layout.ts';
import { ensureTap, ensureVeth, hostInterface, ifindexOf, interfaces, isMounted, liveNetns, removeLink } from './links.ts';
import { desired, plan, type LocalEndpoint, type MapContents, type MapName, type MapStep } from './plan.ts';
import { attachFrontXdp, type FrontMode } from './uplink.ts';

export interface TransitOptions {
  readonly droplet: string;
  /** The interface on the site's network, and its address. */
  readonly interface: string;
  readonly address: string;
  /** WireGuard device of the relay, and its address. */
  readonly tunnel: { readonly interface: string; readonly address: string } | null;
  /** Where clients outside the mesh come in. */
  readonly uplink: string | null;
  /** @default auto: XDP where the uplink's frames have whole checksums, else tc */
  readonly frontMode?: FrontMode | 'auto';
  /** @default /sys/fs/bpf */
  readonly bpffs?: string;
  readonly log: Logger;
}

export interface EndpointAttachment {
  readonly vni: number;
  readonly address: string;
  readonly mac: string;
  readonly podNetns?: string;
  readonly tapName?: string;
  readonly ifName: string;
  readonly mtu: number;
  readonly gateway: string;
}

type Local = LocalEndpoint & { readonly mac: string };
type Maps = Readonly<Record<MapName | 'config' | 'ports' | 'counts' | 'drops' | 'flows' | 'replies', MapHandle>>;

const OBJECT = join(import.meta.dirname, '..', 'bpf', 'transit.bpf.o');
/** Interface numbers mean something in one network namespace only: what another one pinned under the same name is not ours to take up. */
const NETNS = (/\d+/.exec(readlinkSync('/proc/self/ns/net')) ?? ['0'])[0];
/** bpffs refuses names with dots, which VLAN interfaces have. */
const pinName = (interfaceName: string): string => interfaceName.replaceAll('.', '+');
const hex = (s: string): Buffer => Buffer.from(s, 'hex');
const macText = (b: Buffer): string => [...b].map((x) => x.toString(16).padStart(2, '0')).join(':');

export class Transit implements Service {
  readonly name = 'transit';
  readonly #o: TransitOptions;
  readonly #root: string;
  readonly #dir: string;
  readonly #native: Native;
  readonly #local = new Map<string, Local>();
  readonly #entries = new Map<string, GoalEntry>();
  #programs: Programs | null = null;
  #maps: Maps | null = null;
  #frontMode: FrontMode | null = null;
  #devices: Omit<Parameters<typeof encode.config>[0], 'hasScaled'> | null = null;
  #version = 0;
  #have: MapContents | null = null;
  /** Maps are written by one caller at a time, in order of asking. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: TransitOptions) {
    this.#o = options;
    this.#root = join(options.bpffs ?? '/sys/fs/bpf', 'proxima', options.droplet);
    this.#dir = join(this.#root, NETNS);
    this.#native = loadNative();
  }

  get version(): number {
    return this.#version;
  }

  async start(): Promise<void> {
    const bpffs = this.#o.bpffs ?? '/sys/fs/bpf';
    if (!isMounted('bpf', bpffs)) {
      mkdirSync(bpffs, { recursive: true });
      await execa('mount', ['-t', 'bpf', 'bpf', bpffs]);
    }
    mkdirSync(join(this.#dir, 'links'), { recursive: true });
    const live = liveNetns();
    for (const other of readdirSync(this.#root)) if (!live.has(other)) rmSync(join(this.#root, other), { recursive: true, force: true });
    this.#programs = this.#load();
    const open = (name: string): MapHandle => this.#native.openMap(join(this.#dir, 'maps', name));
    this.#maps = { endpoints: open('endpoints'), prefixes: open('prefixes'), droplets: open('droplets'), fronts: open('fronts'), regions: open('regions'), scaled: open('scaled'), config: open('config'), ports: open('ports'), counts: open('counts'), drops: open('drops'), flows: open('flows'), replies: open('replies') };
    await this.#adopt();
    await this.#configure();
    this.#o.log.info('transit is up', { droplet: this.#o.droplet, adopted: this.#local.size });
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
        this.#o.log.warn('a map of another version is replaced', { map });
        rmSync(map);
      }
    }
  }

  /** Programs stay attached: stopping the daemon stops no traffic. */
  async stop(): Promise<void> {
    await this.#turn;
  }

  /** Takes everything out of the kernel: for leaving a mesh, and for tests. */
  async remove(): Promise<void> {
    for (const [at] of this.#local) {
      const [vni = '0', address = ''] = at.split('/');
      await this.detachEndpoint({ vni: Number(vni), address });
    }
    rmSync(this.#root, { recursive: true, force: true });
  }

  async #adopt(): Promise<void> {
    const present = await interfaces();
    const fixed = new Set([this.#o.interface, this.#o.tunnel?.interface, this.#o.uplink]);
    for (const { key, value } of this.#read('endpoints', SIZES.endpoint)) {
      const ifindex = value.readUInt32LE(4);
      if (ifindex === 0) continue;
      const [vni, address] = [key.readUInt32LE(0), [...key.subarray(4)].join('.')];
      const name = present.get(ifindex);
      const isTap = value[14] === 1;
      // A number may have been given anew, to an interface of another kind.
      if (name === undefined || fixed.has(name) || (!isTap && name !== hostInterface(vni, address))) continue;
      this.#local.set(`${vni}/${address}`, { ifindex, isTap, mac: macText(value.subarray(8, 14)) });
      this.#attach('from_pod', name);
    }
    const kept = new Set([...this.#local.values()].map((l) => l.ifindex));
    for (const { key } of this.#read('ports', SIZES.port)) if (!kept.has(key.readUInt32LE(0))) this.#native.mapDelete(this.#ready().ports, key);
    const names = new Set([...present.values()].map(pinName));
    for (const pin of readdirSync(join(this.#dir, 'links'))) if (!names.has(pin.replace(/~xdp-\w+$/, ''))) rmSync(join(this.#dir, 'links', pin), { force: true });
  }

  async #configure(): Promise<void> {
    const o = this.#o;
    const need = async (name: string): Promise<number> => {
      const index = await ifindexOf(name);
      if (index === 0) throw new MeshError('not-found', `interface ${name} does not exist in this network namespace`, { fields: { path: 'interface' }, next: 'ip link' });
      return index;
    };
    const lanIfindex = await need(o.interface);
    const tunnelIfindex = o.tunnel === null ? 0 : await need(o.tunnel.interface);
    const uplinkIfindex = o.uplink === null ? 0 : await need(o.uplink);
    this.#devices = { lanIfindex, lanAddress: o.address, tunnelIfindex, tunnelAddress: o.tunnel?.address ?? null, uplinkIfindex };
    this.#writeConfig(!this.#read('scaled', SIZES.front).next().done);
    this.#attach('from_lan', o.interface);
    if (o.tunnel !== null) this.#attach('from_tunnel', o.tunnel.interface);
    if (o.uplink !== null) {
      this.#attach('from_uplink', o.uplink);
      this.#frontMode = await attachFrontXdp({ native: this.#native, programs: this.#loaded(), interface: o.uplink, mode: o.frontMode ?? 'auto', pin: this.#pin(o.uplink), log: o.log });
    }
    // Decapsulated packets keep the tunnel's segmentation type; a UDP_SEGMENT sender behind it would be cut wrongly (measured).
    await execa('ethtool', ['-K', o.interface, 'tx-udp-segmentation', 'off'], { reject: false });
  }

  #ready(): Maps {
    if (this.#maps === null) throw new MeshError('unavailable', 'the transit daemon is not started');
    return this.#maps;
  }

  #writeConfig(hasScaled: boolean): void {
    if (this.#devices === null) throw new MeshError('unavailable', 'the transit daemon is not started');
    this.#native.mapUpdate(this.#ready().config, encode.u32(0), encode.config({ ...this.#devices, hasScaled }));
  }

  #pin(interfaceName: string): string {
    return join(this.#dir, 'links', pinName(interfaceName));
  }

  #loaded(): Programs {
    if (this.#programs === null) throw new MeshError('unavailable', 'the transit daemon is not started');
    return this.#programs;
  }

  #attach(program: string, interfaceName: string): void {
    const how = this.#native.attachTcx(this.#loaded(), program, interfaceName, this.#pin(interfaceName));
    this.#o.log.debug('program attached', { program, interface: interfaceName, how });
  }

  *#read(map: keyof Maps, valueSize: number): Generator<{ readonly key: Buffer; readonly value: Buffer }> {
    const handle = this.#ready()[map];
    const { keySize } = this.#native.mapShape(handle);
    const all = this.#native.mapEntries(handle);
    for (let at = 0; at < all.length; at += keySize + valueSize) yield { key: all.subarray(at, at + keySize), value: all.subarray(at + keySize, at + keySize + valueSize) };
  }

  #contents(): MapContents {
    const of = (map: MapName): ReadonlyMap<string, string> => {
      const { valueSize } = this.#native.mapShape(this.#ready()[map]);
      return new Map([...this.#read(map, valueSize)].map(({ key, value }) => [key.toString('hex'), value.toString('hex')]));
    };
    return { endpoints: of('endpoints'), prefixes: of('prefixes'), droplets: of('droplets'), fronts: of('fronts'), regions: of('regions'), scaled: of('scaled') };
  }

  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => undefined); // its caller hears of it; the next in turn must not
    return mine;
  }

  /** A delta against a version that is not ours is answered with ok false: the network plane sends a full state then. */
  apply(goal: GoalState): Promise<GoalAck> {
    return this.#inTurn(() => {
      const ack = (ok: boolean, message: string): GoalAck => ({ droplet: this.#o.droplet, version: this.#version, ok, message });
      if (goal.droplet !== this.#o.droplet) return ack(false, `this is droplet ${this.#o.droplet}, not ${goal.droplet}`);
      if (goal.base !== 0 && goal.base !== this.#version) return ack(false, `have version ${this.#version}, cannot apply a delta against ${goal.base}`);
      const next = new Map(goal.base === 0 ? [] : this.#entries);
      for (const key of goal.drop) next.delete(key);
      for (const e of goal.put) next.set(goalKey(e), e);
      try {
        this.#sync(next);
      } catch (error) {
        this.#have = null; // half written: read the kernel again before the next try
        this.#o.log.error('goal state could not be applied', { version: goal.version, err: error });
        return ack(false, (error as Error).message);
      }
      this.#entries.clear();
      for (const [k, e] of next) this.#entries.set(k, e);
      this.#version = goal.version;
      return ack(true, '');
    });
  }

  #sync(entries: ReadonlyMap<string, GoalEntry>): void {
    const want = desired(entries.values(), { address: this.#o.address, hasTunnel: this.#o.tunnel !== null, local: this.#local });
    for (const step of plan(want, this.#have ?? this.#contents())) this.#write(step);
    this.#writeConfig(want.scaled.size > 0);
    this.#have = want;
  }

  #write(step: MapStep): void {
    const map = this.#ready()[step.map];
    if (step.put.length > 0) this.#native.mapUpdate(map, Buffer.concat(step.put.map(([k]) => hex(k))), Buffer.concat(step.put.map(([, v]) => hex(v))));
    if (step.drop.length > 0) this.#native.mapDelete(map, Buffer.concat(step.drop.map(hex)));
  }

  attachEndpoint(e: EndpointAttachment): Promise<void> {
    return this.#inTurn(async () => {
      const isTap = e.tapName !== undefined;
      if (!isTap && e.podNetns === undefined) throw new MeshError('invalid', 'endpoint: expected podNetns or tapName');
      const host = isTap ? (e.tapName ?? '') : hostInterface(e.vni, e.address);
      const ifindex = isTap ? await ensureTap(host, e.mtu) : await ensureVeth({ host, podNetns: e.podNetns ?? '', ifName: e.ifName, address: e.address, mac: e.mac, mtu: e.mtu, gateway: e.gateway });
      this.#native.mapUpdate(this.#ready().ports, encode.u32(ifindex), encode.port(e.vni, e.address, e.mac));
      this.#attach('from_pod', host);
      this.#local.set(`${e.vni}/${e.address}`, { ifindex, isTap, mac: e.mac });
      this.#have = null;
      this.#putLocal(e.vni, e.address);
    });
  }

  #putLocal(vni: number, address: string): void {
    const local = this.#local.get(`${vni}/${address}`);
    if (local !== undefined) this.#native.mapUpdate(this.#ready().endpoints, encode.vpcAddr(vni, address), encode.endpoint({ droplet: null, ...local }));
  }

  detachEndpoint(e: { readonly vni: number; readonly address: string }): Promise<void> {
    return this.#inTurn(async () => {
      const local = this.#local.get(`${e.vni}/${e.address}`);
      if (local === undefined) return;
      this.#local.delete(`${e.vni}/${e.address}`);
      this.#have = null;
      this.#native.mapDelete(this.#ready().endpoints, encode.vpcAddr(e.vni, e.address));
      this.#native.mapDelete(this.#ready().ports, encode.u32(local.ifindex));
      const host = (await interfaces()).get(local.ifindex);
      if (host === undefined) return;
      rmSync(this.#pin(host), { force: true });
      if (!local.isTap) await removeLink(host); // a tap is its VM's
    });
  }

  /** Since the maps were made. */
  counters(): readonly CountRow[] {
    const { valueSize } = this.#native.mapShape(this.#ready().counts);
    return decodeCounts(this.#native.mapEntries(this.#ready().counts), valueSize);
  }

  drops(): Readonly<Record<string, number>> {
    const { valueSize } = this.#native.mapShape(this.#ready().drops);
    const out: Record<string, number> = {};
    for (const { key, value } of this.#read('drops', valueSize)) {
      let n = 0;
      for (let at = 0; at < value.length; at += 8) n += Number(value.readBigUInt64LE(at));
      const reason = DROP_REASONS[key.readUInt32LE(0)];
      if (reason !== undefined) out[reason] = n;
    }
    return out;
  }

  describe(): { readonly droplet: string; readonly version: number; readonly mode: { readonly pod: 'tc'; readonly lan: 'tc'; readonly front: FrontMode | null }; readonly endpoints: readonly string[]; readonly entries: number } {
    return { droplet: this.#o.droplet, version: this.#version, mode: { pod: 'tc', lan: 'tc', front: this.#frontMode }, endpoints: [...this.#local.keys()], entries: this.#entries.size };
  }

  /** BPF_PROG_TEST_RUN with this droplet's maps. */
  testRun(program: string, packet: Buffer, ifindex: number, repeat = 1): { readonly verdict: number; readonly nanoseconds: number; readonly output: Buffer } {
    return this.#native.testRun(this.#loaded(), program, packet, repeat, ifindex);
  }
}

export function createTransit(options: TransitOptions): Transit {
  return new Transit(options);
}

export const isBuilt = (): boolean => existsSync(OBJECT) && existsSync(join(import.meta.dirname, '..', 'native', 'proxima.node'));
