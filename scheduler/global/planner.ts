/**
 * (model, current placements, now) -> plan. Joint over applications: they share the sites' capacity, and each is planned with what the
 * others hold. What runs stays where it is unless leaving it pays twice for the move, so that noise moves nothing and a second plan is empty.
 */
import { refusedByPolicy, standingOf } from './eligible.ts';
import type { ApplicationModel, Model, Placements, SiteInstances } from './model.ts';
import { Nearest, Problems } from './problem.ts';
import { decideApplication } from './stability.ts';
import { Search } from './search.ts';

export interface PlannedSite extends SiteInstances {
  readonly reason: string;
  /** Runs on, but its site is out of reach: others serve meanwhile. */
  readonly isHeld: boolean;
}

export interface Serve {
  readonly clientRegion: string;
  readonly site: string;
  readonly rps: number;
  readonly rttMs: number;
}

export interface Goal {
  readonly clientRegion: string;
  readonly goalMs: number;
  readonly predictedMs: number;
  readonly met: boolean;
  readonly servedFrom: string;
}

export interface ApplicationPlan {
  readonly key: string;
  readonly sites: readonly PlannedSite[];
  readonly serves: readonly Serve[];
  readonly goals: readonly Goal[];
  /** Sentences: which constraint binds, for what could not be met. */
  readonly unmet: readonly string[];
  /** Why a better placement was not taken; null = none was found. */
  readonly kept: string | null;
  readonly latencyMs: number;
  readonly cost: number;
  readonly changes: readonly { readonly site: string; readonly from: number; readonly to: number; readonly reason: string }[];
}

export interface Plan {
  readonly at: number;
  readonly applications: ReadonlyMap<string, ApplicationPlan>;
  /** Used of each site by index: [site * 2] mCPU, [site * 2 + 1] MiB. */
  readonly used: Float64Array;
  readonly changed: readonly string[];
}

interface Context {
  readonly model: Model;
  readonly now: number;
  readonly used: Float64Array;
  readonly siteIndex: ReadonlyMap<string, number>;
  readonly problems: Problems;
  readonly search: Search;
  /** What is wanted of every application as far as it is known: current, then planned. */
  readonly placed: Map<string, readonly SiteInstances[]>;
}

function account(c: Context, app: ApplicationModel, sites: readonly SiteInstances[], sign: 1 | -1): void {
  for (const { site, instances } of sites) {
    const s = c.siteIndex.get(site);
    if (s === undefined) continue;
    c.used[s * 2] = (c.used[s * 2] as number) + sign * instances * app.cpuMilli;
    c.used[s * 2 + 1] = (c.used[s * 2 + 1] as number) + sign * instances * app.memoryMiB;
  }
}

function planOne(c: Context, app: ApplicationModel, current: readonly SiteInstances[]): ApplicationPlan {
  account(c, app, current, -1);
  const planned = decideApplication(app, current, c);
  c.placed.set(app.key, planned.sites);
  account(c, app, planned.sites, 1);
  return planned;
}

function totalRps(app: ApplicationModel): number {
  return app.demand.reduce((sum, d) => sum + d.rps, 0);
}

function context(model: Model, placements: Placements, now: number, nearest: Nearest, used: Float64Array): Context {
  const siteIndex = new Map(model.sites.map((s, i) => [s.name, i]));
  return { model, now, used, siteIndex, problems: new Problems(model, siteIndex, nearest), search: new Search(), placed: new Map(placements) };
}

/** Those that must run first in the order: more demand, then by name. Independent of the order of input. */
export function plan(model: Model, current: Placements, now: number): Plan {
  const used = new Float64Array(model.sites.length * 2);
  const c = context(model, current, now, new Nearest(model), used);
  for (const app of model.applications) account(c, app, current.get(app.key) ?? [], 1);
  const order = model.applications.map((app) => ({ app, rps: totalRps(app) })).sort((a, b) => b.rps - a.rps || (a.app.key < b.app.key ? -1 : 1));
  const applications = new Map<string, ApplicationPlan>();
  for (const { app } of order) applications.set(app.key, planOne(c, app, current.get(app.key) ?? []));
  return { at: now, applications, used, changed: [...applications.values()].filter((a) => a.changes.length > 0).map((a) => a.key) };
}

/** Plans again only the applications named, from the previous plan; the model's sites and matrix are those of the previous plan. */
export class Replanner {
  readonly #model: Model;
  readonly #nearest: Nearest;
  readonly #byKey: Map<string, ApplicationModel>;
  readonly #context: Context;
  readonly #plans: Map<string, ApplicationPlan>;

  constructor(model: Model, previous: Plan) {
    this.#model = model;
    this.#nearest = new Nearest(model);
    this.#byKey = new Map(model.applications.map((a) => [a.key, a]));
    this.#plans = new Map(previous.applications);
    this.#context = context(model, new Map([...previous.applications].map(([k, p]) => [k, p.sites])), previous.at, this.#nearest, previous.used.slice());
  }

  replan(app: ApplicationModel, now: number): ApplicationPlan {
    const before = this.#plans.get(app.key)?.sites ?? [];
    const known = this.#byKey.get(app.key) ?? app;
    account(this.#context, known, before, -1); // what it held was of its old size
    account(this.#context, app, before, 1);
    this.#byKey.set(app.key, app);
    const planned = planOne({ ...this.#context, now }, app, before);
    this.#plans.set(app.key, planned);
    return planned;
  }

  get sites(): Model['sites'] {
    return this.#model.sites;
  }
}

/** Why sites are not used by an application: only computed when somebody asks. */
export function refusals(model: Model, app: ApplicationModel, planned: ApplicationPlan, used: Float64Array, now: number): readonly { readonly site: string; readonly reason: string }[] {
  const main = app.demand.toSorted((a, b) => b.rps - a.rps)[0];
  const serving = planned.serves.find((s) => main !== undefined && s.clientRegion === model.clientRegions[main.region]);
  return model.sites.flatMap((site, s) => {
    if (planned.sites.some((p) => p.site === site.name)) return [];
    const because = (reason: string): readonly { site: string; reason: string }[] => [{ site: site.name, reason }];
    const policy = refusedByPolicy(app.policy, site);
    if (policy !== null) return because(policy);
    const standing = standingOf(app.policy, site, now);
    if (standing !== 'open') return because(`is ${site.reach} since ${new Date(site.since).toISOString()}`);
    const avoid = app.avoid.find((a) => a.site === site.name && a.until > now);
    if (avoid !== undefined) return because(avoid.reason);
    const [cpu, memory] = [site.cpuMilli - (used[s * 2] as number), site.memoryMiB - (used[s * 2 + 1] as number)];
    if (cpu < app.cpuMilli || memory < app.memoryMiB) return because(`has ${cpu} mCPU and ${memory} MiB free; one instance needs ${app.cpuMilli} and ${app.memoryMiB}`);
    if (main === undefined || serving === undefined) return because('is not needed: no demand asks for it');
    const ms = model.rtt[main.region * model.sites.length + s] as number;
    const region = model.clientRegions[main.region] as string;
    if (Number.isNaN(ms)) return because(`has no measured latency from client region ${region}`);
    return because(ms >= serving.rttMs ? `is ${ms.toFixed(1)} ms from client region ${region}; ${serving.site} serves it from ${serving.rttMs.toFixed(1)} ms` : `would gain client region ${region} ${(serving.rttMs - ms).toFixed(1)} ms, which does not pay for the instance or the move`);
  });
}
