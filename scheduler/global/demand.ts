/** The demand that is planned for: what telemetry measures and prediction adds, read anew as often as it costs little of the time. */
import type { Prediction } from './prediction.ts';
import type { Telemetry } from './telemetry.ts';

/** Reading the demand of everything costs no more than this part of the time. */
const SHARE = 20;

export class Demand {
  readonly #telemetry: Telemetry;
  readonly #prediction: Prediction;
  readonly #stopwatch: () => number;
  #of: ReadonlyMap<string, ReadonlyMap<string, number>> = new Map();
  #at = Number.NEGATIVE_INFINITY;
  #costMs = 0;

  constructor(telemetry: Telemetry, prediction: Prediction, stopwatch: () => number) {
    this.#telemetry = telemetry;
    this.#prediction = prediction;
    this.#stopwatch = stopwatch;
  }

  /** As it was read last. */
  get of(): ReadonlyMap<string, ReadonlyMap<string, number>> {
    return this.#of;
  }

  read(now: number): ReadonlyMap<string, ReadonlyMap<string, number>> {
    if (now - this.#at < this.#costMs * SHARE) return this.#of;
    const began = this.#stopwatch();
    this.#of = this.#prediction.demand(this.#telemetry.demand(now), now);
    this.#at = now;
    this.#costMs = this.#stopwatch() - began;
    return this.#of;
  }
}
