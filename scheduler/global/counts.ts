/** How many instances each site really gets: what runs stays as many while nothing is too busy or too idle, and a full site has fewer. */
import type { Capacity } from './capacity.ts';
import type { Entry } from './entry.ts';
import { PACKED_LOAD } from './objective.ts';

/** An instance busier than this gets help; a site whose rest would be less busy than that gives one back. */
const BUSY = PACKED_LOAD;
/**
 * One of an application with a latency goal gets help above this, where there is room: at 90 % of what it can do requests wait eight times as long as
 * at 70 %. What is planned for 70 % stays below with noise of 10 %.
 */
const SLOW = 0.8;
const IDLE = 0.5;

/** By application key, and by position in `choice.open`. */
export type Counts = ReadonlyMap<string, readonly number[]>;

/** `at`: who is at a site. `used`: what instances that nobody decides about take; the counts are added to it. */
export function countInstances(entries: readonly Entry[], at: readonly ReadonlySet<Entry>[], siteIndex: ReadonlyMap<string, number>, capacity: Capacity, used: Float64Array): Counts {
  const counts = new Map<string, number[]>();
  for (const e of entries) {
    const n = steady(e, todayOf(e, siteIndex));
    counts.set(e.app.key, n);
    take(e, n, capacity, used);
  }
  for (const site of overfull(capacity, used)) shrink(site, [...(at[site] ?? [])].sort((a, b) => (a.app.key < b.app.key ? -1 : 1)), counts, capacity, used);
  for (const e of entries) {
    if (e.serving.length === 0) continue;
    help(e, counts.get(e.app.key) ?? [], (i, more) => {
      const { size } = e.small.problem;
      const [c, K] = [e.choice.open[i] as number, capacity.width];
      const s = e.small.sites[c] as number;
      const n = Math.min(more, capacity.fits(used, s, size, c * K));
      if (n > 0) capacity.take(used, s, size, n, c * K);
      return n;
    });
  }
  return counts;
}

/**
 * Adds instances to `n` where those of an application with a goal are slow: into room that nobody has, and as far as its limits go. `take` returns
 * how many of so many more the site has room for.
 */
export function help(e: Entry, n: number[], take: (i: number, more: number) => number): void {
  const { open, n: wanted } = e.choice;
  const { perInstance, max, cost, ceiling } = e.small.problem;
  if ((e.app.policy.latency ?? []).length === 0) return;
  const load = loadOf(e);
  for (const [i, c] of open.entries()) {
    const has = n[i] as number;
    if ((load[i] as number) <= SLOW * perInstance * has) continue;
    const [total, spent] = [n.reduce((a, b) => a + b, 0), n.reduce((a, b, j) => a + b * (cost[open[j] as number] as number), 0)];
    const each = cost[c] as number;
    const afforded = each > 0 ? Math.floor((ceiling - spent) / each + 1e-9) : max;
    const more = Math.min((wanted[i] as number) - has, max - total, afforded);
    if (more > 0) n[i] = has + take(i, more);
  }
}

function loadOf(e: Entry): Float64Array {
  const { open, flows } = e.choice;
  const load = new Float64Array(open.length);
  for (const f of flows) load[open.indexOf(f.c)] = (load[open.indexOf(f.c)] as number) + f.rps;
  return load;
}

function todayOf(e: Entry, siteIndex: ReadonlyMap<string, number>): (number | null)[] {
  if (e.serving.length === 0) return e.choice.open.map(() => null);
  const by = new Map(e.serving.map((s) => [siteIndex.get(s.site) ?? -1, s.instances]));
  return e.choice.open.map((c) => by.get(e.small.sites[c] as number) ?? null);
}

/** Wanted counts, or today's where they will do. */
export function steady(e: Entry, now: readonly (number | null)[]): number[] {
  const { open, least, n: wanted } = e.choice;
  const { perInstance, min, max, allowed, cost, ceiling } = e.small.problem;
  if (now.every((x) => x === null)) return [...wanted];
  const load = loadOf(e);
  const today = now.map((x, i) => x ?? (wanted[i] as number));
  const isTooMany = (i: number): boolean => (today[i] as number) > (allowed[open[i] as number] as number);
  const isBusy = (i: number): boolean => (load[i] as number) > BUSY * perInstance * (today[i] as number);
  const isIdle = (i: number): boolean => (today[i] as number) > 1 && (load[i] as number) < IDLE * perInstance * ((today[i] as number) - 1);
  const sum = (ns: readonly number[]): number => ns.reduce((a, b) => a + b, 0);
  const isAffordable = (ns: readonly number[]): boolean => sum(ns) <= max && ns.reduce((a, n, i) => a + n * (cost[open[i] as number] as number), 0) <= ceiling + 1e-9;
  const total = sum(today);
  const all = open.map((_, i) => i);
  if (total >= min && isAffordable(today) && all.every((i) => !isTooMany(i) && !isBusy(i) && (total === min || !isIdle(i)))) return today;
  const mixed = all.map((i) => (isBusy(i) || isIdle(i) || isTooMany(i) ? (wanted[i] as number) : Math.max(today[i] as number, least[i] as number)));
  return sum(mixed) >= min && isAffordable(mixed) ? mixed : [...wanted];
}

function take(e: Entry, n: readonly number[], capacity: Capacity, used: Float64Array): void {
  const K = capacity.width;
  for (const [i, c] of e.choice.open.entries()) {
    capacity.take(used, e.small.sites[c] as number, e.small.problem.size, n[i] as number, c * K);
  }
}

function overfull(capacity: Capacity, used: Float64Array): number[] {
  const out = new Set<number>();
  for (let i = 0; i < used.length; i++) if ((used[i] as number) > (capacity.total[i] as number) + 1e-6) out.add(Math.floor(i / capacity.width));
  return [...out].sort((a, b) => a - b);
}

/** At a site without room for all that is wanted: everyone its fewest, then one more for the busiest while it fits. */
function shrink(site: number, entries: readonly Entry[], counts: Map<string, number[]>, capacity: Capacity, used: Float64Array): void {
  const K = capacity.width;
  const there = entries.flatMap((e) => {
    const c = e.small.sites.indexOf(site);
    const i = e.choice.open.indexOf(c);
    if (i < 0) return [];
    const size = e.small.problem.size.subarray(c * K, c * K + K);
    const load = e.choice.flows.reduce((sum, f) => sum + (f.c === c ? f.rps : 0), 0);
    const wanted = counts.get(e.app.key)?.[i] as number;
    return [{ e, i, size, wanted, n: Math.min(wanted, e.choice.least[i] as number), busy: load / e.app.perInstance }];
  });
  for (const t of there) capacity.take(used, site, t.size, t.n - t.wanted);
  for (;;) {
    let next: (typeof there)[number] | undefined;
    for (const t of there) {
      if (t.n >= t.wanted || capacity.fits(used, site, t.size) === 0) continue;
      if (next === undefined || t.busy / Math.max(1, t.n) > next.busy / Math.max(1, next.n)) next = t;
    }
    if (next === undefined) break;
    next.n += 1;
    capacity.take(used, site, next.size, 1);
  }
  for (const t of there) {
    const n = counts.get(t.e.app.key);
    if (n !== undefined) n[t.i] = t.n;
  }
}
