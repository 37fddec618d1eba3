/** Sentences that are true of the model: each number in them was read from it. */
import type { Entry, Flow } from './entry.ts';
import type { ApplicationModel, Model, SiteModel } from './model.ts';
import { goalsOf, UNKNOWN_RTT_MS } from './objective.ts';
import type { Serve } from './planner.ts';

export const ms = (value: number): string => (value >= UNKNOWN_RTT_MS ? 'an unmeasured time' : `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`);

/** Little demand is not none. */
export const perSecond = (rps: number): string => `${rps >= 0.95 ? rps.toFixed(1) : Number(rps.toPrecision(2)).toString()} req/s`;

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
  const all = problem.rps[main.r] as number;
  const part = all - main.rps > 1e-6 ? `, ${perSecond(main.rps)} of them to ${name(c)}` : '';
  return `client region ${region} sends ${perSecond(all)}${part}; from ${name(c)} ${ms(here)}${elsewhere}${goal === undefined ? '' : `; goal ${goal.milliseconds} ms`}`;
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

/** `isServed`: has it instances that count elsewhere? */
export function heldReason(site: SiteModel | undefined, app: ApplicationModel, isServed: boolean): string {
  if (site === undefined) return 'its site is not known';
  if (site.reach === 'returning' || site.reach === 'reachable') return `${site.name} is back since ${new Date(site.since).toISOString()}; ${app.policy.failback?.automatic === false ? 'failback.automatic is false' : `it must be well for ${app.policy.failback?.stabilisationSeconds ?? 10} s before it serves again`}`;
  return `${site.name} is ${site.reach} since ${new Date(site.since).toISOString()}; its instances run on, ${isServed ? 'others serve meanwhile' : 'and no others have a place'}`;
}

/** What replaces a site that nothing speaks against. `asked`: requests per second of a client region. */
export function replacedReason(site: string, serves: readonly Serve[], asked: (clientRegion: string) => number): string {
  const main = serves.reduce<Serve | undefined>((most, s) => (most === undefined || s.rps > most.rps ? s : most), undefined);
  if (main === undefined || main.rps === 0) return `${site} is not needed for the demand`;
  const part = asked(main.clientRegion) - main.rps > 1e-6 ? `${perSecond(main.rps)} of them served` : 'served';
  return `client region ${main.clientRegion} sends ${perSecond(asked(main.clientRegion))}, ${part} from ${main.site} in ${ms(main.rttMs)}; ${site} is not needed any more`;
}
