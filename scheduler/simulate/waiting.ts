/**
 * How long requests wait at an instance before it works on them: M/M/c, requests at random, of exponential length, first come, first served. An
 * instance works on `workers` of them at once and on `perInstance` in a second, so each takes workers / perInstance seconds; what is at a site is
 * shared among its instances evenly, and each has a queue of its own, for a front does not know how long they are. Of those who wait, waiting longer
 * than t has the chance exp(-rate x t), with rate = what is left of its capacity (Erlang's delay formula; Kleinrock, Queueing Systems I, 3.8).
 * A queue is taken as steady in each step, and never longer than a second on average: what is beyond its capacity fails.
 */
export interface Waiting {
  /** Share of the requests that are answered at all. */
  readonly answered: number;
  /** Share of those that wait. */
  readonly chance: number;
  /** Of those who wait: 1 / mean ms. */
  readonly perMs: number;
}

const LONGEST_MEAN_MS = 1_000;
const SLICES = 8;
const NONE: Waiting = { answered: 0, chance: 0, perMs: 1 };

/** `load`: requests per second at a site, `instances`: Ready there. */
export function waitingAt(load: number, instances: number, perInstance: number, workers: number): Waiting {
  if (instances === 0) return NONE;
  const [own, least] = [load / instances, 1 / LONGEST_MEAN_MS];
  if (own >= perInstance) return { answered: perInstance / own, chance: 1, perMs: least };
  return { answered: 1, chance: erlangC(workers, (own / perInstance) * workers), perMs: Math.max(least, (perInstance - own) / 1000) };
}

/** The chance to find all workers busy; `offered` < workers is the mean number of busy ones. */
export function erlangC(workers: number, offered: number): number {
  let blocked = 1;
  for (let k = 1; k <= workers; k++) blocked = (offered * blocked) / (k + offered * blocked);
  return blocked / (1 - (offered / workers) * (1 - blocked));
}

/** Of those answered, the share that waits at most so long. */
export const withinWait = (w: Waiting, ms: number): number => (ms < 0 ? 0 : 1 - w.chance * Math.exp(-w.perMs * ms));

export const meanWaitMs = (w: Waiting): number => w.chance / w.perMs;

/** The waiting in parts of equal chance: share and ms of each, those first who do not wait. */
export function* slicesOf(w: Waiting): Iterable<readonly [share: number, ms: number]> {
  const chance = w.chance < 1e-6 ? 0 : w.chance;
  yield [1 - chance, 0];
  if (chance > 0) for (let i = 0; i < SLICES; i++) yield [chance / SLICES, -Math.log(1 - (i + 0.5) / SLICES) / w.perMs];
}
