/**
 * (model, current placements, now) -> plan. Joint over applications: they share the sites' capacity, and what they cost together is made small
 * (`objective.ts`). What runs stays where it is unless leaving it pays twice for the move, so that noise moves nothing and a second plan is empty.
 */
import { Nearest } from './candidates.ts';
import { Capacity } from './capacity.ts';
import { compose, type Composing } from './compose.ts';
import { countInstances, help, steady } from './counts.ts';
import { apartOf, Decider, type Others, type Setting } from './decide.ts';
import type { Entry } from './entry.ts';
import { Joint } from './joint/joint.ts';
import { Ledger } from './joint/ledger.ts';
import type { ApplicationModel, Model, Placements, SiteInstances } from './model.ts';
import { Problems } from './problem.ts';
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
  /** Served at least so fast is the share of the client region's requests that the goal names. */
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
  /** Used of each site by index and dimension (`capacity.ts`): mCPU, MiB, then further ones by name. */
  readonly used: Float64Array;
  readonly changed: readonly string[];
}

const NO_KEYS: readonly string[] = [];
/** Of so few applications the demand is moved to fill instances. */
const PACKED_UP_TO = 100;

function settingOf(model: Model, reported: Placements, now: number, nearest: Nearest): Setting {
  const siteIndex = new Map(model.sites.map((s, i) => [s.name, i]));
  const capacity = new Capacity(model);
  const search = new Search();
  search.isPacking = model.applications.length <= PACKED_UP_TO;
  return { model, now, capacity, siteIndex, problems: new Problems(model, capacity, siteIndex, nearest, reported), search };
}

/** Most demand first, then by name. Independent of the order of input. */
function inOrder(model: Model): readonly ApplicationModel[] {
  const rps = new Map(model.applications.map((a) => [a, a.demand.reduce((sum, d) => sum + d.rps, 0)]));
  return model.applications.toSorted((a, b) => (rps.get(b) as number) - (rps.get(a) as number) || (a.key < b.key ? -1 : 1));
}

/** A plan for so few applications is looked at again as what runs, until nothing of it would change or what was before comes back: then that stays. */
const AGAIN_UP_TO = 300;
const AGAIN_ROUNDS = 6;

export function plan(model: Model, current: Placements, now: number): Plan {
  const nearest = new Nearest(model);
  let made = planOnce(model, current, current, now, nearest);
  if (model.applications.length > AGAIN_UP_TO) return made;
  const seen = [current];
  for (let round = 0; round < AGAIN_ROUNDS && !seen.some((before) => isAsBefore(before, made)); round++) {
    const from = new Map([...made.applications].map(([key, a]) => [key, a.sites]));
    seen.push(from);
    made = planOnce(model, from, current, now, nearest);
  }
  return made;
}

/** An application that was not known before has changed, even if it has no place. */
function isAsBefore(before: Placements, { applications }: Plan): boolean {
  return [...applications].every(([key, a]) => isSamePlace(before.get(key) ?? null, a.sites));
}

function isSamePlace(a: readonly SiteInstances[] | null, b: readonly SiteInstances[]): boolean {
  return a !== null && a.length === b.length && a.every((x, i) => x.site === b[i]?.site && x.instances === b[i]?.instances);
}

/** `current` is what the plan begins with; its changes are told from what there is, `reported`. */
function planOnce(model: Model, current: Placements, reported: Placements, now: number, nearest: Nearest): Plan {
  const setting = settingOf(model, reported, now, nearest);
  const { capacity, siteIndex } = setting;
  const apart = apartOf(model.applications);
  const decider = new Decider(setting);
  const fixed = new Float64Array(capacity.total.length);
  const order = inOrder(model);
  const before: Others = { used: fixed, sitesOf: (key) => (current.get(key) ?? []).flatMap((s) => siteIndex.get(s.site) ?? []) };
  const entries = order.map((app) => decider.enter(app, current.get(app.key) ?? [], apart.get(app.key) ?? NO_KEYS, before));
  for (const e of entries) hold(e, setting, fixed);
  const ledger = new Ledger(entries, capacity, fixed.slice(), model.sites.map((s) => s.name));
  for (const e of entries) if (e.choice.open.length > 0) ledger.put(e, e.choice);
  const fresh = entries.filter((e) => e.choice.open.length === 0);
  // who found no place last time gets one when there is room, not by moving the others about in every plan
  const isNew = fresh.some((e) => e.current.length > 0 || !current.has(e.app.key));
  new Joint(ledger, fresh, isNew, fixed, { decider, problems: setting.problems, search: setting.search, now }).run();
  const used = fixed.slice();
  const counts = countInstances(entries, ledger.at, siteIndex, capacity, used);
  const around = composing(setting, used, (key) => ledger.placeOf(key), (key) => apart.get(key) ?? NO_KEYS);
  const applications = new Map(entries.map((e) => [e.app.key, compose(e, counts.get(e.app.key) ?? [], around, reported.get(e.app.key) ?? [])]));
  return { at: now, applications, used, changed: [...applications.values()].filter((a) => a.changes.length > 0).map((a) => a.key) };
}

/** Instances that run on at a site out of reach still take of it. */
function hold(e: Entry, { capacity, siteIndex }: Setting, used: Float64Array): void {
  for (const h of e.held) {
    const s = siteIndex.get(h.site);
    if (s !== undefined) capacity.take(used, s, capacity.sizeOf(e.app, s), h.instances);
  }
}

function composing(setting: Setting, used: Float64Array, siteNames: (key: string) => readonly string[], apart: (key: string) => readonly string[]): Composing {
  return { model: setting.model, now: setting.now, capacity: setting.capacity, siteIndex: setting.siteIndex, used, apart, isAt: (key, site) => siteNames(key).includes(site) };
}

/** Plans again only the applications named, from the previous plan; the model's sites and matrix are those of the previous plan. */
export class Replanner {
  readonly #nearest: Nearest;
  readonly #byKey: Map<string, ApplicationModel>;
  readonly #plans: Map<string, ApplicationPlan>;
  readonly #setting: Setting;
  readonly #used: Float64Array;
  readonly #apart: ReadonlyMap<string, readonly string[]>;

  constructor(model: Model, previous: Plan) {
    this.#nearest = new Nearest(model);
    this.#setting = settingOf(model, NOTHING, previous.at, this.#nearest);
    this.#byKey = new Map(model.applications.map((a) => [a.key, a]));
    this.#plans = new Map(previous.applications);
    this.#used = previous.used.slice();
    this.#apart = apartOf(model.applications);
  }

  replan(app: ApplicationModel, now: number): ApplicationPlan {
    const setting = { ...this.#setting, now };
    const before = this.#plans.get(app.key)?.sites ?? [];
    this.#account(this.#byKey.get(app.key) ?? app, before, -1);
    this.#byKey.set(app.key, app);
    const apart = app.policy.antiAffinity === undefined ? (this.#apart.get(app.key) ?? NO_KEYS) : (apartOf([app, ...this.#byKey.values()]).get(app.key) ?? NO_KEYS);
    const names = (key: string): readonly string[] => (this.#plans.get(key)?.sites ?? NO_SITES).map((s) => s.site);
    const others: Others = { used: this.#used, sitesOf: (key) => names(key).flatMap((s) => setting.siteIndex.get(s) ?? []) };
    setting.problems.forget();
    const decider = new Decider(setting);
    const entry = decider.enter(app, before, apart, others);
    this.#account(app, entry.held, 1);
    entry.choice = decider.solve(entry, others);
    this.#account(app, entry.held, -1);
    const today = entry.choice.open.map((c) => entry.serving.find((s) => s.site === setting.model.sites[entry.small.sites[c] as number]?.name)?.instances ?? null);
    const used = this.#used;
    const counts = steady(entry, today).map((n, i) => this.#fitting(entry, i, n));
    if (entry.serving.length > 0) help(entry, counts, (i, more) => this.#fitting(entry, i, (counts[i] as number) + more) - (counts[i] as number));
    const planned = compose(entry, counts, composing(setting, used, names, () => apart), before);
    this.#plans.set(app.key, planned);
    this.#account(app, planned.sites, 1);
    return planned;
  }

  get sites(): Model['sites'] {
    return this.#setting.model.sites;
  }

  #fitting(entry: Entry, i: number, n: number): number {
    const c = entry.choice.open[i] as number;
    const s = entry.small.sites[c] as number;
    const { capacity } = this.#setting;
    return Math.min(n, Math.max(entry.choice.least[i] as number, capacity.fits(this.#used, s, capacity.sizeOf(entry.app, s))));
  }

  #account(app: ApplicationModel, sites: readonly SiteInstances[], sign: 1 | -1): void {
    const { capacity, siteIndex } = this.#setting;
    for (const { site, instances } of sites) {
      const s = siteIndex.get(site);
      if (s !== undefined) capacity.take(this.#used, s, capacity.sizeOf(app, s), sign * instances);
    }
  }
}

const NO_SITES: readonly PlannedSite[] = [];
const NOTHING: Placements = new Map();
