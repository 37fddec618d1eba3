/** Which applications a pass deals with, and that it deals with each: take it over, refuse it, move it or remove it; what fails is owed. */
import { isMeshError } from '../../api/errors.ts';
import type { Application } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import type { Logger } from '../../base/log.ts';
import type { Admitted } from './admission.ts';
import type { Fence } from './fence.ts';
import type { GlobalView } from './global-view.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Model, SiteModel } from './model.ts';
import { moveApplication, removeApplication } from './move.ts';
import { isUsable } from './mover.ts';
import type { Plan } from './planner.ts';
import type { Planning } from './planning.ts';
import { Queue } from './queue.ts';
import type { Records } from './records.ts';
import type { Region } from './region.ts';
import type { Surroundings } from './surroundings.ts';

export interface CarrierDeps {
  readonly global: GlobalView;
  readonly records: Records;
  readonly planning: Planning;
  readonly metrics: SchedulerMetrics;
  readonly fence: Fence;
  readonly regions: readonly Region[];
  readonly log: Logger;
}

export interface Load {
  readonly model: Model;
  readonly plan: Plan;
  /** Keys whose plan says something else than in the pass before. */
  readonly replanned: ReadonlySet<string>;
  /** Sites that stand otherwise than in the pass before. */
  readonly changed: ReadonlySet<string>;
  readonly admitted: Admitted;
  readonly own: ReadonlyMap<string, Application>;
  readonly owns: (key: string) => boolean;
  readonly now: number;
  readonly around: (key: string) => Surroundings;
}

/** Of one pass. */
const MOST = 1_000;
const AT_ONCE = 32;
const RETRY_MS = 1_000;

export class Carrier {
  readonly #d: CarrierDeps;
  readonly #queue = new Queue();
  /** By key: the stamp that its objects carry. */
  readonly #sealed = new Map<string, string>();
  #isAllTouched = true;
  #nearest: readonly (string | null)[] = [];

  constructor(deps: CarrierDeps) {
    this.#d = deps;
  }

  touch(key: string): void {
    this.#queue.add(key);
  }

  /** Every application is looked at in the next passes. */
  touchAll(): void {
    this.#isAllTouched = true;
  }

  get isIdle(): boolean {
    return this.#queue.isEmpty;
  }

  get nextAt(): number | null {
    return this.#queue.nextAt;
  }

  async carry(load: Load): Promise<void> {
    this.#gather(load);
    const keys = this.#queue.take(load.now, MOST);
    let next = 0;
    const work = async (): Promise<void> => {
      for (let key = keys[next++]; key !== undefined; key = keys[next++]) await this.#dealWith(key, load);
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, keys.length) }, work));
  }

  #gather(load: Load): void {
    const { replanned, changed, plan, model } = load;
    const isLost = (site: SiteModel): boolean => !isUsable(site.reach);
    const lost = new Set(model.sites.flatMap((s) => (changed.has(s.name) && isLost(s) ? [s.name] : [])));
    if (this.#isAllTouched) {
      for (const key of [...load.admitted.planned.keys(), ...load.admitted.refused.keys(), ...this.#d.global.objects.placements.keys()]) if (load.owns(key)) this.#queue.add(key);
      this.#isAllTouched = false;
    }
    for (const key of replanned) this.#queue.add(key, lost.size > 0 && plan.applications.get(key)?.changes.some((c) => lost.has(c.site)) === true);
    if (changed.size > 0) this.#gatherAround(load, lost);
  }

  /** A site that stands otherwise: who runs there, and whose clients have another front now. One that came back has old weights at its own front. */
  #gatherAround({ model, plan, changed }: Load, lost: ReadonlySet<string>): void {
    const nearest = nearestFronts(model);
    const shifted = new Set(nearest.flatMap((front, r) => (this.#nearest[r] === front ? [] : [r])));
    this.#nearest = nearest;
    const isBack = model.sites.some((s) => changed.has(s.name) && s.front !== null && s.reach === 'returning');
    const demand = new Map(model.applications.map((a) => [a.key, a.demand]));
    for (const [key, planned] of plan.applications) {
      const runsThere = planned.sites.some((s) => changed.has(s.site));
      if (runsThere || isBack || demand.get(key)?.some((d) => shifted.has(d.region)) === true) this.#queue.add(key, lost.size > 0 && planned.sites.some((s) => lost.has(s.site)));
    }
  }

  async #dealWith(key: string, load: Load): Promise<void> {
    if (!load.owns(key)) return this.#forget(key);
    try {
      await this.#takeOver(key);
      const next = await this.#act(key, load);
      if (next !== null) this.#queue.addAt(key, next);
      this.#d.metrics.lookedAt('done');
    } catch (error) {
      this.#d.metrics.lookedAt('failed');
      this.#d.planning.failed(key);
      this.#queue.addAt(key, load.now + RETRY_MS);
      if (isMeshError(error, 'conflict')) this.#d.log.info('somebody else wrote first', { application: key, err: error });
      else this.#d.log.warn('application not dealt with', { application: key, err: error });
    }
  }

  async #act(key: string, load: Load): Promise<number | null> {
    const { records, global } = this.#d;
    const { applications, placements } = global.objects;
    const app = applications.get(key);
    if (app === undefined) {
      const placement = placements.get(key);
      if (placement !== undefined) await removeApplication(placement, load.around(key), records);
      if (placements.has(key)) return load.now + RETRY_MS;
      this.#forget(key);
      return null;
    }
    const refused = load.admitted.refused.get(key);
    if (refused !== undefined) await records.refuse(app, refused.message, refused.phase);
    const planned = load.own.has(key) ? load.plan.applications.get(key) : undefined;
    if (planned === undefined) return null;
    const { nextAt } = await moveApplication(app, planned, placements.get(key), load.around(key), records);
    this.#d.planning.settled(key);
    return nextAt;
  }

  /** Before anything is written with a new token, what is there is stamped with it. */
  async #takeOver(key: string): Promise<void> {
    const stamp = this.#d.fence.stamp(key);
    if (stamp === null || this.#sealed.get(key) === stamp) return;
    const placement = this.#d.global.objects.placements.get(key);
    if (placement !== undefined) await this.#d.records.seal(placement);
    const there = this.#d.regions.filter((r) => r.answers === true);
    await Promise.all(there.map(async (region) => {
      for (const d of region.deploymentsOf(key)) await region.seal(Resources.Deployment, d);
    }));
    if (there.length === this.#d.regions.length) this.#sealed.set(key, stamp);
  }

  #forget(key: string): void {
    this.#queue.forget(key);
    this.#sealed.delete(key);
  }
}

/** By index of the client region. */
function nearestFronts(model: Model): (string | null)[] {
  const S = model.sites.length;
  const usable = model.sites.flatMap((s, i) => (s.front !== null && isUsable(s.reach) ? [i] : []));
  return model.clientRegions.map((_, r) => {
    let [best, least] = [-1, Number.POSITIVE_INFINITY];
    for (const s of usable) {
      const ms = model.rtt[r * S + s] as number;
      if (ms < least) [best, least] = [s, ms];
    }
    return best < 0 ? null : (model.sites[best]?.name ?? null);
  });
}
