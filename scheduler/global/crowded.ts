/**
 * Sites that an application must leave although nothing replaces it there: it has no place in the plan, and what the plan gives to others leaves
 * no room for what it runs. Whoever lost the last room is such a one; if it stayed, the site would hold more than it has. Pure.
 */
import { Capacity } from './capacity.ts';
import type { Model } from './model.ts';
import type { ObservedSite } from './mover-model.ts';
import { isUsable } from './mover-model.ts';
import type { Plan } from './planner.ts';
import { applicationNamed } from './surroundings.ts';

/** `isKnown`: has the site said how much room it has? Of one that has not nothing is concluded. */
export function crowdedSites(key: string, model: Model, plan: Plan, observed: readonly ObservedSite[], isKnown: (site: string) => boolean): ReadonlySet<string> {
  const out = new Set<string>();
  const app = applicationNamed(model, key);
  if (app === undefined || (plan.applications.get(key)?.sites.length ?? 0) > 0) return out;
  const capacity = new Capacity(model);
  for (const o of observed) {
    const s = model.sites.findIndex((x) => x.name === o.site);
    if (s < 0 || o.replicas === null || o.replicas === 0 || !isUsable(o.reach) || !isKnown(o.site)) continue;
    if (capacity.fits(plan.used, s, capacity.sizeOf(app, s)) < o.replicas) out.add(o.site);
  }
  return out;
}
