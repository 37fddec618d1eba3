/**
 * When each site was heard last, and up to when what its front counted is known. A front that nobody hears has not lost its clients: what was
 * counted there is taken as it stood when it fell silent, until it speaks again, is taken for lost, or was silent for so long that it says nothing
 * any more. Without this, a restart of brokers would look like clients going home.
 */
interface Heard {
  at: number;
  /** The last silence: from when, and when it was over. */
  silentAt: number;
  backAt: number;
}

/** After a longer pause, something that was counted in it may still be on its way: a front that counts sends every second. */
const SILENCE_MS = 1_500;
/** What a site counted while it was not heard arrives within so long. */
const CATCH_UP_MS = 3_000;
/** As long as ways are believed that were not measured again. */
const HELD_MS = 600_000;

export class Hearing {
  readonly #heard = new Map<string, Heard>();
  readonly #isLost: (site: string) => boolean;

  /** `isLost`: somebody else serves its clients now. */
  constructor(isLost: (site: string) => boolean) {
    this.#isLost = isLost;
  }

  hear(site: string, now: number): void {
    const known = this.#heard.get(site);
    if (known === undefined) return void this.#heard.set(site, { at: now, silentAt: now, backAt: Number.NEGATIVE_INFINITY });
    if (now - known.at > SILENCE_MS) [known.silentAt, known.backAt] = [known.at, now];
    known.at = Math.max(known.at, now);
  }

  /** null = never. */
  at(site: string): number | null {
    return this.#heard.get(site)?.at ?? null;
  }

  /** The moment of which the counts of its front are. */
  knownAt(site: string, now: number): number {
    const known = this.#heard.get(site);
    if (known === undefined || now - known.at > HELD_MS || this.#isLost(site)) return now;
    return now - known.backAt < CATCH_UP_MS ? known.silentAt : Math.min(now, known.at);
  }
}
