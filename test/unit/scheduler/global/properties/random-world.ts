/** Random small worlds that use every field of a policy: sites in every state, measured ways with holes, containers and VMs, instances that run already. */
import type { Application, PolicySpec, SiteSelector, UnreachableStep } from '../../../../../api/kinds/mesh.ts';
import { createModel, plainSite, type ApplicationModel, type Model, type Placements, type Reach, type SiteModel } from '../../../../../scheduler/global/model.ts';
import { applicationModel } from '../../../../../scheduler/global/world.ts';
import { Random } from '../../../../../scheduler/simulate/random.ts';

export const NOW = Date.parse('2030-01-01T12:30:00Z');
const REGIONS = ['east', 'north', 'west'];
const CLIENTS = ['alfa', 'bravo', 'charlie', 'delta'];
const ACTIONS = ['stay', 'duplicate', 'fence', 'move'] as const;

export class Draw extends Random {
  int(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  is(chance: number): boolean {
    return this.next() < chance;
  }

  of<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)] as T;
  }

  some<T>(list: readonly T[], chance: number): T[] {
    return list.filter(() => this.is(chance));
  }
}

export interface RandomWorld {
  readonly model: Model;
  readonly current: Placements;
  /** The same, learned in another order. */
  readonly turned: Model;
}

type Parts = Parameters<typeof createModel>[0];

export function randomWorld(seed: number): RandomWorld {
  const d = new Draw(seed);
  const sites = Array.from({ length: d.int(2, d.is(0.3) ? 7 : 5) }, (_, i) => randomSite(d, i));
  const names = sites.map((s) => s.name);
  const clients = CLIENTS.slice(0, d.int(2, 4));
  const most = d.is(0.3) ? 150 : 50;
  const ms = new Map(clients.flatMap((c) => names.map((s) => [`${c} ${s}`, d.is(0.05) ? null : Math.round(d.between(1, d.is(0.5) ? 30 : 150) * 10) / 10])));
  const applications = Array.from({ length: d.int(1, d.is(0.3) ? 5 : 3) }, (_, i) => randomApplication(d, i, sites, clients, most));
  const parts: Parts = { sites, clientRegions: clients, rtt: (c, s) => ms.get(`${c} ${s}`) ?? null, applications };
  const current = new Map(applications.flatMap((a): [string, { site: string; instances: number }[]][] => {
    if (d.is(0.35)) return [];
    const at = d.some(names, 0.3).slice(0, 3);
    return at.length === 0 ? [] : [[a.key, at.concat(d.is(0.03) ? ['gone'] : []).map((site) => ({ site, instances: d.int(1, 3) }))]];
  }));
  return { model: createModel(parts), current, turned: createModel({ ...parts, sites: sites.toReversed(), clientRegions: clients.toReversed(), applications: applications.toReversed() }) };
}

function randomSite(d: Draw, i: number): SiteModel {
  const region = d.of(REGIONS);
  const kind = d.is(0.5) ? 'edge' : 'zone';
  const labels = { ...(d.is(0.5) ? { tier: d.of(['gold', 'silver']) } : {}), ...(d.is(0.4) ? { 'topology.kubernetes.io/zone': d.of(['z1', 'z2']) } : {}) };
  const reach: Reach = d.is(0.65) ? 'reachable' : d.of(['reachable', 'returning', 'suspect', 'cut-off', 'down']);
  const since = reach === 'reachable' && d.is(0.7) ? 0 : NOW - d.int(0, 90) * 1000;
  const resources = d.is(0.3) ? { resources: { gpu: d.int(0, 3) } } : {};
  return { ...plainSite, name: `${kind}-${i}`, region, kind, labels, cost: Math.round(d.between(0.2, 4) * 100) / 100, carbon: d.int(0, 3), trust: d.int(0, 3), cpuMilli: d.int(150, d.is(0.4) ? 500 : 4000), memoryMiB: d.int(128, 4096), reach, since, ...resources };
}

type Asked = Omit<ApplicationModel, 'demand'> & { readonly demand: ReadonlyMap<string, number> };

function randomApplication(d: Draw, i: number, sites: readonly SiteModel[], clients: readonly string[], most: number): Asked {
  const policy = randomPolicy(d, i, sites, clients);
  const requests = { cpu: `${d.int(50, 400)}m`, memory: `${d.int(32, 512)}Mi` };
  const spec = d.is(0.5) ? { virtualMachine: { name: 'vm', image: 'disk', resources: { requests } } } : { containers: [{ name: 'c', image: 'image', resources: { requests } }] };
  const object = { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: `app-${i}`, namespace: 'default', tenant: 'acme' }, spec: { template: { spec }, vpc: 'v', service: { port: 80 }, capacity: d.int(10, 100), policy } } as unknown as Application;
  const names = sites.map((s) => s.name);
  const avoid = d.is(0.1) ? [{ site: d.of(names), until: NOW + d.int(-1, 1) * 60_000 + 1, reason: 'was slower than predicted' }] : [];
  const movedAt = d.is(0.3) ? Array.from({ length: d.int(1, 4) }, () => NOW - d.int(0, 5_000) * 1000) : [];
  return {
    ...applicationModel(object, policy, { avoid, movedAt } as unknown as Parameters<typeof applicationModel>[2]),
    ...(d.is(0.15) ? { resources: { gpu: 1 } } : {}),
    ...(d.is(0.15) ? { sizeAt: { [d.of(names)]: { cpuMilli: d.int(50, 900), memoryMiB: d.int(32, 900) } } } : {}),
    demand: new Map(d.is(0.1) ? [] : clients.map((c) => [c, d.is(0.2) ? 0 : d.is(0.1) ? d.between(0, 0.2) : d.int(1, most)])),
  };
}

function randomSelector(d: Draw, sites: readonly SiteModel[]): SiteSelector {
  switch (d.int(0, 2)) {
    case 0:
      return { names: sites.map((s) => s.name).filter((_n, i) => i === 0 || d.is(0.5)) };
    case 1:
      return { regions: [d.of(REGIONS), d.of(REGIONS)] };
    default:
      return { labels: { tier: d.of(['gold', 'silver']) } };
  }
}

function randomPolicy(d: Draw, i: number, sites: readonly SiteModel[], clients: readonly string[]): PolicySpec {
  const names = sites.map((s) => s.name);
  const min = d.int(1, 3);
  const goal = (clientRegion?: string): NonNullable<PolicySpec['latency']>[number] => ({ percentile: d.of([50, 90, 95, 99]), milliseconds: d.of([5, 10, 20, 50]), ...(clientRegion === undefined ? {} : { clientRegion }) });
  const others = [0, 1, 2, 3, 4].filter((n) => n !== i).map((n) => `app-${n}`);
  const steps = (): readonly UnreachableStep[] => Array.from({ length: d.int(1, 2) }, (_, n) => ({ action: d.of(ACTIONS), afterSeconds: n * 30 + d.int(0, 25) })).sort((a, b) => ACTIONS.indexOf(a.action) - ACTIONS.indexOf(b.action)).map((s, n) => ({ ...s, afterSeconds: n * 30 + (s.afterSeconds % 30) }));
  const time = (): string => `${String(d.int(0, 23)).padStart(2, '0')}:${d.of(['00', '30'])}`;
  const maybe = <T extends Partial<PolicySpec>>(chance: number, make: () => T): T | object => (d.is(chance) ? make() : {});
  const several = steps();
  return {
    instances: { min, max: min + d.int(0, 6) },
    ...maybe(0.6, () => ({ latency: [...(d.is(0.7) ? [goal()] : []), ...(d.is(0.4) ? [goal(d.of(clients))] : [])] })),
    ...maybe(0.5, () => ({ sites: { ...(d.is(0.3) ? { required: randomSelector(d, sites) } : {}), ...(d.is(0.5) ? { preferred: [{ ...randomSelector(d, sites), weight: d.int(0, 100) }] } : {}), ...(d.is(0.4) ? { forbidden: d.some(names, 0.3) } : {}) } })),
    ...maybe(0.15, () => ({ residency: d.some(REGIONS, 0.6) })),
    ...maybe(0.15, () => ({ edgeAllowed: d.is(0.5) })),
    ...maybe(0.3, () => ({ spread: { over: d.of(['region', 'site', 'zone'] as const), min: d.int(1, 3) } })),
    ...maybe(0.2, () => ({ affinity: [d.of(others)] })),
    ...maybe(0.25, () => ({ antiAffinity: d.some(others, 0.5) })),
    ...maybe(0.2, () => ({ minTrust: d.int(0, 2) })),
    ...maybe(0.35, () => ({ cost: { ...(d.is(0.5) ? { ceiling: Math.round(d.between(1, 12) * 10) / 10 } : {}), ...(d.is(0.6) ? { weights: { latency: d.of([0.1, 1, 3]), money: d.of([0, 0.3, 1, 5, 40]), carbon: d.of([0, 0, 2]) } } : {}) } })),
    ...maybe(0.4, () => ({ migration: { allowed: d.is(0.7), ...(d.is(0.4) ? { maxMovesPerHour: d.int(0, 3) } : {}), ...(d.is(0.4) ? { windows: [{ from: time(), to: time() }] } : {}) } })),
    ...maybe(0.6, () => ({ unreachable: several.length === 1 && d.is(0.5) ? (several[0] as UnreachableStep) : several })),
    ...maybe(0.5, () => ({ failback: { automatic: d.is(0.8), ...(d.is(0.5) ? { maxPerMinute: d.int(1, 3) } : {}), ...(d.is(0.7) ? { stabilisationSeconds: d.int(0, 60) } : {}) } })),
    ...maybe(0.15, () => ({ overflow: d.is(0.5) })),
  };
}
