/**
 * The objective of `scheduler/global/objective.ts` as a mixed-integer program, asked of HiGHS. Per application and allowed site: whole instances
 * that are there, whole instances that the load asks for (and that are paid), and what each client region sends there. No candidate lists, no
 * hysteresis: the true optimum of a model where nothing runs yet.
 */
import highsLoader from 'highs';
import { refusedByPolicy, selects } from '../../scheduler/global/eligible.ts';
import { Capacity } from '../../scheduler/global/capacity.ts';
import type { ApplicationModel, Model } from '../../scheduler/global/model.ts';
import { BELOW_MIN, goalPenalty, goalsOf, goalWeight, groupOf, PACKED_LOAD, TARGET_LOAD, UNKNOWN_RTT_MS, UNSERVED, weightsOf } from '../../scheduler/global/objective.ts';

export interface Optimum {
  /** Best plan that was found; null = none in the time. */
  readonly value: number | null;
  /** No plan costs less: proven. */
  readonly bound: number;
  readonly seconds: number;
}

/** Names are short: the text has a term for every client region, application and site. */
interface Program {
  readonly objective: string[];
  readonly rows: string[];
  readonly bounds: string[];
  readonly integers: string[];
  /** [site * dimensions + dimension] terms. */
  readonly taken: string[][];
}

const term = (coefficient: number, name: string): string => `${coefficient < 0 ? '-' : '+'} ${Number(Math.abs(coefficient).toPrecision(12))} ${name}`;

export function lpText(model: Model): string {
  const capacity = new Capacity(model);
  const p: Program = { objective: [], rows: [], bounds: [], integers: [], taken: Array.from({ length: capacity.total.length }, () => []) };
  for (const [i, app] of model.applications.entries()) addApplication(p, model, capacity, app, i);
  for (const [at, terms] of p.taken.entries()) if (terms.length > 0) p.rows.push(`${terms.join(' ')} <= ${capacity.total[at] as number}`);
  return ['Minimize', ` obj: ${p.objective.join('\n ')}`, 'Subject To', ...p.rows.map((r, i) => ` c${i}: ${r}`), 'Bounds', ...p.bounds.map((b) => ` ${b}`), 'General', ` ${p.integers.join('\n ')}`, 'End', ''].join('\n');
}

function addApplication(p: Program, model: Model, capacity: Capacity, app: ApplicationModel, i: number): void {
  const weights = weightsOf(app.policy);
  const total = app.demand.reduce((sum, d) => sum + d.rps, 0);
  const sites = model.sites.flatMap((site, s) => (refusedByPolicy(app.policy, site) === null && capacity.fits(new Float64Array(capacity.total.length), s, capacity.sizeOf(app, s)) > 0 ? [s] : []));
  const { min, max } = app.policy.instances;
  for (const s of sites) {
    const site = model.sites[s] as Model['sites'][number];
    const size = capacity.sizeOf(app, s);
    p.objective.push(term(weights.money * site.cost + weights.carbon * site.carbon, `w${i}_${s}`));
    p.integers.push(`n${i}_${s}`, `w${i}_${s}`);
    p.bounds.push(`0 <= n${i}_${s} <= ${Math.min(max, capacity.fits(new Float64Array(capacity.total.length), s, size))}`);
    for (const [k, one] of size.entries()) if (one > 0) p.taken[s * capacity.width + k]?.push(term(one, `n${i}_${s}`));
    const flows = app.demand.map((d) => `+ x${i}_${d.region}_${s}`).join(' ');
    p.rows.push(`w${i}_${s} - n${i}_${s} >= 0`, `${flows} ${term(-PACKED_LOAD * app.perInstance, `n${i}_${s}`)} <= 0`, `${flows} ${term(-TARGET_LOAD * app.perInstance, `w${i}_${s}`)} <= 0`);
    for (const d of app.demand) if (d.rps < PACKED_LOAD * app.perInstance) p.rows.push(`x${i}_${d.region}_${s} ${term(-d.rps, `n${i}_${s}`)} <= 0`);
  }
  for (const d of app.demand) {
    p.rows.push(`${sites.map((s) => `+ x${i}_${d.region}_${s}`).join(' ')} + u${i}_${d.region} = ${d.rps}`);
    p.objective.push(term(UNSERVED / total, `u${i}_${d.region}`));
    const goals = goalsOf(app.policy, model.clientRegions[d.region] ?? '');
    const late = goalWeight(d.rps, total, app.perInstance);
    for (const s of sites) {
      const raw = model.rtt[d.region * model.sites.length + s] as number;
      const ms = Number.isNaN(raw) ? UNKNOWN_RTT_MS : raw;
      const liking = (app.policy.sites?.preferred ?? []).reduce((sum, l) => sum + (selects(l, model.sites[s] as Model['sites'][number]) ? l.weight / 10 : 0), 0);
      p.objective.push(term((weights.latency * ms - liking + goalPenalty(goals, ms, 1, late)) / total, `x${i}_${d.region}_${s}`));
    }
  }
  const all = sites.map((s) => `+ n${i}_${s}`).join(' ');
  if (all === '') return;
  p.rows.push(`${all} + m${i} >= ${min}`, `${all} <= ${max}`);
  // implied by whole numbers, and of great help to the bound: unserved demand may be left out of it only at a price that no optimum pays
  p.rows.push(`${sites.map((s) => `+ w${i}_${s}`).join(' ')} ${term(total, `v${i}`)} >= ${Math.ceil(total / (TARGET_LOAD * app.perInstance) - 1e-9)}`, `${app.demand.map((d) => `+ u${i}_${d.region}`).join(' ')} - v${i} >= 0`);
  p.objective.push(term(BELOW_MIN, `m${i}`));
  if (app.policy.cost?.ceiling !== undefined) p.rows.push(`${sites.map((s) => term(model.sites[s]?.cost ?? 0, `n${i}_${s}`)).join(' ')} <= ${app.policy.cost.ceiling}`);
  addSpread(p, model, app, i, sites);
}

function addSpread(p: Program, model: Model, app: ApplicationModel, i: number, sites: readonly number[]): void {
  const { spread } = app.policy;
  if (spread === undefined || spread.min < 2) return;
  const places = Map.groupBy(sites, (s) => groupOf(app.policy, model.sites[s] as Model['sites'][number]));
  const names = [...places.values()].map((members, g) => {
    const z = `z${i}_${g}`;
    p.bounds.push(`0 <= ${z} <= 1`);
    p.rows.push(`${z} ${members.map((s) => `- n${i}_${s}`).join(' ')} <= 0`);
    return `+ ${z}`;
  });
  p.rows.push(`${names.join(' ')} >= ${spread.min}`);
}

/** Its declarations are those of the CommonJS form; what is imported is the other. */
const load = highsLoader as unknown as typeof highsLoader.default;
const highs = await load();

/** Stops at a proven gap of 0.05 %, or when the time is over. */
export function optimumOf(model: Model, seconds: number): Optimum {
  const before = performance.now();
  const data = lpText(model);
  return highs.withModel({ format: 'lp', data }, (m) => {
    m.options.set({ output_flag: false, time_limit: seconds, mip_rel_gap: 5e-4 });
    m.run();
    const value = m.getObjectiveValue();
    const bound = Number(m.info.get('mip_dual_bound'));
    return { value: Number.isFinite(value) && value < 1e20 ? value : null, bound, seconds: (performance.now() - before) / 1000 };
  });
}
