/**
 * The plan in force, kept up to date: what changed is planned again at once, everything now and then. Applications of other shards are not
 * planned here: what they hold, by their Placements, is room that a site does not have.
 */
import type { Application, Placement } from '../../api/kinds/mesh.ts';
import { isBetter, isOtherDemand, isOtherPlan, isOtherSite, isSameMemory } from './changes.ts';
import { Matrix, type MatrixOptions, type Ways } from './matrix.ts';
import { memoryOf } from './memory.ts';
import type { ApplicationModel, Model, Placements, SiteModel } from './model.ts';
import { type Holding, roomFor, usedBy } from './others.ts';
import { plan, type ApplicationPlan, type Plan, Replanner } from './planner.ts';
import { nextUnreachable } from './unreachable.ts';
import { applicationModel, type GlobalObjects, isSameApplication, policyOf } from './world.ts';

export interface PlanningInput {
  readonly now: number;
  /** Sorted by name. */
  readonly sites: readonly SiteModel[];
  readonly clientRegions: readonly string[];
  readonly ways: Ways;
  readonly demand: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly objects: GlobalObjects;
  /** Those that are planned here. */
  readonly own: ReadonlyMap<string, Application>;
  /** What applications of other shards hold. */
  readonly others: readonly Holding[];
  /** Keys whose objects changed. */
  readonly touched: ReadonlySet<string>;
}

export interface Planned {
  readonly model: Model;
  readonly plan: Plan;
  /** Keys that were planned in this call. */
  readonly planned: ReadonlySet<string>;
  /** Of these, those whose plan says something else than before. */
  readonly changed: ReadonlySet<string>;
  /** Sites that stand otherwise than before. */
  readonly sites: ReadonlySet<string>;
  readonly isFull: boolean;
}

export interface PlanningOptions extends MatrixOptions {
  /** Everything is planned at least so often, unless that would take more than a twentieth of the time. @default 10000 */
  readonly fullEveryMs?: number;
}

/** When so many are to be planned again, all are. */
const MOST_OF = 0.5;
const FULL_SHARE = 20;
const HURRY_SHARE = 4;
const DEFAULT_STABILISATION_SECONDS = 10;

interface Known {
  readonly app: Application;
  readonly placement: Placement | undefined;
  readonly model: ApplicationModel;
  readonly demand: ReadonlyMap<string, number>;
}

const NO_DEMAND: ReadonlyMap<string, number> = new Map();
export class Planning {
  readonly #fullEveryMs: number;
  readonly #stopwatch: () => number;
  readonly #matrix: Matrix;
  readonly #known = new Map<string, Known>();
  /** When an application's plan may be another only because time passed. */
  readonly #due = new Map<string, number>();
  readonly #owed = new Set<string>();
  #plans = new Map<string, ApplicationPlan>();
  #sites: readonly SiteModel[] = [];
  #model: Model | null = null;
  #plan: Plan | null = null;
  #replanner: Replanner | null = null;
  #fullAt = Number.NEGATIVE_INFINITY;
  #fullCostMs = 0;
  #isFullWanted = true;

  constructor(options: PlanningOptions = {}) {
    this.#fullEveryMs = options.fullEveryMs ?? 10_000;
    this.#stopwatch = options.stopwatch ?? (() => performance.now());
    this.#matrix = new Matrix(options);
  }

  /** What was carried out is no change any more. */
  settled(key: string): void {
    const planned = this.#plans.get(key);
    if (planned === undefined || planned.changes.length === 0) return;
    this.#plans.set(key, { ...planned, changes: [] });
    this.#plan = this.#plan === null ? null : { ...this.#plan, applications: this.#plans, changed: this.#plan.changed.filter((k) => k !== key) };
  }

  /** What was decided of it could not be recorded: what its Placement says is what is there. */
  failed(key: string): void {
    this.#owed.add(key);
  }

  get plan(): Plan | null {
    return this.#plan;
  }

  update(i: PlanningInput): Planned {
    const names = i.sites.map((s) => s.name);
    const stood = new Map(this.#sites.map((s) => [s.name, s]));
    const isReshaped = names.length !== this.#sites.length || names.some((n, at) => this.#sites[at]?.name !== n);
    const regions = this.#matrix.update(names, i.clientRegions, i.ways, i.now);
    const sites = isReshaped ? new Set(names) : new Set(i.sites.filter((s) => isOtherSite(stood.get(s.name), s)).map((s) => s.name));
    if (i.sites.some((s) => isBetter(stood.get(s.name), s))) this.#isFullWanted = true;
    const isFull = isReshaped || this.#plan === null || this.#isFullDue(i.now);
    const todo = this.#models(i, regions, sites, isFull);
    const room = roomFor(i.sites, i.others.length === 0 ? [] : this.#holdings(), i.others);
    for (const key of room.yielding) todo.add(key);
    const isOtherRoom = sites.size > 0 || this.#model === null || room.sites.some((s, at) => isOtherSite(this.#model?.sites[at], s));
    this.#sites = i.sites;
    const applications = todo.size === 0 && this.#model !== null ? this.#model.applications : [...this.#known.values()].map((k) => k.model).sort((a, b) => (a.key < b.key ? -1 : 1));
    const isSame = this.#model !== null && !isOtherRoom && applications === this.#model.applications && this.#matrix.rtt === this.#model.rtt;
    const model: Model = isSame ? (this.#model as Model) : { sites: isOtherRoom ? room.sites : (this.#model?.sites ?? room.sites), clientRegions: i.clientRegions, rtt: this.#matrix.rtt, applications };
    if (isOtherRoom || model.rtt !== this.#model?.rtt) this.#replanner = null;
    this.#model = model;
    if (isFull || this.#plan === null || todo.size > MOST_OF * Math.max(4, this.#known.size)) {
      const old = this.#plans;
      const full = this.#full(i, model);
      return { ...full, changed: this.#others(old, full.planned), sites, isFull: true };
    }
    const old = todo.size === 0 ? this.#plans : new Map(this.#plans);
    if (todo.size > 0) this.#some(i, model, todo);
    return { model, plan: this.#plan, planned: todo, changed: this.#others(old, todo), sites, isFull: false };
  }

  #others(before: ReadonlyMap<string, ApplicationPlan>, keys: ReadonlySet<string>): ReadonlySet<string> {
    return new Set([...keys].filter((key) => isOtherPlan(before.get(key), this.#plans.get(key))));
  }

  #isFullDue(now: number): boolean {
    const share = this.#isFullWanted ? HURRY_SHARE : FULL_SHARE;
    return now - this.#fullAt >= Math.max(this.#isFullWanted ? 0 : this.#fullEveryMs, share * this.#fullCostMs);
  }

  /** Keeps each application's part of the model; returns the keys to plan again. `isExact`: with the demand of now, however little it differs. */
  #models(i: PlanningInput, regions: ReadonlySet<number>, sites: ReadonlySet<string>, isExact: boolean): Set<string> {
    const todo = new Set<string>();
    if (this.#owed.size > 0) this.#replanner = null;
    for (const key of this.#known.keys()) {
      if (i.own.has(key)) continue;
      this.#known.delete(key);
      this.#plans.delete(key);
      this.#due.delete(key);
      this.#replanner = null;
      this.#model = null;
    }
    const index = new Map(i.clientRegions.map((name, at) => [name, at]));
    for (const [key, app] of i.own) {
      const known = this.#known.get(key);
      const placement = i.objects.placements.get(key);
      const demand = i.demand.get(key) ?? NO_DEMAND;
      const isSameDemand = known !== undefined && (isExact ? known.demand === demand : !isOtherDemand(known.demand, demand));
      const isSameApp = known !== undefined && isSameApplication(known.app, app);
      const policy = isSameApp && app.spec.policy !== undefined ? known.model.policy : policyOf(app, i.objects);
      if (policy === null) continue;
      const isSame = isSameDemand && isSameApp && known.model.policy === policy && isSameMemory(known.model, placement);
      if (isSame && known.placement !== placement) this.#known.set(key, { ...known, app, placement });
      if (isSame && !i.touched.has(key) && !this.#owed.has(key)) {
        if (this.#isDue(key, i.now) || this.#isNear(known.model, regions, sites, key)) todo.add(key);
        continue;
      }
      const rows = isSameDemand ? known.model.demand : [...demand].flatMap(([name, rps]) => (index.has(name) && rps > 0 ? [{ region: index.get(name) as number, rps }] : [])).sort((a, b) => a.region - b.region);
      this.#known.set(key, { app, placement, demand: isSameDemand ? known.demand : demand, model: { ...applicationModel(app, policy, memoryOf(placement)), demand: rows } });
      todo.add(key);
    }
    this.#owed.clear();
    return todo;
  }

  #isDue(key: string, now: number): boolean {
    return (this.#due.get(key) ?? Number.POSITIVE_INFINITY) <= now;
  }

  /** Does it run at a site that stands otherwise, or is the way of its clients another? */
  #isNear(app: ApplicationModel, regions: ReadonlySet<number>, sites: ReadonlySet<string>, key: string): boolean {
    if (sites.size > 0 && this.#plans.get(key)?.sites.some((s) => sites.has(s.site)) === true) return true;
    return regions.size > 0 && app.demand.some((d) => regions.has(d.region));
  }

  #full(i: PlanningInput, model: Model): { readonly model: Model; readonly plan: Plan; readonly planned: ReadonlySet<string> } {
    const began = this.#stopwatch();
    const made = plan(model, this.#current(i), i.now);
    this.#fullCostMs = this.#stopwatch() - began;
    this.#fullAt = i.now;
    this.#isFullWanted = false;
    this.#plans = new Map(made.applications);
    this.#plan = { ...made, applications: this.#plans };
    this.#replanner = null;
    for (const key of this.#known.keys()) this.#plansAgainAt(key, i.now);
    return { model, plan: this.#plan, planned: new Set(this.#known.keys()) };
  }

  #some(i: PlanningInput, model: Model, todo: ReadonlySet<string>): void {
    this.#replanner ??= new Replanner(model, this.#inForce(i, model));
    for (const key of todo) {
      const known = this.#known.get(key);
      if (known === undefined) continue;
      this.#plans.set(key, this.#replanner.replan(known.model, i.now));
      this.#plansAgainAt(key, i.now);
    }
    const changed = [...this.#plans.values()].filter((a) => a.changes.length > 0).map((a) => a.key);
    this.#plan = { at: i.now, applications: this.#plans, used: usedBy(model, new Map([...this.#plans].map(([key, p]) => [key, p.sites]))), changed };
  }

  /** By the Placements: what was planned and not recorded is not there. */
  #inForce(i: PlanningInput, model: Model): Plan {
    const placements = this.#current(i);
    const applications = new Map<string, ApplicationPlan>();
    for (const [key, sites] of placements) {
      const known = this.#plans.get(key);
      applications.set(key, { ...(known ?? nothing(key)), sites: sites.map((s) => ({ ...s, reason: '', isHeld: false })) });
    }
    return { at: i.now, applications, used: usedBy(model, placements), changed: [] };
  }

  /** Of all applications, whoever plans them: rules between applications ask where the others are. */
  #current(i: PlanningInput): Placements {
    return new Map([...i.objects.placements].map(([key, p]) => [key, p.spec.sites.filter((s) => s.instances > 0)]));
  }

  #holdings(): Holding[] {
    return [...this.#known.values()].flatMap(({ model, placement }) => (placement === undefined ? [] : [{ app: model, sites: placement.spec.sites, plannedAt: placement.spec.plannedAt ?? '' }]));
  }

  /** What a policy does next about a site out of reach, and when a site that came back counts again. */
  #plansAgainAt(key: string, now: number): void {
    const model = this.#known.get(key)?.model;
    const planned = this.#plans.get(key);
    if (model === undefined || planned === undefined) return;
    const times = model.avoid.map((a) => a.until).filter((t) => t > now);
    for (const { site: name } of planned.sites) {
      const site = this.#siteOf(name);
      if (site === undefined || (site.reach === 'reachable' && site.since === 0)) continue;
      if (site.reach === 'cut-off' || site.reach === 'down') {
        const seconds = nextUnreachable(model.policy, (now - site.since) / 1000);
        if (seconds !== null) times.push(now + seconds * 1000);
      } else if (site.reach !== 'suspect') {
        const openAt = site.since + (model.policy.failback?.stabilisationSeconds ?? DEFAULT_STABILISATION_SECONDS) * 1000;
        if (openAt > now) times.push(openAt);
      }
    }
    if (times.length === 0) this.#due.delete(key);
    else this.#due.set(key, Math.min(...times));
  }

  #siteOf(name: string): SiteModel | undefined {
    let [low, high] = [0, this.#sites.length - 1];
    while (low <= high) {
      const mid = (low + high) >> 1;
      const site = this.#sites[mid] as SiteModel;
      if (site.name === name) return site;
      if (site.name < name) low = mid + 1;
      else high = mid - 1;
    }
    return undefined;
  }
}

const nothing = (key: string): ApplicationPlan => ({ key, sites: [], serves: [], goals: [], unmet: [], kept: null, latencyMs: 0, cost: 0, changes: [] });
