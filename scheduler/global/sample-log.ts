/** Which samples of a site were taken already, and how old one is although the site's clock may be wrong. */
import type { TrafficSample } from '../../api/telemetry.ts';
import { SiteClock } from './site-clock.ts';

/** How far back a sequence number can be and still be told from one that was taken. */
const KEPT = 128;
/** Of a front that was replaced, samples may still be under way. */
const EPOCHS = 4;

interface Epoch {
  readonly sequences: Set<number>;
  highest: number;
}

export class SampleLog {
  readonly #epochs = new Map<string, Map<string, Epoch>>();
  readonly #clocks = new Map<string, SiteClock>();

  /** `missing`: sequence numbers left out before this one; should they come yet, they were late. */
  take(sample: Pick<TrafficSample, 'site' | 'epoch' | 'sequence'>): { readonly isNew: boolean; readonly missing: number } {
    let epochs = this.#epochs.get(sample.site);
    if (epochs === undefined) this.#epochs.set(sample.site, (epochs = new Map()));
    const known = epochs.get(sample.epoch);
    if (known === undefined) {
      epochs.set(sample.epoch, { sequences: new Set([sample.sequence]), highest: sample.sequence });
      if (epochs.size > EPOCHS) epochs.delete(epochs.keys().next().value as string);
      return { isNew: true, missing: 0 };
    }
    if (known.sequences.has(sample.sequence) || sample.sequence <= known.highest - KEPT) return { isNew: false, missing: 0 };
    const missing = Math.max(0, Math.min(KEPT, sample.sequence - known.highest - 1));
    known.sequences.add(sample.sequence);
    known.highest = Math.max(known.highest, sample.sequence);
    for (const s of known.sequences) if (s <= known.highest - KEPT) known.sequences.delete(s);
    return { isNew: true, missing };
  }

  age(site: string, at: number, now: number): { readonly ageMs: number; readonly isOff: boolean } {
    let clock = this.#clocks.get(site);
    if (clock === undefined) this.#clocks.set(site, (clock = new SiteClock()));
    const ageMs = clock.age(at, now);
    return { ageMs, isOff: clock.offsetMs !== 0 || clock.isAhead };
  }
}
