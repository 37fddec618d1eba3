/**
 * Where one application's instances go: facility location over a few candidate sites, by opening, closing and exchanging sites until nothing
 * improves. The room of each candidate is what the others leave; the numbers are those of `Evaluation`.
 */
import { Evaluation } from './evaluation.ts';

const MAX_ROUNDS = 64;
const GAIN = 1e-9;

export class Search extends Evaluation {
  readonly #open = new Uint8Array(64);
  #by = new Int32Array(64);
  #best: number[] | null = null;
  #least = 0;
  /** Is some row served from more than one site? */
  #isSplit = false;

  /** Improves `start`; sites without room in it are left. */
  improve(start: readonly number[]): number[] {
    let open = start.filter((c) => (this.room[c] as number) > 0);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const next = this.#step(open, this.evaluate(open));
      if (next === null) return open;
      open = next;
    }
    return open;
  }

  /** Best of: one more; when none helps, one fewer; when that does not help either, the first exchange that does. */
  #step(open: readonly number[], score: number): number[] | null {
    const p = this.problem;
    this.#open.fill(0);
    for (const c of open) this.#open[c] = 1;
    this.#best = null;
    this.#least = score;
    // a site that is better for nobody and cheaper than none cannot help, unless something is broken or full
    const isSound = open.length > 0 && this.broken === 0 && !this.isCrowded;
    this.#isSplit = this.isBound;
    if (this.#by.length < p.regions) this.#by = new Int32Array(p.regions * 2);
    if (isSound) for (let r = 0; r < p.regions; r++) this.#by[r] = this.worstOf(r, open);
    this.prepare(open);
    const trial = [...open, 0];
    this.#offerEach(trial, open.length, -1, isSound);
    if (this.#best === null && open.length > 1) for (const c of open) this.#offer(open.filter((x) => x !== c), c, -1);
    trial.length = open.length;
    for (let i = 0; this.#best === null && i < open.length; i++) {
      this.#offerEach(trial, i, open[i] as number, isSound);
      trial[i] = open[i] as number;
    }
    return this.#best;
  }

  #offerEach(trial: number[], position: number, instead: number, isSound: boolean): void {
    const p = this.problem;
    for (let c = 0; c < p.candidates; c++) {
      if (this.#open[c] !== 0 || (this.room[c] as number) <= 0) continue;
      if (isSound && !this.#mayHelp(c, instead)) continue;
      trial[position] = c;
      this.#offer(trial, instead, c);
    }
  }

  #mayHelp(c: number, instead: number): boolean {
    const p = this.problem;
    if (instead >= 0 && (p.points[c] as number) < (p.points[instead] as number)) return true;
    for (let r = 0; r < p.regions; r++) {
      const s = this.#by[r] as number;
      if ((instead < 0 || s === instead || this.#isSplit) && (s < 0 || (p.unit[r * p.candidates + c] as number) < (p.unit[r * p.candidates + s] as number))) return true;
    }
    return false;
  }

  #offer(set: readonly number[], out: number, added: number): void {
    const score = this.evaluateWith(set, out, added, this.#least - GAIN);
    if (score >= this.#least - GAIN) return;
    this.#least = score;
    this.#best = set.slice();
  }
}
