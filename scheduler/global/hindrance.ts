/** Why a site is not used: the rule that forbids it, how it stands, who is there, or which dimension of it is full. */
import type { Capacity } from './capacity.ts';
import { named } from './decide.ts';
import { avoided, refusedByPolicy, standingOf } from './eligible.ts';
import type { ApplicationModel, Model } from './model.ts';

export interface Outlook {
  readonly model: Model;
  readonly now: number;
  readonly capacity: Capacity;
  /** Of every site, by all applications together. */
  readonly used: Float64Array;
  /** Is an application at a site? By key and site name. */
  readonly isAt: (key: string, site: string) => boolean;
  readonly apart: (key: string) => readonly string[];
}

/** null = nothing hinders it. */
export function hindrance(o: Outlook, app: ApplicationModel, s: number): string | null {
  const site = o.model.sites[s];
  if (site === undefined) return 'is not a site any more';
  const policy = refusedByPolicy(app.policy, site);
  if (policy !== null) return policy;
  if (standingOf(app.policy, site, o.now) !== 'open') return site.reach === 'reachable' || site.reach === 'returning' ? `is back since ${new Date(site.since).toISOString()} and not yet open again` : `is ${site.reach} since ${new Date(site.since).toISOString()}`;
  const avoid = avoided(app, site.name, o.now);
  if (avoid !== null) return `is not tried again yet: ${avoid}`;
  const other = o.apart(app.key).find((key) => o.isAt(key, site.name));
  if (other !== undefined) return `has ${other}; ${named(app, app.policy.antiAffinity).includes(other) ? 'antiAffinity names it' : 'its antiAffinity names this application'}`;
  return o.capacity.lack(o.used, s, o.capacity.sizeOf(app, s));
}
