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
  /** ms. */
  readonly stopwatch: () => number;
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

const URGENT_AT_ONCE = 32;
const AT_ONCE = 8;
/** A pass ends after so long, so that what happens meanwhile is seen; ms. While somebody is without service, every pass is short. */
const LONGEST_MS = 250;
const LONGEST_WOUNDED_MS = 50;
/** So long after a loss an application is served before the others: what it starts must get its traffic. */
const WOUNDED_MS = 15_000;
const RETRY_MS = 1_000;

export class Carrier {
  readonly #d: CarrierDeps;
  readonly #queue = new Queue();
  /** By key: the stamp that its objects carry. */
  readonly #sealed = new Map<string, string>();
  /** Until when. */
  readonly #wounded = new Map<string, number>();
  #isAllTouched = true;
  #nearest: readonly (string | null)[] = [];

  constructor(deps: CarrierDeps) {
    this.#d = deps;
  }

  touch(key: string): void {
    this.#queue.add(key, this.#wounded.has(key));
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

  /** First who lost something, with the fronts that their clients use; then, for a while, all that is due. What is left is for the next pass. */
  async carry(load: Load): Promise<void> {
    this.#gather(load);
    const urgent = this.#queue.takeUrgent();
    await together(URGENT_AT_ONCE, () => urgent.shift() ?? null, (key) => this.#dealWith(key, load, true));
    const until = this.#d.stopwatch() + (this.#wounded.size > 0 ? LONGEST_WOUNDED_MS : LONGEST_MS);
    const done = new Set<string>();
    const next = (): string | null => {
      if (this.#d.stopwatch() > until) return null;
      const key = this.#queue.next(load.now);
      if (key === null || !done.has(key)) return key;
      this.#queue.add(key); // touched again by what was just written: another pass
      return null;
    };
    await together(AT_ONCE, next, (key) => {
      done.add(key);
      return this.#dealWith(key, load, false);
    });
  }

  #gather(load: Load): void {
    const { replanned, changed, plan, model } = load;
    for (const [key, until] of this.#wounded) if (until <= load.now) this.#wounded.delete(key);
    const isLost = (site: SiteModel): boolean => !isUsable(site.reach);
    const lost = new Set(model.sites.flatMap((s) => (changed.has(s.name) && isLost(s) ? [s.name] : [])));
    if (this.#isAllTouched) {
      for (const key of [...load.admitted.planned.keys(), ...load.admitted.refused.keys(), ...this.#d.global.objects.placements.keys()]) if (load.owns(key)) this.#queue.add(key);
      this.#isAllTouched = false;
    }
    for (const key of replanned) {
      if (lost.size > 0 && plan.applications.get(key)?.changes.some((c) => lost.has(c.site)) === true) this.#wounded.set(key, load.now + WOUNDED_MS);
      this.touch(key);
    }
    if (changed.size > 0) this.#gatherAround(load, lost);
  }

  /** A site that stands otherwise: who runs there, and whose clients have another front now. One that came back has old weights at its own front. */
  #gatherAround({ model, plan, changed, now }: Load, lost: ReadonlySet<string>): void {
    const nearest = nearestFronts(model);
    const shifted = new Set(nearest.flatMap((front, r) => (this.#nearest[r] === front ? [] : [r])));
    this.#nearest = nearest;
    const isBack = model.sites.some((s) => changed.has(s.name) && s.front !== null && s.reach === 'returning');
    const demand = new Map(model.applications.map((a) => [a.key, a.demand]));
    for (const [key, planned] of plan.applications) {
      const runsThere = planned.sites.some((s) => changed.has(s.site));
      if (runsThere || isBack || demand.get(key)?.some((d) => shifted.has(d.region)) === true) {
        if (planned.sites.some((s) => lost.has(s.site))) this.#wounded.set(key, now + WOUNDED_MS);
        this.touch(key);
      }
    }
  }

  async #dealWith(key: string, load: Load, isUrgent: boolean): Promise<void> {
    if (!load.owns(key)) return this.#forget(key);
    try {
      await this.#takeOver(key);
      const next = await this.#act(key, load, isUrgent);
      if (next !== null) this.#queue.addAt(key, next);
      if (isUrgent) this.#queue.add(key); // the fronts that were left out
      this.#d.metrics.lookedAt('done');
    } catch (error) {
      this.#d.metrics.lookedAt('failed');
      this.#d.planning.failed(key);
      this.#queue.addAt(key, load.now + RETRY_MS);
      if (isMeshError(error, 'conflict')) this.#d.log.info('somebody else wrote first', { application: key, err: error });
      else this.#d.log.warn('application not dealt with', { application: key, err: error });
    }
  }

  async #act(key: string, load: Load, isUrgent: boolean): Promise<number | null> {
    const { records, global } = this.#d;
    const { applications, placements } = global.objects;
    const app = applications.get(key);
    if (app === undefined) {
      const placement = placements.get(key);
      // its Placement may have come by another watch, before it: nothing is taken away from who is there
      if (placement !== undefined && (await records.hasApplication(placement))) return load.now + RETRY_MS;
      if (placement !== undefined) await removeApplication(placement, load.around(key), records);
      if (placements.has(key)) return load.now + RETRY_MS;
      this.#forget(key);
      return null;
    }
    const refused = load.admitted.refused.get(key);
    if (refused !== undefined) await records.refuse(app, refused.message, refused.phase);
    const planned = load.own.has(key) ? load.plan.applications.get(key) : undefined;
    if (planned === undefined) return null;
    const { nextAt } = await moveApplication(app, planned, placements.get(key), { ...load.around(key), isUrgent }, records);
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

/** So many at once, until `next` says that there is no more. Before each but the first everything else gets its turn: work may take the processor's time, not a wire's. */
async function together(count: number, next: () => string | null, work: (key: string) => Promise<void>): Promise<void> {
  const first = next();
  if (first === null) return;
  const one = async (key: string | null): Promise<void> => {
    for (let k = key; k !== null; k = next()) {
      await work(k);
      await turn();
    }
  };
  await Promise.all([one(first), ...Array.from({ length: count - 1 }, () => turn().then(() => one(next())))]);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

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
