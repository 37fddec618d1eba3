/**
 * All applications together. Each goes where it is best alone; where that asks more of a site than there is, those that lose least by it go
 * elsewhere; then applications take over room that was given back, push out others that lose less than they gain, and are tried in other orders.
 * Only applications at sites that are full are looked at more than once. Deterministic: every order is by demand or name, or of a fixed seed.
 */
import { ALL } from '../candidates.ts';
import { besideOf, type Decider } from '../decide.ts';
import type { Choice, Entry } from '../entry.ts';
import { PACKED_LOAD } from '../objective.ts';
import type { Problems } from '../problem.ts';
import type { Search } from '../search.ts';
import { assign } from './assign.ts';
import { makeRoom } from './eviction.ts';
import { Ledger } from './ledger.ts';
import { reorder } from './reorder.ts';

const ROUNDS = 4;
const GAIN = 1e-6;

/** Rows x sites that the search may visit to make the plan better: as much as keeps small models quick, and a part of the whole for large ones. */
const budget = (alone: number, applications: number): number => Math.max(0.02 * alone, (applications > FEW ? 6e6 : 1e7) - 10 * alone, 1e5);
/** So few applications are fought about longer, and their other orders have work of their own. */
const FEW = 100;
const ORDERS = 1.5e7;
/** What was found is made better once more with filled instances, for so much work at most. */
const FILLED = 1e7;

export interface JointSetting {
  readonly decider: Decider;
  readonly problems: Problems;
  readonly search: Search;
  readonly now: number;
}

export class Joint {
  readonly ledger: Ledger;
  readonly #s: JointSetting;
  /** Applications without a place so far, most demand first. */
  readonly #fresh: readonly Entry[];
  /** Is one of them new here, or has it lost its place? */
  readonly #isNew: boolean;
  /** What is taken by instances that nobody decides about. */
  readonly #fixed: Float64Array;
  #until = 0;

  /** `entries`: most demand first; those that run are in the ledger already. */
  constructor(ledger: Ledger, fresh: readonly Entry[], isNew: boolean, fixed: Float64Array, setting: JointSetting) {
    this.#isNew = isNew;
    this.ledger = ledger;
    this.#fixed = fixed;
    this.#s = setting;
    this.#fresh = fresh;
  }

  run(): void {
    this.#alone();
    const alone = this.work;
    for (const s of this.ledger.crowded()) makeRoom(this, s, null);
    this.#settle(this.ledger.entries.filter((e) => e.serving.length > 0 || e.near.length > 0 || this.wishes(e)), true);
    let tight = this.#tight();
    if (tight.length === 0) return;
    const mayDo = budget(alone, this.ledger.entries.length);
    this.#until = this.work + mayDo;
    tight = this.#pushAll(tight);
    if (!this.#isNew) return;
    if (this.#s.search.isPacking) this.ledger.attempt(() => this.#whole(mayDo));
    else {
      this.#orders(tight);
      this.#finish(mayDo / 4);
    }
  }

  /**
   * A set of sites costs some ten times as much to work out when instances are filled: so others are looked for without that, and only what is found is filled.
   * Returns whether it is better than what was.
   */
  #whole(mayDo: number): boolean {
    const { search } = this.#s;
    const before = this.#total();
    search.isPacking = false;
    for (const e of this.ledger.entries) this.place(e);
    this.#until = this.work + mayDo;
    this.#pushAll(this.#tight());
    this.#orders(this.#tight());
    search.isPacking = true;
    for (const e of this.ledger.entries) this.place(e);
    this.#finish(FILLED);
    return this.#total() < before - GAIN;
  }

  #orders(tight: readonly Entry[]): void {
    assign(this, tight);
    if (this.ledger.entries.length <= FEW) this.#until = this.work + ORDERS;
    reorder(this, this.#tight());
  }

  #finish(mayDo: number): void {
    this.#until = this.work + mayDo;
    this.#settle(this.#tight(), false);
    this.#pushAll(this.#tight());
  }

  #total(): number {
    return this.ledger.entries.reduce((sum, e) => sum + e.choice.score, 0);
  }

  #pushAll(tight: Entry[]): Entry[] {
    let left = tight;
    for (let round = 0; round < ROUNDS && this.#push(left); round++) {
      this.#settle(left, false);
      left = this.#tight();
    }
    return left;
  }

  #tight(): Entry[] {
    return this.ledger.entries.filter((e) => this.wishes(e));
  }

  /** Is there work left that may be done? */
  get mayGoOn(): boolean {
    return this.work < this.#until;
  }

  get until(): number {
    return this.#until;
  }

  /** Solves an entry with the room that is left, and puts it there. */
  place(entry: Entry): Choice {
    this.ledger.remove(entry);
    let choice = this.#s.decider.solve(entry, this.ledger);
    if (choice.broken > 0 && this.#refresh(entry)) choice = this.#s.decider.solve(entry, this.ledger);
    this.ledger.put(entry, choice);
    return choice;
  }

  /** Every site that could serve all of it alone, were it free: candidate and choice. */
  singles(entry: Entry): (readonly [number, Choice])[] {
    return this.#s.decider.singles(entry);
  }

  nowhere(entry: Entry): Choice {
    return this.#s.decider.nowhere(entry);
  }

  get work(): number {
    return this.#s.search.work;
  }

  /** Is some site better for some of its demand than the one that serves it, and without room for that? */
  wishes(entry: Entry): boolean {
    return entry.choice.broken > 0 || this.wished(entry, true).length > 0;
  }

  /** Sites that are better for some of its demand and have no room for it; the first one is enough when `isAsking`. */
  wished(entry: Entry, isAsking = false): number[] {
    const { sites, problem } = entry.small;
    const { used, capacity } = this.ledger;
    const K = capacity.width;
    const now = new Float64Array(problem.regions).fill(Number.POSITIVE_INFINITY);
    for (const f of entry.choice.flows) {
      const u = problem.unit[f.r * problem.candidates + f.c] as number;
      now[f.r] = now[f.r] === Number.POSITIVE_INFINITY ? u : Math.max(now[f.r] as number, u);
    }
    const out: number[] = [];
    for (let c = 0; c < sites.length; c++) {
      let rps = 0;
      for (let r = 0; r < problem.regions; r++) if ((problem.unit[r * problem.candidates + c] as number) < (now[r] as number) - GAIN) rps += problem.rps[r] as number;
      if (rps === 0) continue;
      const room = capacity.fits(used, sites[c] as number, problem.size, c * K);
      const isFull = room * PACKED_LOAD * problem.perInstance < rps && (problem.allowed[c] as number) > room;
      if (!isFull && !entry.choice.open.includes(c)) continue;
      out.push(sites[c] as number);
      if (isAsking) break;
    }
    return out;
  }

  /** Those without a place, each as if it were the only one; then together. */
  #alone(): void {
    for (const wanting of [false, true]) {
      const choices: [Entry, Choice][] = [];
      for (const e of this.#fresh) {
        if (e.near.length > 0 !== wanting) continue;
        if (wanting) this.#sit(e);
        const choice = this.#s.decider.solve(e, this.ledger);
        if (e.apart.length > 0) this.ledger.put(e, choice);
        else choices.push([e, choice]);
      }
      for (const [e, choice] of choices) this.ledger.put(e, choice);
    }
  }

  /** Each in turn with the room that the others leave, until nobody moves. */
  #settle(entries: readonly Entry[], isFirst: boolean): void {
    for (let round = 0; round < ROUNDS; round++) {
      let isChanged = false;
      for (const e of entries) {
        if ((round > 0 || !isFirst) && !this.#gotRoom(e)) continue;
        const { choice: before, small } = e;
        this.ledger.remove(e);
        if (isFirst && round === 0 && e.near.length > 0) this.#sit(e);
        const after = this.place(e);
        if (after.score < before.score - GAIN) isChanged = true;
        // a split of demand that was found with other room may be better than what is found again; it still fits
        else if (after.score > before.score + GAIN && before.open.length > 0 && e.small === small && e.apart.length === 0) this.ledger.put(e, before);
      }
      if (!isChanged) return;
    }
  }

  #gotRoom(e: Entry): boolean {
    return e.small.sites.some((s) => (this.ledger.freed[s] as number) > e.solvedAt);
  }

  /** Who would gain more by a full site than those lose who are there. */
  #push(tight: readonly Entry[]): boolean {
    let isChanged = false;
    for (const e of tight) {
      if (!this.mayGoOn) break;
      if (this.ledger.attempt(() => this.takeIdeal(e, 0, null) < -GAIN)) isChanged = true;
      for (const s of this.wished(e)) if (this.mayGoOn && this.ledger.attempt(() => this.takeIdeal(e, 0, s) < -GAIN)) isChanged = true;
    }
    return isChanged;
  }

  /** Puts an entry where it would like to be most, or at one site where it would, and others out of its way. Returns by how much the total changes; Infinity = no gain, or given up above `limit`: that must be undone. */
  takeIdeal(e: Entry, limit: number, site: number | null): number {
    const before = e.choice.score;
    this.ledger.remove(e);
    const ideal = this.#s.decider.solve(e, { used: site === null ? this.#fixed : this.#without(site), sitesOf: this.ledger.sitesOf });
    let change = ideal.score - before;
    if (change >= -GAIN) return Number.POSITIVE_INFINITY;
    this.ledger.put(e, ideal);
    for (const c of ideal.open) {
      const s = e.small.sites[c] as number;
      if (this.ledger.excess(s) > 0) change += makeRoom(this, s, e, limit - change);
      if (change > limit) return Number.POSITIVE_INFINITY; // the site may still be over-asked
    }
    return change;
  }

  /** Puts an entry elsewhere than at one of its sites, and lets others have the room: what several of them gain may be more than it loses. Returns by how much the total changes. */
  giveUp(e: Entry, site: number): number {
    const before = e.choice.score;
    this.ledger.remove(e);
    const { capacity } = this.ledger;
    const K = capacity.width;
    const used = this.ledger.used.slice();
    for (let at = site * K; at < (site + 1) * K; at++) used[at] = capacity.total[at] as number;
    const choice = this.#s.decider.solve(e, { used, sitesOf: this.ledger.sitesOf });
    this.ledger.put(e, choice);
    return choice.broken > 0 ? Number.POSITIVE_INFINITY : choice.score - before + this.#follow(e);
  }

  /** Those for whom there is room now that was not before take it. `first` waits for a round. Returns by how much the total changes. */
  #follow(first: Entry): number {
    let change = 0;
    for (let round = 0; round < 2; round++) {
      for (const e of this.ledger.entries) {
        if ((e === first && round === 0) || !this.#gotRoom(e)) continue;
        const { choice: before, small } = e;
        const after = this.place(e);
        if (after.score > before.score + GAIN && before.open.length > 0 && e.small === small && e.apart.length === 0) this.ledger.put(e, before);
        else change += after.score - before.score;
      }
    }
    return change;
  }

  /** What is taken, as if nobody were at one of the sites. */
  #without(site: number): Float64Array {
    const used = this.ledger.used.slice();
    const K = this.ledger.capacity.width;
    for (let at = site * K; at < (site + 1) * K; at++) used[at] = this.#fixed[at] as number;
    return used;
  }

  /** The small problem again, with the sites that have room now. */
  #refresh(entry: Entry): boolean {
    if (this.#s.problems.model.sites.length <= ALL) return false;
    entry.small = this.#s.problems.of(entry.app, entry.serving, this.ledger.used, entry.beside, this.#s.now, entry.small.sites);
    return true;
  }

  /** Where those are that it wants to be with. */
  #sit(entry: Entry): void {
    const beside = besideOf(entry.near, this.ledger);
    if (beside.size === entry.beside.size && [...beside].every((s) => entry.beside.has(s))) return;
    entry.beside = beside;
    entry.small = this.#s.problems.of(entry.app, entry.serving, this.ledger.used, beside, this.#s.now);
  }
}

