/** One instance: the planner's total beside the optimum, and beside the plain greedy. */
import assert from 'node:assert/strict';
import { Capacity } from '../../scheduler/global/capacity.ts';
import type { Model } from '../../scheduler/global/model.ts';
import { objectiveOf } from '../../scheduler/global/objective.ts';
import { plan, type Plan } from '../../scheduler/global/planner.ts';
import { selects } from '../../scheduler/global/eligible.ts';
import type { Instance } from './instances.ts';
import { optimumOf } from './milp.ts';
import { nearestPlan } from './nearest.ts';

export interface Compared {
  readonly family: string;
  readonly name: string;
  readonly sites: number;
  readonly applications: number;
  readonly ours: number;
  readonly optimum: number;
  readonly isProven: boolean;
  /** Best that the solver found itself. */
  readonly found: number | null;
  readonly gap: number;
  readonly nearestGap: number;
  readonly planMs: number;
  readonly solverSeconds: number;
}

/** Of all applications together. */
export function totalOf(model: Model, planned: ReadonlyMap<string, Parameters<typeof objectiveOf>[2]>): number {
  return model.applications.reduce((sum, app) => {
    const found = planned.get(app.key);
    const likes = (name: string): number => (app.policy.sites?.preferred ?? []).reduce((worth, p) => worth + (selects(p, model.sites.find((s) => s.name === name) as Model['sites'][number]) ? p.weight / 10 : 0), 0);
    return sum + (found === undefined ? 0 : objectiveOf(model, app, found, likes).total);
  }, 0);
}

/** Throws when some site is over its capacity. */
export function assertFits(model: Model, made: Plan): void {
  const capacity = new Capacity(model);
  const used = new Float64Array(capacity.total.length);
  const index = new Map(model.sites.map((s, i) => [s.name, i]));
  for (const app of model.applications) for (const p of made.applications.get(app.key)?.sites ?? []) capacity.take(used, index.get(p.site) as number, capacity.sizeOf(app, index.get(p.site) as number), p.instances);
  for (const [i, v] of used.entries()) assert.ok(v <= (capacity.total[i] as number) + 1e-6, `${model.sites[Math.floor(i / capacity.width)]?.name} has ${capacity.total[i]} of dimension ${capacity.dimensions[i % capacity.width]}, the plan takes ${v}`);
}

export function compare(instance: Instance, seconds: number): Compared {
  const { model, family, name, published } = instance;
  const before = process.cpuUsage();
  const made = plan(model, new Map(), 0);
  const { user, system } = process.cpuUsage(before);
  assertFits(model, made);
  const ours = totalOf(model, made.applications);
  const exact = published === null ? optimumOf(model, seconds) : { value: published, bound: published, seconds: 0 };
  const isProven = exact.value !== null && exact.value - exact.bound <= 6e-4 * Math.abs(exact.bound);
  const optimum = isProven ? (exact.value as number) : exact.bound;
  const nearest = totalOf(model, nearestPlan(model));
  return { family, name, sites: model.sites.length, applications: model.applications.length, ours, optimum, isProven, found: exact.value, gap: Math.max(0, ours / optimum - 1), nearestGap: nearest / optimum - 1, planMs: (user + system) / 1000, solverSeconds: exact.seconds };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2;
}
