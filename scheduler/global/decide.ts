/** One application with the room that the others leave: keep what runs, or take something better. Here is the hysteresis. */
import type { Capacity } from './capacity.ts';
import { moveRefusal } from './eligible.ts';
import { choiceOf, type Choice, type Entry, NOWHERE, split } from './entry.ts';
import type { ApplicationModel, Model, SiteInstances } from './model.ts';
import { weightsOf } from './objective.ts';
import type { Problems } from './problem.ts';
import type { Search } from './search.ts';

/** A change of place must better the mean latency by this share. */
const BETTER = 0.2;
const GAIN = 1e-9;
/** What is less than this of a point is not told. */
const TOLD = 0.005;

/** What is taken of the sites, and where the other applications are. */
export interface Others {
  /** Without the application that is decided. */
  readonly used: Float64Array;
  /** Sites where an application serves or will. */
  readonly sitesOf: (key: string) => readonly number[];
}

export interface Setting {
  readonly model: Model;
  readonly now: number;
  readonly capacity: Capacity;
  readonly siteIndex: ReadonlyMap<string, number>;
  readonly problems: Problems;
  readonly search: Search;
}

/** Keys that an application must stay away from: those that it names, and those that name it. */
export function apartOf(applications: readonly ApplicationModel[]): ReadonlyMap<string, readonly string[]> {
  const out = new Map<string, Set<string>>();
  const add = (a: string, b: string): void => void (out.get(a)?.add(b) ?? out.set(a, new Set([b])));
  for (const app of applications) {
    for (const key of named(app, app.policy.antiAffinity)) {
      if (key === app.key) continue;
      add(app.key, key);
      add(key, app.key);
    }
  }
  return new Map([...out].map(([key, keys]) => [key, [...keys].sort()]));
}

/** Names of a policy are of the application's own namespace. */
export function named(app: ApplicationModel, names: readonly string[] | undefined): string[] {
  const space = app.key.slice(0, app.key.lastIndexOf('/') + 1);
  return (names ?? []).map((n) => space + n);
}

export function besideOf(keys: readonly string[], others: Others): ReadonlySet<number> {
  return keys.length === 0 ? NOBODY : new Set(keys.flatMap((k) => others.sitesOf(k)));
}

const NOBODY: ReadonlySet<number> = new Set();

export class Decider {
  readonly #s: Setting;

  constructor(setting: Setting) {
    this.#s = setting;
  }

  /** As it is today: what serves goes on serving, as far as it has room. */
  enter(app: ApplicationModel, current: readonly SiteInstances[], apart: readonly string[], others: Others): Entry {
    const { model, siteIndex, now, search, problems } = this.#s;
    const parts = current.length === 0 ? { serving: current, held: current } : split(app, current, model, siteIndex, now);
    const near = named(app, app.policy.affinity);
    const beside = besideOf(near, others);
    const small = problems.of(app, parts.serving, others.used, beside, now);
    const rps = app.demand.reduce((sum, d) => sum + d.rps, 0);
    const entry: Entry = { app, rps, current, ...parts, apart, near, small, beside, flat: 0, pinned: null, choice: NOWHERE, solvedAt: 0, kept: null };
    const base = baseOf(entry);
    if (base.length === 0) return entry;
    this.#begin(entry, others);
    const today = new Map(parts.serving.map((x) => [siteIndex.get(x.site) ?? -1, x.instances]));
    for (const c of base) search.room[c] = Math.min(search.room[c] as number, today.get(small.sites[c] as number) ?? 0);
    const usable = base.filter((c) => (search.room[c] as number) > 0);
    const first = choiceOf(search, usable);
    problems.tolerate(app, small, first.flows.map((f) => [f.r, f.c] as const), beside);
    entry.flat = BETTER * weightsOf(app.policy).latency * first.latencyMs;
    entry.pinned = small.isPrior ? 'no demand was measured that would justify a move' : moveRefusal(app, now);
    search.countMoves(entry.flat, entry.pinned !== null);
    if (usable.length > 0) entry.choice = choiceOf(search, usable);
    return entry;
  }

  /** The best place with the room that is left; ties and small gains stay. */
  solve(entry: Entry, others: Others): Choice {
    const { search } = this.#s;
    this.#begin(entry, others);
    entry.kept = null;
    const base = baseOf(entry).filter((c) => (search.room[c] as number) > 0);
    if (base.length === 0) return this.#fromNothing(entry.choice.open);
    const { open, points, isSettled } = this.#improve(base);
    search.countMoves(entry.flat, entry.pinned !== null);
    if (isSettled) return choiceOf(search, base);
    const free = choiceOf(search, open);
    const moved = this.#improve(base).open;
    const choice = choiceOf(search, moved);
    if (!sameSites(choice.open, base)) return choice;
    const gain = choice.points - points;
    if (gain >= TOLD && !sameSites(free.open, base)) entry.kept = entry.pinned ?? this.#refused(entry, free, gain);
    return choice;
  }

  /** Every candidate that could serve all of it alone, were it free, and how. */
  singles(entry: Entry): (readonly [number, Choice])[] {
    const { search, capacity } = this.#s;
    const nothing = new Float64Array(capacity.total.length);
    this.#begin(entry, { used: nothing, sitesOf: () => [] });
    search.countMoves(entry.flat, entry.pinned !== null);
    return entry.small.sites.flatMap((_, c) => {
      if ((search.room[c] as number) === 0) return [];
      const choice = choiceOf(search, [c]);
      return choice.unserved > 0 || choice.broken > 0 ? [] : [[c, choice] as const];
    });
  }

  nowhere(entry: Entry): Choice {
    const { search } = this.#s;
    search.begin(entry.small.problem);
    search.countMoves(entry.flat, entry.pinned !== null);
    return choiceOf(search, []);
  }

  #begin(entry: Entry, others: Others): void {
    const { search, capacity } = this.#s;
    const { problem, sites } = entry.small;
    const K = capacity.width;
    search.begin(problem);
    for (let c = 0; c < sites.length; c++) {
      search.room[c] = Math.min(problem.allowed[c] as number, capacity.fits(others.used, sites[c] as number, problem.size, c * K));
    }
    for (const key of entry.apart) {
      for (const s of others.sitesOf(key)) {
        const c = sites.indexOf(s);
        if (c >= 0) search.room[c] = 0;
      }
    }
  }

  #fromNothing(hint: readonly number[]): Choice {
    const { search } = this.#s;
    const fresh = search.improve([]);
    if (hint.length === 0 || sameSites(hint, fresh)) return choiceOf(search, fresh);
    const freshScore = search.evaluate(fresh);
    const near = search.improve(hint);
    return choiceOf(search, search.evaluate(near) < freshScore - GAIN ? near : fresh);
  }

  #improve(base: readonly number[]): { readonly open: readonly number[]; readonly points: number; readonly isSettled: boolean } {
    const { search } = this.#s;
    const near = search.improve(base);
    const nearScore = search.evaluate(near);
    const isSettled = sameSites(near, base);
    if (isSettled && search.broken === 0) return { open: near, points: search.points, isSettled };
    const nearPoints = search.points;
    const fresh = search.improve([]);
    if (search.evaluate(fresh) < nearScore - GAIN) return { open: fresh, points: search.points, isSettled: false };
    return { open: near, points: nearPoints, isSettled };
  }

  #refused(entry: Entry, better: Choice, gain: number): string {
    const names = better.open.map((c) => this.#s.model.sites[entry.small.sites[c] ?? -1]?.name).join(', ');
    return `${names} would gain ${gain.toFixed(2)}, a move must gain ${(better.score - better.points).toFixed(2)}`;
  }
}

export const baseOf = (entry: Entry): number[] => entry.small.sites.flatMap((_, c) => (entry.small.problem.base[c] === 1 ? [c] : []));

export function sameSites(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((c) => b.includes(c));
}
