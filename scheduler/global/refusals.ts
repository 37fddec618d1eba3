/** Why sites are not used by an application: worked out only when somebody asks, from the plan of all applications. */
import { Capacity } from './capacity.ts';
import { apartOf } from './decide.ts';
import { hindrance, type Outlook } from './hindrance.ts';
import type { ApplicationModel, Model } from './model.ts';
import { UNKNOWN_RTT_MS } from './objective.ts';
import type { ApplicationPlan, Plan, Serve } from './planner.ts';

export interface Refusal {
  readonly site: string;
  readonly reason: string;
}

/** What is the same for every application of a model: many placements may be written in one pass. */
const known = new WeakMap<Model, Pick<Outlook, 'capacity' | 'apart'>>();
const NO_KEYS: readonly string[] = [];

function outlookOf(model: Model, { applications, used, at }: Pick<Plan, 'applications' | 'used' | 'at'>): Outlook {
  let of = known.get(model);
  if (of === undefined) {
    const apart = apartOf(model.applications);
    known.set(model, (of = { capacity: new Capacity(model), apart: (key) => apart.get(key) ?? NO_KEYS }));
  }
  return { model, now: at, used, ...of, isAt: (key, site) => applications.get(key)?.sites.some((s) => s.site === site) === true };
}

/** Each site that the plan does not use for the application, with the first thing that speaks against it. */
export function refusals(model: Model, app: ApplicationModel, plan: Pick<Plan, 'applications' | 'used' | 'at'>): readonly Refusal[] {
  const planned = plan.applications.get(app.key);
  if (planned === undefined) return [];
  const outlook = outlookOf(model, plan);
  const used = new Set(planned.sites.map((s) => s.site));
  const main = app.demand.reduce<ApplicationModel['demand'][number] | undefined>((most, d) => (most === undefined || d.rps > most.rps ? d : most), undefined);
  const region = main === undefined ? '' : (model.clientRegions[main.region] ?? '');
  // where a part of the region's requests takes longest there is most to gain
  const serving = planned.serves.filter((s) => s.clientRegion === region).reduce<Serve | undefined>((worst, s) => (worst === undefined || s.rttMs > worst.rttMs ? s : worst), undefined);
  return model.sites.flatMap((site, s) => {
    if (used.has(site.name)) return [];
    const hinders = hindrance(outlook, app, s);
    if (hinders !== null) return [{ site: site.name, reason: hinders }];
    if (main === undefined) return [{ site: site.name, reason: 'is not needed: no demand asks for it' }];
    return [{ site: site.name, reason: compared(app, planned, region, serving, model.rtt[main.region * model.sites.length + s] as number, site.cost) }];
  });
}

/** Nothing hinders the site: what using it would bring to the clients that send most. */
function compared(app: ApplicationModel, planned: ApplicationPlan, region: string, serving: Serve | undefined, way: number, cost: number): string {
  if (serving === undefined) return `could serve client region ${region}; ${limited(app, planned, cost) ?? planned.kept ?? 'the instance does not pay'}`;
  if (Number.isNaN(way)) return `has no measured latency from client region ${region}`;
  const from = serving.rttMs >= UNKNOWN_RTT_MS ? 'an unmeasured time' : `${serving.rttMs.toFixed(1)} ms`;
  if (way >= serving.rttMs) return `is ${way.toFixed(1)} ms from client region ${region}; ${serving.site} serves it from ${from}`;
  const gain = `is ${way.toFixed(1)} ms from client region ${region}, ${serving.site} serves it from ${from}`;
  return `${gain}: ${planned.kept ?? limited(app, planned, cost) ?? 'the gain does not pay for the instance or the move'}`;
}

/** Why there may not be one more instance. */
function limited({ policy }: ApplicationModel, planned: ApplicationPlan, cost: number): string | null {
  const serving = planned.sites.filter((s) => !s.isHeld);
  const total = serving.reduce((sum, s) => sum + s.instances, 0);
  if (total >= policy.instances.max) return `instances.max is ${policy.instances.max}, and moving one there does not pay`;
  const ceiling = policy.cost?.ceiling;
  return ceiling !== undefined && planned.cost + cost > ceiling ? `another one would cost more than cost.ceiling = ${ceiling}, and moving one there does not pay` : null;
}
