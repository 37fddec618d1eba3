/**
 * The forecast in the running scheduler: learns from what telemetry measures, raises what is planned for, and keeps each application's profile as a
 * ConfigMap in the global API, so that a restart forgets nothing. Written once an hour at most, by whoever has the application's shard and under its
 * Lease: a process that slept past it does not put an old profile over what the holder of now has learned.
 */
import { createHash } from 'node:crypto';
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import { Resources } from '../../api/resources.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { type Fence, fenced, openFence } from './fence.ts';
import { type DemandMap, Forecast } from './predict.ts';
import { decodeProfile, encodeProfile } from './profile-codec.ts';
import type { ConfigMap } from './region-objects.ts';

export interface PredictionDeps {
  /** Of the global API. */
  readonly client: Client;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Under which Lease an application's profile is written. @default nothing is fenced */
  readonly fence?: Fence;
  readonly applications: () => {
    readonly all: ReadonlySet<string>;
    /** Is it this instance's to write? */
    readonly owns: (key: string) => boolean;
    /** Has it as many instances as it may? */
    readonly isFull: (key: string) => boolean;
  };
}

export interface PredictionOptions {
  /** false: what is planned for is what was measured. @default true */
  readonly isOn?: boolean;
  /** Instances are started for what usually comes within so long. @default 1800000 */
  readonly leadMs?: number;
}

const SAVE_MS = 3_600_000;
const PLACE = { tenant: 'system', namespace: 'default' } as const;
const LABEL = 'mesh.proxima.io/demand-profile';

const nameOf = (application: string): string => `demand-profile-${createHash('sha256').update(application).digest('hex').slice(0, 32)}`;

export class Prediction implements Service {
  readonly name = 'prediction';
  readonly forecast: Forecast;
  readonly #d: PredictionDeps;
  readonly #isOn: boolean;
  readonly #fence: Fence;
  readonly #clock: Clock;
  readonly #loop: Loop;
  /** What the store has, by application. */
  readonly #stored = new Map<string, string>();
  #isLoaded = false;
  /** Asked with every demand: the list of all applications is not made for it each time. */
  #isFull: ((key: string) => boolean) | null = null;

  constructor(deps: PredictionDeps, options: PredictionOptions = {}) {
    this.#d = deps;
    this.#isOn = options.isOn ?? true;
    this.#fence = deps.fence ?? openFence;
    this.#clock = deps.clock ?? systemClock;
    this.forecast = new Forecast(options.leadMs === undefined ? {} : { leadMs: options.leadMs });
    this.#loop = new Loop({ name: 'demand profiles', log: deps.log, clock: this.#clock, concurrency: 1, resyncMs: 0, maxRetryMs: 60_000, run: () => this.#keep() });
  }

  async start(signal: AbortSignal): Promise<void> {
    if (!this.#isOn) return;
    await this.#loop.start(signal);
    this.#loop.trigger('all');
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    if (this.#isLoaded) await this.save().catch((error: unknown) => this.#d.log.warn('demand profiles not saved', { err: error }));
  }

  /** What to plan for, given what is measured. */
  demand(measured: DemandMap, now: number): DemandMap {
    if (!this.#isOn) return measured;
    this.forecast.learn(measured, now);
    this.#isFull ??= this.#d.applications().isFull;
    return this.forecast.expect(measured, now, this.#isFull);
  }

  /** What an earlier process, or another instance, had learned. */
  async load(): Promise<void> {
    const { items } = await this.#d.client.list<ConfigMap>(Resources.ConfigMap, { ...PLACE, labelSelector: `${LABEL}=true` });
    for (const { data = {}, metadata } of items) {
      const { application, profile } = data;
      if (application === undefined || profile === undefined) continue;
      this.#stored.set(application, profile);
      try {
        this.forecast.restore(application, decodeProfile(profile));
      } catch (error) {
        this.#d.log.warn('a demand profile is not readable', { configMap: metadata.name, application, err: error });
      }
    }
    this.#isLoaded = true;
  }

  async save(): Promise<void> {
    const { all, owns } = this.#d.applications();
    for (const key of all) {
      if (!owns(key)) continue;
      const rows = this.forecast.profileOf(key);
      const profile = encodeProfile(rows);
      if (rows.length === 0 || profile === this.#stored.get(key)) continue;
      if (await this.#isOurs(key, () => this.#write(key, profile))) this.#stored.set(key, profile);
    }
    for (const key of this.#stored.keys()) {
      if (all.has(key)) continue;
      this.forecast.forget(key);
      this.#stored.delete(key);
      if (owns(key)) await this.#isOurs(key, () => fenced(this.#fence, key, (o) => this.#d.client.delete(Resources.ConfigMap, PLACE, nameOf(key), o)).catch(ignoreMissing));
    }
  }

  async #keep(): Promise<number> {
    if (this.#isLoaded) await this.save();
    else await this.load();
    return SAVE_MS;
  }

  /** false = another instance has the application by now, and writes what it knows. */
  async #isOurs(key: string, write: () => Promise<void>): Promise<boolean> {
    try {
      await write();
      return true;
    } catch (error) {
      if (!isMeshError(error, 'conflict')) throw error;
      this.#d.log.info('demand profile not written: the application is another instance\'s now', { application: key, err: error });
      return false;
    }
  }

  async #write(key: string, profile: string): Promise<void> {
    const name = nameOf(key);
    const data = { application: key, profile };
    try {
      await fenced(this.#fence, key, (o) => this.#d.client.patch(Resources.ConfigMap, PLACE, name, { data }, o));
    } catch (error) {
      if (!isMeshError(error, 'not-found')) throw error;
      await fenced(this.#fence, key, (o) => this.#d.client.create<ConfigMap>(Resources.ConfigMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...PLACE, labels: { [LABEL]: 'true' } }, data }, o));
    }
  }
}

function ignoreMissing(error: unknown): void {
  if (!isMeshError(error, 'not-found')) throw error;
}
