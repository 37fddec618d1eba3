/** From what the search decided to what is said of it: instances, who serves whom, goals, changes, each with its sentence. */
import { avoided, refusedByPolicy, standingOf } from './eligible.ts';
import type { Entry } from './entry.ts';
import type { Outlook } from './hindrance.ts';
import type { ApplicationModel, Model, SiteInstances } from './model.ts';
import { goalsOf as policyGoals, groupOf } from './objective.ts';
import type { ApplicationPlan, Goal, PlannedSite, Serve } from './planner.ts';
import { heldReason, replacedReason, siteReason } from './reasons.ts';
import { unmetReasons } from './unmet.ts';
import { unreachableAt } from './unreachable.ts';

export interface Composing extends Outlook {
  readonly siteIndex: ReadonlyMap<string, number>;
}

/** `current`: what there is, from which changes are told. */
export function compose(entry: Entry, counts: readonly number[], around: Composing, current: readonly SiteInstances[]): ApplicationPlan {
  const { model } = around;
  const { app, small, choice, held } = entry;
  const { problem } = small;
  const nameOf = (c: number): string => model.sites[small.sites[c] ?? -1]?.name ?? '';
  const serves = choice.flows.map((f): Serve => ({ clientRegion: model.clientRegions[small.regions[f.r] ?? -1] ?? '', site: nameOf(f.c), rps: small.isPrior ? 0 : f.rps, rttMs: problem.rtt[f.r * problem.candidates + f.c] as number }));
  const sites: PlannedSite[] = choice.open.map((c, i) => ({ site: nameOf(c), instances: counts[i] as number, isHeld: false, reason: siteReason(entry, model, c, counts[i] as number) }));
  let [cost, total] = [0, 0];
  for (const [i, c] of choice.open.entries()) {
    cost += (counts[i] as number) * (problem.cost[c] as number);
    total += counts[i] as number;
  }
  const spent = cost;
  for (const h of held) {
    const site = model.sites[around.siteIndex.get(h.site) ?? -1];
    sites.push({ site: h.site, instances: h.instances, isHeld: true, reason: heldReason(site, app, choice.open.length > 0) });
    cost += h.instances * (site?.cost ?? 0);
  }
  if (held.length > 0) sites.sort((a, b) => (a.site < b.site ? -1 : 1));
  const goals = small.isPrior ? [] : goalsOf(app, model, serves);
  const places = app.policy.spread === undefined ? 1 : new Set(choice.open.map((c) => groupOf(app.policy, model.sites[small.sites[c] as number] as Model['sites'][number]))).size;
  const unmet = isFine(entry, goals, total, places) ? [] : unmetReasons(entry, goals, { counts, total, cost: spent, places }, around);
  return { key: app.key, sites, serves, goals, unmet, kept: entry.kept, latencyMs: choice.latencyMs, cost, changes: changesOf(entry, current, sites, serves, around, { total, spent }) };
}

/** Most applications lack nothing: no sentence is looked for. */
function isFine(entry: Entry, goals: readonly Goal[], total: number, places: number): boolean {
  const { choice, app, small } = entry;
  return choice.open.length > 0 && choice.unserved <= 1e-6 && total >= app.policy.instances.min && places >= (app.policy.spread?.min ?? 1) && goals.every((g) => g.met) && (small.isPrior || small.problem.total <= total * app.perInstance + 1e-6);
}

/** A goal's percentile is over the requests of its client region: so many of them are served at least as fast as predicted. */
function goalsOf(app: ApplicationModel, model: Model, serves: readonly Serve[]): Goal[] {
  if (app.policy.latency === undefined) return [];
  const by = new Map<string, Serve[]>();
  for (const s of serves) {
    const list = by.get(s.clientRegion);
    if (list === undefined) by.set(s.clientRegion, [s]);
    else list.push(s);
  }
  const demand = new Map(app.demand.map((d) => [model.clientRegions[d.region] ?? '', d.rps]));
  return [...by].flatMap(([clientRegion, ways]) => {
    if (ways.length > 1) ways.sort((a, b) => a.rttMs - b.rttMs || (a.site < b.site ? -1 : 1));
    return policyGoals(app.policy, clientRegion).map((g): Goal => {
      const wanted = (g.percentile / 100) * (demand.get(clientRegion) ?? 0) - 1e-9;
      let sum = 0;
      const way = ways.find((w) => (sum += w.rps) >= wanted) ?? (ways.at(-1) as Serve);
      return { clientRegion, goalMs: g.milliseconds, predictedMs: Math.round(way.rttMs * 10) / 10, met: way.rttMs <= g.milliseconds && sum >= wanted, servedFrom: way.site };
    });
  });
}

/** Of the instances that count: how many there are, and what they cost. */
interface Has {
  readonly total: number;
  readonly spent: number;
}

function changesOf(entry: Entry, current: readonly SiteInstances[], sites: readonly PlannedSite[], serves: readonly Serve[], around: Composing, has: Has): ApplicationPlan['changes'] {
  if (current.length === sites.length && sites.every((s, i) => current[i]?.site === s.site && current[i]?.instances === s.instances)) return [];
  const before = new Map(current.map((c) => [c.site, c.instances]));
  const after = new Map(sites.map((s) => [s.site, s]));
  return [...new Set([...before.keys(), ...after.keys()])].sort().flatMap((site) => {
    const [from, to] = [before.get(site) ?? 0, after.get(site)?.instances ?? 0];
    return from === to ? [] : [{ site, from, to, reason: after.get(site)?.reason ?? leavingReason(site, entry, around, serves, has) }];
  });
}

function leavingReason(site: string, { app, small }: Entry, around: Composing, serves: readonly Serve[], has: Has): string {
  const s = around.siteIndex.get(site);
  const found = around.model.sites[s ?? -1];
  if (s === undefined || found === undefined) return `${site} is not a site any more`;
  const policy = refusedByPolicy(app.policy, found);
  if (policy !== null) return `${site} ${policy}`;
  const seconds = (around.now - found.since) / 1000;
  if (standingOf(app.policy, found, around.now) === 'lost') return `${site} is ${found.reach} for ${Math.round(seconds)} s; the policy says ${unreachableAt(app.policy, seconds)}`;
  const avoid = avoided(app, site, around.now);
  if (avoid !== null) return `${site} is not tried again yet: ${avoid}`;
  const other = around.apart(app.key).find((key) => around.isAt(key, site));
  if (other !== undefined) return `${site} has ${other}, which is kept apart from this application`;
  const lack = around.capacity.lack(around.used, s, around.capacity.sizeOf(app, s));
  if (lack !== null) return `${site} ${lack}`;
  const asked = (clientRegion: string): number => (small.isPrior ? 0 : (app.demand.find((d) => around.model.clientRegions[d.region] === clientRegion)?.rps ?? 0));
  const isMissing = app.demand.reduce((sum, d) => sum + d.rps, 0) - serves.reduce((sum, s) => sum + s.rps, 0) > 1e-6;
  if (isMissing && has.total >= app.policy.instances.max) return `${site} gives way: instances.max is ${app.policy.instances.max}`;
  const ceiling = app.policy.cost?.ceiling ?? Number.POSITIVE_INFINITY;
  if (isMissing && has.spent + found.cost > ceiling + 1e-9) return `${site} gives way: cost.ceiling is ${ceiling}`;
  return replacedReason(site, serves, asked);
}
