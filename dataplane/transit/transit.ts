/**
 * The transit daemon of one droplet: brings goal states into the kernel and pods' interfaces into their VPC. It forwards nothing itself: the
 * programs and maps are pinned, so traffic flows whether it runs or not, and a new process takes up what it finds.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { MeshError } from '../../api/errors.ts';
import { goalKey, type GoalAck, type GoalEntry, type GoalState } from '../../api/goal.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { lostBackends, lostFlows } from './flows.ts';
import { Kernel, OBJECT } from './kernel.ts';
import { decodeCounts, decodeDrops, encode, SLOTS, type CountRow, type DropletConfig } from './layout.ts';
import { deviceOf, ensureTap, ensureVeth, hostInterface, interfaces, onLink, removeLink } from './links.ts';
import { desired, GOAL_MAPS, plan, type LocalEndpoint, type MapContents } from './plan.ts';
import type { Chosen, DataPlaneMode, Device, Mode } from './modes.ts';
import type { FrontMode } from './uplink.ts';

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
  /** The bouncer's programs at the LAN. @default auto: XDP where something is passed on and the driver's frames come whole, else tc */
  readonly mode?: DataPlaneMode;
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

/** Outer IPv4, UDP and Geneve headers and the inner Ethernet header. */
const GENEVE_BYTES = 50;
/** Of relays on other hosts: WireGuard's over Ethernet. */
const USUAL_TUNNEL_MTU = 1420;

const AS_CONFIGURED: Chosen = { mode: 'tc', reason: 'as configured' };

type Local = LocalEndpoint & { readonly mac: string };
const macText = (b: Buffer): string => [...b].map((x) => x.toString(16).padStart(2, '0')).join(':');

export class Transit implements Service {
  readonly name = 'transit';
  readonly #o: TransitOptions;
  readonly #kernel: Kernel;
  readonly #local = new Map<string, Local>();
  readonly #entries = new Map<string, GoalEntry>();
  #devices: Omit<DropletConfig, 'hasScaled'> | null = null;
  #lanDevice: Device = { driver: '', features: 0 };
  /** Whether some network of this site names this droplet as a bouncer. */
  #isBouncer = false;
  /** Whether an address is on the LAN itself. */
  #isOnLan: (address: string) => boolean = () => false;
  #version = 0;
  #have: MapContents | null = null;
  /** Maps are written by one caller at a time, in order of asking. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: TransitOptions) {
    this.#o = options;
    this.#kernel = new Kernel(options.droplet, options.bpffs ?? '/sys/fs/bpf', options.log);
  }

  get version(): number {
    return this.#version;
  }

  async start(): Promise<void> {
    await this.#kernel.open();
    await this.#adopt();
    await this.#configure();
    this.#o.log.info('transit is up', { droplet: this.#o.droplet, adopted: this.#local.size });
  }

  /** A device of ours was made anew, under another number: programs and configuration follow it. */
  reconfigure(): Promise<void> {
    return this.#inTurn(() => this.#configure());
  }

  /** What was applied last, whole. Version 0 = nothing by this process. */
  goal(): GoalState {
    return { droplet: this.#o.droplet, version: this.#version, base: 0, put: [...this.#entries.values()], drop: [] };
  }

  /** Whether the kernel holds some goal, of this process or an earlier one; not so after a boot. */
  hasGoal(): boolean {
    return GOAL_MAPS.some((map) => map !== 'endpoints' && this.#kernel.read(map).length > 0);
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
    this.#kernel.remove();
  }

  async #adopt(): Promise<void> {
    const present = await interfaces();
    const fixed = new Set([this.#o.interface, this.#o.tunnel?.interface, this.#o.uplink]);
    for (const { key, value } of this.#kernel.read('endpoints')) {
      const ifindex = value.readUInt32LE(4);
      if (ifindex === 0) continue;
      const [vni, address] = [key.readUInt32LE(0), [...key.subarray(4)].join('.')];
      const name = present.get(ifindex);
      const isTap = value[14] === 1;
      // A number may have been given anew, to an interface of another kind.
      if (name === undefined || fixed.has(name) || (!isTap && name !== hostInterface(vni, address))) continue;
      this.#local.set(`${vni}/${address}`, { ifindex, isTap, mac: macText(value.subarray(8, 14)) });
      this.#kernel.attach('from_pod', name);
    }
    const kept = new Set([...this.#local.values()].map((l) => l.ifindex));
    for (const { key } of this.#kernel.read('ports')) if (!kept.has(key.readUInt32LE(0))) this.#kernel.drop('ports', key);
    this.#kernel.drop('port_slots', Buffer.concat(Array.from({ length: SLOTS }, (_, slot) => encode.u32(slot))));
    for (const [at, local] of this.#local) this.#putPort(at, local);
    this.#kernel.forgetLinksBut(present.values());
  }

  /** In the hash always, in its slot when no other interface here has that. */
  #putPort(at: string, local: Local): void {
    const [vni = '0', address = ''] = at.split('/');
    const value = encode.port(local.ifindex, Number(vni), address, local.mac);
    this.#kernel.put('ports', encode.u32(local.ifindex), value);
    const isShared = [...this.#local].some(([other, l]) => other !== at && l.ifindex % SLOTS === local.ifindex % SLOTS);
    if (!isShared) this.#kernel.put('port_slots', encode.portSlot(local.ifindex), value);
  }

  #dropPort(ifindex: number): void {
    this.#kernel.drop('port_slots', encode.portSlot(ifindex));
    this.#kernel.drop('ports', encode.u32(ifindex));
  }

  async #configure(): Promise<void> {
    const o = this.#o;
    const need = async (name: string): Promise<{ readonly ifindex: number; readonly mtu: number }> => {
      const device = await deviceOf(name);
      if (device === null) throw new MeshError('not-found', `interface ${name} does not exist in this network namespace`, { fields: { path: 'interface' }, next: 'ip link' });
      return device;
    };
    const lan = await need(o.interface);
    const tunnel = o.tunnel === null ? null : await need(o.tunnel.interface);
    const uplink = o.uplink === null ? null : await need(o.uplink);
    const [lanRoom, tunnelRoom] = [lan.mtu, tunnel?.mtu ?? USUAL_TUNNEL_MTU].map((mtu) => mtu - GENEVE_BYTES) as [number, number];
    this.#lanDevice = await this.#kernel.device(o.interface);
    const devices = { lanIfindex: lan.ifindex, lanAddress: o.address, tunnelIfindex: tunnel?.ifindex ?? 0, tunnelAddress: o.tunnel?.address ?? null, uplinkIfindex: uplink?.ifindex ?? 0, lanRoom, tunnelRoom, isVeth: this.#lanDevice.driver === 'veth' };
    const hasScaled = this.#kernel.read('scaled').length > 0;
    this.#kernel.configure({ ...devices, lan: AS_CONFIGURED, front: null, hasScaled });
    this.#isOnLan = onLink(o.interface, o.address);
    if (this.#version === 0) this.#isBouncer = this.#kernel.hasLanXdp(o.interface); // as an earlier process knew
    this.#kernel.attach('from_lan', o.interface);
    if (o.tunnel !== null) this.#kernel.attach('from_tunnel', o.tunnel.interface);
    if (o.uplink !== null) this.#kernel.attach('from_uplink', o.uplink);
    const front = o.uplink === null ? null : await this.#kernel.attachFrontXdp(o.uplink, o.frontMode ?? 'auto');
    this.#devices = { ...devices, lan: this.#attachLanXdp(), front };
    this.#kernel.configure({ ...this.#devices, hasScaled });
    // Decapsulated packets keep the tunnel's segmentation type; a UDP_SEGMENT sender behind it would be cut wrongly (measured).
    await execa('ethtool', ['-K', o.interface, 'tx-udp-segmentation', 'off'], { reject: false });
  }

  #attachLanXdp(): Chosen {
    return this.#kernel.attachLanXdp(this.#o.interface, this.#o.mode ?? 'auto', this.#isBouncer, this.#lanDevice);
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
        if (this.#version === 0 || lostBackends(this.#entries, next)) this.#forgetLostFlows(next);
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
    const { address } = this.#o;
    const want = desired(entries.values(), { address, hasTunnel: this.#o.tunnel !== null, isOnLan: this.#isOnLan, local: this.#local });
    if (this.#devices === null) throw new MeshError('unavailable', 'the transit daemon is not started');
    for (const step of plan(want, this.#have ?? this.#kernel.contents())) this.#kernel.write(step);
    const isBouncer = entries.values().some((e) => e.kind === 'network' && e.bouncers.includes(address));
    if (isBouncer !== this.#isBouncer) {
      this.#isBouncer = isBouncer;
      this.#devices = { ...this.#devices, lan: this.#attachLanXdp() };
    }
    this.#kernel.configure({ ...this.#devices, hasScaled: want.scaled.size > 0 });
    this.#have = want;
  }

  #forgetLostFlows(entries: ReadonlyMap<string, GoalEntry>): void {
    const lost = lostFlows(entries.values(), { flows: this.#kernel.read('flows'), scaled_flows: this.#kernel.read('scaled_flows') });
    for (const map of ['flows', 'scaled_flows'] as const) if (lost[map].length > 0) this.#kernel.drop(map, Buffer.concat(lost[map]));
  }

  attachEndpoint(e: EndpointAttachment): Promise<void> {
    return this.#inTurn(async () => {
      const isTap = e.tapName !== undefined;
      if (!isTap && e.podNetns === undefined) throw new MeshError('invalid', 'endpoint: expected podNetns or tapName');
      const host = isTap ? (e.tapName ?? '') : hostInterface(e.vni, e.address);
      const ifindex = isTap ? await ensureTap(host, e.mtu) : await ensureVeth({ host, podNetns: e.podNetns ?? '', ifName: e.ifName, address: e.address, mac: e.mac, mtu: e.mtu, gateway: e.gateway });
      const before = this.#local.get(`${e.vni}/${e.address}`);
      if (before !== undefined && before.ifindex !== ifindex) this.#dropPort(before.ifindex);
      const local = { ifindex, isTap, mac: e.mac };
      this.#putPort(`${e.vni}/${e.address}`, local);
      this.#kernel.attach('from_pod', host);
      this.#local.set(`${e.vni}/${e.address}`, local);
      this.#have = null;
      this.#kernel.put('endpoints', encode.vpcAddr(e.vni, e.address), encode.endpoint({ droplet: null, ...local }));
    });
  }

  detachEndpoint(e: { readonly vni: number; readonly address: string }): Promise<void> {
    return this.#inTurn(async () => {
      const local = this.#local.get(`${e.vni}/${e.address}`);
      if (local === undefined) return;
      this.#local.delete(`${e.vni}/${e.address}`);
      this.#have = null;
      this.#kernel.drop('endpoints', encode.vpcAddr(e.vni, e.address));
      this.#dropPort(local.ifindex);
      const host = (await interfaces()).get(local.ifindex);
      if (host !== undefined) {
        this.#kernel.detach(host);
        if (!local.isTap) await removeLink(host); // a tap is its VM's
      }
      if (this.#version > 0) this.#sync(this.#entries); // the goal may have said already where it went
    });
  }

  /** Since the maps were made. */
  counters(): readonly CountRow[] {
    return decodeCounts(this.#kernel.read('counts'));
  }

  drops(): Readonly<Record<string, number>> {
    return decodeDrops(this.#kernel.read('drops'));
  }

  describe(): { readonly droplet: string; readonly version: number; readonly mode: { readonly pod: 'tc'; readonly lan: Mode | null; readonly front: Mode | null }; readonly endpoints: readonly string[]; readonly entries: number } {
    return { droplet: this.#o.droplet, version: this.#version, mode: { pod: 'tc', lan: this.#devices?.lan.mode ?? null, front: this.#devices?.front?.mode ?? null }, endpoints: [...this.#local.keys()], entries: this.#entries.size };
  }

  /** BPF_PROG_TEST_RUN with this droplet's maps. */
  testRun(program: string, packet: Buffer, ifindex: number): { readonly verdict: number; readonly nanoseconds: number; readonly output: Buffer } {
    return this.#kernel.testRun(program, packet, ifindex);
  }

  /** Nanoseconds of each of many such runs. */
  timeRuns(program: string, packet: Buffer, ifindex: number, runs: number): readonly number[] {
    return this.#kernel.timeRuns(program, packet, ifindex, runs);
  }
}

export function createTransit(options: TransitOptions): Transit {
  return new Transit(options);
}

export const isBuilt = (): boolean => existsSync(OBJECT) && existsSync(join(import.meta.dirname, '..', 'native', 'proxima.node'));
