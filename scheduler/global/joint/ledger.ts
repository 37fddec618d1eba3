/** What all applications of a plan take of the sites while it is made, and who is where. Every change can be taken back. */
import type { Capacity } from '../capacity.ts';
import type { Others } from '../decide.ts';
import type { Choice, Entry } from '../entry.ts';
import type { SmallProblem } from '../problem.ts';

interface Undo {
  readonly entry: Entry;
  readonly choice: Choice;
  readonly small: SmallProblem;
  readonly isIn: boolean;
  readonly solvedAt: number;
}

export class Ledger implements Others {
  readonly entries: readonly Entry[];
  readonly used: Float64Array;
  /** By site: the applications that take of it. */
  readonly at: readonly Set<Entry>[];
  /** By site: the count of the last change that gave room back. */
  readonly freed: Float64Array;
  readonly capacity: Capacity;
  changes = 0;
  readonly #byKey: ReadonlyMap<string, Entry>;
  readonly #names: readonly string[];
  /** Sites of its last choice; its candidates may have been chosen anew since. */
  readonly #places = new Map<Entry, readonly number[]>();
  readonly #in = new Set<Entry>();
  /** Where instances run on that nobody decides about: nobody who is kept apart from them may come. */
  readonly #held = new Map<Entry, readonly number[]>();
  #log: Undo[] | null = null;

  /** `fixed`: what is taken by instances that nobody decides about. */
  constructor(entries: readonly Entry[], capacity: Capacity, fixed: Float64Array, names: readonly string[]) {
    this.#names = names;
    this.entries = entries;
    this.capacity = capacity;
    this.used = fixed;
    this.at = names.map(() => new Set<Entry>());
    this.freed = new Float64Array(names.length);
    this.#byKey = new Map(entries.map((e) => [e.app.key, e]));
    for (const e of entries) if (e.held.length > 0) this.#held.set(e, e.held.map((h) => names.indexOf(h.site)));
  }

  sitesOf = (key: string): readonly number[] => {
    const e = this.#byKey.get(key);
    if (e === undefined) return [];
    const open = this.#in.has(e) ? e.choice.open.map((c) => e.small.sites[c] as number) : [];
    const held = this.#held.get(e);
    return held === undefined ? open : [...open, ...held];
  };

  /** Names of the sites where an application is, those that it only still holds included. */
  placeOf(key: string): readonly string[] {
    return this.sitesOf(key).map((s) => this.#names[s] as string);
  }

  remove(entry: Entry): void {
    if (!this.#in.delete(entry)) return;
    this.#log?.push({ entry, choice: entry.choice, small: entry.small, isIn: true, solvedAt: entry.solvedAt });
    this.#account(entry, -1);
  }

  put(entry: Entry, choice: Choice): void {
    this.remove(entry);
    this.#log?.push({ entry, choice: entry.choice, small: entry.small, isIn: false, solvedAt: entry.solvedAt });
    this.changes += 1;
    this.#giveBack(entry, choice);
    entry.choice = choice;
    entry.solvedAt = this.changes;
    this.#in.add(entry);
    this.#account(entry, 1);
  }

  /** Notes where it takes less than before. */
  #giveBack(entry: Entry, choice: Choice): void {
    const { least } = entry.choice;
    const sites = this.#places.get(entry) ?? [];
    for (const [i, s] of sites.entries()) {
      const j = choice.open.findIndex((c) => entry.small.sites[c] === s);
      if (j < 0 || (choice.least[j] as number) < (least[i] as number)) this.freed[s] = this.changes;
    }
    this.#places.set(entry, choice.open.map((c) => entry.small.sites[c] as number));
  }

  /** Does `change`; what it says is worth nothing is undone. Returns whether it stayed. May be nested. `onStay`: each change in turn, with what was before it. */
  attempt(change: () => boolean, onStay?: (entry: Entry, before: { readonly choice: Choice; readonly small: SmallProblem }) => void): boolean {
    const log: Undo[] = [];
    const outer = this.#log;
    this.#log = log;
    const stays = change();
    this.#log = outer;
    if (stays) {
      outer?.push(...log);
      if (onStay !== undefined) for (const { entry, choice, small } of log) onStay(entry, { choice, small });
      return true;
    }
    for (const { entry, choice, small, isIn, solvedAt } of log.toReversed()) {
      if (this.#in.delete(entry)) this.#account(entry, -1);
      entry.choice = choice;
      entry.small = small;
      entry.solvedAt = solvedAt;
      this.#places.set(entry, choice.open.map((c) => small.sites[c] as number));
      if (!isIn) continue;
      this.#in.add(entry);
      this.#account(entry, 1);
    }
    return false;
  }

  /** By how much a site is over-asked, as a share of its capacity in the worst dimension; <= 0 = it is not. */
  excess(site: number): number {
    const K = this.capacity.width;
    let worst = 0;
    for (let k = 0; k < K; k++) {
      const total = this.capacity.total[site * K + k] as number;
      const over = (this.used[site * K + k] as number) - total;
      if (over > 1e-6) worst = Math.max(worst, over / Math.max(total, 1));
    }
    return worst;
  }

  crowded(): number[] {
    const out: { readonly s: number; readonly excess: number }[] = [];
    for (let s = 0; s < this.at.length; s++) {
      const excess = this.excess(s);
      if (excess > 0) out.push({ s, excess });
    }
    return out.sort((a, b) => b.excess - a.excess || a.s - b.s).map((x) => x.s);
  }

  #account(entry: Entry, sign: 1 | -1): void {
    const K = this.capacity.width;
    const { sites, problem } = entry.small;
    const { open, least } = entry.choice;
    for (let i = 0; i < open.length; i++) {
      const c = open[i] as number;
      const s = sites[c] as number;
      const n = sign * (least[i] as number);
      for (let k = 0; k < K; k++) this.used[s * K + k] = (this.used[s * K + k] as number) + n * (problem.size[c * K + k] as number);
      if (sign > 0) this.at[s]?.add(entry);
      else this.at[s]?.delete(entry);
    }
  }
}
