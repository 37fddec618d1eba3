/** The binding constraint of everything that a plan does not meet, each as a sentence. */
import type { Entry } from './entry.ts';
import { hindrance, type Outlook } from './hindrance.ts';
import type { SiteModel } from './model.ts';
import { groupOf, UNKNOWN_RTT_MS } from './objective.ts';
import type { Goal } from './planner.ts';
import { GOAL_TOLERANCE } from './problem.ts';
import { ms, perSecond } from './reasons.ts';

const FEW = 2;

/** What there is of the instances that serve; those that only run on at a site out of reach are not among them. */
export interface Counted {
  /** By position in `choice.open`. */
  readonly counts: readonly number[];
  readonly total: number;
  readonly cost: number;
  readonly places: number;
}

export function unmetReasons(entry: Entry, goals: readonly Goal[], counted: Counted, outlook: Outlook): string[] {
  return new Unmet(entry, counted, outlook).sentences(goals);
}

class Unmet {
  readonly #e: Entry;
  readonly #counted: Counted;
  readonly #o: Outlook;
  readonly #isMax: boolean;

  constructor(entry: Entry, counted: Counted, outlook: Outlook) {
    this.#e = entry;
    this.#counted = counted;
    this.#o = outlook;
    this.#isMax = counted.total >= entry.app.policy.instances.max;
  }

  sentences(goals: readonly Goal[]): string[] {
    const { app, choice, small } = this.#e;
    const { total, places } = this.#counted;
    const { instances, spread } = app.policy;
    const out: string[] = [];
    const rps = small.isPrior ? 0 : small.problem.total;
    const capacity = total * app.perInstance;
    if (choice.open.length === 0) out.push(`${this.#o.model.sites.every((_s, s) => this.#against(s) !== null) ? 'no site is allowed, reachable and has room for one instance' : 'there is no place for one instance'}: ${this.#binding()}`);
    if (total < instances.min) out.push(`${total} of at least ${instances.min} instances have a place: ${this.#binding()}`);
    if (rps > capacity + 1e-6 && this.#isMax) out.push(`${perSecond(rps)} need more than instances.max = ${instances.max} can serve (${perSecond(capacity)})`);
    else if (rps > 0 && choice.unserved > 1e-6) out.push(`${perSecond(choice.unserved)} have no place: ${this.#binding()}`);
    if (spread !== undefined && places < spread.min) out.push(`spread: ${places} of ${spread.min} ${spread.over}s: ${this.#spreadBinding(spread.over)}`);
    for (const g of goals) if (!g.met) out.push(`client region ${g.clientRegion}: ${ms(g.predictedMs)} from ${g.servedFrom}, goal ${g.goalMs} ms: ${this.#missed(g)}`);
    return out;
  }

  /** Why there is not one more instance, at any of the sites that would do. */
  #binding(wouldDo: (site: SiteModel) => boolean = () => true): string {
    const { max } = this.#e.app.policy.instances;
    if (this.#isMax) return `instances.max is ${max}`;
    const sites = this.#byLatency().filter((s) => wouldDo(this.#o.model.sites[s] as SiteModel));
    const against = sites.map((s) => this.#against(s));
    const free = sites.filter((_s, i) => against[i] === null);
    const ceiling = this.#dear(free);
    if (free.length > 0 && ceiling !== null) return ceiling;
    const said = sites.flatMap((s, i) => (against[i] === null ? [] : [`${this.#name(s)} ${against[i]}`])).slice(0, FEW);
    return said.length === 0 ? 'there is no other site' : said.join('; ');
  }

  #spreadBinding(over: string): string {
    const { app, choice, small } = this.#e;
    const place = (s: SiteModel): string => groupOf(app.policy, s);
    const there = new Set(choice.open.map((c) => place(this.#o.model.sites[small.sites[c] as number] as SiteModel)));
    const others = this.#o.model.sites.some((s) => !there.has(place(s)));
    return others || this.#isMax ? this.#binding((s) => !there.has(place(s))) : `there is no other ${over}`;
  }

  /** Are all of these sites beyond the ceiling? null = no. */
  #dear(sites: readonly number[]): string | null {
    const ceiling = this.#e.app.policy.cost?.ceiling;
    const isDear = (s: number): boolean => ceiling !== undefined && this.#counted.cost + (this.#o.model.sites[s]?.cost ?? 0) > ceiling + 1e-9;
    return sites.every(isDear) ? `${this.#counted.total === 0 ? 'one' : 'another one'} would cost more than cost.ceiling = ${ceiling ?? 0}` : null;
  }

  /** Why no site within the goal serves the client region. */
  #missed(goal: Goal): string {
    const { model } = this.#o;
    const region = model.clientRegions.indexOf(goal.clientRegion);
    const sites = this.#byLatency(region);
    const nearest = sites[0];
    if (nearest === undefined) return 'there is no site';
    if (this.#way(region, nearest) > goal.goalMs) return `no site is that near; ${this.#name(nearest)} is ${ms(this.#way(region, nearest))} away`;
    const free = sites.find((s) => this.#way(region, s) <= goal.goalMs && this.#against(s) === null);
    if (free === undefined) return `${this.#name(nearest)} (${ms(this.#way(region, nearest))}) ${this.#against(nearest) ?? ''}`;
    if (this.#e.kept !== null) return this.#e.kept;
    if (this.#isTolerated(goal, region)) return this.#e.pinned ?? `it is missed by less than ${Math.round((GOAL_TOLERANCE - 1) * 100)} %, which moves nothing that runs; ${this.#name(free)} is ${ms(this.#way(region, free))} away`;
    if (this.#isMax) return `instances.max is ${this.#e.app.policy.instances.max}`;
    return this.#dear([free]) ?? `an instance at ${this.#name(free)} (${ms(this.#way(region, free))}) costs more than the share of demand there is worth`;
  }

  /** Did the goal count as met when it was decided, because what runs is almost as near? */
  #isTolerated(goal: Goal, region: number): boolean {
    const way = this.#way(region, this.#o.model.sites.findIndex((s) => s.name === goal.servedFrom));
    return way > goal.goalMs && way <= goal.goalMs * GOAL_TOLERANCE && this.#e.serving.some((s) => s.site === goal.servedFrom);
  }

  /** What hinders one more instance at a site; null = nothing. */
  #against(s: number): string | null {
    const found = hindrance(this.#o, this.#e.app, s);
    if (found !== null) return found;
    const { app, small, choice } = this.#e;
    const site = this.#o.model.sites[s] as SiteModel;
    const rate = app.policy.failback?.maxPerMinute;
    const c = small.sites.indexOf(s);
    if (rate === undefined || site.since <= 0 || c < 0) return null;
    const n = this.#counted.counts[choice.open.indexOf(c)] ?? 0;
    return n < (small.problem.allowed[c] as number) ? null : `is back since ${new Date(site.since).toISOString()} and has ${n} again; failback.maxPerMinute is ${rate}`;
  }

  /** All sites, those first that are nearest to a client region; else to where most demand is. */
  #byLatency(of?: number): readonly number[] {
    const row = this.#e.small.problem.order[0];
    const region = of ?? (row === undefined ? -1 : (this.#e.small.regions[row] as number));
    const way = (s: number): number => (region < 0 ? 0 : this.#way(region, s));
    return this.#o.model.sites.map((_site, s) => s).sort((a, b) => way(a) - way(b) || a - b);
  }

  #way(region: number, s: number): number {
    const v = this.#o.model.rtt[region * this.#o.model.sites.length + s] as number;
    return v === v ? v : UNKNOWN_RTT_MS;
  }

  #name(s: number): string {
    return this.#o.model.sites[s]?.name ?? '';
  }
}
