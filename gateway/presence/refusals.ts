/** Every refusal is answered, logged, counted and kept for a while, so that "why can I not reach it" has an answer without a packet capture. */
import type { Logger } from '../../base/log.ts';
import type { CodeName } from '../mux/frames.ts';

export interface Refusal {
  /** ISO time. */
  readonly at: string;
  readonly where: 'cloud' | 'edge';
  readonly site: string | null;
  /** Presence key, service or topic. */
  readonly target: string;
  readonly caller: string;
  readonly code: CodeName;
  readonly reason: string;
}

const KEPT = 256;

export class Refusals {
  readonly #log: Logger;
  readonly #where: Refusal['where'];
  readonly #now: () => number;
  readonly #onRecord: (refusal: Refusal) => void;
  readonly #ring: Refusal[] = [];
  readonly counts = new Map<CodeName, number>();

  constructor(options: { readonly log: Logger; readonly where: Refusal['where']; readonly now: () => number; readonly onRecord?: (refusal: Refusal) => void }) {
    this.#log = options.log;
    this.#where = options.where;
    this.#now = options.now;
    this.#onRecord = options.onRecord ?? (() => undefined);
  }

  record(r: { readonly site: string | null; readonly target: string; readonly caller: string; readonly code: CodeName; readonly reason: string }): void {
    this.add({ at: new Date(this.#now()).toISOString(), where: this.#where, ...r });
  }

  /** Also for what an edge gateway reports to its cloud gateway. */
  add(refusal: Refusal): void {
    this.#ring.push(refusal);
    if (this.#ring.length > KEPT) this.#ring.shift();
    this.counts.set(refusal.code, (this.counts.get(refusal.code) ?? 0) + 1);
    this.#log.warn('refused', { ...refusal });
    this.#onRecord(refusal);
  }

  list(): readonly Refusal[] {
    return this.#ring;
  }
}
