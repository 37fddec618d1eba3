/** What the global API holds, read in one go, and the model made from it: applications with their policies, sites, latency, demand. */
import type { Client } from '../../api/client.ts';
import type { Application, Placement, PlacementPolicy, PolicySpec, Site } from '../../api/kinds/mesh.ts';
import type { Vpc } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import { createModel, type ApplicationModel, type Model, type Placements, type SiteModel } from './model.ts';
import type { SiteState } from './failure.ts';
import { memoryOf, type Memory } from './memory.ts';
import { keyOf, placeOf } from './region-objects.ts';
import type { Telemetry } from './telemetry.ts';

const DEFAULT_POLICY: PolicySpec = { instances: { min: 1, max: 10 } };
const DEFAULT_CAPACITY = 100;

export interface GlobalObjects {
  readonly applications: ReadonlyMap<string, Application>;
  readonly policies: ReadonlyMap<string, PolicySpec>;
  readonly placements: ReadonlyMap<string, Placement>;
  readonly vpcs: ReadonlyMap<string, Vpc>;
}

export async function readGlobal(client: Client): Promise<GlobalObjects> {
  const all = { tenant: 'all' } as const;
  const [applications, policies, placements, vpcs] = await Promise.all([
    client.list<Application>(Resources.Application, all),
    client.list<PlacementPolicy>(Resources.PlacementPolicy, all),
    client.list<Placement>(Resources.Placement, all),
    client.list<Vpc>(Resources.Vpc, all),
  ]);
  return {
    applications: new Map(applications.items.filter((a) => a.metadata.deletionTimestamp === undefined).map((a) => [keyOf(a), a])),
    policies: new Map(policies.items.map((p) => [keyOf(p), p.spec])),
    placements: new Map(placements.items.map((p) => [keyOf(p), p])),
    vpcs: new Map(vpcs.items.map((v) => [`${v.metadata.tenant ?? 'system'}/${v.metadata.name}`, v])),
  };
}

/** Is it the same as far as it is planned? Our own status makes a new version of the object, with the same generation. */
export function isSameApplication(a: Application, b: Application): boolean {
  if (a === b) return true;
  return a.metadata.uid === b.metadata.uid && a.metadata.generation !== undefined && a.metadata.generation === b.metadata.generation;
}

/** null = it names a policy that is not there. */
export function policyOf(app: Application, objects: GlobalObjects): PolicySpec | null {
  if (app.spec.policy !== undefined) return app.spec.policy;
  if (app.spec.policyRef === undefined) return DEFAULT_POLICY;
  const { tenant, namespace } = placeOf(keyOf(app));
  return objects.policies.get(`${tenant}/${namespace}/${app.spec.policyRef}`) ?? null;
}

export function placementsOf(objects: GlobalObjects): Placements {
  return new Map([...objects.placements].map(([key, p]) => [key, p.spec.sites.filter((s) => s.instances > 0)]));
}

const UNITS: Readonly<Record<string, number>> = { Ki: 1 / 1024, Mi: 1, Gi: 1024, Ti: 1024 ** 2, K: 1e3 / 2 ** 20, k: 1e3 / 2 ** 20, M: 1e6 / 2 ** 20, G: 1e9 / 2 ** 20 };

export const cpuMilliOf = (text: string): number => (text.endsWith('m') ? Number(text.slice(0, -1)) : Number(text) * 1000);

export function memoryMiBOf(text: string): number {
  const match = /^([\d.]+)([A-Za-z]*)$/.exec(text);
  return match === null ? 0 : Number(match[1]) * (match[2] === '' ? 1 / 2 ** 20 : (UNITS[match[2] ?? ''] ?? 0));
}

/** What one instance asks for; a small default when it says nothing, so that a site never looks endless. */
export function sizeOf(app: Application): { readonly cpuMilli: number; readonly memoryMiB: number } {
  const { containers, virtualMachine } = app.spec.template.spec;
  const parts = (virtualMachine === undefined ? (containers ?? []) : [virtualMachine]).map((c) => c.resources?.requests ?? c.resources?.limits ?? {});
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  return { cpuMilli: sum(parts.map((p) => (p.cpu === undefined ? 50 : cpuMilliOf(p.cpu)))), memoryMiB: sum(parts.map((p) => (p.memory === undefined ? 64 : memoryMiBOf(p.memory)))) };
}

/** A site without a capacity report has room for what it runs, and no more is known: taken as that of a small machine. */
const UNREPORTED = { cpuMilli: 2_000, memoryMiB: 2_048 } as const;

export function siteModel(site: Site, state: SiteState, telemetry: Telemetry): SiteModel {
  const capacity = telemetry.capacityOf(site.metadata.name) ?? UNREPORTED;
  const { spec } = site;
  return {
    name: site.metadata.name,
    region: spec.region,
    kind: spec.kind,
    labels: { ...site.metadata.labels, ...spec.labels },
    cost: spec.cost ?? 1,
    carbon: spec.carbon ?? Number(spec.labels?.['mesh.proxima.io/carbon'] ?? 0),
    trust: spec.trust ?? 1,
    cpuMilli: capacity.cpuMilli,
    memoryMiB: capacity.memoryMiB,
    reach: state.reach,
    since: state.since,
    front: spec.front ?? null,
  };
}

/** All but the demand, which telemetry knows. */
export function applicationModel(app: Application, policy: PolicySpec, memory: Memory): Omit<ApplicationModel, 'demand'> {
  return { key: keyOf(app), policy, perInstance: app.spec.capacity ?? DEFAULT_CAPACITY, ...sizeOf(app), avoid: memory.avoid, movedAt: memory.movedAt };
}

export function buildModel(objects: GlobalObjects, sites: readonly SiteModel[], clientRegions: readonly string[], telemetry: Telemetry, now: number): Model {
  const demand = telemetry.demand(now);
  const fronts = sites.filter((s) => s.front !== null).map((s) => s.name);
  const applications = [...objects.applications].flatMap(([key, app]) => {
    const policy = policyOf(app, objects);
    if (policy === null) return [];
    return [{ ...applicationModel(app, policy, memoryOf(objects.placements.get(key))), demand: demand.get(key) ?? new Map<string, number>() }];
  });
  return createModel({ sites, clientRegions, rtt: (r, s) => telemetry.clientRtt(r, s, fronts, now), applications });
}
