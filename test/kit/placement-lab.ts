/** A small world for the real scheduler: in-memory APIs of a global plane and two regions, on a clock of its own; only pods, samples and sites are played. */
import type { Client } from '../../api/client.ts';
import type { Deployment, Pod } from '../../api/kinds/core.ts';
import type { Placement, Site } from '../../api/kinds/mesh.ts';
import type { Droplet, Endpoint, Vpc } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import { silentLogger } from '../../base/log.ts';
import { GlobalScheduler } from '../../scheduler/global/global-scheduler.ts';
import { Region } from '../../scheduler/global/region.ts';
import { memoryClient } from './memory-client.ts';

const RTT: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  a: { 'west-1': 39, 'east-1': 45, 'edge-a': 3 },
  west: { 'west-1': 3, 'east-1': 33, 'edge-a': 39 },
};
const SITES: readonly (readonly [string, string, 'zone' | 'edge'])[] = [['west-1', 'west', 'zone'], ['east-1', 'east', 'zone'], ['edge-a', 'west', 'edge']];
export const KEY = 'acme/default/web';

export class PlacementLab {
  now = Date.parse('2030-01-01T00:00:00Z');
  readonly clock: Clock = { now: () => this.now, sleep: async () => undefined };
  readonly demand: Record<string, number> = {};
  readonly dead = new Set<string>();
  /** Sites where no pod becomes Ready. */
  readonly broken = new Set<string>();
  /** Fewest Ready instances with weight that the front of a reachable site saw. */
  leastServing = Number.POSITIVE_INFINITY;
  global!: Client;
  regions!: Record<string, Client>;
  scheduler!: GlobalScheduler;
  #sequence = 0;
  #pods = 0;

  async start(min: number): Promise<void> {
    this.global = await memoryClient({ clock: this.clock });
    this.regions = { west: await memoryClient({ clock: this.clock, tenants: ['system'] }), east: await memoryClient({ clock: this.clock, tenants: ['system'] }) };
    for (const [i, [name, region, kind]] of SITES.entries()) {
      await this.regions[region]?.create<Site>(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name }, spec: { kind, region, front: `192.0.2.${i + 1}` } });
      await this.regions[region]?.create<Droplet>(Resources.Droplet, { apiVersion: 'mizar.com/v1', kind: 'Droplet', metadata: { name: `${name}-n1` }, spec: { node: `${name}-n1`, site: name, interface: 'eth0', address: `10.0.${i}.1`, mac: `02:00:00:00:00:0${i}`, relay: { address: `100.64.${i}.1`, publicKey: 'k', interface: 'wg0' } } });
      await this.site(name, true);
    }
    await this.global.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } });
    await this.global.create(Resources.Application, {
      apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: 'web', namespace: 'default', tenant: 'acme' },
      spec: { vpc: 'main', capacity: 50, service: { port: 80, targetPort: 8080 }, template: { spec: { containers: [{ name: 'web', image: 'web' }] } }, policy: { instances: { min, max: 6 }, latency: [{ percentile: 95, milliseconds: 10 }], failback: { automatic: true, stabilisationSeconds: 5 } } },
    } as never);
    this.restart();
  }

  /** As after kill -9: nothing but the objects is left. */
  restart(clients: Record<string, Client> = this.regions): void {
    const regions = Object.entries(clients).map(([name, c]) => new Region(name, c));
    this.scheduler = new GlobalScheduler({ client: this.global, regions, log: silentLogger, clock: this.clock }, { identity: 'global-0', clientRegions: [{ name: 'a', cidrs: ['198.51.100.0/25'] }, { name: 'west', cidrs: ['198.51.100.128/25'] }], halfLifeMs: 3_000, failure: { suspectAfterMs: 2_000, returnAfterMs: 3_000 } });
  }

  async site(name: string, isUp: boolean): Promise<void> {
    const region = SITES.find((s) => s[0] === name)?.[1] ?? '';
    if (isUp) this.dead.delete(name);
    else this.dead.add(name);
    await this.regions[region]?.patch(Resources.Site, { tenant: null, namespace: null }, name, { status: { phase: isUp ? 'Ready' : 'Unreachable', gateway: { connected: isUp } } }, { subresource: 'status' });
  }

  async policy(part: Record<string, unknown>): Promise<void> {
    await this.global.patch(Resources.Application, { tenant: 'acme', namespace: 'default' }, 'web', { spec: { policy: part } });
  }

  async seconds(n: number): Promise<void> {
    for (let i = 0; i < n; i++) {
      this.now += 1_000;
      await this.#runPods();
      this.#report();
      for (const r of ['west', 'east']) await this.scheduler.refreshRegion(r);
      await this.scheduler.pass();
    }
  }

  /** A deployment's pods exist at once and are Ready in the next second; a cut site starts and stops nothing. */
  async #runPods(): Promise<void> {
    for (const client of Object.values(this.regions)) {
      const deployments = (await client.list<Deployment>(Resources.Deployment, { tenant: 'all' })).items;
      const pods = (await client.list<Pod>(Resources.Pod, { tenant: 'all' })).items;
      for (const p of pods) {
        const labels = p.metadata.labels ?? {};
        const d = deployments.find((x) => x.metadata.name === `${labels['mesh.proxima.io/application'] ?? ''}-${labels['mesh.proxima.io/site'] ?? ''}`);
        const place = { tenant: 'acme', namespace: 'default' };
        if (this.dead.has(labels['mesh.proxima.io/site'] ?? '')) continue;
        if (d === undefined) await client.delete(Resources.Pod, place, p.metadata.name, { gracePeriodSeconds: 0 });
        else if (p.status?.podIP === undefined && !this.broken.has(labels['mesh.proxima.io/site'] ?? '')) await client.patch(Resources.Pod, place, p.metadata.name, { status: { phase: 'Running', podIP: `10.20.9.${++this.#pods}`, conditions: [{ type: 'Ready', status: 'True' }] } }, { subresource: 'status' });
      }
      for (const d of deployments) {
        const mine = pods.filter((p) => p.metadata.labels?.['mesh.proxima.io/site'] === d.metadata.labels?.['mesh.proxima.io/site']);
        if (this.dead.has(d.metadata.labels?.['mesh.proxima.io/site'] ?? '')) continue;
        for (let i = mine.length; i < (d.spec.replicas ?? 1); i++) await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name: `${d.metadata.name}-${++this.#pods}`, namespace: 'default', tenant: 'acme', labels: d.spec.template.metadata?.labels ?? {} }, spec: d.spec.template.spec });
      }
    }
  }

  #report(): void {
    const t = this.scheduler.telemetry;
    const sequence = ++this.#sequence;
    for (const [name] of SITES) {
      if (this.dead.has(name)) continue;
      t.probes({ site: name, at: this.now, rows: [...Object.entries(RTT).map(([to, ms]) => ({ to, kind: 'client-region' as const, rttMs: ms[name] ?? 100, loss: 0 })), ...SITES.filter(([n]) => n !== name && !this.dead.has(n)).map(([to]) => ({ to, kind: 'site' as const, rttMs: 36, loss: 0 }))] }, this.now);
      t.capacity({ site: name, at: this.now, nodes: 1, readyNodes: 1, cpuMilli: 2000, memoryMiB: 2048, usedCpuMilli: 0, usedMemoryMiB: 0 }, this.now);
    }
    for (const [region, rps] of Object.entries(this.demand)) {
      const front = Object.entries(RTT[region] ?? {}).filter(([s]) => !this.dead.has(s)).sort((x, y) => x[1] - y[1])[0]?.[0] ?? '';
      t.traffic({ site: front, epoch: 'e', sequence, at: this.now, periodMs: 1000, rows: [{ application: KEY, clientRegion: region, connections: rps, bytesIn: 0, bytesOut: 0, rttMs: null }] }, this.now);
    }
  }

  async instances(): Promise<Record<string, number>> {
    const all = await Promise.all(Object.values(this.regions).map((c) => c.list<Deployment>(Resources.Deployment, { tenant: 'all' })));
    return Object.fromEntries(all.flatMap((l) => l.items).map((d) => [d.metadata.labels?.['mesh.proxima.io/site'] ?? '', d.spec.replicas ?? 0] as const).sort((x, y) => (x[0] < y[0] ? -1 : 1)));
  }

  async front(site: string): Promise<readonly { readonly address: string; readonly weight: number }[]> {
    const region = SITES.find((s) => s[0] === site)?.[1] ?? '';
    const e = await this.regions[region]?.get<Endpoint>(Resources.Endpoint, { tenant: 'acme', namespace: null }, `front-default-web-${site}`);
    return e?.spec.type === 'front' ? e.spec.backends : [];
  }

  async placement(): Promise<Placement> {
    return this.global.get<Placement>(Resources.Placement, { tenant: 'acme', namespace: 'default' }, 'web');
  }
}

/** Placed and at rest, with clients of one region. */
export async function placementLab(min = 1): Promise<PlacementLab> {
  const l = new PlacementLab();
  await l.start(min);
  l.demand['west'] = 30;
  await l.seconds(8);
  return l;
}
