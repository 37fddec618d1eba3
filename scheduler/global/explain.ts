/** Answers for people and programs: what a plan would change, why something is where it is, what would be if. All from one snapshot. */
import { MeshError } from '../../api/errors.ts';
import type { Snapshot } from './global-scheduler.ts';
import { plan, refusals, type ApplicationPlan, type Plan } from './planner.ts';
import { placementsOf } from './world.ts';

export interface PlanDiffRow {
  readonly application: string;
  readonly site: string;
  readonly from: number;
  readonly to: number;
  readonly reason: string;
  readonly latencyMs: number;
  readonly cost: number;
}

/** Only what differs from the placements of now. Empty = nothing would move. */
export function planDiff(made: Plan): PlanDiffRow[] {
  return made.changed.toSorted().flatMap((key) => {
    const a = made.applications.get(key) as ApplicationPlan;
    return a.changes.map((c) => ({ application: key, ...c, latencyMs: Math.round(a.latencyMs * 10) / 10, cost: a.cost }));
  });
}

export interface Why {
  readonly application: string;
  readonly sites: readonly { readonly site: string; readonly instances: number; readonly reason: string }[];
  readonly refused: readonly { readonly site: string; readonly reason: string }[];
  readonly goals: ApplicationPlan['goals'];
  readonly unmet: readonly string[];
  readonly kept: string | null;
}

export function why(snapshot: Snapshot, application: string, site?: string): Why {
  const planned = snapshot.plan.applications.get(application);
  const model = snapshot.model.applications.find((a) => a.key === application);
  if (planned === undefined || model === undefined) {
    const app = snapshot.objects.applications.get(application);
    if (app !== undefined) throw new MeshError('unavailable', `${application} is not planned: ${app.status?.message ?? 'not looked at yet'}`);
    throw new MeshError('not-found', `no application "${application}"; there are ${[...snapshot.plan.applications.keys()].slice(0, 12).join(', ') || 'none'}`, { next: 'name it as <tenant>/<namespace>/<application>' });
  }
  if (site !== undefined && !snapshot.model.sites.some((s) => s.name === site)) throw new MeshError('not-found', `no site "${site}"; there are ${snapshot.model.sites.map((s) => s.name).join(', ')}`);
  const isAsked = (s: { readonly site: string }): boolean => site === undefined || s.site === site;
  return {
    application,
    sites: planned.sites.filter(isAsked).map(({ site: name, instances, reason }) => ({ site: name, instances, reason })),
    refused: refusals(snapshot.model, model, planned, snapshot.plan.used, snapshot.at).filter(isAsked),
    goals: planned.goals,
    unmet: planned.unmet,
    kept: planned.kept,
  };
}

/** The plan if sites were down for long enough that every policy acts. Changes nothing. */
export function whatIf(snapshot: Snapshot, sitesDown: readonly string[]): PlanDiffRow[] {
  for (const name of sitesDown) if (!snapshot.model.sites.some((s) => s.name === name)) throw new MeshError('not-found', `no site "${name}"; there are ${snapshot.model.sites.map((s) => s.name).join(', ')}`);
  const sites = snapshot.model.sites.map((s) => (sitesDown.includes(s.name) ? { ...s, reach: 'down' as const, since: snapshot.at - 86_400_000 } : s));
  return planDiff(plan({ ...snapshot.model, sites }, placementsOf(snapshot.objects), snapshot.at));
}
