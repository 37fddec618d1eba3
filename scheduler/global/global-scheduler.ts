/**
 * The loop of the global scheduler: see (regions, global objects, telemetry) -> judge sites -> plan what changed -> record -> move. What is seen is
 * held in memory and kept up to date by watches; a pass deals with what changed since the last one, and whatever could not be done, because a
 * region does not answer, is done in a later one. Everything a fresh process must know is in the store.
 */
import { randomUUID } from 'node:crypto';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import { Loop } from '../../base/loop.ts';
import { Admission, type Admitted } from './admission.ts';
import { Budget } from './budget.ts';
import { Carrier } from './carrier.ts';
import { Demand } from './demand.ts';
import type { SiteState } from './failure.ts';
import type { Fence } from './fence.ts';
import { type GlobalChanges, GlobalView } from './global-view.ts';
import { SchedulerMetrics } from './metrics.ts';
import type { Model, SiteModel } from './model.ts';
import { MoveMetrics } from './move-metrics.ts';
import { Ownership } from './ownership.ts';
import { Places } from './places.ts';
import type { Plan } from './planner.ts';
import { Planning } from './planning.ts';
import { Prediction } from './prediction.ts';
import { Records } from './records.ts';
import type { Region } from './region.ts';
import type { GlobalSchedulerDeps, GlobalSchedulerOptions } from './scheduler-options.ts';
import { NetworkChores } from './share-network.ts';
import { type Part, Shards } from './shards.ts';
import { SiteModels } from './site-models.ts';
import { Sites } from './sites.ts';
import { holdingsOf, type Snapshot, wholeSnapshot } from './snapshot.ts';
import { steer, type SteeredFront } from './steering.ts';
import type { Surroundings } from './surroundings.ts';
import { telemetryMetrics } from './telemetry-metrics.ts';
import { Telemetry } from './telemetry.ts';
import { hasAllInstances } from './world.ts';

export type { ClientRegionConfig, GlobalSchedulerDeps, GlobalSchedulerOptions } from './scheduler-options.ts';
export type { Snapshot } from './snapshot.ts';

/** How often sites are judged between passes: a loss must not wait for the next one. */
const JUDGE_MS = 250;
/** Changes that come together are dealt with together. */
const GATHER_MS = 30;
const TICKS_PER_LEASE = 7;
export class GlobalScheduler implements Service {
  readonly name = 'global scheduler';
  readonly telemetry: Telemetry;
  readonly metrics: SchedulerMetrics;
  readonly moves = new MoveMetrics();
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
  readonly #ownership: Ownership;
  readonly #records: Records;
  readonly #sites: Sites;
  readonly #siteModels: SiteModels;
  readonly #admission: Admission;
  readonly #planning: Planning;
  readonly #prediction: Prediction;
  readonly #demand: Demand;
  readonly #places: Places;
  readonly #chores: NetworkChores;
  readonly #carrier: Carrier;
  readonly #budget: Budget;
  /** Reads the global API anew, and follows it. */
  #follow: () => Promise<void> = async () => undefined;
  #isRunning = false;
  #isWoken = false;
  #isReady = false;
  #firstPassAt: number | null = null;
  #held: ReadonlySet<Part> = new Set();
  #admitted: Admitted | null = null;
  #last: { readonly at: number; readonly sites: readonly SiteModel[]; readonly model: Model; readonly plan: Plan } | null = null;
  #snapshot: Snapshot | null = null;

  constructor(deps: GlobalSchedulerDeps, options: GlobalSchedulerOptions) {
    const { client, regions, log } = deps;
    this.#d = deps;
    this.#o = options;
    this.#clock = deps.clock ?? systemClock;
    this.#clientRegions = options.clientRegions.map((r) => r.name).sort();
    this.telemetry = new Telemetry({ locationOf: (kind, name) => this.#places.of(kind, name), isLost: (site) => this.#sites.isLost(site), ...(options.halfLifeMs === undefined ? {} : { halfLifeMs: options.halfLifeMs }) });
    this.#sites = new Sites(regions, this.telemetry, log, options.failure);
    this.#places = new Places(options.clientRegions, this.#sites);
    this.#siteModels = new SiteModels(this.telemetry);
    this.#global = new GlobalView(client, () => this.#wake());
    this.#shards = new Shards(client, log, { identity: options.identity, incarnation: randomUUID(), ...(options.shards === undefined ? {} : { shards: options.shards }), ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }) });
    this.#ownership = new Ownership({ shards: this.#shards, clock: this.#clock, log, refused: (by) => this.metrics.fenced(by), lapsed: () => this.metrics.lapsed() });
    this.#records = new Records(client, log, this.#global, this.fence);
    this.#admission = new Admission(this.#clientRegions, (r, s) => this.#places.floor(r, s));
    this.#planning = new Planning(options.planning);
    this.#prediction = new Prediction({ client, log, clock: this.#clock, fence: this.fence, applications: () => ({ all: new Set(this.#global.objects.applications.keys()), owns: (key) => this.#ownership.owns(key), isFull: (key) => hasAllInstances(key, this.#global.objects) }) }, options.prediction);
    const stopwatch = options.planning?.stopwatch ?? (() => performance.now());
    this.#demand = new Demand(this.telemetry, this.#prediction, stopwatch);
    this.#chores = new NetworkChores(this.#records, regions, options.clientRegions, log);
    this.#budget = new Budget(options.budget);
    this.metrics = new SchedulerMetrics({ silentMs: () => this.#shards.silentMs(this.#clock.now()), shards: () => [...this.#shards.held(this.#clock.now())].filter((p) => p !== 'network').length, reaches: () => [...this.#sites.states.values()].map((s) => s.reach), rows: () => this.telemetry.sizes });
    this.#carrier = new Carrier({ global: this.#global, records: this.#records, planning: this.#planning, metrics: this.metrics, log, fence: this.fence, regions, stopwatch });
    telemetryMetrics(this.metrics.registry, this.telemetry, this.#prediction.forecast);
    for (const region of regions) this.#listen(region);
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
    return this.#ownership.leads;
  }

  /** Why this instance decides nothing now; null = it does. */
  get unready(): string | null {
    return this.#ownership.unready;
  }

  /** What may be written, and under which lease. */
  get fence(): Fence {
    return this.#ownership.fence;
  }

  /** Everything, own and of other shards; made when somebody asks. */
  get snapshot(): Snapshot | null {
    if (this.#last === null) return null;
    this.#snapshot ??= wholeSnapshot({ ...this.#last, objects: this.#global.copy(), demand: this.#demand.of, clientRegions: this.#clientRegions, states: new Map(this.#sites.states) });
    return this.#snapshot;
  }

  /** Is the application of this instance now? */
  holds(key: string): boolean {
    return this.#ownership.owns(key);
  }

  /** How every site stands. */
  get states(): ReadonlyMap<string, SiteState> {
    return this.#sites.states;
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#shards.tick(() => this.#clock.now());
    await this.#leases.start(signal);
    this.#leases.trigger('all');
    this.#follow = () => this.#global.start(signal, this.#d.log, this.#clock);
    await this.#ownership.catchUp(this.#follow, true);
    for (const r of this.#d.regions) r.follow(signal, this.#d.log, this.#clock);
    this.#isRunning = true;
    await this.#watchers.start(signal);
    await this.#judging.start(signal);
    await this.#loop.start(signal);
    await this.#prediction.start(signal);
    for (const r of this.#d.regions) this.#watchers.trigger(r.name);
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
    if (error === null) await this.#ownership.claim(region);
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
    if (!this.#isRunning) await this.#shards.tick(() => this.#clock.now());
    await this.#ownership.catchUp(this.#follow);
    if (!this.#isRunning) await this.#global.refresh();
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
    this.#takeOver(this.#ownership.held());
    const admitted = this.#admit(changes, models);
    const owns = (key: string): boolean => this.#ownership.owns(key);
    const own = new Map([...admitted.planned].filter(([key]) => owns(key)));
    const fronts = this.#siteModels.frontsOf(models);
    const { model, plan, planned, changed: replanned, sites: changed, isFull } = this.#planning.update({ now, sites: models, clientRegions: this.#clientRegions, ways: { rtt: (r, s) => this.telemetry.clientRtt(r, s, fronts, now), measured: (r, s) => this.telemetry.measuredClientRtt(r, s, now) }, demand: this.#demand.read(now), objects, own, others: this.#held.size > this.#shards.count ? [] : holdingsOf(objects, owns), touched: changes.applications });
    this.metrics.planned(isFull ? 'all' : 'changed', planned.size);
    this.#last = { at: now, sites: models, model, plan };
    this.#snapshot = null;
    const around = (isOurs: () => boolean): Surroundings => ({ model, plan, regions: this.#d.regions, telemetry: this.telemetry, now, mover: this.#o.mover ?? {}, ...(this.#o.undo === undefined ? {} : { undo: this.#o.undo }), budget: this.#budget, metrics: this.moves, refused: new Set(admitted.refused.keys()), portless: admitted.portless, log: this.#d.log, isFenced: () => !isOurs() });
    if (changes.isNetwork) this.#chores.touch();
    if (this.#held.has('network')) await this.#chores.run(sites, this.#sites.heard(), objects, around(() => this.#ownership.leads));
    for (const key of changes.applications) if (owns(key)) this.#carrier.touch(key);
    await this.#carrier.carry({ model, plan, replanned, changed, admitted, own, owns, now, around: (key) => around(() => this.#ownership.owns(key)) });
    if (!this.#carrier.isIdle || this.#admission.isBehind) this.#wake();
  }

  steering(application: string, clientRegion: string): readonly SteeredFront[] | null {
    const app = this.#global.objects.applications.get(application);
    if (this.#last === null || app === undefined || !(this.#last.plan.applications.has(application) || this.#global.objects.placements.has(application))) return null;
    const now = this.#clock.now();
    return steer(this.#last.model.sites, app.spec.service.port, (site) => this.telemetry.clientRtt(clientRegion, site, [], now));
  }

  #listen(region: Region): void {
    region.fence = this.#ownership.fence;
    const isDue = (key: string): void => {
      this.#carrier.touch(key);
      this.#wake();
    };
    region.listen({ application: isDue, site: () => this.#chores.touchSites(), network: () => this.#chores.touch() });
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

  async #tick(): Promise<void> {
    await this.#shards.tick(() => this.#clock.now());
    const held = this.#shards.held(this.#clock.now());
    if ([...held].some((p) => !this.#held.has(p))) this.#wake();
  }

  async #watchSites(every: number): Promise<number> {
    this.#ownership.look();
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
}
