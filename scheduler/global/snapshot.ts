/** What one pass saw, as a whole: own plans, and for applications of other shards what their Placements say. */
import type { Placement } from '../../api/kinds/mesh.ts';
import type { SiteState } from './failure.ts';
import { memoryOf } from './memory.ts';
import type { ApplicationModel, Model, SiteModel } from './model.ts';
import { type Holding, usedBy } from './others.ts';
import type { ApplicationPlan, Plan } from './planner.ts';
import { applicationModel, type GlobalObjects, policyOf } from './world.ts';

/** One pass's view, for the REST face: everything is of the same moment. */
export interface Snapshot {
  readonly at: number;
  readonly model: Model;
  readonly plan: Plan;
  readonly objects: GlobalObjects;
  readonly states: ReadonlyMap<string, SiteState>;
}

/** Of applications that are not ours: what they hold. */
export function holdingsOf(objects: GlobalObjects, owns: (key: string) => boolean): Holding[] {
  const out: Holding[] = [];
  for (const [key, placement] of objects.placements) {
    const app = objects.applications.get(key);
    if (owns(key) || app === undefined) continue;
    const policy = policyOf(app, objects) ?? { instances: { min: 1, max: 10 } };
    out.push({ app: { ...applicationModel(app, policy, memoryOf(placement)), demand: [] }, sites: placement.spec.sites, plannedAt: placement.spec.plannedAt ?? '' });
  }
  return out;
}

export interface Seen extends Omit<Snapshot, 'objects'> {
  /** With all of their room. */
  readonly sites: readonly SiteModel[];
  readonly objects: GlobalObjects;
  readonly demand: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly clientRegions: readonly string[];
}

export function wholeSnapshot(seen: Seen): Snapshot {
  const { at, model, plan, objects, states } = seen;
  const foreign = holdingsOf(objects, (key) => plan.applications.has(key));
  if (foreign.length === 0) return { at, model, plan, objects, states };
  const index = new Map(seen.clientRegions.map((name, i) => [name, i]));
  const demandOf = (key: string): ApplicationModel['demand'] => [...(seen.demand.get(key) ?? [])].flatMap(([name, rps]) => (index.has(name) && rps > 0 ? [{ region: index.get(name) as number, rps }] : [])).sort((a, b) => a.region - b.region);
  const applications = [...model.applications, ...foreign.map(({ app }) => ({ ...app, demand: demandOf(app.key) }))].sort((a, b) => (a.key < b.key ? -1 : 1));
  const whole = { ...model, sites: seen.sites, applications };
  const plans = new Map(plan.applications);
  for (const { app } of foreign) plans.set(app.key, recorded(app.key, objects.placements.get(app.key) as Placement, seen.sites));
  return { at, objects, states, model: whole, plan: { ...plan, applications: plans, used: usedBy(whole, new Map([...plans].map(([key, p]) => [key, p.sites]))) } };
}

function recorded(key: string, placement: Placement, sites: readonly SiteModel[]): ApplicationPlan {
  const { spec, status } = placement;
  const costs = new Map(sites.map((s) => [s.name, s.cost]));
  const planned = spec.sites.filter((s) => s.instances > 0).map((s) => ({ site: s.site, instances: s.instances, reason: s.reason ?? '', isHeld: status?.sites?.find((x) => x.site === s.site)?.state === 'unreachable' }));
  const goals = (status?.goals ?? []).map((g) => ({ clientRegion: g.clientRegion, goalMs: g.goalMs, predictedMs: g.predictedMs, met: g.met, servedFrom: g.servedFrom ?? '' }));
  return { key, sites: planned, serves: [], goals, unmet: [], kept: null, latencyMs: 0, cost: planned.reduce((sum, s) => sum + s.instances * (costs.get(s.site) ?? 0), 0), changes: [] };
}
