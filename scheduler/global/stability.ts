/** One application: keep what runs, or take something better. Here is the hysteresis, and every decision gets its sentence. */
import { moveRefusal, refusedByPolicy, standingOf } from './eligible.ts';
import type { ApplicationModel, Model, SiteInstances } from './model.ts';
import type { ApplicationPlan, Goal, PlannedSite, Serve } from './planner.ts';
import { GOAL_TOLERANCE, goalOf, type Problems, type SmallProblem } from './problem.ts';
import { heldReason, siteReason, unmetReasons } from './reasons.ts';
import type { Outcome, Search } from './search.ts';
import { unreachableAt } from './unreachable.ts';

export interface Around {
  readonly model: Model;
  readonly now: number;
  readonly used: Float64Array;
  readonly siteIndex: ReadonlyMap<string, number>;
  readonly problems: Problems;
  readonly search: Search;
  readonly placed: ReadonlyMap<string, readonly SiteInstances[]>;
}

/** An instance busier than this gets help; a site whose rest would be less busy than that gives one back. */
const BUSY = 0.9;
const IDLE = 0.5;
/** Opening must pay for its instances so many times over; closing must save this share of theirs. */
const OPEN_PAYS = 1;
const CLOSE_SAVES = 0.25;
/** And a change of place must better the mean latency by this share. */
const BETTER = 0.2;

interface Split {
  readonly serving: readonly SiteInstances[];
  readonly held: readonly SiteInstances[];
}

function split(app: ApplicationModel, current: readonly SiteInstances[], around: Around): Split {
  const serving: SiteInstances[] = [];
  const held: SiteInstances[] = [];
  for (const c of current) {
    const site = around.model.sites[around.siteIndex.get(c.site) ?? -1];
    if (site === undefined || c.instances <= 0 || refusedByPolicy(app.policy, site) !== null) continue;
    const standing = standingOf(app.policy, site, around.now);
    if (standing === 'held') held.push(c);
    else if (standing !== 'lost' && !app.avoid.some((a) => a.site === c.site && a.until > around.now)) serving.push(c);
  }
  return { serving, held };
}

interface Choice {
  readonly open: readonly number[];
  readonly outcome: Outcome;
  readonly kept: string | null;
}

function choose(app: ApplicationModel, small: SmallProblem, base: readonly number[], hasLost: boolean, around: Around): Choice {
  const { search } = around;
  if (base.length === 0) {
    const fresh = search.improve([]);
    return { open: fresh, outcome: search.evaluate(fresh), kept: null };
  }
  const near = search.improve(base);
  const isSettled = near.length === base.length && near.every((c) => base.includes(c));
  const fresh = isSettled && search.evaluate(base).broken === 0 ? near : search.improve([]);
  const [freshOut, nearOut] = [search.evaluate(fresh), search.evaluate(near)];
  const best = nearOut.score <= freshOut.score + 1e-9 ? near : fresh;
  const bestOut = best === near ? nearOut : freshOut;
  const baseOut = search.evaluate(base);
  const keep = (kept: string | null): Choice => ({ open: base, outcome: baseOut, kept });
  const gain = baseOut.score - bestOut.score;
  if (gain <= 1e-9) return keep(null);
  if (baseOut.broken > bestOut.broken + 1e-6 && (hasLost || baseOut.broken > 0)) return { open: best, outcome: bestOut, kept: null };
  if (small.isPrior) return keep('no demand was measured that would justify a move');
  const refusal = moveRefusal(app, around.now);
  if (refusal !== null) return keep(refusal);
  const price = (set: readonly number[], other: readonly number[]): number => set.filter((c) => !other.includes(c)).reduce((sum, c) => sum + (small.problem.cost[c] ?? 0) * small.problem.weightMoney, 0);
  const opened = price(best, base);
  const isOpening = best.some((c) => !base.includes(c));
  const needed = OPEN_PAYS * opened + CLOSE_SAVES * price(base, best) + (isOpening ? BETTER * small.problem.weightLatency * baseOut.latencyMs : 0);
  if (gain < needed) {
    const names = best.map((c) => around.model.sites[small.sites[c] ?? -1]?.name).join(', ');
    return keep(`${names} would gain ${gain.toFixed(2)}, a move must gain ${needed.toFixed(2)}`);
  }
  return { open: best, outcome: bestOut, kept: null };
}

/** Instances of today stay as many as they are while nothing is too busy or too idle. `search.load` and `search.n` are those of `open`. */
function steadyCounts(small: SmallProblem, open: readonly number[], nowBy: ReadonlyMap<number, number>, search: Search): number[] {
  const { perInstance, min, max } = small.problem;
  const wanted = open.map((c) => search.n[c] as number);
  const today = open.map((c, i) => nowBy.get(c) ?? (wanted[i] as number));
  const fits = open.every((c, i) => (today[i] as number) <= (small.problem.room[c] as number));
  const isBusy = (c: number, n: number): boolean => (search.load[c] as number) > BUSY * perInstance * n;
  const isIdle = (c: number, n: number): boolean => n > 1 && (search.load[c] as number) < IDLE * perInstance * (n - 1);
  const sum = (ns: readonly number[]): number => ns.reduce((a, b) => a + b, 0);
  const total = sum(today);
  if (fits && total >= min && total <= max && open.every((c, i) => !isBusy(c, today[i] as number) && (total === min || !isIdle(c, today[i] as number)))) return today;
  const mixed = open.map((c, i) => (isBusy(c, today[i] as number) || isIdle(c, today[i] as number) || (today[i] as number) > (small.problem.room[c] as number) ? (wanted[i] as number) : (today[i] as number)));
  return sum(mixed) >= min && sum(mixed) <= max ? mixed : wanted;
}

export function decideApplication(app: ApplicationModel, current: readonly SiteInstances[], around: Around): ApplicationPlan {
  const { serving, held } = split(app, current, around);
  const used = held.length === 0 ? around.used : withHeld(around, app, held);
  const small = around.problems.of(app, serving, { now: around.now, used, placed: around.placed });
  around.search.begin(small.problem);
  const position = new Map(small.sites.map((s, c) => [s, c]));
  const today = new Map(serving.map((s) => [position.get(around.siteIndex.get(s.site) ?? -1) ?? -1, s.instances]));
  const base = [...today.keys()].filter((c) => c >= 0 && (small.problem.room[c] as number) > 0);
  const C = small.problem.candidates;
  around.search.evaluate(base, (r, c) => void (small.problem.tolerance[r * C + c] = GOAL_TOLERANCE));
  const choice = choose(app, small, base, base.length < current.length, around);
  return compose(app, current, held, small, choice, today, around);
}

function withHeld(around: Around, app: ApplicationModel, held: readonly SiteInstances[]): Float64Array {
  const used = around.used.slice();
  for (const h of held) {
    const s = around.siteIndex.get(h.site) ?? -1;
    used[s * 2] = (used[s * 2] as number) + h.instances * app.cpuMilli;
    used[s * 2 + 1] = (used[s * 2 + 1] as number) + h.instances * app.memoryMiB;
  }
  return used;
}

function compose(app: ApplicationModel, current: readonly SiteInstances[], held: readonly SiteInstances[], small: SmallProblem, choice: Choice, today: ReadonlyMap<number, number>, around: Around): ApplicationPlan {
  const { model } = around;
  const open = [...choice.open].sort((a, b) => a - b);
  const flows: { r: number; c: number; rps: number }[] = [];
  around.search.evaluate(open, (r, c, rps) => flows.push({ r, c, rps }));
  const counts = steadyCounts(small, open, today, around.search);
  const nameOf = (c: number): string => model.sites[small.sites[c] ?? -1]?.name ?? '';
  const serves = flows.map((f): Serve => ({ clientRegion: model.clientRegions[small.regions[f.r] ?? -1] ?? '', site: nameOf(f.c), rps: small.isPrior ? 0 : f.rps, rttMs: small.problem.rtt[f.r * small.problem.candidates + f.c] as number }));
  const sites: PlannedSite[] = open.map((c, i) => ({ site: nameOf(c), instances: counts[i] as number, isHeld: false, reason: siteReason(app, model, small, c, flows, counts[i] as number, open) }));
  for (const h of held) sites.push({ ...h, isHeld: true, reason: heldReason(model.sites[around.siteIndex.get(h.site) ?? -1], app) });
  sites.sort((a, b) => (a.site < b.site ? -1 : 1));
  const goals = goalsOf(app, small.isPrior ? [] : serves);
  const before = new Map(current.map((c) => [c.site, c.instances]));
  const after = new Map(sites.map((s) => [s.site, s]));
  const changes = [...new Set([...before.keys(), ...after.keys()])].sort().flatMap((site) => {
    const [from, to] = [before.get(site) ?? 0, after.get(site)?.instances ?? 0];
    return from === to ? [] : [{ site, from, to, reason: after.get(site)?.reason ?? leavingReason(site, app, around, serves) }];
  });
  const cost = sites.reduce((sum, s) => sum + s.instances * (model.sites[around.siteIndex.get(s.site) ?? -1]?.cost ?? 0), 0);
  return { key: app.key, sites, serves, goals, unmet: unmetReasons(app, model, choice.outcome, goals, small, counts.reduce((a, b) => a + b, 0), choice.kept), kept: choice.kept, latencyMs: choice.outcome.latencyMs, cost, changes };
}

function goalsOf(app: ApplicationModel, serves: readonly Serve[]): Goal[] {
  const worst = new Map<string, Serve>();
  for (const s of serves) if ((worst.get(s.clientRegion)?.rttMs ?? -1) < s.rttMs) worst.set(s.clientRegion, s);
  return [...worst.values()].flatMap((s) => {
    const goalMs = goalOf(app, s.clientRegion);
    return Number.isFinite(goalMs) ? [{ clientRegion: s.clientRegion, goalMs, predictedMs: Math.round(s.rttMs * 10) / 10, met: s.rttMs <= goalMs, servedFrom: s.site }] : [];
  });
}

function leavingReason(site: string, app: ApplicationModel, around: Around, serves: readonly Serve[]): string {
  const found = around.model.sites[around.siteIndex.get(site) ?? -1];
  if (found === undefined) return `${site} is not a site any more`;
  const policy = refusedByPolicy(app.policy, found);
  if (policy !== null) return `${site} ${policy}`;
  const standing = standingOf(app.policy, found, around.now);
  if (standing === 'lost') return `${site} is ${found.reach} for ${Math.round((around.now - found.since) / 1000)} s; the policy says ${unreachableAt(app.policy, (around.now - found.since) / 1000)}`;
  const avoid = app.avoid.find((a) => a.site === site && a.until > around.now);
  if (avoid !== undefined) return avoid.reason;
  const main = serves.toSorted((a, b) => b.rps - a.rps)[0];
  return main === undefined ? `${site} is not needed for the demand` : `client region ${main.clientRegion} sends ${main.rps.toFixed(1)} req/s and is served from ${main.site} in ${main.rttMs.toFixed(1)} ms; ${site} is not needed any more`;
}
