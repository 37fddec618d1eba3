/**
 * One policy over one scenario, on a virtual clock: requests come -> fronts count them -> telemetry -> plan -> moves, and failures in between.
 * Telemetry, planner, mover, failure logic and prediction are those of the global scheduler. What is simulated is the world: who asks, how long
 * a way is, how long an instance takes to start, how many requests it can serve, how long they wait for it, and what breaks.
 */
import type { TrafficSample } from '../../api/telemetry.ts';
import { createModel, type Model } from '../global/model.ts';
import { Forecast } from '../global/predict.ts';
import { Telemetry } from '../global/telemetry.ts';
import { Counts, figuresOf, type PolicyFigures } from './figures.ts';
import { PlacedApplication } from './placed.ts';
import type { NamedPolicy } from './policies.ts';
import { poisson, Random } from './random.ts';
import { SimSites } from './sites.ts';
import { type Waiting, waitingAt } from './waiting.ts';
import type { SimWorld } from './world.ts';

/** After something broke or was mended, judged by the second. */
const FINE_MS = 1_000;
const FINE_FOR_MS = 60_000;
/** A goal counts as met by an application in a client region in a step when so many of its requests were within it. */
const MET = 0.95;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export type Progress = (part: number) => void;

export function simulate(world: SimWorld, policy: NamedPolicy, onProgress: Progress = () => undefined): PolicyFigures {
  const run = new Run(world, policy);
  for (let at = world.start; at < world.end; at = run.step(at)) onProgress((at - world.start) / (world.end - world.start));
  onProgress(1);
  return run.figures();
}

class Run {
  readonly #world: SimWorld;
  readonly #policy: NamedPolicy;
  readonly #sites: SimSites;
  readonly #applications: readonly PlacedApplication[];
  readonly #model: Model;
  readonly #telemetry: Telemetry;
  readonly #forecast = new Forecast();
  readonly #counts: Counts;
  readonly #random: Random;
  readonly #nearest: Int32Array;
  readonly #edges: readonly number[];
  readonly #broken = new Set<number>();
  #plannedAt = Number.NEGATIVE_INFINITY;
  #sequence = 0;
  /** Of each application: requests per second by its client regions in this step. */
  readonly #rps: readonly Float64Array[];

  constructor(world: SimWorld, policy: NamedPolicy) {
    this.#world = world;
    this.#policy = policy;
    this.#sites = new SimSites(world);
    const siteIndex = new Map(world.sites.map((s, i) => [s.name, i]));
    this.#applications = world.applications.map((a) => new PlacedApplication(a, world, this.#sites, siteIndex));
    this.#telemetry = new Telemetry({ halfLifeMs: Math.max(10_000, world.stepMs / 4) });
    this.#counts = new Counts(world.regions.length);
    this.#random = new Random(world.seed);
    this.#rps = world.applications.map((a) => new Float64Array(a.regions.length));
    const of = (r: number): number => world.sites.reduce((best, _s, s) => (this.#ms(r, s) < this.#ms(r, best) ? s : best), 0);
    this.#nearest = Int32Array.from(world.regions, (_r, r) => of(r));
    this.#edges = [...new Set(world.failures.flatMap((f) => [f.from, f.to]))].sort((a, b) => a - b);
    const applications = world.applications.map(({ key, policy: p, perInstance, cpuMilli, memoryMiB }) => ({ key, policy: p, perInstance, cpuMilli, memoryMiB, demand: new Map<string, number>(), avoid: [], movedAt: [] }));
    const regionIndex = new Map(world.regions.map((r, i) => [r.name, i]));
    this.#model = createModel({ sites: world.sites, clientRegions: world.regions.map((r) => r.name), rtt: (r, s) => this.#ms(regionIndex.get(r) ?? 0, siteIndex.get(s) ?? 0), applications });
  }

  /** Everything from `at` until the next time that something can be different, which it returns. */
  step(at: number): number {
    const until = this.#next(at);
    this.#break(at);
    const isJudged = this.#sites.judge(at);
    this.#ask(at, until);
    if (isJudged || at - this.#plannedAt >= this.#world.stepMs) this.#plan(at);
    for (const [i, a] of this.#applications.entries()) this.#serve(i, a, at, until);
    this.#report(at, until);
    return until;
  }

  figures(): PolicyFigures {
    const world = this.#world;
    return figuresOf(this.#policy.name, this.#counts, world.regions.map((r) => r.name), world.applications.length, (world.end - world.countFrom) / DAY_MS);
  }

  #ms(region: number, site: number): number {
    const ms = this.#world.rtt[region * this.#world.sites.length + site] as number;
    return ms === ms ? ms : Number.POSITIVE_INFINITY;
  }

  #next(at: number): number {
    const { stepMs, start, end, countFrom } = this.#world;
    const step = start + (Math.floor((at - start) / stepMs) + 1) * stepMs;
    const edge = this.#edges.find((e) => e > at) ?? Number.POSITIVE_INFINITY;
    const isFine = this.#edges.some((e) => at >= e && at < e + FINE_FOR_MS);
    return Math.min(end, step, edge, at < countFrom ? countFrom : end, isFine ? at + FINE_MS : Number.POSITIVE_INFINITY);
  }

  #break(at: number): void {
    for (const f of this.#world.failures) {
      const isOn = f.from <= at && at < f.to;
      if (f.kind !== 'down') continue;
      for (const s of f.sites) {
        if (isOn === this.#broken.has(s) || (!isOn && this.#sites.failureOf(s, at) !== null)) continue;
        if (isOn) this.#broken.add(s);
        else this.#broken.delete(s);
        for (const a of this.#applications) a.siteChanged(s, isOn, at);
      }
    }
  }

  /** How many requests come in this step, chance included; the same for every policy. */
  #ask(at: number, until: number): void {
    const { applications, demand } = this.#world;
    const seconds = (until - at) / 1000;
    for (const [i, a] of applications.entries()) {
      const rps = this.#rps[i] as Float64Array;
      for (let k = 0; k < a.regions.length; k++) rps[k] = poisson(demand(i, a.regions[k] as number, a.share, (at + until) / 2) * seconds, this.#random) / seconds;
    }
  }

  #plan(at: number): void {
    const world = this.#world;
    this.#plannedAt = at;
    const measured = this.#telemetry.demand(at);
    this.#forecast.learn(measured, at);
    const demand = this.#policy.isPredicting ? this.#forecast.expect(measured, at, (key) => this.#applications.find((a) => a.app.key === key)?.isFull === true) : measured;
    const index = new Map(world.regions.map((r, i) => [r.name, i]));
    const applications = this.#model.applications.map((a, i) => {
      const rows = [...(demand.get(a.key) ?? [])].map(([region, rps]) => ({ region: index.get(region) ?? -1, rps })).filter((d) => d.region >= 0);
      const placed = this.#applications[i] as PlacedApplication;
      return { ...a, demand: rows.sort((x, y) => x.region - y.region), avoid: placed.avoid, movedAt: placed.movedAt };
    });
    const placements = new Map(this.#applications.map((a) => [a.app.key, a.placement]));
    const plan = this.#policy.planner({ ...this.#model, sites: this.#sites.models(), applications }, placements, at);
    for (const a of this.#applications) {
      const planned = plan.applications.get(a.app.key);
      if (planned === undefined) continue;
      const { moves, scalings } = a.take(planned, at);
      if (at < world.countFrom) continue;
      this.#counts.moves += moves;
      this.#counts.scalings += scalings;
    }
  }

  /** Serves one application's requests until `until`, moving meanwhile. */
  #serve(i: number, a: PlacedApplication, at: number, until: number): void {
    const rps = this.#rps[i] as Float64Array;
    const within = new Float64Array(rps.length);
    for (let now = at; now < until; ) {
      const { at: then, undone } = a.advance(now, until);
      if (now >= this.#world.countFrom) {
        this.#counts.undone += undone;
        this.#pay(a, now, then);
        this.#deliver(a, rps, within, now, then);
      }
      now = then;
    }
    if (at < this.#world.countFrom) return;
    const hours = (until - at) / HOUR_MS;
    for (let k = 0; k < rps.length; k++) {
      const asked = (rps[k] as number) * ((until - at) / 1000);
      if (asked > 0 && (within[k] as number) < MET * asked) this.#counts.unmetHours += hours;
    }
  }

  #pay(a: PlacedApplication, now: number, then: number): void {
    const point = this.#counts.point(now);
    const hours = (then - now) / HOUR_MS;
    for (const [s, n] of a.running()) {
      if (this.#broken.has(s)) continue;
      const cost = n * hours * (this.#world.sites[s]?.cost ?? 0);
      this.#counts.cost += cost;
      this.#counts.instanceHours += n * hours;
      point.cost += cost;
      point.instanceHours += n * hours;
    }
  }

  /** An instance serves as many requests as it can; what is beyond that, or sent to where nobody answers, fails. */
  #deliver(a: PlacedApplication, rps: Float64Array, within: Float64Array, now: number, then: number): void {
    const seconds = (then - now) / 1000;
    const load = new Map<number, number>();
    const waits = new Map<number, Waiting>();
    const shares = Array.from(rps, (_v, k) => this.#reaching(a, k, now));
    for (const [k, list] of shares.entries()) for (const [s, share] of list) load.set(s, (load.get(s) ?? 0) + share * (rps[k] as number));
    for (const [s, rps] of load) waits.set(s, waitingAt(rps, a.ready(s, now), a.app.perInstance, a.app.workers));
    const point = this.#counts.point(now);
    for (const [k, list] of shares.entries()) {
      const region = a.app.regions[k] as number;
      const asked = (rps[k] as number) * seconds;
      let [served, inTime] = [0, 0];
      for (const [s, share] of list) {
        const wait = waits.get(s) as Waiting;
        const part = share * asked * wait.answered;
        if (part <= 0) continue;
        const ms = this.#ms(region, s);
        if (!Number.isFinite(ms)) continue; // there is no way
        served += part;
        const goal = a.app.goals[k] as number;
        if (ms <= goal) inTime += part;
        this.#counts.add(region, ms, wait, part, goal);
      }
      within[k] = (within[k] as number) + inTime;
      this.#counts.requests[region] = (this.#counts.requests[region] as number) + asked;
      this.#counts.within[region] = (this.#counts.within[region] as number) + inTime;
      this.#counts.failed[region] = (this.#counts.failed[region] as number) + asked - served;
      point.requests += asked;
      point.within += inTime;
      point.failed += asked - served;
    }
  }

  /** What of the shares arrives. Clients whose nearest site is cut off use what is there; nobody else gets in, and a dead site answers nobody. */
  #reaching(a: PlacedApplication, k: number, now: number): readonly (readonly [site: number, share: number])[] {
    const region = a.app.regions[k] as number;
    const local = this.#nearest[region] as number;
    if (this.#sites.failureOf(local, now)?.kind === 'uplink' && a.ready(local, now) > 0) return [[local, 1]];
    return a.sharesOf(k, now).filter(([s]) => {
      const f = this.#sites.failureOf(s, now);
      return f === null || f.kind === 'gateway';
    });
  }

  /** The nearest front counts each client region's requests; while that one is dead, the next counts the same. */
  #report(at: number, until: number): void {
    const seconds = (until - at) / 1000;
    const rows = new Map<number, TrafficSample['rows'][number][]>();
    for (const [i, a] of this.#world.applications.entries()) {
      for (const [k, rps] of (this.#rps[i] as Float64Array).entries()) {
        if (rps <= 0) continue;
        const region = a.regions[k] as number;
        const site = this.#nearest[region] as number;
        const list = rows.get(site) ?? [];
        rows.set(site, list);
        list.push({ application: a.key, clientRegion: this.#world.regions[region]?.name ?? '', connections: rps * seconds, bytesIn: 0, bytesOut: 0, rttMs: null });
      }
    }
    this.#sequence += 1;
    for (const [s, list] of rows) {
      if (this.#sites.failureOf(s, until)?.kind === 'uplink') continue; // it serves its own clients, and nobody hears of it
      this.#telemetry.traffic({ site: this.#world.sites[s]?.name ?? '', epoch: 'simulated', sequence: this.#sequence, at: until, periodMs: until - at, rows: list }, until);
    }
  }
}
