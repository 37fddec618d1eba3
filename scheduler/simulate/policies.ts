/**
 * The ways to place that are compared: each a pure function with the planner's signature. What the others do not know (when to move, what to
 * do when a site is lost) they are not given; what any system has (requests go to the nearest instance with room) all of them have.
 */
import { refusedByPolicy } from '../global/eligible.ts';
import { UNKNOWN_RTT_MS } from '../global/objective.ts';
import type { ApplicationModel, Model, Placements, SiteInstances } from '../global/model.ts';
import { isUsable } from '../global/mover.ts';
import { type ApplicationPlan, type Plan, plan, type Serve } from '../global/planner.ts';
import { noise } from './random.ts';

export type Planner = (model: Model, current: Placements, now: number) => Plan;

/** What those are told who place once: requests per second by client region, on average and at the highest. */
export interface Expected {
  readonly mean: ReadonlyMap<string, ReadonlyMap<number, number>>;
  readonly peak: ReadonlyMap<string, number>;
}

export interface NamedPolicy {
  readonly name: string;
  readonly planner: Planner;
  /** Is the demand that it sees raised by what the profile of the day predicts? */
  readonly isPredicting: boolean;
}

const LOAD = 0.7;

const rttAt = (model: Model, region: number, site: number): number => {
  const ms = model.rtt[region * model.sites.length + site] as number;
  return ms === ms ? ms : UNKNOWN_RTT_MS;
};

/** Sites that may be used, and how many instances of a size are still free at each. */
class Room {
  readonly #model: Model;
  readonly #cpu: Float64Array;
  readonly #memory: Float64Array;

  constructor(model: Model) {
    this.#model = model;
    this.#cpu = Float64Array.from(model.sites, (s) => s.cpuMilli);
    this.#memory = Float64Array.from(model.sites, (s) => s.memoryMiB);
  }

  take(app: ApplicationModel, site: number, instances: number): void {
    this.#cpu[site] = (this.#cpu[site] as number) - instances * app.cpuMilli;
    this.#memory[site] = (this.#memory[site] as number) - instances * app.memoryMiB;
  }

  fits(app: ApplicationModel, site: number): number {
    return Math.max(0, Math.floor(Math.min((this.#cpu[site] as number) / app.cpuMilli, (this.#memory[site] as number) / app.memoryMiB) + 1e-9));
  }

  allows(app: ApplicationModel, site: number): boolean {
    const s = this.#model.sites[site];
    return s !== undefined && isUsable(s.reach) && refusedByPolicy(app.policy, s) === null && this.fits(app, site) > 0;
  }
}

/** Demand to the nearest placed site with room for it, the largest client region first; what fits nowhere goes to the nearest. */
function assign(model: Model, app: ApplicationModel, placed: ReadonlyMap<number, number>): Serve[] {
  const left = new Map([...placed].filter(([s]) => isUsable(model.sites[s]?.reach ?? 'down')).map(([s, n]) => [s, n * app.perInstance]));
  const out: Serve[] = [];
  const give = (region: number, site: number, rps: number): unknown => out.push({ clientRegion: model.clientRegions[region] ?? '', site: model.sites[site]?.name ?? '', rps, rttMs: rttAt(model, region, site) });
  for (const d of app.demand.toSorted((a, b) => b.rps - a.rps || a.region - b.region)) {
    let rest = d.rps;
    const near = [...left.keys()].sort((a, b) => rttAt(model, d.region, a) - rttAt(model, d.region, b) || a - b);
    for (const s of near) {
      const taken = Math.min(rest, left.get(s) ?? 0);
      if (taken <= 0) continue;
      left.set(s, (left.get(s) ?? 0) - taken);
      give(d.region, s, taken);
      rest -= taken;
      if (rest <= 1e-9) break;
    }
    if (rest > 1e-9 && near[0] !== undefined) give(d.region, near[0], rest);
  }
  return out;
}

function planned(model: Model, app: ApplicationModel, placed: ReadonlyMap<number, number>, before: readonly SiteInstances[], reason: string): ApplicationPlan {
  const sites = [...placed].filter(([, n]) => n > 0).sort((a, b) => a[0] - b[0]).map(([s, instances]) => ({ site: model.sites[s]?.name ?? '', instances, reason, isHeld: false }));
  const was = new Map(before.map((b) => [b.site, b.instances]));
  const is = new Map(sites.map((s) => [s.site, s.instances]));
  const changes = [...new Set([...was.keys(), ...is.keys()])].sort().flatMap((site) => {
    const [from, to] = [was.get(site) ?? 0, is.get(site) ?? 0];
    return from === to ? [] : [{ site, from, to, reason }];
  });
  const serves = assign(model, app, placed);
  const rps = serves.reduce((sum, s) => sum + s.rps, 0);
  const cost = [...placed].reduce((sum, [s, n]) => sum + n * (model.sites[s]?.cost ?? 0), 0);
  return { key: app.key, sites, serves, goals: [], unmet: [], kept: null, latencyMs: rps === 0 ? 0 : serves.reduce((sum, s) => sum + s.rps * s.rttMs, 0) / rps, cost, changes };
}

type PlaceOne = (app: ApplicationModel, before: readonly SiteInstances[], room: Room, model: Model) => ReadonlyMap<number, number>;

function each(reason: string, place: PlaceOne): Planner {
  return (model, current, now) => {
    const room = new Room(model);
    const applications = new Map<string, ApplicationPlan>();
    for (const app of model.applications) {
      const before = current.get(app.key) ?? [];
      const placed = place(app, before, room, model);
      for (const [s, n] of placed) room.take(app, s, n);
      applications.set(app.key, planned(model, app, placed, before, reason));
    }
    return { at: now, applications, used: new Float64Array(model.sites.length * 2), changed: [...applications.values()].filter((a) => a.changes.length > 0).map((a) => a.key) };
  };
}

/** Every client region from the nearest site that `may` be used, as many instances as its demand asks for now; above max the least used sites go. */
function nearest(may: (model: Model, site: number) => boolean): PlaceOne {
  return (app, _before, room, model) => {
    const open = model.sites.map((_s, s) => s).filter((s) => may(model, s) && room.allows(app, s));
    const { min, max } = app.policy.instances;
    const closest = (region: number, among: readonly number[]): number | undefined => among.reduce<number | undefined>((best, s) => (best === undefined || rttAt(model, region, s) < rttAt(model, region, best) ? s : best), undefined);
    let use = [...new Set(app.demand.flatMap((d) => closest(d.region, open) ?? []))];
    if (use.length === 0 && open[0] !== undefined) use = [open[0]];
    for (;;) {
      const load = new Map<number, number>(use.map((s) => [s, 0]));
      for (const d of app.demand) {
        const s = closest(d.region, use);
        if (s !== undefined) load.set(s, (load.get(s) ?? 0) + d.rps);
      }
      const counts = new Map([...load].map(([s, rps]) => [s, Math.min(room.fits(app, s), Math.max(1, Math.ceil(rps / (LOAD * app.perInstance) - 1e-9)))]));
      const total = [...counts.values()].reduce((a, b) => a + b, 0);
      if (total <= max || use.length <= 1) return fill(counts, app, room, min, max);
      const least = [...load].sort((a, b) => a[1] - b[1] || a[0] - b[0])[0]?.[0];
      use = use.filter((s) => s !== least);
    }
  };
}

function fill(counts: Map<number, number>, app: ApplicationModel, room: Room, min: number, max: number): ReadonlyMap<number, number> {
  let total = [...counts.values()].reduce((a, b) => a + b, 0);
  for (const [s, n] of counts) {
    const more = Math.max(0, Math.min(min - total, room.fits(app, s) - n));
    const fewer = Math.max(0, Math.min(total - max, n - 1));
    counts.set(s, n + more - fewer);
    total += more - fewer;
  }
  return counts;
}

/** Placed once, and left: what is lost is not replaced. */
const once = (place: PlaceOne): PlaceOne => (app, before, room, model) => (before.length > 0 ? indexed(before, model) : place(app, before, room, model));

const indexed = (sites: readonly SiteInstances[], model: Model): ReadonlyMap<number, number> => new Map(sites.map((b) => [model.sites.findIndex((s) => s.name === b.site), b.instances]));

const enoughFor = (app: ApplicationModel, peak: number): number => Math.min(app.policy.instances.max, Math.max(app.policy.instances.min, Math.ceil(peak / (LOAD * app.perInstance))));

/** Enough for the peak, shared among the sites in proportion to the mean demand that is nearest to each. */
function proportional(expected: Expected): PlaceOne {
  return (app, _before, room, model) => {
    const load = new Map<number, number>();
    const open = model.sites.map((_s, s) => s).filter((s) => room.allows(app, s));
    for (const [region, rps] of expected.mean.get(app.key) ?? []) {
      const s = open.reduce<number | undefined>((best, x) => (best === undefined || rttAt(model, region, x) < rttAt(model, region, best) ? x : best), undefined);
      if (s !== undefined) load.set(s, (load.get(s) ?? 0) + rps);
    }
    const total = [...load.values()].reduce((a, b) => a + b, 0);
    const count = enoughFor(app, expected.peak.get(app.key) ?? total);
    // largest remainders: the parts add up to the whole
    const parts = [...load].map(([s, rps]) => ({ s, whole: Math.floor((count * rps) / total), rest: ((count * rps) / total) % 1 }));
    let left = count - parts.reduce((sum, p) => sum + p.whole, 0);
    const placed = new Map<number, number>();
    for (const p of parts.toSorted((a, b) => b.rest - a.rest || a.s - b.s)) {
      const n = Math.min(room.fits(app, p.s), p.whole + (left > 0 ? 1 : 0));
      if (left > 0) left -= 1;
      if (n > 0) placed.set(p.s, n);
    }
    return placed;
  };
}

/** One instance after the other to a site drawn among those that the policy allows and that have room: whoever matches first may be anywhere. */
function randomMatch(expected: Expected, seed: number): PlaceOne {
  return (app, _before, room, model) => {
    const placed = new Map<number, number>();
    const open = model.sites.map((_s, s) => s).filter((s) => room.allows(app, s));
    const salt = Array.from(app.key).reduce((h, c) => (h * 31 + (c.codePointAt(0) ?? 0)) | 0, 7);
    for (let i = 0, n = enoughFor(app, expected.peak.get(app.key) ?? 0); i < n && open.length > 0; i++) {
      const s = open[Math.floor(noise(seed, salt, i) * open.length)] as number;
      if (room.fits(app, s) > (placed.get(s) ?? 0)) placed.set(s, (placed.get(s) ?? 0) + 1);
    }
    return placed;
  };
}

export const POLICIES: readonly string[] = ['ours', 'ours-predicting', 'nearest-site', 'cloud-only', 'static-proportional', 'random-match'];

export function policyNamed(name: string, expected: Expected, seed: number): NamedPolicy {
  const of = (planner: Planner, isPredicting = false): NamedPolicy => ({ name, planner, isPredicting });
  switch (name) {
    case 'ours':
      return of(plan);
    case 'ours-predicting':
      return of(plan, true);
    case 'nearest-site':
      return of(each('the nearest site of a client region', nearest(() => true)));
    case 'cloud-only':
      return of(each('the nearest zone of a client region', nearest((model, s) => model.sites[s]?.kind === 'zone')));
    case 'static-proportional':
      return of(each('placed once, in proportion to the mean demand', once(proportional(expected))));
    default:
      return of(each('placed once, at random among what matches', once(randomMatch(expected, seed))));
  }
}

