/**
 * A mesh of many sites for simulations: regions whose APIs are in memory, sites that report, probe their neighbours and start pods, gateways that
 * notice a silent site late. Only what the global scheduler can see is played; it is the real one. Time is whoever calls `step`.
 */
import { Resources } from '../../api/resources.ts';
import type { Deployment, Pod } from '../../api/kinds/core.ts';
import type { Application, PolicySpec, Site } from '../../api/kinds/mesh.ts';
import type { Endpoint, Vpc } from '../../api/kinds/mizar.ts';
import type { GlobalSchedulerOptions } from '../../scheduler/global/global-scheduler.ts';
import type { TrafficSample } from '../../api/telemetry.ts';
import type { Telemetry } from '../../scheduler/global/telemetry.ts';
import { distanceKm } from '../../scheduler/global/distance.ts';
import { LightClient } from './memory-light.ts';

/** mulberry32 */
export function seeded(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export interface MeshShape {
  readonly regions: number;
  readonly sites: number;
  readonly clientRegions: number;
  readonly applications: number;
  readonly seed: number;
  readonly now: number;
  readonly policyOf?: (application: number) => PolicySpec;
}

interface SimSite {
  readonly name: string;
  readonly region: number;
  readonly location: { readonly latitude: number; readonly longitude: number };
  readonly neighbours: readonly number[];
  readonly near: readonly number[];
  isDead: boolean;
  /** Its cloud gateway, or the broker on its way, is away: it lives, and nobody in the cloud hears it. */
  isMute: boolean;
  nextProbeAt: number;
  nextCapacityAt: number;
  /** What a round that began earlier will report, and when. */
  report: { readonly at: number; readonly takenAt: number } | null;
  diedAt: number;
  isSaidLost: boolean;
  seenAt: number;
  /** What its front counted while nobody heard it. */
  readonly kept: TrafficSample[];
}

/** As they are in the product: a round each second, 900 ms until a probe counts as lost; pings of the gateway's session for 7 s. */
const PROBE_MS = 1_000;
const PROBE_TIMEOUT_MS = 900;
const GATEWAY_DEAD_MS = 7_000;
const SEEN_MS = 5_000;
const CAPACITY_MS = 5_000;
const TRAFFIC_MS = 1_000;
const RTT_FACTOR = 1.6 / 100;

export class MemoryMesh {
  readonly global = new LightClient();
  readonly regions: readonly LightClient[];
  readonly sites: readonly SimSite[];
  readonly clientRegions: GlobalSchedulerOptions['clientRegions'];
  readonly demand: readonly { readonly application: string; readonly region: number; readonly rps: number }[];
  /** Telemetry of every scheduler that listens. */
  readonly listeners = new Set<Telemetry>();
  readonly random: () => number;
  now: number;
  /** ms from a pod's creation until it is Ready. */
  readyMs: () => number;
  readonly #shape: MeshShape;
  readonly #pods = new Map<string, { readonly readyAt: number; readonly site: number; readonly client: LightClient; readonly name: string }>();
  #numbers = 0;
  #sequence = 0;
  #trafficAt = 0;

  constructor(shape: MeshShape) {
    this.#shape = shape;
    this.random = seeded(shape.seed);
    this.now = this.#trafficAt = shape.now;
    this.readyMs = () => 500 + this.random() * 500;
    this.regions = Array.from({ length: shape.regions }, () => new LightClient());
    const place = (): { latitude: number; longitude: number } => ({ latitude: 30 + this.random() * 25, longitude: -10 + this.random() * 50 });
    this.clientRegions = Array.from({ length: shape.clientRegions }, (_, i) => ({ name: `c${String(i).padStart(4, '0')}`, cidrs: [`10.${i >> 8}.${i & 255}.0/24`], location: place() }));
    const spots = Array.from({ length: shape.sites }, place);
    const nearest = (from: { latitude: number; longitude: number }, to: readonly { latitude: number; longitude: number }[], n: number): number[] => to.map((t, i) => [i, distanceKm(from, t) ?? 0] as const).sort((a, b) => a[1] - b[1]).slice(0, n).map(([i]) => i);
    this.sites = spots.map((location, i) => ({
      name: `s${String(i).padStart(4, '0')}`, region: i % shape.regions, location,
      neighbours: [...nearest(location, spots, 5).slice(1), ...Array.from({ length: 4 }, () => Math.floor(this.random() * shape.sites)).filter((j) => j !== i)],
      near: nearest(location, this.clientRegions.map((c) => c.location as { latitude: number; longitude: number }), 12),
      isDead: false, isMute: false, nextProbeAt: this.now + this.random() * PROBE_MS, nextCapacityAt: this.now + this.random() * CAPACITY_MS, report: null, diedAt: 0, isSaidLost: false, seenAt: 0, kept: [],
    }));
    this.demand = Array.from({ length: shape.applications }, (_, a) => {
      const home = Math.floor(this.random() * shape.clientRegions);
      const around = nearest(this.clientRegions[home]?.location as { latitude: number; longitude: number }, this.clientRegions.map((c) => c.location as { latitude: number; longitude: number }), 3);
      return around.map((region, k) => ({ application: this.keyOf(a), region, rps: (20 + this.random() * 40) / (k + 1) }));
    }).flat();
  }

  keyOf(a: number): string {
    return `acme/default/a${String(a).padStart(4, '0')}`;
  }

  rtt(from: { readonly latitude: number; readonly longitude: number }, to: { readonly latitude: number; readonly longitude: number }): number {
    return 1 + (distanceKm(from, to) ?? 0) * RTT_FACTOR;
  }

  async start(): Promise<void> {
    await this.global.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
    await this.global.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.0.0.0/8', vni: 5000 } });
    for (const [i, s] of this.sites.entries()) {
      const site = { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: s.name }, spec: { kind: 'edge' as const, region: `r${s.region}`, front: `192.0.${i >> 8}.${i & 255}`, location: s.location }, status: { phase: 'Ready' as const, gateway: { connected: true }, lastSeen: new Date(this.now).toISOString() } };
      await this.regions[s.region]?.create<Site>(Resources.Site, site as unknown as Site);
    }
    for (const client of this.regions) this.#run(client);
    for (let a = 0; a < this.#shape.applications; a++) {
      const policy = this.#shape.policyOf?.(a) ?? { instances: { min: 1, max: 8 } };
      await this.global.create<Application>(Resources.Application, { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: this.keyOf(a).split('/')[2] as string, namespace: 'default', tenant: 'acme' }, spec: { vpc: 'main', capacity: 50, service: { port: 10_300 + a, targetPort: 8080 }, template: { spec: { containers: [{ name: 'c', image: 'web' }] } }, policy } } as Application);
    }
  }

  /** Deployments become pods, in the region's own way: at once, by name, Ready after a while; a dead site starts and stops nothing. */
  #run(client: LightClient): void {
    const index = new Map(this.sites.map((s, i) => [s.name, i]));
    const pods = new Map<string, string[]>();
    const scale = async (d: Deployment, wanted: number): Promise<void> => {
      const id = d.metadata.name;
      const site = index.get(d.metadata.labels?.['mesh.proxima.io/site'] ?? '') ?? -1;
      if (site < 0 || this.sites[site]?.isDead === true) return;
      const have = pods.get(id) ?? [];
      pods.set(id, have);
      while (have.length < wanted) {
        const name = `${id}-${++this.#numbers}`;
        have.push(name);
        await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default', tenant: 'acme', labels: d.metadata.labels ?? {} }, spec: d.spec.template.spec } as Pod);
        this.#pods.set(name, { readyAt: this.now + this.readyMs(), site, client, name });
      }
      while (have.length > wanted) {
        const name = have.pop() as string;
        this.#pods.delete(name);
        await client.delete(Resources.Pod, { tenant: 'acme', namespace: 'default' }, name);
      }
    };
    void (async () => {
      for await (const e of client.watch<Deployment>(Resources.Deployment, { tenant: 'all', resourceVersion: '1' }, this.#abort.signal)) if (e.type !== 'BOOKMARK') await scale(e.object, e.type === 'DELETED' ? 0 : (e.object.spec.replicas ?? 1));
    })();
  }

  readonly #abort = new AbortController();

  stop(): void {
    this.#abort.abort(new Error('over'));
  }

  kill(site: number): void {
    const s = this.sites[site] as SimSite;
    s.isDead = true;
    s.diedAt = this.now;
    s.report = null;
  }

  revive(site: number): void {
    const s = this.sites[site] as SimSite;
    s.isDead = s.isMute = false;
    s.nextProbeAt = this.now + this.random() * 500;
  }

  /** Everything that was due by `this.now`. */
  async step(): Promise<void> {
    const { now } = this;
    for (const p of this.#pods.values()) {
      if (p.readyAt > now || this.sites[p.site]?.isDead === true) continue;
      this.#pods.delete(p.name);
      const n = ++this.#numbers;
      await p.client.patch(Resources.Pod, { tenant: 'acme', namespace: 'default' }, p.name, { status: { phase: 'Running', podIP: `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`, conditions: [{ type: 'Ready', status: 'True' }] } }, { subresource: 'status' });
    }
    for (const s of this.sites) this.#probe(s);
    if (now - this.#trafficAt >= TRAFFIC_MS) this.#traffic();
    this.#capacity();
    await Promise.all(this.sites.map((s) => this.#gateway(s)));
  }

  /** A dead site answers nobody; a mute one does. */
  #probe(s: SimSite): void {
    if (s.isDead) return;
    if (s.report !== null && s.report.at <= this.now) {
      const { takenAt } = s.report;
      s.report = null;
      s.nextProbeAt = takenAt + PROBE_MS;
      if (!s.isMute) {
        const rows = [
          ...s.near.map((c) => ({ to: this.clientRegions[c]?.name as string, kind: 'client-region' as const, rttMs: this.rtt(s.location, this.clientRegions[c]?.location as SimSite['location']), loss: 0 })),
          ...s.neighbours.map((j) => ({ to: this.sites[j]?.name as string, kind: 'site' as const, rttMs: this.sites[j]?.isDead === true ? null : this.rtt(s.location, (this.sites[j] as SimSite).location), loss: 0 })),
        ];
        for (const t of this.listeners) t.probes({ site: s.name, at: takenAt, rows }, this.now);
      }
    }
    if (s.report === null && s.nextProbeAt <= this.now) s.report = { at: this.now + (s.neighbours.some((j) => this.sites[j]?.isDead === true) ? PROBE_TIMEOUT_MS : 60), takenAt: this.now };
  }

  /** The nearest front that lives counts the connections of a client region. */
  #traffic(): void {
    const periodMs = this.now - this.#trafficAt;
    this.#trafficAt = this.now;
    this.#sequence += 1;
    const rows = new Map<number, { application: string; clientRegion: string; connections: number; bytesIn: number; bytesOut: number; rttMs: null; handshakes: null }[]>();
    for (const d of this.demand) {
      const front = this.frontOf(d.region);
      if (front === null) continue;
      rows.set(front, [...(rows.get(front) ?? []), { application: d.application, clientRegion: this.clientRegions[d.region]?.name as string, connections: (d.rps * periodMs) / 1_000, bytesIn: 0, bytesOut: 0, rttMs: null, handshakes: null }]);
    }
    for (const [front, list] of rows) {
      const s = this.sites[front] as SimSite;
      s.kept.push({ site: s.name, epoch: 'e', sequence: this.#sequence, at: this.now, periodMs, rows: list });
    }
    for (const s of this.sites) if (!s.isMute && !s.isDead) for (const sample of s.kept.splice(0)) for (const t of this.listeners) t.traffic(sample, this.now);
  }

  #fronts = new Map<number, readonly number[]>();

  /** By distance; index of the nearest site that lives. */
  frontOf(region: number): number | null {
    let order = this.#fronts.get(region);
    if (order === undefined) {
      const at = this.clientRegions[region]?.location as SimSite['location'];
      order = this.sites.map((s, i) => [i, this.rtt(at, s.location)] as const).sort((a, b) => a[1] - b[1]).slice(0, 64).map(([i]) => i);
      this.#fronts.set(region, order);
    }
    return order.find((i) => this.sites[i]?.isDead === false) ?? null;
  }

  #capacity(): void {
    for (const s of this.sites) {
      if (s.isDead || s.nextCapacityAt > this.now) continue;
      s.nextCapacityAt = this.now + CAPACITY_MS;
      if (s.isMute) continue;
      for (const t of this.listeners) t.capacity({ site: s.name, at: this.now, nodes: 1, readyNodes: 1, cpuMilli: 4_000, memoryMiB: 4_096, usedCpuMilli: 0, usedMemoryMiB: 0 }, this.now);
    }
  }

  /** The region's own word comes late: its gateway waits for pings. */
  async #gateway(s: SimSite): Promise<void> {
    const client = this.regions[s.region] as LightClient;
    const say = async (status: object): Promise<void> => void (await client.patch(Resources.Site, { tenant: null, namespace: null }, s.name, { status }, { subresource: 'status' }));
    const isHeard = !s.isDead && !s.isMute;
    if (client.isDown) return;
    if (isHeard && (s.isSaidLost || this.now - s.seenAt >= SEEN_MS)) {
      s.isSaidLost = false;
      s.seenAt = this.now - this.random() * 1_000;
      await say({ phase: 'Ready', gateway: { connected: true }, lastSeen: new Date(this.now).toISOString() });
    } else if (!isHeard && !s.isSaidLost && this.now - s.diedAt >= GATEWAY_DEAD_MS) {
      s.isSaidLost = true;
      await say({ phase: 'Unreachable', gateway: { connected: false } });
    }
  }

  async backends(application: number, site: number): Promise<readonly { readonly address: string; readonly weight: number }[]> {
    const s = this.sites[site] as SimSite;
    const name = `front-default-${this.keyOf(application).split('/')[2] ?? ''}-${s.name}`;
    const e = await this.regions[s.region]?.get<Endpoint>(Resources.Endpoint, { tenant: 'acme', namespace: null }, name).catch(() => null);
    return e?.spec.type === 'front' ? e.spec.backends : [];
  }

  /** By address: the site that the pod runs at, of pods that are Ready. */
  async addresses(): Promise<ReadonlyMap<string, number>> {
    const index = new Map(this.sites.map((s, i) => [s.name, i]));
    const out = new Map<string, number>();
    for (const client of this.regions) for (const p of (await client.list<Pod>(Resources.Pod, { tenant: 'all' })).items) if (p.status?.podIP !== undefined) out.set(p.status.podIP, index.get(p.metadata.labels?.['mesh.proxima.io/site'] ?? '') ?? -1);
    return out;
  }

  /** Client regions of an application whose clients are not served by a Ready instance at a site that lives, or are partly sent to a dead one. */
  async unserved(application: number, addresses: ReadonlyMap<string, number>): Promise<readonly number[]> {
    const out: number[] = [];
    for (const d of this.demand) {
      if (d.application !== this.keyOf(application)) continue;
      const front = this.frontOf(d.region);
      const backends = front === null ? [] : await this.backends(application, front);
      const lives = (b: { readonly address: string }): boolean => this.sites[addresses.get(b.address) ?? -1]?.isDead === false;
      const weighed = backends.filter((b) => b.weight > 0);
      if (!weighed.some(lives) || !weighed.every(lives)) out.push(d.region);
    }
    return out;
  }
}
