/**
 * How old a sample is, although the site that took it may have a wrong clock. A clock is believed until several samples, over some time, all
 * differ from ours by the same amount: what was merely delayed arrives in a burst, with amounts that shrink.
 */
const KEPT = 12;
const APART_MS = 500;
const ENOUGH = 5;
const OVER_MS = 4_000;
const SAME_MS = 2_000;
const OFF_MS = 10_000;

export class SiteClock {
  /** A few arrivals, at least half a second apart, and how far behind ours the site's clock said it was. */
  readonly #kept: { readonly arrived: number; readonly behind: number }[] = [];
  #offsetMs = 0;
  #last = 0;

  /** ms that the site's clock is behind ours; 0 = as far as one can tell it is right. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** The last sample came from the future. */
  get isAhead(): boolean {
    return this.#last < -OFF_MS;
  }

  /** ms between taking and arrival, never negative. */
  age(at: number, now: number): number {
    this.#last = now - at;
    if (Math.abs(this.#last) <= OFF_MS) this.#offsetMs = 0; // one sample in time: what was late before was late
    const newest = this.#kept.at(-1);
    if (newest === undefined || now - newest.arrived >= APART_MS) {
      this.#kept.push({ arrived: now, behind: this.#last });
      if (this.#kept.length > KEPT) this.#kept.shift();
      if (Math.abs(this.#last) > OFF_MS) this.#judge(now);
    }
    return Math.max(0, this.#last - this.#offsetMs);
  }

  #judge(now: number): void {
    const from = this.#kept.findLastIndex((k) => now - k.arrived >= OVER_MS);
    const lately = from < 0 ? [] : this.#kept.slice(from).map((k) => k.behind);
    const [low, high] = [Math.min(...lately), Math.max(...lately)];
    if (lately.length >= ENOUGH && high - low <= SAME_MS && Math.abs(low) > OFF_MS) this.#offsetMs = low;
  }
}
