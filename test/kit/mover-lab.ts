/**
 * The real global scheduler over in-memory APIs of a global plane and two regions, on a clock of its own. Played are: replica sets, the nodes of
 * each site (with clocks of their own, and fences as the agent's rule has them), and what fronts measure.
 */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Deployment, Pod } from '../../api/kinds/core.ts';
import type { Application, Placement, PolicySpec, Site } from '../../api/kinds/mesh.ts';
import type { Endpoint, Vpc } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import { silentLogger } from '../../base/log.ts';
import { decideReplicaSet } from '../../cloud/arktos/replicaset.ts';
import { FENCE_AFTER, FENCE_CONDITION, fencedAt } from '../../edge/agent/fence.ts';
import type { PodRecord } from '../../edge/agent/model.ts';
import { GlobalScheduler, type GlobalSchedulerOptions } from '../../scheduler/global/global-scheduler.ts';
import { memoryOf, type Memory } from '../../scheduler/global/memory.ts';
import { Region } from '../../scheduler/global/region.ts';
import { memoryClient } from './memory-client.ts';
import { offlineClient } from './offline-client.ts';

export const RTT: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  a: { 'west-1': 39, 'east-1': 45, 'edge-a': 3 },
  west: { 'west-1': 3, 'east-1': 33, 'edge-a': 39 },
};
const SITES: readonly (readonly [string, string, 'zone' | 'edge'])[] = [['west-1', 'west', 'zone'], ['east-1', 'east', 'zone'], ['edge-a', 'west', 'edge']];
const KEY = 'acme/default/web';
const PLACE = { tenant: 'acme', namespace: 'default' } as const;
const WITHOUT_PLACE = { tenant: null, namespace: null } as const;
const APPLICATION = 'mesh.proxima.io/application';
const SITE = 'mesh.proxima.io/site';

export interface LabOptions {
  readonly policy: Partial<PolicySpec>;
  readonly demand?: Readonly<Record<string, number>>;
  readonly template?: Application['spec']['template'];
  readonly scheduler?: Partial<GlobalSchedulerOptions>;
  /** Clock of a site's nodes against ours: 1.1 = it runs a tenth too fast. */
  readonly rate?: Readonly<Record<string, number>>;
}

/** What runs on a node, whatever any API says. */
export interface Running {
  readonly name: string;
  readonly site: string;
  readonly epoch: string;
  record: PodRecord;
  isOn: boolean;
}

export class MoverLab {
  now = Date.parse('2030-01-01T00:00:00Z');
  readonly demand: Record<string, number> = {};
  readonly cut = new Set<string>();
  readonly silent = new Set<string>();
  readonly running = new Map<string, Running>();
  /** ms between client and front as the front measures it; absent = as RTT says. */
  readonly handshakeMs: Record<string, number> = {};
  /** Share of handshakes that fail at every front. */
  failing = 0;
  /** After every step of the clock. */
  watch: () => void | Promise<void> = () => undefined;
  /** VMs with state: called each step with each pod that is not Ready yet; true = it may become Ready. */
  mayStart: (pod: Pod) => boolean | Promise<boolean> = () => true;
  global!: Client;
  regions!: Record<string, Client>;
  scheduler!: GlobalScheduler;
  readonly #o: LabOptions;
  readonly #clock: Clock = { now: () => this.now, sleep: async () => undefined };
  readonly #began = this.now;
  #sequence = 0;
  #made = 0;

  constructor(options: LabOptions) {
    this.#o = options;
    Object.assign(this.demand, options.demand ?? { west: 30 });
  }

  async start(): Promise<this> {
    const clock = this.#clock;
    this.global = await memoryClient({ clock });
    this.regions = { west: await memoryClient({ clock, tenants: ['system'] }), east: await memoryClient({ clock, tenants: ['system'] }) };
    for (const [i, [name, region, kind]] of SITES.entries()) {
      await this.regions[region]?.create<Site>(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name }, spec: { kind, region, front: `192.0.2.${i + 1}` } });
      await this.#setSite(name, true);
    }
    await this.global.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } });
    await this.global.create(Resources.Application, {
      apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: 'web', ...PLACE },
      spec: { vpc: 'main', capacity: 50, service: { port: 80, targetPort: 8080 }, template: this.#o.template ?? { spec: { containers: [{ name: 'web', image: 'web' }] } }, policy: { instances: { min: 1, max: 6 }, latency: [{ percentile: 95, milliseconds: 10 }], failback: { automatic: true, stabilisationSeconds: 5 }, ...this.#o.policy } },
    } as never);
    this.restart();
    return this;
  }

  /** As after kill -9: nothing but the objects is left. A silent region does not answer the scheduler; its sites hear it. */
  restart(): void {
    const regions = Object.keys(this.regions).map((name) => new Region(name, this.#reached(name)));
    const failure = { suspectAfterMs: 2_000, returnAfterMs: 3_000 };
    this.scheduler = new GlobalScheduler({ client: this.global, regions, log: silentLogger, clock: this.#clock }, { identity: 'global-0', clientRegions: [{ name: 'a', cidrs: ['198.51.100.0/25'] }, { name: 'west', cidrs: ['198.51.100.128/25'] }], halfLifeMs: 3_000, failure, ...this.#o.scheduler });
  }

  #reached(name: string): Client {
    const open = this.regions[name] as Client;
    return new Proxy(open, {
      get: (_target, key) => {
        const client = this.silent.has(name) ? offlineClient : open;
        const value = Reflect.get(client, key, client) as unknown;
        return typeof value === 'function' ? (value.bind(client) as unknown) : value;
      },
    });
  }

  async #setSite(name: string, isUp: boolean): Promise<void> {
    const region = SITES.find((s) => s[0] === name)?.[1] ?? '';
    await this.regions[region]?.patch(Resources.Site, WITHOUT_PLACE, name, { status: { phase: isUp ? 'Ready' : 'Unreachable', gateway: { connected: isUp } } }, { subresource: 'status' });
  }

  /** The site's uplink. */
  async link(site: string, isUp: boolean): Promise<void> {
    if (isUp) this.cut.delete(site);
    else this.cut.add(site);
    await this.#setSite(site, isUp);
  }

  async policy(part: Record<string, unknown>): Promise<void> {
    await this.global.patch(Resources.Application, PLACE, 'web', { spec: { policy: part } });
  }

  async seconds(n: number): Promise<void> {
    for (let i = 0; i < n; i++) {
      this.now += 1_000;
      for (const name of Object.keys(this.regions)) {
        await this.#replicaSets(name);
        await this.#nodes(name);
      }
      this.#report();
      for (const name of Object.keys(this.regions)) await this.scheduler.refreshRegion(name);
      await this.scheduler.pass();
      await this.watch();
    }
  }

  /** By the product's own rule for replica sets, over pods of all templates of a deployment. */
  async #replicaSets(region: string): Promise<void> {
    const client = this.regions[region] as Client;
    const deployments = (await client.list<Deployment>(Resources.Deployment, { tenant: 'all' })).items;
    const pods = (await client.list<Pod>(Resources.Pod, { tenant: 'all' })).items;
    const end = async (p: Pod): Promise<void> => {
      if (p.metadata.deletionTimestamp === undefined) await client.delete(Resources.Pod, PLACE, p.metadata.name, { gracePeriodSeconds: 30 });
    };
    for (const p of pods) if (!deployments.some((d) => d.metadata.uid === p.metadata.labels?.['of'])) await end(p);
    for (const d of deployments) {
      const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: d.metadata.name, uid: d.metadata.uid ?? '', controller: true } as const;
      const mine = pods.filter((p) => p.metadata.labels?.['of'] === d.metadata.uid).map((p) => ({ ...p, metadata: { ...p.metadata, ownerReferences: [owner] } }));
      const set = { apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata: d.metadata, spec: { replicas: d.spec.replicas ?? 1, selector: d.spec.selector, template: d.spec.template } };
      for (const s of decideReplicaSet(set, mine, this.now).steps) {
        if (s.kind === 'delete') await end(s.of as Pod);
        else if (s.kind === 'create') {
          const { metadata, spec } = d.spec.template;
          const site = metadata?.labels?.[SITE] ?? '';
          await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name: `${d.metadata.name}-${++this.#made}`, ...PLACE, labels: { ...metadata?.labels, of: d.metadata.uid ?? '' }, ...(metadata?.annotations === undefined ? {} : { annotations: metadata.annotations }) }, spec: { ...spec, nodeName: `${site}-n1` } });
        }
      }
    }
  }

  /** A node that hears its region does what the API says; one that does not goes on, but for fenced pods. */
  async #nodes(region: string): Promise<void> {
    const client = this.regions[region] as Client;
    const pods = new Map((await client.list<Pod>(Resources.Pod, { tenant: 'all' })).items.map((p) => [p.metadata.name, p]));
    for (const r of this.running.values()) {
      if (SITES.find((s) => s[0] === r.site)?.[1] !== region) continue;
      const now = this.#nodeTime(r.site);
      const pod = pods.get(r.name);
      if (!this.cut.has(r.site)) {
        if (pod === undefined || pod.metadata.deletionTimestamp !== undefined) {
          this.running.delete(r.name);
          if (pod !== undefined) await this.#forget(client, r.name);
          continue;
        }
        r.record = { ...r.record, pod, ...(pod.metadata.annotations?.[FENCE_AFTER] === undefined ? {} : { wordAt: now }) };
        r.isOn = true;
        await this.#tell(client, r);
      } else if ((fencedAt(r.record, now) ?? Number.POSITIVE_INFINITY) <= now) r.isOn = false;
    }
    for (const pod of pods.values()) await this.#begin(client, pod);
  }

  async #begin(client: Client, pod: Pod): Promise<void> {
    const { name, labels = {}, annotations } = pod.metadata;
    const site = labels[SITE] ?? '';
    if (labels[APPLICATION] === undefined || this.running.has(name) || this.cut.has(site)) return;
    if (pod.metadata.deletionTimestamp !== undefined) return this.#forget(client, name);
    if (!(await this.mayStart(pod))) return;
    this.running.set(name, { name, site, epoch: annotations?.['mesh.proxima.io/epoch'] ?? '0', isOn: true, record: { pod, address: null, provisioned: true, gone: false, starts: {}, crashes: {} } });
    await client.patch(Resources.Pod, PLACE, name, { status: { phase: 'Running', podIP: `10.20.9.${++this.#made}`, conditions: [{ type: 'Ready', status: 'True' }] } }, { subresource: 'status' });
  }

  async #tell(client: Client, { name, record }: Running): Promise<void> {
    const after = record.pod.metadata.annotations?.[FENCE_AFTER];
    const said = record.pod.status?.conditions?.find((c) => c.type === FENCE_CONDITION)?.message;
    if (after === said) return;
    const conditions = [{ type: 'Ready', status: 'True' }, ...(after === undefined ? [] : [{ type: FENCE_CONDITION, status: 'True', message: after }])];
    await client.patch(Resources.Pod, PLACE, name, { status: { conditions } }, { subresource: 'status' });
  }

  async #forget(client: Client, name: string): Promise<void> {
    await client.delete(Resources.Pod, PLACE, name, { gracePeriodSeconds: 0 }).catch((error: unknown) => {
      if (!isMeshError(error, 'not-found')) throw error;
    });
  }

  #nodeTime(site: string): number {
    return this.#began + (this.now - this.#began) * (this.#o.rate?.[site] ?? 1);
  }

  #report(): void {
    const t = this.scheduler.telemetry;
    const sequence = ++this.#sequence;
    for (const [name] of SITES) {
      if (this.cut.has(name)) continue;
      t.probes({ site: name, at: this.now, rows: [...Object.entries(RTT).map(([to, ms]) => ({ to, kind: 'client-region' as const, rttMs: ms[name] ?? 100, loss: 0 })), ...SITES.filter(([n]) => n !== name && !this.cut.has(n)).map(([to]) => ({ to, kind: 'site' as const, rttMs: 36, loss: 0 }))] }, this.now);
      t.capacity({ site: name, at: this.now, nodes: 1, readyNodes: 1, cpuMilli: 2000, memoryMiB: 2048, usedCpuMilli: 0, usedMemoryMiB: 0 }, this.now);
    }
    for (const [region, rps] of Object.entries(this.demand)) {
      const [front, rttMs] = Object.entries(RTT[region] ?? {}).filter(([s]) => !this.cut.has(s)).sort((x, y) => x[1] - y[1])[0] ?? ['', 0];
      t.traffic({ site: front, epoch: 'e', sequence, at: this.now, periodMs: 1000, rows: [{ application: KEY, clientRegion: region, connections: rps, bytesIn: 0, bytesOut: 0, rttMs: this.handshakeMs[front] ?? rttMs, handshakes: Math.round(rps * (1 - this.failing)) }] }, this.now);
    }
  }

  async instances(): Promise<Record<string, number>> {
    const all = await Promise.all(Object.values(this.regions).map((c) => c.list<Deployment>(Resources.Deployment, { tenant: 'all' })));
    return Object.fromEntries(all.flatMap((l) => l.items).map((d) => [d.metadata.labels?.[SITE] ?? '', d.spec.replicas ?? 0] as const).sort((x, y) => (x[0] < y[0] ? -1 : 1)));
  }

  async pods(): Promise<readonly Pod[]> {
    const all = await Promise.all(Object.values(this.regions).map((c) => c.list<Pod>(Resources.Pod, { tenant: 'all' })));
    return all.flatMap((l) => l.items);
  }

  async front(site: string): Promise<readonly { readonly address: string; readonly weight: number }[]> {
    const region = SITES.find((s) => s[0] === site)?.[1] ?? '';
    const e = await this.regions[region]?.get<Endpoint>(Resources.Endpoint, { tenant: 'acme', namespace: null }, `front-default-web-${site}`);
    return e?.spec.type === 'front' ? e.spec.backends : [];
  }

  async placement(): Promise<Placement> {
    return this.global.get<Placement>(Resources.Placement, PLACE, 'web');
  }

  async memory(): Promise<Memory> {
    return memoryOf(await this.placement());
  }

  async moves(): Promise<readonly string[]> {
    return (await this.placement()).status?.moves?.map((m) => `${m.to ?? ''} ${m.phase}`) ?? [];
  }
}
