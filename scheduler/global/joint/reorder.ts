/**
 * Large neighbourhoods: a few applications around a full site leave it, and come back in another order. What is better stays, and at first also
 * what is a little worse than the best so far, so that the search gets out of a corner; at the end the best is what counts.
 */
import type { Choice, Entry } from '../entry.ts';
import type { SmallProblem } from '../problem.ts';
import type { Joint } from './joint.ts';

const SEED = 20_301;
const AT_MOST = 8;
const GAIN = 1e-6;
/** Without a new best for so many tries per application it is over. */
const PATIENCE = 60;
const AT_LEAST = 600;
/** How much worse than the best the first tries may be, as a share of what one application costs. */
const SLACK = 0.3;
/** Share of the tries in which somebody gives up a site that others wish for, where applications are so few that all of them can be asked. */
const CLEARED = 0.2;
const FEW = 100;

interface Kept {
  readonly choice: Choice;
  readonly small: SmallProblem;
}

export function reorder(joint: Joint, tight: readonly Entry[]): void {
  if (tight.length === 0) return;
  const next = random(SEED);
  const { ledger } = joint;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const [from, to] = [joint.work, joint.until];
  const one = median(tight.map((e) => e.choice.points - e.choice.broken));
  const best = new Map<Entry, Kept>();
  const patience = Math.max(AT_LEAST, PATIENCE * tight.length);
  let above = 0;
  for (let idle = 0; idle < patience && joint.work < to; idle++) {
    const seed = pick(tight);
    const wished = joint.wished(seed);
    const wishes = wished.length > 0 ? wished : seed.small.sites;
    const slack = SLACK * one * Math.max(0, 1 - (2 * (joint.work - from)) / (to - from));
    const before = new Map<Entry, Kept>();
    let change = 0;
    const stays = ledger.attempt(() => {
      const kind = next();
      if (kind < CLEARED && ledger.entries.length <= FEW) change = clear(joint, pick(wishes), pick);
      else if (kind < 0.85) change = joint.takeIdeal(seed, Math.max(0, slack - above), next() < 0.3 ? null : pick(wishes));
      else change = comeBack(joint, neighbours(joint, seed, pick), next);
      return change <= -GAIN || (above + change <= slack && change > GAIN);
    }, (e, kept) => before.has(e) || before.set(e, kept));
    if (!stays) continue;
    for (const [e, kept] of before) if (!best.has(e)) best.set(e, kept);
    above += change;
    if (above >= -GAIN) continue;
    best.clear();
    above = 0;
    idle = -1;
  }
  if (above <= GAIN) return;
  for (const [e] of best) ledger.remove(e);
  for (const [e, { choice, small }] of best) {
    e.small = small;
    ledger.put(e, choice);
  }
}

/** Somebody gives up a site. */
function clear(joint: Joint, site: number, pick: <T>(list: readonly T[]) => T): number {
  const there = [...(joint.ledger.at[site] ?? [])];
  return there.length === 0 ? 0 : joint.giveUp(pick(there), site);
}

/** All of them leave, and come back one after the other: in any order, or the large ones first. Returns by how much the total changes. */
function comeBack(joint: Joint, around: Entry[], next: () => number): number {
  const before = around.reduce((sum, e) => sum + e.choice.score, 0);
  for (const e of around) joint.ledger.remove(e);
  shuffle(around, next);
  if (next() < 0.5) around.sort((a, b) => sizeOf(b) - sizeOf(a));
  let after = 0;
  for (const e of around) after += joint.place(e).score;
  return after - before;
}

const sizeOf = (e: Entry): number => e.small.problem.size[0] ?? 0;

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** Those that are where it would like to be, those that are where these would like to be, and so on. */
function neighbours(joint: Joint, seed: Entry, pick: <T>(list: readonly T[]) => T): Entry[] {
  const out = [seed];
  const count = pick(SIZES);
  for (let i = 0; i < 3 * count && out.length < count; i++) {
    const from = pick(out);
    const wished = joint.wished(from);
    const there = [...(joint.ledger.at[pick(wished.length > 0 && i % 4 !== 3 ? wished : from.small.sites)] ?? [])];
    if (there.length === 0) continue;
    const next = pick(there);
    if (!out.includes(next)) out.push(next);
  }
  return out;
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
