/**
 * How old a sample is, although the site that took it may have a wrong clock. A clock is believed until several samples, over some time, all
 * differ from ours by the same amount: what was merely delayed arrives in a burst, with amounts that shrink.
 */
const KEPT = 16;
const ENOUGH = 5;
const OVER_MS = 4_000;
const SAME_MS = 2_000;
const OFF_MS = 10_000;

export class SiteClock {
  readonly #arrived: number[] = [];
  readonly #behind: number[] = [];
  #offsetMs = 0;

  /** ms that the site's clock is behind ours; 0 = as far as one can tell it is right. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** The last sample came from the future. */
  get isAhead(): boolean {
    return (this.#behind.at(-1) ?? 0) < -OFF_MS;
  }

  /** ms between taking and arrival, never negative. */
  age(at: number, now: number): number {
    const behind = now - at;
    this.#arrived.push(now);
    this.#behind.push(behind);
    if (this.#arrived.length > KEPT) {
      this.#arrived.shift();
      this.#behind.shift();
    }
    this.#judge();
    return Math.max(0, behind - this.#offsetMs);
  }

  #judge(): void {
    const since = Math.max(0, this.#behind.length - ENOUGH);
    const last = this.#behind.slice(since);
    const [low, high] = [Math.min(...last), Math.max(...last)];
    if (Math.abs(this.#behind.at(-1) as number) <= OFF_MS) this.#offsetMs = 0; // one sample in time: what was late before was late
    else if (last.length === ENOUGH && high - low <= SAME_MS && (this.#arrived.at(-1) as number) - (this.#arrived[since] as number) >= OVER_MS) this.#offsetMs = low;
  }
}
