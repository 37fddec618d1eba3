/** What docs/policy.md says, read again without the planner's code: which sites are allowed, how they stand, and what is left of them. */
import type { PolicySpec, SiteSelector } from '../../../../../api/kinds/mesh.ts';
import type { ApplicationModel, Model, Placements, SiteModel } from '../../../../../scheduler/global/model.ts';
import type { ApplicationPlan, Plan } from '../../../../../scheduler/global/planner.ts';

export const EPSILON = 1e-6;
const ZONE = 'topology.kubernetes.io/zone';

export type Stand = 'open' | 'keep' | 'held' | 'lost';

export const fits = (rule: SiteSelector, site: SiteModel): boolean =>
  (rule.names?.includes(site.name) ?? true) && (rule.regions?.includes(site.region) ?? true) && Object.entries(rule.labels ?? {}).every(([k, v]) => site.labels[k] === v);

export function isAllowed({ sites, residency, edgeAllowed, minTrust, overflow }: PolicySpec, site: SiteModel): boolean {
  const isEdge = site.kind === 'edge';
  if (sites?.required !== undefined && !fits(sites.required, site)) return false;
  if ((sites?.forbidden ?? []).includes(site.name)) return false;
  if (residency !== undefined && !residency.includes(site.region)) return false;
  if (edgeAllowed === false && isEdge) return false;
  if (site.trust < (minTrust ?? 0)) return false;
  if (overflow !== false) return true;
  // edge sites that sites.required or sites.preferred selects, or any edge site when neither is given
  const preferred = sites?.preferred ?? [];
  return isEdge && (sites?.required !== undefined || preferred.length === 0 || preferred.some((p) => fits(p, site)));
}

/** Seconds out of reach -> the action that is in force. */
export function actionAfter(policy: PolicySpec, seconds: number): 'stay' | 'duplicate' | 'fence' | 'move' {
  const given = policy.unreachable ?? { action: 'duplicate' as const, afterSeconds: 1 };
  let found: ReturnType<typeof actionAfter> = 'stay';
  let latest = -1;
  for (const step of 'action' in given ? [given] : given) {
    if (step.afterSeconds > seconds || step.afterSeconds < latest) continue;
    latest = step.afterSeconds;
    found = step.action;
  }
  return found;
}

export function standOf(policy: PolicySpec, site: SiteModel, now: number): Stand {
  const seconds = (now - site.since) / 1000;
  if (site.reach === 'suspect') return 'keep';
  if (site.reach === 'reachable' || site.reach === 'returning') {
    if (site.reach === 'reachable' && site.since === 0) return 'open';
    return policy.failback?.automatic === false || seconds < (policy.failback?.stabilisationSeconds ?? 10) ? 'held' : 'open';
  }
  const action = actionAfter(policy, seconds);
  // what replaces a fenced one starts 5 s after the site has stopped it: until then it is as before
  const isFencing = action === 'fence' && actionAfter(policy, seconds - 5) !== 'fence';
  const before = isFencing ? beforeFence(policy, seconds) : action;
  return before === 'stay' ? 'keep' : before === 'duplicate' ? 'held' : 'lost';
}

function beforeFence(policy: PolicySpec, seconds: number): ReturnType<typeof actionAfter> {
  const given = policy.unreachable ?? [];
  const earlier = ('action' in given ? [given] : given).filter((s) => s.afterSeconds <= seconds).toSorted((a, b) => a.afterSeconds - b.afterSeconds).slice(0, -1);
  return earlier.at(-1)?.action ?? 'stay';
}

export const placeIn = (policy: PolicySpec, site: SiteModel): string => (policy.spread?.over === 'region' ? site.region : policy.spread?.over === 'zone' ? (site.labels[ZONE] ?? site.name) : site.name);

export const isAvoided = (app: ApplicationModel, site: string, now: number): boolean => app.avoid.some((a) => a.site === site && a.until > now);

/** Why nothing may be moved for gain now; null = it may. */
export function noMoves(app: ApplicationModel, now: number): string | null {
  const m = app.policy.migration;
  if (m === undefined) return null;
  if (!m.allowed) return 'allowed';
  const moves = app.movedAt.filter((t) => t > now - 3_600_000).length;
  if (m.maxMovesPerHour !== undefined && moves >= m.maxMovesPerHour) return 'maxMovesPerHour';
  const minutes = new Date(now).getUTCHours() * 60 + new Date(now).getUTCMinutes();
  const at = (text: string): number => Number(text.slice(0, 2)) * 60 + Number(text.slice(3));
  const isIn = (w: { readonly from: string; readonly to: string }): boolean => (at(w.from) <= at(w.to) ? at(w.from) <= minutes && minutes < at(w.to) : minutes >= at(w.from) || minutes < at(w.to));
  return (m.windows ?? []).length > 0 && !(m.windows ?? []).some(isIn) ? 'windows' : null;
}

/** Everything one needs to judge a plan. */
export class Judge {
  readonly model: Model;
  readonly current: Placements;
  readonly plan: Plan;
  readonly sites: ReadonlyMap<string, SiteModel>;
  readonly dimensions: readonly string[];

  constructor(model: Model, current: Placements, plan: Plan) {
    this.model = model;
    this.current = current;
    this.plan = plan;
    this.sites = new Map(model.sites.map((s) => [s.name, s]));
    this.dimensions = ['cpu', 'memory', ...new Set([...model.sites, ...model.applications].flatMap((x) => Object.keys(x.resources ?? {})))];
  }

  get now(): number {
    return this.plan.at;
  }

  planOf(app: ApplicationModel): ApplicationPlan {
    const found = this.plan.applications.get(app.key);
    if (found === undefined) throw new Error(`${app.key} is not in the plan`);
    return found;
  }

  total(site: SiteModel, dimension: string): number {
    return dimension === 'cpu' ? site.cpuMilli : dimension === 'memory' ? site.memoryMiB : (site.resources?.[dimension] ?? 0);
  }

  size(app: ApplicationModel, site: string, dimension: string): number {
    const of = app.sizeAt?.[site] ?? app;
    return dimension === 'cpu' ? of.cpuMilli : dimension === 'memory' ? of.memoryMiB : (of.resources?.[dimension] ?? 0);
  }

  taken(site: string, dimension: string, isCounted: (isHeld: boolean) => boolean = () => true): number {
    let sum = 0;
    for (const app of this.model.applications) for (const p of this.planOf(app).sites) if (p.site === site && isCounted(p.isHeld)) sum += p.instances * this.size(app, site, dimension);
    return sum;
  }

  free(site: SiteModel, dimension: string): number {
    return this.total(site, dimension) - this.taken(site.name, dimension);
  }

  rtt(client: string, site: string): number {
    const [r, s] = [this.model.clientRegions.indexOf(client), this.model.sites.findIndex((x) => x.name === site)];
    return this.model.rtt[r * this.model.sites.length + s] as number;
  }

  demand(app: ApplicationModel, client: string): number {
    return app.demand.find((d) => this.model.clientRegions[d.region] === client)?.rps ?? 0;
  }

  /** Keys of those that it may not share a site with, whichever of them says so. */
  enemies(app: ApplicationModel): readonly string[] {
    const names = (a: ApplicationModel): string[] => (a.policy.antiAffinity ?? []).map((n) => `${a.key.slice(0, a.key.lastIndexOf('/'))}/${n}`);
    return this.model.applications.filter((o) => o !== app && (names(app).includes(o.key) || names(o).includes(app.key))).map((o) => o.key);
  }

  isAt(key: string, site: string): boolean {
    return this.plan.applications.get(key)?.sites.some((s) => s.site === site) === true;
  }

  before(app: ApplicationModel, site: string): number {
    return this.current.get(app.key)?.find((s) => s.site === site)?.instances ?? 0;
  }

  /** Instances that a site may have by its state: what is open may get any number, what came back those that the rate of fail-back gives. */
  most(app: ApplicationModel, site: SiteModel): number {
    const stand = standOf(app.policy, site, this.now);
    const before = this.before(app, site.name);
    if (stand !== 'open') return stand === 'keep' ? before : 0;
    const rate = app.policy.failback?.maxPerMinute;
    if (rate === undefined || site.since === 0) return Number.POSITIVE_INFINITY;
    const minutes = (this.now - site.since) / 60_000 - (app.policy.failback?.stabilisationSeconds ?? 10) / 60;
    return Math.max(before, 1 + Math.floor(rate * Math.max(0, minutes) + EPSILON));
  }

  /** Might one more instance be put there now? `stands`: where else than at open sites. */
  hasRoom(app: ApplicationModel, site: SiteModel, stands: readonly Stand[] = ['open']): boolean {
    if (!stands.includes(standOf(app.policy, site, this.now))) return false;
    if (!isAllowed(app.policy, site) || isAvoided(app, site.name, this.now) || this.enemies(app).some((key) => this.isAt(key, site.name))) return false;
    const has = this.planOf(app).sites.find((s) => s.site === site.name)?.instances ?? 0;
    return has + 1 <= this.most(app, site) && this.dimensions.every((k) => this.size(app, site.name, k) === 0 || this.size(app, site.name, k) <= this.free(site, k) + EPSILON);
  }
}
