/**
 * The loop of the global scheduler: see (regions, global objects, telemetry) -> judge sites -> plan -> record -> move. One pass over everything
 * each interval; whatever could not be done in one pass, because a region does not answer, is done in a later one.
 */
import type { Client } from '../../api/client.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import type { FailureOptions, SiteState } from './failure.ts';
import { Leadership } from './lease.ts';
import type { Model, SiteModel } from './model.ts';
import type { MoverOptions } from './mover.ts';
import { moveApplication, removeApplication, type Surroundings } from './move.ts';
import { plan, type Plan } from './planner.ts';
import { checkPolicy } from './policy.ts';
import { portRefusals, type PortRefusal } from './ports.ts';
import { Records } from './records.ts';
import type { Region } from './region.ts';
import { shareNetwork } from './share-network.ts';
import { Sites } from './sites.ts';
import { steer, type SteeredFront } from './steering.ts';
import { distanceKm, Telemetry } from './telemetry.ts';
import { buildModel, type GlobalObjects, placementsOf, policyOf, readGlobal, siteModel } from './world.ts';

export interface ClientRegionConfig {
  readonly name: string;
  readonly cidrs: readonly string[];
  readonly location?: { readonly latitude: number; readonly longitude: number } | null;
}

export interface GlobalSchedulerOptions {
  readonly identity: string;
  readonly clientRegions: readonly ClientRegionConfig[];
  /** @default 1000 */
  readonly intervalMs?: number;
  readonly halfLifeMs?: number;
  readonly failure?: FailureOptions;
  /** After a start, regions have so long to answer before anything is planned without them. @default 10000 */
  readonly startGraceMs?: number;
  readonly mover?: MoverOptions;
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

export class GlobalScheduler implements Service {
  readonly name = 'global scheduler';
  readonly telemetry: Telemetry;
  readonly #d: GlobalSchedulerDeps;
  readonly #o: GlobalSchedulerOptions;
  readonly #clock: Clock;
  readonly #loop: Loop;
  readonly #watchers: Loop;
  readonly #leadership: Leadership;
  readonly #records: Records;
  readonly #sites: Sites;
  #isReady = false;
  #firstPassAt: number | null = null;
  #snapshot: Snapshot | null = null;

  constructor(deps: GlobalSchedulerDeps, options: GlobalSchedulerOptions) {
    this.#d = deps;
    this.#o = options;
    this.#clock = deps.clock ?? systemClock;
    this.telemetry = new Telemetry({ locationOf: (kind, name) => this.#locationOf(kind, name), ...(options.halfLifeMs === undefined ? {} : { halfLifeMs: options.halfLifeMs }) });
    this.#sites = new Sites(deps.regions, this.telemetry, deps.log, options.failure);
    this.#leadership = new Leadership(deps.client, options.identity);
    this.#records = new Records(deps.client, deps.log);
    const every = options.intervalMs ?? 1_000;
    const common = { log: deps.log, clock: this.#clock, resyncMs: every, maxRetryMs: 5_000 };
    this.#watchers = new Loop({ ...common, name: 'regions', concurrency: 64, run: async (name) => this.refreshRegion(name).then(() => every) });
    this.#loop = new Loop({ ...common, name: 'placement', concurrency: 1, run: async () => this.pass().then(() => every) });
  }

  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#watchers.start(signal);
    await this.#loop.start(signal);
    for (const r of this.#d.regions) this.#watchers.trigger(r.name);
    this.#loop.trigger('all');
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    await this.#watchers.stop();
    await this.#leadership.release().catch((error: unknown) => this.#d.log.warn('lease not released', { err: error }));
  }

  async refreshRegion(name: string): Promise<void> {
    const region = this.#d.regions.find((r) => r.name === name);
    if (region === undefined) return;
    const before = region.answers;
    const error = await region.refresh();
    if (region.answers !== before) {
      if (error === null) this.#d.log.info('region answers', { region: name });
      else this.#d.log.warn('region does not answer', { region: name, err: error });
    }
  }

  /** One pass; the simulation and tests call it on a virtual clock. */
  async pass(): Promise<void> {
    const now = this.#clock.now();
    if (!(await this.#leadership.acquire(now))) return;
    if (!this.#mayPlan(now)) return;
    const sites = this.#sites.judge(await this.#records.mirrorSites(this.#sites.heard(), this.#d.regions), now);
    const objects = await readGlobal(this.#d.client);
    const models = sites.map((s) => siteModel(s, this.#sites.states.get(s.metadata.name) as SiteState, this.telemetry));
    const { planned, refused, portless } = this.#admit(objects, models, now);
    const model = buildModel(planned, models, this.#o.clientRegions.map((r) => r.name), this.telemetry, now);
    const made = plan(model, placementsOf(planned), now);
    this.#snapshot = { at: now, model, plan: made, objects, states: new Map(this.#sites.states) };
    const around: Surroundings = { model, plan: made, regions: this.#d.regions, telemetry: this.telemetry, now, mover: this.#o.mover ?? {}, refused: new Set(refused.keys()), portless, log: this.#d.log, isFenced: () => !this.#leadership.isHeld(this.#clock.now()) };
    const network = await this.#records.network(sites, objects);
    await shareNetwork(around, sites, objects, network, this.#o.clientRegions);
    for (const [key, r] of refused) await this.#records.refuse(objects.applications.get(key), r.message, r.phase);
    for (const [key, app] of planned.applications) await moveApplication(app, made.applications.get(key), objects.placements.get(key), around, this.#records);
    for (const [key, placement] of objects.placements) if (!objects.applications.has(key)) await removeApplication(placement, around, this.#records);
  }

  steering(application: string, clientRegion: string): readonly SteeredFront[] | null {
    const snapshot = this.#snapshot;
    const app = snapshot?.objects.applications.get(application);
    if (snapshot === null || app === undefined || !snapshot.plan.applications.has(application)) return null;
    const now = this.#clock.now();
    return steer(snapshot.model.sites, app.spec.service.port, (site) => this.telemetry.clientRtt(clientRegion, site, [], now));
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

  /** Applications whose policy, VPC or port is not there, cannot be right or is somebody else's wait; what runs already is planned on. */
  #admit(objects: GlobalObjects, models: readonly SiteModel[], now: number): { readonly planned: GlobalObjects; readonly refused: ReadonlyMap<string, PortRefusal>; readonly portless: ReadonlySet<string> } {
    const refused = new Map<string, PortRefusal>();
    const ports = portRefusals(objects.applications.values());
    const applications = new Map(objects.applications);
    const regions = this.#o.clientRegions.map((r) => r.name);
    const bare = buildModel({ ...objects, applications: new Map() }, models, regions, this.telemetry, now);
    for (const [key, app] of objects.applications) {
      const tenant = app.metadata.tenant ?? 'system';
      const policy = policyOf(app, objects);
      const issues = policy === null ? [] : checkPolicy(policy, bare, (r, s) => this.#floor(r, s), app.spec.policy === undefined ? 'policy' : 'spec.policy');
      const why =
        policy === null ? `spec.policyRef: no PlacementPolicy "${app.spec.policyRef ?? ''}" in ${tenant}/${app.metadata.namespace ?? 'default'}`
        : !objects.vpcs.has(`${tenant}/${app.spec.vpc}`) ? `spec.vpc: no VPC "${app.spec.vpc}" in tenant ${tenant}`
        : issues.length > 0 ? issues.map((i) => `${i.path}: ${i.message}`).join('; ')
        : null;
      const refusal = why === null ? ports.get(key) : ({ message: why, phase: 'Pending' } as const);
      if (refusal === undefined) continue;
      refused.set(key, refusal);
      if (!objects.placements.has(key) || policy === null) applications.delete(key);
    }
    return { planned: { ...objects, applications }, refused, portless: new Set(ports.keys()) };
  }

  #locationOf(kind: 'site' | 'client-region', name: string): { readonly latitude: number; readonly longitude: number } | null {
    if (kind === 'client-region') return this.#o.clientRegions.find((r) => r.name === name)?.location ?? null;
    return this.#sites.find(name)?.spec.location ?? null;
  }

  #floor(clientRegion: string, site: string): number | null {
    const km = distanceKm(this.#locationOf('client-region', clientRegion), this.#locationOf('site', site));
    return km === null ? null : km / 100;
  }
}
