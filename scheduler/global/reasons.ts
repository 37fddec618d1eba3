/** Sentences that are true of the model: each number in them was read from it. */
import type { ApplicationModel, Model, SiteModel } from './model.ts';
import type { Goal } from './planner.ts';
import { UNKNOWN_RTT_MS, type SmallProblem } from './problem.ts';
import type { Outcome } from './search.ts';

export const ms = (value: number): string => (value >= UNKNOWN_RTT_MS ? 'an unmeasured time' : `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`);

interface Flow {
  readonly r: number;
  readonly c: number;
  readonly rps: number;
}

export function siteReason(app: ApplicationModel, model: Model, small: SmallProblem, c: number, flows: readonly Flow[], instances: number, open: readonly number[]): string {
  const name = (candidate: number): string => model.sites[small.sites[candidate] ?? -1]?.name ?? '';
  const main = flows.filter((f) => f.c === c).sort((a, b) => b.rps - a.rps)[0];
  const { min } = app.policy.instances;
  if (small.isPrior || main === undefined) {
    const why = app.policy.spread !== undefined ? `spread over ${app.policy.spread.min} ${app.policy.spread.over}s` : `the minimum of ${min}`;
    return `${name(c)} holds ${instances} of ${why}; no client region sends requests there now`;
  }
  const row = main.r * small.problem.candidates;
  const here = small.problem.rtt[row + c] as number;
  const others = small.sites.map((_, i) => i).filter((i) => i !== c && (open.length === 1 || open.includes(i)));
  const other = others.sort((a, b) => (small.problem.rtt[row + a] as number) - (small.problem.rtt[row + b] as number))[0];
  const goal = small.problem.goal[main.r] as number;
  const region = model.clientRegions[small.regions[main.r] ?? -1] ?? '';
  const elsewhere = other === undefined ? '' : `, from ${name(other)} ${ms(small.problem.rtt[row + other] as number)}`;
  return `client region ${region} sends ${main.rps.toFixed(1)} req/s; from ${name(c)} ${ms(here)}${elsewhere}${Number.isFinite(goal) ? `; goal ${goal} ms` : ''}`;
}

export function heldReason(site: SiteModel | undefined, app: ApplicationModel): string {
  if (site === undefined) return 'its site is not known';
  if (site.reach === 'returning') return `${site.name} is back since ${new Date(site.since).toISOString()}; it must be well for ${app.policy.failback?.stabilisationSeconds ?? 10} s before it serves again`;
  return `${site.name} is ${site.reach} since ${new Date(site.since).toISOString()}; its instances run on, others serve meanwhile`;
}

/** The binding constraint of everything that is not met. */
export function unmetReasons(app: ApplicationModel, model: Model, outcome: Outcome, goals: readonly Goal[], small: SmallProblem, total: number, kept: string | null): string[] {
  const out: string[] = [];
  if (small.sites.length === 0) out.push('no site is allowed, reachable and has room for one instance');
  const { min, max } = app.policy.instances;
  if (total < min) out.push(`${total} of at least ${min} instances have a place: the allowed sites have no more room`);
  if (outcome.unserved > 1e-6) out.push(`${outcome.unserved.toFixed(1)} req/s have no place: the allowed sites are full`);
  const capacity = total * app.perInstance;
  const rps = small.isPrior ? 0 : small.problem.rps.reduce((a, b) => a + b, 0);
  if (rps > capacity && total >= max) out.push(`${rps.toFixed(1)} req/s need more than instances.max = ${max} can serve (${capacity.toFixed(1)} req/s)`);
  if (app.policy.cost?.ceiling !== undefined && outcome.money > app.policy.cost.ceiling) out.push(`costs ${outcome.money.toFixed(2)} per hour; cost.ceiling is ${app.policy.cost.ceiling}`);
  for (const g of goals) {
    if (g.met) continue;
    const r = small.regions.findIndex((i) => model.clientRegions[i] === g.clientRegion);
    const best = Math.min(...small.sites.map((_, c) => small.problem.rtt[Math.max(0, r) * small.problem.candidates + c] as number));
    const binding = best > g.goalMs ? 'no allowed site with room is nearer' : (kept ?? 'instances.max, cost or capacity keep it from a nearer site');
    out.push(`client region ${g.clientRegion}: ${ms(g.predictedMs)} from ${g.servedFrom}, goal ${g.goalMs} ms: ${binding}`);
  }
  return out;
}
