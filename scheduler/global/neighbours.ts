/**
 * What sites say of each other: who measured an answer of a site, and who got none. Both count only while they are fresh. Bounded by the
 * probes that sites are set to make; who has not spoken of a site for long is forgotten.
 */
import type { ProbeSample } from '../../api/telemetry.ts';

interface Word {
  /** When the sample was taken, by its sender's clock: what arrives after a newer one is not heard. */
  at: number;
  /** When an answer was measured last; 0 = never. */
  answeredAt: number;
  /** Probes without an answer since then, and when the last of them was reported. */
  lost: number;
  lostAt: number;
}

const KEPT_MS = 600_000;
/** One lost probe is a lost packet; so many in a row are not. */
const LOST_IN_A_ROW = 2;
const MAX_PER_SITE = 256;

export class Neighbours {
  /** Asked site to who asked. */
  readonly #words = new Map<string, Map<string, Word>>();
  /** Who gets an answer from less than half of those it asks: what it says of others, it says of itself. */
  readonly #deaf = new Set<string>();

  observe(sample: ProbeSample, now: number): void {
    const asked = sample.rows.filter((r) => r.kind === 'site' && r.to !== sample.site);
    if (asked.length > 1 && asked.filter((r) => r.rttMs === null).length * 2 > asked.length) this.#deaf.add(sample.site);
    else this.#deaf.delete(sample.site);
    for (const row of sample.rows) {
      if (row.kind !== 'site' || row.to === sample.site) continue;
      const words = this.#words.get(row.to) ?? new Map<string, Word>();
      this.#words.set(row.to, words);
      const word = words.get(sample.site) ?? { at: Number.NEGATIVE_INFINITY, answeredAt: 0, lost: 0, lostAt: 0 };
      if (sample.at <= word.at && word.at - sample.at < KEPT_MS) continue;
      word.at = sample.at;
      if (row.rttMs === null) {
        word.lost += 1;
        word.lostAt = now;
      } else {
        word.answeredAt = now;
        word.lost = 0;
      }
      words.set(sample.site, word);
      if (words.size > MAX_PER_SITE) this.#forget(words, now);
    }
  }

  /** Who measured an answer from `site` since a moment: witnesses that it lives. */
  witnesses(site: string, since: number): readonly string[] {
    return this.#who(site, (w) => w.answeredAt >= since && w.lost < LOST_IN_A_ROW);
  }

  /** Who had an answer from `site` before, and reported since a moment that it gets none any more. */
  deniers(site: string, since: number): readonly string[] {
    return this.#who(site, (w, from) => w.answeredAt > 0 && w.lost >= LOST_IN_A_ROW && w.lostAt >= since && !this.#deaf.has(from));
  }

  forget(site: string): void {
    this.#words.delete(site);
    this.#deaf.delete(site);
    for (const words of this.#words.values()) words.delete(site);
  }

  #who(site: string, says: (word: Word, from: string) => boolean): readonly string[] {
    const out: string[] = [];
    for (const [from, w] of this.#words.get(site) ?? []) if (says(w, from)) out.push(from);
    return out;
  }

  #forget(words: Map<string, Word>, now: number): void {
    for (const [from, w] of words) if (now - Math.max(w.answeredAt, w.lostAt) > KEPT_MS) words.delete(from);
    const [oldest] = words.keys();
    if (words.size > MAX_PER_SITE && oldest !== undefined) words.delete(oldest);
  }
}
