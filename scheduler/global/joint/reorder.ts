/** Large neighbourhoods: a few applications around a full site leave it, and come back in another order. What is better stays. */
import type { Entry } from '../entry.ts';
import type { Joint } from './joint.ts';

const SEED = 20_301;
const AT_MOST = 10;
const GAIN = 1e-6;
/** Without an improvement for so many tries per application it is over. */
const PATIENCE = 6;

export function reorder(joint: Joint, tight: readonly Entry[]): void {
  const next = random(SEED);
  const { ledger } = joint;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  for (let idle = 0; idle < PATIENCE * tight.length && joint.mayGoOn; idle++) {
    const seed = pick(tight);
    const around = neighbours(joint, seed, pick);
    const before = around.reduce((sum, e) => sum + e.choice.score, 0);
    const stays = ledger.attempt(() => {
      for (const e of around) ledger.remove(e);
      shuffle(around, next);
      let after = 0;
      for (const e of around) after += joint.place(e).score;
      return after < before - GAIN;
    });
    if (stays) idle = -1;
  }
}

/** Those that share a site with it, or are where it could be. */
function neighbours(joint: Joint, seed: Entry, pick: <T>(list: readonly T[]) => T): Entry[] {
  const out = new Set([seed]);
  const count = pick(SIZES);
  for (let i = 0; i < 3 * count && out.size < count; i++) {
    const site = pick(seed.small.sites);
    const there = [...(joint.ledger.at[site] ?? [])];
    if (there.length > 0) out.add(pick(there));
  }
  return [...out];
}

const SIZES = Array.from({ length: AT_MOST - 1 }, (_, i) => i + 2);

function shuffle(list: Entry[], next: () => number): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [list[i], list[j]] = [list[j] as Entry, list[i] as Entry];
  }
}

/** Numerical Recipes' linear congruence: the same numbers in every process. */
export function random(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (Math.imul(s, 1_664_525) + 1_013_904_223) >>> 0;
    return s / 2 ** 32;
  };
}
