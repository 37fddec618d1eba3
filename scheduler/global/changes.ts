/**
 * Is it another than before, as far as plans go? Measurements wander, versions and statuses come and go: only what may make another plan, or is to
 * be told to somebody, counts.
 */
import type { Placement } from '../../api/kinds/mesh.ts';
import { memoryOf } from './memory.ts';
import type { ApplicationModel, SiteModel } from './model.ts';
import type { ApplicationPlan } from './planner.ts';

/** Demand of an application is another when it is off by this share of the whole. */
const DEMAND_TOLERANCE = 0.1;
const LEAST_RPS = 0.05;
/** Shares of a client region's requests differ by so much until fronts are told. */
const SHARE_TOLERANCE = 0.05;

export function isOtherDemand(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): boolean {
  if (a === b) return false;
  let [all, off] = [0, 0];
  for (const [region, rps] of a) {
    all += rps;
    off += Math.abs(rps - (b.get(region) ?? 0));
  }
  let fresh = 0;
  for (const [region, rps] of b) {
    fresh += rps;
    if (!a.has(region)) off += rps;
  }
  return off > Math.max(LEAST_RPS, DEMAND_TOLERANCE * Math.max(all, fresh));
}

export function isSameMemory(model: ApplicationModel, placement: Placement | undefined): boolean {
  const { avoid, movedAt } = memoryOf(placement);
  return JSON.stringify([model.avoid, model.movedAt]) === JSON.stringify([avoid, movedAt]);
}

/** Numbers that wander with the demand do not make another plan; where instances are, who serves whom, and what is not met do. */
export function isOtherPlan(a: ApplicationPlan | undefined, b: ApplicationPlan | undefined): boolean {
  if (a === undefined || b === undefined) return a !== b;
  if (b.changes.length > 0 || a.sites.length !== b.sites.length || a.unmet.length !== b.unmet.length || a.goals.length !== b.goals.length) return true;
  if (a.sites.some((s, i) => s.site !== b.sites[i]?.site || s.instances !== b.sites[i].instances || s.isHeld !== b.sites[i].isHeld)) return true;
  if (a.goals.some((g, i) => g.clientRegion !== b.goals[i]?.clientRegion || g.met !== b.goals[i].met || g.servedFrom !== b.goals[i].servedFrom || Math.round(g.predictedMs) !== Math.round(b.goals[i].predictedMs))) return true;
  const [was, is] = [sharesOf(a), sharesOf(b)];
  return was.size !== is.size || [...is].some(([way, share]) => Math.abs(share - (was.get(way) ?? Number.NEGATIVE_INFINITY)) > SHARE_TOLERANCE);
}

/** Of the requests of a front's clients: by client region and site, of all of the application's. */
function sharesOf(p: ApplicationPlan): ReadonlyMap<string, number> {
  const total = p.serves.reduce((sum, s) => sum + s.rps, 0);
  return new Map(p.serves.map((s) => [`${s.clientRegion} ${s.site}`, total === 0 ? 0 : s.rps / total]));
}

export function isOtherSite(before: SiteModel | undefined, site: SiteModel): boolean {
  if (before === undefined) return true;
  if (before === site) return false;
  return before.name !== site.name || before.reach !== site.reach || before.since !== site.since || before.cpuMilli !== site.cpuMilli || before.memoryMiB !== site.memoryMiB || before.front !== site.front || before.cost !== site.cost || before.carbon !== site.carbon || before.trust !== site.trust || before.region !== site.region || JSON.stringify([before.labels, before.resources]) !== JSON.stringify([site.labels, site.resources]);
}

const worth = (reach: SiteModel['reach']): number => ({ reachable: 3, returning: 2, suspect: 2, 'cut-off': 1, down: 0 })[reach];

/** Somewhere to go that was not there before: worth a look by everybody. */
export function isBetter(before: SiteModel | undefined, site: SiteModel): boolean {
  if (before === site) return false;
  if (before === undefined || worth(site.reach) > worth(before.reach)) return true;
  return site.cpuMilli > before.cpuMilli || site.memoryMiB > before.memoryMiB || site.cost < before.cost || JSON.stringify(before.labels) !== JSON.stringify(site.labels);
}
