/**
 * The loop of the global scheduler: see (regions, global objects, telemetry) -> judge sites -> plan what changed -> record -> move. What is seen is
 * held in memory and kept up to date by watches; a pass deals with what changed since the last one, and whatever could not be done, because a
 * region does not answer, is done in a later one. Everything a fresh process must know is in the store.
 */
import { randomUUID } from 'node:crypto';
import type { Client } from '../../api/client.ts';
import { MeshError } from '../../api/errors.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { isFenced } from '../../api/lease-fence.ts';
import { Admission, type Admitted } from './admission.ts';
import { Budget, type BudgetLimits } from './budget.ts';
import { Carrier } from './carrier.ts';
import type { FailureOptions, SiteState } from './failure.ts';
import type { Fence, HeldLease } from './fence.ts';
import { type GlobalChanges, GlobalView } from './global-view.ts';
import { SchedulerMetrics } from './metrics.ts';
import type { Model, SiteModel } from './model.ts';
import { MoveMetrics } from './move-metrics.ts';
import type { MoverOptions } from './mover.ts';
import type { Plan } from './planner.ts';
import { Planning, type PlanningOptions } from './planning.ts';
import { Prediction, type PredictionOptions } from './prediction.ts';
import { Records } from './records.ts';
import type { Region } from './region.ts';
import { NetworkChores } from './share-network.ts';
import { type Part, shardOf, Shards } from './shards.ts';
import { SiteModels } from './site-models.ts';
import { Sites } from './sites.ts';
import { holdingsOf, wholeSnapshot } from './snapshot.ts';
import { steer, type SteeredFront } from './steering.ts';
import type { Surroundings } from './surroundings.ts';
import { telemetryMetrics } from './telemetry-metrics.ts';
import { distanceKm, Telemetry } from './telemetry.ts';
import type { UndoOptions } from './undo.ts';
import { type GlobalObjects, policyOf } from './world.ts';

export interface ClientRegionConfig {
  readonly name: string;
  readonly cidrs: readonly string[];
  readonly location?: { readonly latitude: number; readonly longitude: number } | null;
}

export interface GlobalSchedulerOptions {
  readonly identity: string;
  readonly clientRegions: readonly ClientRegionConfig[];
  /** A pass at least so often; what changes begins one at once. @default 1000 */
  readonly intervalMs?: number;
  readonly halfLifeMs?: number;
  readonly failure?: FailureOptions;
  /** After a start, regions have so long to answer before anything is planned without them. @default 10000 */
  readonly startGraceMs?: number;
  readonly mover?: MoverOptions;
  readonly undo?: UndoOptions;
  readonly budget?: BudgetLimits;
  readonly planning?: PlanningOptions;
  readonly prediction?: PredictionOptions;
  /** Parts that applications are dealt into, each held by one instance. The same in all instances. @default 16 */
  readonly shards?: number;
  /** An instance that did not renew for so long loses its shards. @default 5000 */
  readonly leaseMs?: number;
}

export interface GlobalSchedulerDeps {
  /** The global API. */
  readonly client: Client;
  readonly regions: readonly Region[];
  readonly log: Logger;
  readonly clock?: Clock;
}

/** One pass's view, for the REST face: everything is of the same moment. */
export interface Snapshot {
  readonly at: number;
  readonly model: Model;
  readonly plan: Plan;
  readonly objects: GlobalObjects;
  readonly states: ReadonlyMap<string, SiteState>;
}

/** How often sites are judged between passes: a loss must not wait for the next one. */
const JUDGE_MS = 250;
/** Changes that come together are dealt with together. */
const GATHER_MS = 30;
const TICKS_PER_LEASE = 7;
/** Reading the demand of everything costs no more than this part of the time. */
const DEMAND_SHARE = 20;

export class GlobalScheduler implements Service {
  readonly name = 'global scheduler';
  readonly telemetry: Telemetry;
  readonly metrics: SchedulerMetrics;
  readonly moves = new MoveMetrics();
  /** What may be written, and under which lease. */
  readonly fence: Fence;
  readonly #d: GlobalSchedulerDeps;
  readonly #o: GlobalSchedulerOptions;
  readonly #clock: Clock;
  readonly #clientRegions: readonly string[];
  readonly #loop: Loop;
  readonly #judging: Loop;
  readonly #leases: Loop;
  readonly #watchers: Loop;
  readonly #global: GlobalView;
  readonly #shards: Shards;
  readonly #records: Records;
  readonly #sites: Sites;
  readonly #siteModels: SiteModels;
  readonly #admission: Admission;
  readonly #planning: Planning;
  readonly #prediction: Prediction;
  readonly #chores: NetworkChores;
  readonly #carrier: Carrier;
  readonly #budget: Budget;
  #isRunning = false;
  #isWoken = false;
  #isReady = false;
  #firstPassAt: number | null = null;
  #held: ReadonlySet<Part> = new Set();
  #admitted: Admitted | null = null;
  #demand: { readonly of: ReadonlyMap<string, ReadonlyMap<string, number>>; readonly at: number; readonly costMs: number } = { of: new Map(), at: Number.NEGATIVE_INFINITY, costMs: 0 };
  #fronts: readonly string[] = [];
  #last: { readonly at: number; readonly sites: readonly SiteModel[]; readonly model: Model; readonly plan: Plan } | null = null;
  #snapshot: Snapshot | null = null;

  constructor(deps: GlobalSchedulerDeps, options: GlobalSchedulerOptions) {
    const { client, regions, log } = deps;
    this.#d = deps;
    this.#o = options;
    this.#clock = deps.clock ?? systemClock;
    this.#clientRegions = options.clientRegions.map((r) => r.name).sort();
    this.telemetry = new Telemetry({ locationOf: (kind, name) => this.#locationOf(kind, name), isLost: (site) => this.#isLost(site), ...(options.halfLifeMs === undefined ? {} : { halfLifeMs: options.halfLifeMs }) });
    this.#sites = new Sites(regions, this.telemetry, log, options.failure);
    this.#siteModels = new SiteModels(this.telemetry);
    this.#global = new GlobalView(client, () => this.#wake());
    this.#shards = new Shards(client, log, { identity: options.identity, incarnation: randomUUID(), ...(options.shards === undefined ? {} : { shards: options.shards }), ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }) });
    this.fence = { stamp: (key) => this.#stamp(key), lease: (key) => this.#lease(key), refused: () => this.metrics.fenced('api') };
    this.#records = new Records(client, log, this.#global, this.fence);
    this.#admission = new Admission(this.#clientRegions, (r, s) => this.#floor(r, s));
    this.#planning = new Planning(options.planning);
    this.#prediction = new Prediction({ client, log, clock: this.#clock, applications: () => ({ all: new Set(this.#global.objects.applications.keys()), owns: (key) => this.#owns(key), isFull: (key) => this.#isFull(key) }) }, options.prediction);
    this.#chores = new NetworkChores(this.#records, regions, options.clientRegions, log);
    this.#budget = new Budget(options.budget);
    this.metrics = new SchedulerMetrics({ shards: () => [...this.#shards.held(this.#clock.now())].filter((p) => p !== 'network').length, reaches: () => [...this.#sites.states.values()].map((s) => s.reach), rows: () => this.telemetry.sizes });
    this.#carrier = new Carrier({ global: this.#global, records: this.#records, planning: this.#planning, metrics: this.metrics, log, fence: this.fence, regions, stopwatch: options.planning?.stopwatch ?? (() => performance.now()) });
    telemetryMetrics(this.metrics.registry, this.telemetry, this.#prediction.forecast);
    for (const region of regions) this.#follow(region);
    const every = options.intervalMs ?? 1_000;
    const common = { log, clock: this.#clock, resyncMs: every, maxRetryMs: 5_000 };
    this.#watchers = new Loop({ ...common, name: 'regions', concurrency: 64, run: async (name) => this.refreshRegion(name).then(() => every) });
    this.#loop = new Loop({ ...common, name: 'placement', concurrency: 1, run: async () => this.pass().then(() => this.#nextIn(every)) });
    this.#judging = new Loop({ ...common, name: 'sites', concurrency: 1, run: async () => this.#watchSites(Math.min(JUDGE_MS, every)) });
    const tick = (options.leaseMs ?? 5_000) / TICKS_PER_LEASE;
    this.#leases = new Loop({ ...common, name: 'shards', concurrency: 1, maxRetryMs: tick, run: async () => this.#tick().then(() => tick) });
  }

  /** Is what exists once in the mesh, not once per shard, this instance's to do? */
  get leads(): boolean {
    return this.#shards.token('network', this.#clock.now()) !== null;
  }

  /** Everything, own and of other shards; made when somebody asks. */
  get snapshot(): Snapshot | null {
    if (this.#last === null) return null;
    this.#snapshot ??= wholeSnapshot({ ...this.#last, objects: this.#global.copy(), demand: this.#demand.of, clientRegions: this.#clientRegions, states: new Map(this.#sites.states) });
    return this.#snapshot;
  }

  /** Is the application of this instance now? */
  holds(key: string): boolean {
    return this.#owns(key);
  }

  /** How every site stands. */
  get states(): ReadonlyMap<string, SiteState> {
    return this.#sites.states;
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#global.start(signal, this.#d.log, this.#clock);
    for (const r of this.#d.regions) r.follow(signal, this.#d.log, this.#clock);
    this.#isRunning = true;
    await this.#shards.tick(() => this.#clock.now());
    await this.#leases.start(signal);
    await this.#watchers.start(signal);
    await this.#judging.start(signal);
    await this.#loop.start(signal);
    await this.#prediction.start(signal);
    for (const r of this.#d.regions) this.#watchers.trigger(r.name);
    this.#leases.trigger('all');
    this.#judging.trigger('all');
    this.#loop.trigger('all');
  }

  async stop(): Promise<void> {
    for (const loop of [this.#loop, this.#judging, this.#watchers, this.#leases]) await loop.stop();
    await this.#prediction.stop();
    await this.#shards.release().catch((error: unknown) => this.#d.log.warn('shards not released', { err: error }));
    await this.#global.stop();
    for (const r of this.#d.regions) await r.close();
  }

  async refreshRegion(name: string): Promise<void> {
    const region = this.#d.regions.find((r) => r.name === name);
    if (region === undefined) return;
    const before = region.answers;
    const error = await region.refresh();
    if (error === null) await this.#claim(region);
    if (region.answers === before) return;
    if (error === null) this.#d.log.info('region answers', { region: name });
    else this.#d.log.warn('region does not answer', { region: name, err: error });
    this.#chores.touch();
    this.#carrier.touchAll(); // what is owed to a region is written when it answers
    this.#wake();
  }

  /** One pass; the simulation and tests call it on a virtual clock. */
  async pass(): Promise<void> {
    this.#isWoken = false;
    if (!this.#isRunning) {
      await this.#shards.tick(() => this.#clock.now());
      await this.#global.refresh();
    }
    await this.#shards.giveBack();
    const now = this.#clock.now();
    if (!this.#mayPlan(now)) return;
    const began = performance.now();
    const changes = this.#global.take();
    try {
      await this.#passOver(changes, now);
    } catch (error) {
      this.#global.giveBack(changes);
      throw error;
    }
    this.metrics.pass((performance.now() - began) / 1000);
  }

  async #passOver(changes: GlobalChanges, now: number): Promise<void> {
    const { objects } = this.#global;
    const sites = this.#sites.judge(this.#global.sites(), now);
    const models = this.#siteModels.of(sites, this.#sites.states);
    this.#takeOver(this.#shards.held(now));
    const admitted = this.#admit(changes, models);
    const owns = (key: string): boolean => this.#owns(key);
    const own = new Map([...admitted.planned].filter(([key]) => owns(key)));
    this.#readDemand(now);
    const fronts = this.#frontsOf(models);
    const { model, plan, planned, changed: replanned, sites: changed, isFull } = this.#planning.update({ now, sites: models, clientRegions: this.#clientRegions, ways: { rtt: (r, s) => this.telemetry.clientRtt(r, s, fronts, now), measured: (r, s) => this.telemetry.measuredClientRtt(r, s, now) }, demand: this.#demand.of, objects, own, others: this.#held.size > this.#shards.count ? [] : holdingsOf(objects, owns), touched: changes.applications });
    this.metrics.planned(isFull ? 'all' : 'changed', planned.size);
    this.#last = { at: now, sites: models, model, plan };
    this.#snapshot = null;
    const around = (isOurs: () => boolean): Surroundings => ({ model, plan, regions: this.#d.regions, telemetry: this.telemetry, now, mover: this.#o.mover ?? {}, ...(this.#o.undo === undefined ? {} : { undo: this.#o.undo }), budget: this.#budget, metrics: this.moves, refused: new Set(admitted.refused.keys()), portless: admitted.portless, log: this.#d.log, isFenced: () => !isOurs() });
    if (changes.isNetwork) this.#chores.touch();
    if (this.#held.has('network')) await this.#chores.run(sites, this.#sites.heard(), objects, around(() => this.#shards.token('network', this.#clock.now()) !== null));
    for (const key of changes.applications) if (owns(key)) this.#carrier.touch(key);
    await this.#carrier.carry({ model, plan, replanned, changed, admitted, own, owns, now, around: (key) => around(() => this.#owns(key)) });
    if (!this.#carrier.isIdle || this.#admission.isBehind) this.#wake();
  }

  steering(application: string, clientRegion: string): readonly SteeredFront[] | null {
    const app = this.#global.objects.applications.get(application);
    if (this.#last === null || app === undefined || !(this.#last.plan.applications.has(application) || this.#global.objects.placements.has(application))) return null;
    const now = this.#clock.now();
    return steer(this.#last.model.sites, app.spec.service.port, (site) => this.telemetry.clientRtt(clientRegion, site, [], now));
  }

  #follow(region: Region): void {
    region.fence = this.fence;
    const isDue = (key: string): void => {
      this.#carrier.touch(key);
      this.#wake();
    };
    region.listen({ application: isDue, site: () => this.#chores.touchSites(), network: () => this.#chores.touch() });
  }

  /** Throws when the application, or for null the network, is not ours now. */
  #stamp(key: string | null): string | null {
    const { epoch } = this.#lease(key);
    return key === null ? null : `${shardOf(key, this.#shards.count)}:${epoch}`;
  }

  #lease(key: string | null): HeldLease {
    const held = this.#shards.lease(key === null ? 'network' : shardOf(key, this.#shards.count), this.#clock.now());
    if (held !== null) return held;
    this.metrics.fenced('itself');
    throw new MeshError('conflict', `${key ?? 'the network'} is not of this instance any more`);
  }

  /** What is held is said to the region before anything is written there, and also when nothing is to be: the holder before may still be writing. */
  async #claim(region: Region): Promise<void> {
    const now = this.#clock.now();
    await Promise.all([...this.#shards.held(now)].map(async (part) => {
      const lease = this.#shards.lease(part, now);
      if (lease === null) return;
      try {
        await region.claim(lease);
      } catch (error) {
        const epoch = isFenced(error) ? error.fields['epoch'] : undefined;
        if (typeof epoch === 'number') this.#shards.outgrow(part, epoch);
        this.#d.log.warn('shard not claimed in region', { region: region.name, shard: part, err: error });
      }
    }));
  }

  #owns(key: string): boolean {
    return this.#shards.token(shardOf(key, this.#shards.count), this.#clock.now()) !== null;
  }

  /** What came to us is looked at as a fresh process would. */
  #takeOver(held: ReadonlySet<Part>): void {
    const isNew = [...held].some((p) => !this.#held.has(p));
    if (held.has('network') && !this.#held.has('network')) this.#chores.touch();
    this.#held = held;
    if (!isNew) return;
    this.#carrier.touchAll();
    if (this.#isRunning) for (const r of this.#d.regions) this.#watchers.trigger(r.name);
  }

  #admit(changes: GlobalChanges, models: readonly SiteModel[]): Admitted {
    const before = this.#admitted;
    if (before !== null && !changes.isAdmissionOpen && !this.#admission.isBehind && !this.#admission.isOther(models)) return before;
    const admitted = this.#admission.admit(this.#global.objects, models);
    for (const key of new Set([...admitted.refused.keys(), ...(before?.refused.keys() ?? [])])) if (admitted.refused.get(key)?.message !== before?.refused.get(key)?.message) this.#carrier.touch(key);
    this.#admitted = admitted;
    return admitted;
  }

  #readDemand(now: number): void {
    if (now - this.#demand.at < this.#demand.costMs * DEMAND_SHARE) return;
    const stopwatch = this.#o.planning?.stopwatch ?? (() => performance.now());
    const began = stopwatch();
    const of = this.#prediction.demand(this.telemetry.demand(now), now);
    this.#demand = { of, at: now, costMs: stopwatch() - began };
  }

  /** As many instances as the policy allows are wanted already. */
  #isFull(key: string): boolean {
    const { objects } = this.#global;
    const [app, placement] = [objects.applications.get(key), objects.placements.get(key)];
    if (app === undefined || placement === undefined) return false;
    const max = policyOf(app, objects)?.instances.max ?? Number.POSITIVE_INFINITY;
    return placement.spec.sites.reduce((sum, s) => sum + s.instances, 0) >= max;
  }

  /** The same array while it says the same: telemetry keeps what it worked out of it. */
  #frontsOf(models: readonly SiteModel[]): readonly string[] {
    const names = models.filter((s) => s.front !== null).map((s) => s.name);
    if (names.length !== this.#fronts.length || names.some((n, i) => n !== this.#fronts[i])) this.#fronts = names;
    return this.#fronts;
  }

  async #tick(): Promise<void> {
    await this.#shards.tick(() => this.#clock.now());
    const held = this.#shards.held(this.#clock.now());
    if ([...held].some((p) => !this.#held.has(p))) this.#wake();
  }

  async #watchSites(every: number): Promise<number> {
    if (!this.#isReady) return every;
    const before = new Map([...this.#sites.states].map(([name, s]) => [name, s.reach]));
    this.#sites.judge(this.#global.sites(), this.#clock.now());
    if (before.size !== this.#sites.states.size || [...this.#sites.states].some(([name, s]) => before.get(name) !== s.reach)) this.#wake();
    return every;
  }

  #wake(): void {
    if (this.#isWoken || !this.#isRunning) return;
    this.#isWoken = true;
    this.#loop.trigger('all', GATHER_MS);
  }

  #nextIn(every: number): number {
    const next = this.#carrier.nextAt;
    return this.#isWoken ? GATHER_MS : Math.max(GATHER_MS, Math.min(every, next === null ? every : next - this.#clock.now()));
  }

  /** A fresh process knows less than the one before it: every region gets time to speak before the plan of before is touched. */
  #mayPlan(now: number): boolean {
    if (this.#isReady) return true;
    this.#firstPassAt ??= now;
    const silent = this.#d.regions.filter((r) => !r.hasAnswered).map((r) => r.name);
    this.#isReady = silent.length === 0 || now - this.#firstPassAt >= (this.#o.startGraceMs ?? 10_000);
    if (this.#isReady && silent.length > 0) this.#d.log.warn('planning without regions that never answered', { regions: silent });
    return this.#isReady;
  }

  #locationOf(kind: 'site' | 'client-region', name: string): { readonly latitude: number; readonly longitude: number } | null {
    if (kind === 'client-region') return this.#o.clientRegions.find((r) => r.name === name)?.location ?? null;
    return this.#sites.find(name)?.spec.location ?? null;
  }

  #isLost(site: string): boolean {
    const reach = this.#sites.states.get(site)?.reach;
    return reach === undefined || reach === 'cut-off' || reach === 'down';
  }

  #floor(clientRegion: string, site: string): number | null {
    const km = distanceKm(this.#locationOf('client-region', clientRegion), this.#locationOf('site', site));
    return km === null ? null : km / 100;
  }
}
