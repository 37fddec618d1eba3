/**
 * Applications that need one site each, around full sites, as a generalised assignment: sites may be over-asked for a while, at a price that rises as
 * long as they are and falls when they are not; one application goes elsewhere, or two change places, whichever is cheapest at those prices and was
 * not undone a moment ago (tabu search with oscillating prices). The best assignment seen that fits is what counts.
 */
import type { Choice, Entry } from '../entry.ts';
import type { Joint } from './joint.ts';
import { random } from './reorder.ts';

const SEED = 4_711;
const MOST_ITEMS = 600;
/** Of the applications without room where they would like to be, so many must be of that kind. */
const MOSTLY = 0.5;
/** Moves that are priced, at most; and so many steps without a better assignment end it. */
const WORK = 4e6;
const PATIENCE = 1_000;
const PATIENCE_EACH = 20;
/** Of more items than this, a part is looked at in each step. */
const WHOLE = 48;
/** Price of a site's whole capacity, in mean differences between an application's sites. */
const FIRST_PRICE = 4;
const RAISE = 1.15;
const FALL = 0.98;
const GAIN = 1e-6;
const NOWHERE = -1;
const NOWHERE_SPREADS = 3;

interface Item {
  readonly entry: Entry;
  /** By option: site (-1 = none), score there, the score that steers (to be nowhere is dear, but within reach of a price), and what it takes of the site. */
  readonly sites: readonly number[];
  readonly score: readonly number[];
  readonly cost: readonly number[];
  readonly takes: readonly Float64Array[];
  readonly choices: readonly Choice[];
  readonly optionAt: ReadonlyMap<number, number>;
}

export function assign(joint: Joint, tight: readonly Entry[]): void {
  const entries = chosen(joint, tight);
  if (entries.length < 2) return;
  const before = entries.reduce((sum, e) => sum + e.choice.score, 0);
  joint.ledger.attempt(() => {
    for (const e of entries) joint.ledger.remove(e);
    const items = entries.map((e) => itemOf(joint, e));
    const best = new Assignment(joint, items).search();
    if (best === null || best.cost > before - GAIN) return false;
    for (const [i, item] of items.entries()) joint.ledger.put(item.entry, item.choices[best.at[i] as number] as Choice);
    return true;
  });
}

/** Those that are at one site or none, and depend on no other application: the tight ones first, then those around them. */
function chosen(joint: Joint, tight: readonly Entry[]): Entry[] {
  const isItem = (e: Entry): boolean => e.choice.open.length <= 1 && e.apart.length === 0 && e.near.length === 0 && e.small.problem.groups <= 1;
  const own = tight.filter(isItem);
  if (own.length < MOSTLY * tight.length) return [];
  const out = new Set(own);
  for (const e of own) {
    for (const s of e.small.sites) for (const other of joint.ledger.at[s] ?? []) if (out.size < MOST_ITEMS && isItem(other)) out.add(other);
  }
  return [...out].slice(0, MOST_ITEMS);
}

/** What each site alone would cost it, if it were free. */
function itemOf(joint: Joint, entry: Entry): Item {
  const { problem, sites: candidates } = entry.small;
  const K = joint.ledger.capacity.width;
  const [sites, score, takes, choices]: [number[], number[], Float64Array[], Choice[]] = [[], [], [], []];
  const add = (site: number, choice: Choice): void => {
    sites.push(site);
    score.push(choice.score);
    choices.push(choice);
    const c = choice.open[0];
    takes.push(Float64Array.from({ length: K }, (_, k) => (c === undefined ? 0 : (choice.least[0] as number) * (problem.size[c * K + k] as number))));
  };
  for (const [c, choice] of joint.singles(entry)) add(candidates[c] as number, choice);
  const [least, most] = [Math.min(...score), Math.max(...score)];
  add(NOWHERE, joint.nowhere(entry));
  const cost = score.map((x, o) => (sites[o] === NOWHERE ? (sites.length === 1 ? 0 : most + NOWHERE_SPREADS * (most - least + 1)) : x));
  return { entry, sites, score, cost, takes, choices, optionAt: new Map(sites.map((s, o) => [s, o])) };
}

class Assignment {
  readonly #items: readonly Item[];
  readonly #width: number;
  readonly #room: Float64Array;
  readonly #load: Float64Array;
  readonly #price: Float64Array;
  readonly #scale: Float64Array;
  readonly #at: Int32Array;
  /** [site] items there. */
  readonly #there = new Map<number, Set<number>>();
  /** [item * most options + option] step before which it does not go there again. */
  readonly #tabu: Int32Array;
  readonly #options: number;
  readonly #next = random(SEED);
  #cost = 0;
  #score = 0;
  #work = 0;

  constructor(joint: Joint, items: readonly Item[]) {
    const { capacity, used } = joint.ledger;
    this.#items = items;
    this.#width = capacity.width;
    this.#room = capacity.total.map((t, i) => t - (used[i] as number));
    this.#scale = capacity.total.map((t) => 1 / Math.max(1, t));
    this.#load = new Float64Array(this.#room.length);
    this.#options = Math.max(...items.map((i) => i.sites.length));
    this.#tabu = new Int32Array(items.length * this.#options);
    this.#at = new Int32Array(items.length);
    const spread = items.reduce((sum, i) => sum + Math.max(...i.cost) - Math.min(...i.cost), 0) / items.length;
    this.#price = new Float64Array(this.#room.length / this.#width).fill(FIRST_PRICE * Math.max(1e-3, spread));
    for (const [i, item] of items.entries()) {
      this.#at[i] = item.cost.indexOf(Math.min(...item.cost));
      this.#put(i, 1);
    }
  }

  /** Options by item of the cheapest assignment that fits; null = none was seen. */
  search(): { readonly cost: number; readonly at: Int32Array } | null {
    let best: { readonly cost: number; readonly at: Int32Array } | null = null;
    let steered = Number.POSITIVE_INFINITY;
    for (let step = 1, idle = 0; idle < PATIENCE + PATIENCE_EACH * this.#items.length && this.#work < WORK; step++, idle++) {
      const isOver = this.#adapt();
      if (!isOver && (best === null || this.#score < best.cost - GAIN)) {
        best = { cost: this.#score, at: this.#at.slice() };
        steered = this.#cost;
        idle = 0;
      }
      if (!this.#step(step, steered)) break;
    }
    return best;
  }

  /** Takes the cheapest move. */
  #step(step: number, best: number): boolean {
    let [least, item, option, other] = [Number.POSITIVE_INFINITY, -1, -1, -1];
    for (const i of this.#sample()) {
      const from = this.#items[i] as Item;
      for (let o = 0; o < from.sites.length; o++) {
        if (o === this.#at[i]) continue;
        const site = from.sites[o] as number;
        const isTabu = (this.#tabu[i * this.#options + o] as number) > step;
        const shift = this.#shift(i, o);
        if (shift < least && (!isTabu || this.#cost + shift < best - GAIN)) [least, item, option, other] = [shift, i, o, -1];
        const here = from.sites[this.#at[i] as number] as number;
        if (site === NOWHERE || here === NOWHERE) continue;
        for (const j of this.#there.get(site) ?? []) {
          const back = this.#items[j]?.optionAt.get(here);
          if (back === undefined || (isTabu && (this.#tabu[j * this.#options + back] as number) > step)) continue;
          const swap = this.#swap(i, o, j, back);
          if (swap < least) [least, item, option, other] = [swap, i, o, j];
        }
      }
    }
    if (item < 0) return false;
    const here = this.#items[item]?.sites[this.#at[item] as number] as number;
    this.#move(item, option, step);
    if (other >= 0) this.#move(other, this.#items[other]?.optionAt.get(here) as number, step);
    return true;
  }

  /** All; of many, some of those in trouble (nowhere, or where too much is asked) and some of any. */
  #sample(): readonly number[] {
    const n = this.#items.length;
    if (n <= WHOLE) return (this.#all ??= Array.from({ length: n }, (_, i) => i));
    const any = Array.from({ length: WHOLE / 2 }, () => Math.floor(this.#next() * n));
    const troubled: number[] = [];
    for (const [s, there] of this.#there) if (this.#over(s, null, null) > 0) troubled.push(...there);
    for (let i = 0; i < n; i++) if (this.#items[i]?.sites[this.#at[i] as number] === NOWHERE) troubled.push(i);
    if (troubled.length <= WHOLE / 2) return [...troubled, ...any];
    return [...any, ...Array.from({ length: WHOLE / 2 }, () => troubled[Math.floor(this.#next() * troubled.length)] as number)];
  }

  #all: readonly number[] | null = null;

  #move(i: number, option: number, step: number): void {
    this.#tabu[i * this.#options + (this.#at[i] as number)] = step + 4 + Math.floor(this.#next() * 10);
    this.#put(i, -1);
    this.#at[i] = option;
    this.#put(i, 1);
  }

  #put(i: number, sign: 1 | -1): void {
    const item = this.#items[i] as Item;
    const o = this.#at[i] as number;
    this.#cost += sign * (item.cost[o] as number);
    this.#score += sign * (item.score[o] as number);
    const s = item.sites[o] as number;
    if (s === NOWHERE) return;
    for (let k = 0; k < this.#width; k++) this.#load[s * this.#width + k] = (this.#load[s * this.#width + k] as number) + sign * (item.takes[o]?.[k] as number);
    if (sign > 0) (this.#there.get(s) ?? this.#there.set(s, new Set()).get(s))?.add(i);
    else this.#there.get(s)?.delete(i);
  }

  /** Price of what a site is over-asked, when `plus` comes and `minus` goes. */
  #over(s: number, plus: Float64Array | null, minus: Float64Array | null): number {
    if (s === NOWHERE) return 0;
    let over = 0;
    for (let k = 0; k < this.#width; k++) {
      const at = s * this.#width + k;
      const v = (this.#load[at] as number) + (plus === null ? 0 : (plus[k] as number)) - (minus === null ? 0 : (minus[k] as number)) - (this.#room[at] as number);
      if (v > 1e-6) over += v * (this.#scale[at] as number);
    }
    return over * (this.#price[s] as number);
  }

  #shift(i: number, o: number): number {
    this.#work += 1;
    const item = this.#items[i] as Item;
    const now = this.#at[i] as number;
    const [here, there] = [item.sites[now] as number, item.sites[o] as number];
    const [mine, his] = [item.takes[now] as Float64Array, item.takes[o] as Float64Array];
    return (item.cost[o] as number) - (item.cost[now] as number) + this.#over(there, his, null) - this.#over(there, null, null) + this.#over(here, null, mine) - this.#over(here, null, null);
  }

  #swap(i: number, o: number, j: number, back: number): number {
    this.#work += 1;
    const [a, b] = [this.#items[i] as Item, this.#items[j] as Item];
    const [nowA, nowB] = [this.#at[i] as number, this.#at[j] as number];
    const [here, there] = [a.sites[nowA] as number, b.sites[nowB] as number];
    const cost = (a.cost[o] as number) - (a.cost[nowA] as number) + (b.cost[back] as number) - (b.cost[nowB] as number);
    return cost + this.#over(there, a.takes[o] as Float64Array, b.takes[nowB] as Float64Array) - this.#over(there, null, null) + this.#over(here, b.takes[back] as Float64Array, a.takes[nowA] as Float64Array) - this.#over(here, null, null);
  }

  /** Prices follow the market. Returns whether some site is over-asked. */
  #adapt(): boolean {
    let isOver = false;
    for (const s of this.#there.keys()) {
      const over = this.#over(s, null, null) > 0;
      isOver ||= over;
      this.#price[s] = Math.min(1e12, Math.max(1e-3, (this.#price[s] as number) * (over ? RAISE : FALL)));
    }
    return isOver;
  }
}
