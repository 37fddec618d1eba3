/** From objects to the model: what an application asks for by its policy and its template, and what is known of a site. */
import type { Application, Placement, PolicySpec, Site } from '../../api/kinds/mesh.ts';
import type { Vpc } from '../../api/kinds/mizar.ts';
import { quantity } from '../regional/amounts.ts';
import type { ApplicationModel, Placements, SiteModel } from './model.ts';
import type { SiteState } from './failure.ts';
import type { Memory } from './memory.ts';
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

/** As many instances as the policy allows are wanted already. */
export function hasAllInstances(key: string, objects: GlobalObjects): boolean {
  const [app, placement] = [objects.applications.get(key), objects.placements.get(key)];
  if (app === undefined || placement === undefined) return false;
  const max = policyOf(app, objects)?.instances.max ?? Number.POSITIVE_INFINITY;
  return placement.spec.sites.reduce((sum, s) => sum + s.instances, 0) >= max;
}

export function placementsOf(objects: GlobalObjects): Placements {
  return new Map([...objects.placements].map(([key, p]) => [key, p.spec.sites.filter((s) => s.instances > 0)]));
}

const cpuMilliOf = (text: string): number => Math.round(quantity(text) * 1e6) / 1e3;
const memoryMiBOf = (text: string): number => quantity(text) / 2 ** 20;

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
