/** Randomness that depends on nothing but its seed: the same scenario gives the same report. */

/** [0, 1) from whole numbers; neighbouring inputs give unrelated outputs. */
export function noise(...parts: readonly number[]): number {
  let h = 0x811c_9dc5;
  for (const p of parts) {
    h = Math.imul(h ^ (p | 0), 0x0100_0193);
    h ^= h >>> 15;
    h = Math.imul(h, 0x2c1b_3c6d);
  }
  h ^= h >>> 12;
  h = Math.imul(h, 0x297a_2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 2 ** 32;
}

export class Random {
  readonly #seed: number;
  #n = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  next(): number {
    return noise(this.#seed, ++this.#n);
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
}

/** About as many events as a Poisson process of this mean has. */
export function poisson(mean: number, random: Random): number {
  if (mean <= 0) return 0;
  if (mean > 30) return Math.max(0, Math.round(mean + Math.sqrt(mean) * random.normal()));
  let [n, p] = [0, random.next()];
  for (const limit = Math.exp(-mean); p > limit; n++) p *= random.next();
  return n;
}
