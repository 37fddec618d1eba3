/** Which sites are worth looking at for an application: the nearest of each client region, the cheapest, and what a spread needs. */
import { groupOf, UNKNOWN_RTT_MS } from './objective.ts';
import type { ApplicationModel, Model } from './model.ts';

const NEAREST_KEPT = 32;
const PER_REGION = 5;
const CHEAPEST = 2;
const MAX_CANDIDATES = 48;
/** Up to so many sites are all looked at. */
export const ALL = 40;
/** Arrays of the search are of this size. */
export const MOST = 64;

/** The nearest sites of every client region, once per plan. */
export class Nearest {
  readonly kept: number;
  readonly sites: Int32Array;
  readonly cheapest: readonly number[];

  constructor(model: Model) {
    const [S, R] = [model.sites.length, model.clientRegions.length];
    this.kept = Math.min(NEAREST_KEPT, S);
    this.sites = new Int32Array(R * this.kept);
    const [ids, ms] = [new Int32Array(this.kept), new Float64Array(this.kept)];
    for (let r = 0; r < R; r++) {
      let n = 0;
      for (let s = 0; s < S; s++) {
        const raw = model.rtt[r * S + s] as number;
        const v = raw === raw ? raw : UNKNOWN_RTT_MS;
        if (n === this.kept && v >= (ms[n - 1] as number)) continue;
        let i = n < this.kept ? n++ : n - 1;
        for (; i > 0 && (ms[i - 1] as number) > v; i--) {
          ms[i] = ms[i - 1] as number;
          ids[i] = ids[i - 1] as number;
        }
        ms[i] = v;
        ids[i] = s;
      }
      this.sites.set(ids, r * this.kept);
    }
    this.cheapest = model.sites.map((_, i) => i).sort((a, b) => (model.sites[a]?.cost ?? 0) - (model.sites[b]?.cost ?? 0) || a - b);
  }
}

export interface Wanted {
  readonly app: ApplicationModel;
  /** Sites that are candidates in any case. */
  readonly always: readonly number[];
  /** Client regions, most demand first. */
  readonly regions: readonly number[];
  /** Allowed by policy, open, and with room. */
  readonly allows: (site: number) => boolean;
}

/** Sorted; at most `MOST`. */
export function candidatesOf(model: Model, nearest: Nearest, { app, always, regions, allows }: Wanted): number[] {
  const chosen: number[] = [];
  for (const s of always) include(chosen, s);
  const S = model.sites.length;
  if (S <= ALL) {
    for (let s = 0; s < S; s++) if (allows(s)) include(chosen, s);
    return chosen;
  }
  const perRegion = Math.max(2, Math.min(PER_REGION, Math.floor(MAX_CANDIDATES / 2 / Math.max(1, regions.length))));
  for (const r of regions) {
    if (chosen.length >= MAX_CANDIDATES - 2 * CHEAPEST) break;
    let found = 0;
    for (let i = 0; i < nearest.kept && found < perRegion; i++) {
      const s = nearest.sites[r * nearest.kept + i] as number;
      if (!allows(s)) continue;
      include(chosen, s);
      found += 1;
    }
    if (found === 0) for (const s of byLatency(model, r).filter(allows).slice(0, perRegion)) include(chosen, s);
  }
  let cheap = 0;
  for (const s of nearest.cheapest) {
    if (cheap >= CHEAPEST || chosen.length >= MAX_CANDIDATES) break;
    if (!allows(s)) continue;
    include(chosen, s);
    cheap += 1;
  }
  for (const s of forSpread(app, model, nearest, chosen, allows)) if (chosen.length < MOST) include(chosen, s);
  if (chosen.length > MOST) chosen.length = MOST;
  return chosen;
}

/** Into a short sorted list, once. */
function include(sorted: number[], s: number): void {
  let i = sorted.length;
  while (i > 0 && (sorted[i - 1] as number) > s) i -= 1;
  if (i > 0 && sorted[i - 1] === s) return;
  sorted.push(s);
  for (let j = sorted.length - 1; j > i; j--) sorted[j] = sorted[j - 1] as number;
  sorted[i] = s;
}

function byLatency(model: Model, region: number): number[] {
  const S = model.sites.length;
  const ms = (s: number): number => {
    const v = model.rtt[region * S + s] as number;
    return v === v ? v : UNKNOWN_RTT_MS;
  };
  return Array.from({ length: S }, (_, s) => s).sort((a, b) => ms(a) - ms(b) || a - b);
}

/** The cheapest sites of places that no candidate is in, so that a spread can be reached. */
function forSpread(app: ApplicationModel, model: Model, nearest: Nearest, chosen: readonly number[], allows: (site: number) => boolean): number[] {
  const { spread } = app.policy;
  if (spread === undefined || spread.min <= 1) return [];
  const place = (s: number): string => groupOf(app.policy, model.sites[s] as Model['sites'][number]);
  const have = new Set(chosen.map(place));
  const out: number[] = [];
  for (const s of nearest.cheapest) {
    if (have.size >= spread.min + CHEAPEST && spread.over !== 'region') break;
    if (have.has(place(s)) || !allows(s)) continue;
    have.add(place(s));
    out.push(s);
  }
  return out;
}

