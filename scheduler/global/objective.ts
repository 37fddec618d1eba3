/**
 * What a plan costs: the one number that the planner makes small. It is the sum over all applications of
 *
 *     latency weight x mean ms            each request counts the same; ms is the measured round trip to the site that serves it
 *   - preference                          ms that sites.preferred (weight / 10) and affinity (20) are worth, for the share served there
 *   + 50 x share x ms / goal              of the demand that is served later than its goal; of a client region at least 10 x ms / goal for each
 *                                         instance that it fills, and for the last: more than an instance costs, so none is saved at a goal's
 *                                         expense. Linear in the share below 0.5 %, so what fades away releases its site
 *   + money weight x cost per hour        of the instances that the load asks for at 70 %, also where a full site has room for fewer
 *   + carbon weight x carbon
 *   + penalties for what must not be      in this order: over the cost ceiling or instances.max; demand without a place; below instances.min;
 *                                         a spread not reached
 *
 * subject to every site's capacity in every dimension, and to which sites each policy allows. An instance is planned for 70 % of its requests
 * per second; where its site, instances.max or the ceiling leave no room for more instances it takes up to 90 %, and the rest only rather than
 * leaving requests without a place. `bench/optimum.ts` states the same objective as a mixed-integer program and asks an exact solver.
 */
import type { PolicySpec } from '../../api/kinds/mesh.ts';
import type { ApplicationModel, Model } from './model.ts';

/** Share of an instance's capacity that is planned for; the rest is for bursts and for noise. */
export const TARGET_LOAD = 0.7;
/** And that is planned at most where there is no room for another instance. What runs already may be busier: noise moves nothing. */
export const PACKED_LOAD = 0.9;
/** Points of a goal that all demand misses by nothing; in proportion to the share and to the lateness. */
export const GOAL_PENALTY = 50;
/** And at least of a client region that misses it, for each instance that its demand asks for: an instance costs one or two. */
const GOAL_PER_INSTANCE = 10;
/** At most, as if all demand were like it: what is less than a part in 200 does not hold a site. */
const GOAL_MOST = 2_000;
export const AFFINITY_MS = 20;
export const OVER = 1e9;
export const UNSERVED = 1e7;
export const BELOW_MIN = 1e6;
export const SPREAD = 1e4;
/** What an unmeasured way is taken for: never better than anything that was measured on Earth. */
export const UNKNOWN_RTT_MS = 500;

export interface Weights {
  readonly latency: number;
  readonly money: number;
  readonly carbon: number;
}

export function weightsOf(policy: PolicySpec): Weights {
  const w = policy.cost?.weights;
  return { latency: w?.latency ?? 1, money: w?.money ?? 1, carbon: w?.carbon ?? 0 };
}

/** Goals of one client region, each once, strictest first. */
export function goalsOf(policy: PolicySpec, clientRegion: string): readonly { readonly percentile: number; readonly milliseconds: number }[] {
  const all = (policy.latency ?? []).filter((g) => g.clientRegion === undefined || g.clientRegion === clientRegion);
  return all.length < 2 ? all : all.toSorted((a, b) => a.milliseconds - b.milliseconds || a.percentile - b.percentile).filter((g, i, list) => i === 0 || g.milliseconds !== list[i - 1]?.milliseconds || g.percentile !== list[i - 1]?.percentile);
}

/** Points of a goal that is missed by nothing, by a request of a client region that sends `rps` of `total`, as if all demand were like it. */
export function goalWeight(rps: number, total: number, perInstance: number): number {
  if (!(rps > 0)) return GOAL_PENALTY;
  const instances = Math.max(1, rps / (TARGET_LOAD * perInstance));
  return Math.max(GOAL_PENALTY, Math.min(GOAL_MOST, (GOAL_PER_INSTANCE * instances * total) / rps));
}

/** Points of one request, as if all demand were like it. `weight`: of `goalWeight`; `tolerance` >= 1 forgives that share of lateness. */
export function goalPenalty(goals: readonly { readonly milliseconds: number }[], ms: number, tolerance: number, weight: number): number {
  let points = 0;
  for (const g of goals) if (ms > g.milliseconds * tolerance) points += (weight * ms) / (g.milliseconds * tolerance);
  return points;
}

/** Instances that a load asks for. */
export const asksFor = (rps: number, perInstance: number): number => Math.max(1, Math.ceil(rps / (TARGET_LOAD * perInstance) - 1e-9));

export interface Objective {
  readonly latency: number;
  readonly goals: number;
  readonly money: number;
  readonly carbon: number;
  /** Points of what must not be; 0 = every constraint holds. */
  readonly broken: number;
  readonly total: number;
}

interface Planned {
  readonly sites: readonly { readonly site: string; readonly instances: number; readonly isHeld: boolean }[];
  readonly serves: readonly { readonly clientRegion: string; readonly site: string; readonly rps: number; readonly rttMs: number }[];
}

/** The objective of one application's plan, from the plan alone. `likes` = ms that a site is worth by preference and affinity. */
export function objectiveOf(model: Model, app: ApplicationModel, planned: Planned, likes: (site: string) => number = () => 0): Objective {
  const w = weightsOf(app.policy);
  const demand = app.demand.reduce((sum, d) => sum + d.rps, 0);
  const sent = new Map(app.demand.map((d) => [model.clientRegions[d.region] ?? '', d.rps]));
  const load = new Map<string, number>();
  let [latency, goals, served] = [0, 0, 0];
  for (const s of planned.serves) {
    load.set(s.site, (load.get(s.site) ?? 0) + s.rps);
    served += s.rps;
    if (demand === 0) continue;
    latency += (s.rps / demand) * (w.latency * s.rttMs - likes(s.site));
    goals += (s.rps / demand) * goalPenalty(goalsOf(app.policy, s.clientRegion), s.rttMs, 1, goalWeight(sent.get(s.clientRegion) ?? 0, demand, app.perInstance));
  }
  let [money, spent, carbon, total] = [0, 0, 0, 0];
  const groups = new Set<string>();
  for (const p of planned.sites) {
    const site = model.sites.find((s) => s.name === p.site);
    if (site === undefined || p.isHeld) continue;
    const n = Math.max(p.instances, load.has(p.site) ? asksFor(load.get(p.site) ?? 0, app.perInstance) : 1);
    money += w.money * n * site.cost;
    carbon += w.carbon * n * site.carbon;
    spent += p.instances * site.cost;
    total += p.instances;
    groups.add(groupOf(app.policy, site));
  }
  const ceiling = app.policy.cost?.ceiling ?? Number.POSITIVE_INFINITY;
  let broken = demand === 0 ? 0 : (Math.max(0, demand - served - 1e-9) / demand) * UNSERVED;
  broken += BELOW_MIN * Math.max(0, app.policy.instances.min - total) + OVER * Math.max(0, total - app.policy.instances.max);
  broken += SPREAD * Math.max(0, (app.policy.spread?.min ?? 1) - groups.size) + (spent > ceiling + 1e-9 ? OVER * (1 + spent - ceiling) : 0);
  return { latency, goals, money, carbon, broken, total: latency + goals + money + carbon + broken };
}

/** What counts as one place of a spread. */
export function groupOf(policy: PolicySpec, site: { readonly name: string; readonly region: string; readonly labels: Readonly<Record<string, string>> }): string {
  switch (policy.spread?.over) {
    case 'region':
      return site.region;
    case 'zone':
      return site.labels['topology.kubernetes.io/zone'] ?? site.name;
    default:
      return site.name;
  }
}
