/** Sentences that are true of the model: each number in them was read from it. */
import type { Entry, Flow } from './entry.ts';
import { hindrance, type Outlook } from './hindrance.ts';
import type { ApplicationModel, Model, SiteModel } from './model.ts';
import { goalsOf, UNKNOWN_RTT_MS } from './objective.ts';
import type { Goal } from './planner.ts';

export const ms = (value: number): string => (value >= UNKNOWN_RTT_MS ? 'an unmeasured time' : `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`);

const FEW = 2;

/** Why there are instances at candidate `c`. */
export function siteReason(entry: Entry, model: Model, c: number, instances: number): string {
  const { app, small, choice } = entry;
  const { problem } = small;
  const name = (candidate: number): string => model.sites[small.sites[candidate] ?? -1]?.name ?? '';
  const main = biggest(choice.flows, c);
  if (small.isPrior || main === undefined) return idleReason(app, name(c), instances, choice.open.length);
  const row = main.r * problem.candidates;
  const here = problem.rtt[row + c] as number;
  let other = -1;
  for (let i = 0; i < problem.candidates; i++) {
    if (i === c || (choice.open.length > 1 && !choice.open.includes(i))) continue;
    if (other < 0 || (problem.rtt[row + i] as number) < (problem.rtt[row + other] as number)) other = i;
  }
  const region = model.clientRegions[small.regions[main.r] ?? -1] ?? '';
  const goal = goalsOf(app.policy, region)[0];
  const elsewhere = other < 0 ? '' : `, from ${name(other)} ${ms(problem.rtt[row + other] as number)}`;
  return `client region ${region} sends ${main.rps.toFixed(1)} req/s; from ${name(c)} ${ms(here)}${elsewhere}${goal === undefined ? '' : `; goal ${goal.milliseconds} ms`}`;
}

function biggest(flows: readonly Flow[], c: number): Flow | undefined {
  let best: Flow | undefined;
  for (const f of flows) if (f.c === c && (best === undefined || f.rps > best.rps)) best = f;
  return best;
}

function idleReason(app: ApplicationModel, site: string, instances: number, open: number): string {
  const { spread, instances: limits } = app.policy;
  const why = spread !== undefined && open > 1 ? `spread over ${spread.min} ${spread.over}s` : `the minimum of ${limits.min}`;
  return `${site} holds ${instances} of ${why}; no client region sends requests there now`;
}

export function heldReason(site: SiteModel | undefined, app: ApplicationModel): string {
  if (site === undefined) return 'its site is not known';
  if (site.reach === 'returning' || site.reach === 'reachable') return `${site.name} is back since ${new Date(site.since).toISOString()}; ${app.policy.failback?.automatic === false ? 'failback.automatic is false' : `it must be well for ${app.policy.failback?.stabilisationSeconds ?? 10} s before it serves again`}`;
  return `${site.name} is ${site.reach} since ${new Date(site.since).toISOString()}; its instances run on, others serve meanwhile`;
}

interface Counted {
  readonly total: number;
  readonly cost: number;
  readonly places: number;
}

/** The binding constraint of everything that is not met. */
export function unmetReasons(entry: Entry, goals: readonly Goal[], counted: Counted, outlook: Outlook): string[] {
  const { app, choice, small } = entry;
  const { instances, spread, cost } = app.policy;
  const out: string[] = [];
  const rps = small.isPrior ? 0 : small.problem.total;
  const capacity = counted.total * app.perInstance;
  const isMax = counted.total >= instances.max;
  const ceiling = cost?.ceiling;
  const isCeiling = ceiling !== undefined && choice.open.some((c) => counted.cost + (small.problem.cost[c] as number) > ceiling);
  const binding = (): string => (isMax ? `instances.max is ${instances.max}` : isCeiling ? `another one would cost more than cost.ceiling = ${ceiling ?? 0}` : hindered(app, outlook, byLatency(entry, outlook.model)));
  if (choice.open.length === 0) out.push(`no site is allowed, reachable and has room for one instance: ${hindered(app, outlook, byLatency(entry, outlook.model))}`);
  if (counted.total < instances.min) out.push(`${counted.total} of at least ${instances.min} instances have a place: ${binding()}`);
  if (rps > capacity + 1e-6 && isMax) out.push(`${rps.toFixed(1)} req/s need more than instances.max = ${instances.max} can serve (${capacity.toFixed(1)} req/s)`);
  else if (rps > 0 && choice.unserved > 1e-6) out.push(`${choice.unserved.toFixed(1)} req/s have no place: ${binding()}`);
  if (spread !== undefined && counted.places < spread.min) out.push(`spread: ${counted.places} of ${spread.min} ${spread.over}s: ${isMax && instances.max < spread.min ? `instances.max is ${instances.max}` : binding()}`);
  for (const g of goals) if (!g.met) out.push(`client region ${g.clientRegion}: ${ms(g.predictedMs)} from ${g.servedFrom}, goal ${g.goalMs} ms: ${missed(entry, g, outlook, isMax, isCeiling)}`);
  return out;
}

/** Why no site within the goal serves the client region. */
function missed(entry: Entry, goal: Goal, outlook: Outlook, isMax: boolean, isCeiling: boolean): string {
  const { model } = outlook;
  const S = model.sites.length;
  const r = model.clientRegions.indexOf(goal.clientRegion);
  const way = (s: number): number => {
    const v = model.rtt[r * S + s] as number;
    return v === v ? v : UNKNOWN_RTT_MS;
  };
  let nearest = -1;
  let free = -1;
  for (let s = 0; s < S; s++) {
    if (nearest < 0 || way(s) < way(nearest)) nearest = s;
    if (way(s) <= goal.goalMs && (free < 0 || way(s) < way(free)) && hindrance(outlook, entry.app, s) === null) free = s;
  }
  if (nearest < 0) return 'there is no site';
  const name = (s: number): string => model.sites[s]?.name ?? '';
  if (way(nearest) > goal.goalMs) return `no site is that near; ${name(nearest)} is ${ms(way(nearest))} away`;
  if (free < 0) return `${name(nearest)} (${ms(way(nearest))}) ${hindrance(outlook, entry.app, nearest) ?? ''}`;
  if (entry.kept !== null) return entry.kept;
  if (isMax) return `instances.max is ${entry.app.policy.instances.max}`;
  return isCeiling ? `cost.ceiling is ${entry.app.policy.cost?.ceiling ?? 0}` : `an instance at ${name(free)} (${ms(way(free))}) costs more than the share of demand there is worth`;
}

/** What hinders the nearest sites; the first few, each with its own reason. */
function hindered(app: ApplicationModel, outlook: Outlook, sites: readonly number[]): string {
  const out: string[] = [];
  for (const s of sites) {
    const why = hindrance(outlook, app, s);
    if (why !== null) out.push(`${outlook.model.sites[s]?.name ?? ''} ${why}`);
    if (out.length === FEW) break;
  }
  return out.length === 0 ? 'there is no other site' : out.join('; ');
}

/** All sites, those first that are nearest to where most demand is. */
function byLatency(entry: Entry, model: Model): number[] {
  const S = model.sites.length;
  const row = entry.small.problem.order[0];
  const region = row === undefined ? -1 : (entry.small.regions[row] as number);
  const way = (s: number): number => {
    const v = region < 0 ? Number.NaN : (model.rtt[region * S + s] as number);
    return v === v ? v : UNKNOWN_RTT_MS;
  };
  return Array.from({ length: S }, (_, s) => s).sort((a, b) => way(a) - way(b) || a - b);
}
