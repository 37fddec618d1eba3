/** Which sites a policy allows. Each refusal is a sentence with the fact behind it. */
import type { OnUnreachable, PolicySpec, SiteSelector } from '../../api/kinds/mesh.ts';
import type { ApplicationModel, SiteModel } from './model.ts';
import { unreachableAt, unreachableSteps } from './unreachable.ts';

export function selects(selector: SiteSelector, site: SiteModel): boolean {
  if (selector.names !== undefined && !selector.names.includes(site.name)) return false;
  if (selector.regions !== undefined && !selector.regions.includes(site.region)) return false;
  for (const [k, v] of Object.entries(selector.labels ?? {})) if (site.labels[k] !== v) return false;
  return true;
}

/** Where an application belongs when it must not overflow: the edge sites that it requires or prefers, or, without either, every edge site. */
function isHome(policy: PolicySpec, site: SiteModel): boolean {
  const preferred = policy.sites?.preferred ?? [];
  return site.kind === 'edge' && (policy.sites?.required !== undefined || preferred.length === 0 || preferred.some((p) => selects(p, site)));
}

/** null = the policy allows the site. Says nothing about capacity, reach or latency. */
export function refusedByPolicy(policy: PolicySpec, site: SiteModel): string | null {
  if (policy.edgeAllowed === false && site.kind === 'edge') return 'is an edge site; the policy says edgeAllowed: false';
  if (policy.residency !== undefined && !policy.residency.includes(site.region)) return `is in region ${site.region}; residency allows ${policy.residency.join(', ')}`;
  if (policy.sites?.forbidden?.includes(site.name) === true) return 'is in sites.forbidden';
  if (policy.sites?.required !== undefined && !selects(policy.sites.required, site)) return 'is not selected by sites.required';
  if (policy.overflow === false && !isHome(policy, site)) return site.kind === 'edge' ? 'is an edge site that sites.preferred does not select; the policy says overflow: false' : 'is not an edge site; the policy says overflow: false';
  if (policy.minTrust !== undefined && site.trust < policy.minTrust) return `has trust ${site.trust}; the policy asks for ${policy.minTrust}`;
  return null;
}

/** How a site stands for an application whose instances may be there already. */
export type Standing =
  /** May get instances. */
  | 'open'
  /** Keeps what it has and serves; nothing new. */
  | 'keep'
  /** Keeps what it has, but does not count as serving: replaced elsewhere meanwhile. */
  | 'held'
  /** Loses what it has. */
  | 'lost';

/** Of the instances at a site out of reach, while the action is in force. */
const STANDING = { stay: 'keep', duplicate: 'held', fence: 'lost', move: 'lost' } as const satisfies Readonly<Record<OnUnreachable, Standing>>;
/** A fenced site stops its instances itself when the delay is over; they are replaced so many seconds later, never while they may still serve. */
export const FENCE_MARGIN_SECONDS = 5;
const DEFAULT_STABILISATION_SECONDS = 10;

/** Unreachable is not dead: a site that serves its clients keeps what it has until the policy's delay is over. */
export function standingOf(policy: PolicySpec, site: SiteModel, now: number): Standing {
  switch (site.reach) {
    case 'reachable':
    case 'returning': {
      if (site.reach === 'reachable' && site.since === 0) return 'open'; // never lost
      if (policy.failback?.automatic === false) return 'held';
      const wait = (policy.failback?.stabilisationSeconds ?? DEFAULT_STABILISATION_SECONDS) * 1000;
      return now - site.since >= wait ? 'open' : 'held';
    }
    case 'suspect':
      return 'keep';
    case 'cut-off':
    case 'down':
      return standingAfter(policy, (now - site.since) / 1000);
  }
}

function standingAfter(policy: PolicySpec, seconds: number): Standing {
  const action = unreachableAt(policy, seconds);
  if (action !== 'fence') return STANDING[action];
  const steps = unreachableSteps(policy).filter((s) => s.afterSeconds <= seconds);
  const since = steps.at(-1)?.afterSeconds ?? 0;
  return seconds >= since + FENCE_MARGIN_SECONDS ? 'lost' : STANDING[steps.at(-2)?.action ?? 'stay'];
}

export function avoided(app: ApplicationModel, site: string, now: number): string | null {
  if (app.avoid.length === 0) return null;
  const found = app.avoid.find((a) => a.site === site && a.until > now);
  return found === undefined ? null : found.reason;
}

/** May the application be moved now, for gain? Lost or forbidden places are left in any case. */
export function moveRefusal(app: ApplicationModel, now: number): string | null {
  const m = app.policy.migration;
  if (m === undefined) return null;
  if (!m.allowed) return 'migration.allowed is false';
  const hour = app.movedAt.filter((t) => now - t < 3_600_000).length;
  if (m.maxMovesPerHour !== undefined && hour >= m.maxMovesPerHour) return `${hour} moves in the last hour; migration.maxMovesPerHour is ${m.maxMovesPerHour}`;
  if (m.windows !== undefined && m.windows.length > 0) {
    const clock = new Date(now).toISOString().slice(11, 16);
    const isIn = m.windows.some((w) => (w.from <= w.to ? clock >= w.from && clock < w.to : clock >= w.from || clock < w.to));
    if (!isIn) return `${clock} UTC is outside migration.windows`;
  }
  return null;
}
