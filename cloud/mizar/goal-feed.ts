/**
 * Which goal state each droplet is sent next. One message is in flight per droplet, so whatever changes meanwhile is coalesced into the
 * next one. A droplet at a version that we remember gets a delta against it; at any other version, or after it refused one, everything.
 */
import type { Clock } from '../../base/clock.ts';
import type { GoalState } from '../../api/goal.ts';
import type { GoalMap } from './goal.ts';
import { goalDelta } from './goal.ts';

export interface Answer {
  readonly version: number;
  readonly ok: boolean;
  readonly message: string;
}

export interface FeedOptions {
  /** Grows with every call, over restarts too. */
  readonly nextVersion: () => number;
  readonly clock: Clock;
  /** What a droplet has answered, or said it has when it connected. */
  readonly onAnswer: (droplet: string, answer: Answer) => void;
}

/** One connection of a droplet. */
export interface Follower {
  send(goal: GoalState): void;
  /** Another connection of the same droplet took over. */
  replaced(): void;
}

interface Snapshot {
  readonly version: number;
  readonly goal: GoalMap;
}

interface Row {
  wanted: GoalMap | null;
  acked: Snapshot | null;
  inFlight: Snapshot | null;
  follower: Follower | null;
  refusals: number;
  pause: AbortController | null;
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 30_000;

export class GoalFeed {
  readonly #o: FeedOptions;
  readonly #rows = new Map<string, Row>();

  constructor(options: FeedOptions) {
    this.#o = options;
  }

  /** Droplets with a connection. */
  get connected(): readonly string[] {
    return [...this.#rows].filter(([, row]) => row.follower !== null).map(([droplet]) => droplet);
  }

  /** What the droplet has in its kernel as far as it told this process; null = not known. */
  acked(droplet: string): GoalMap | null {
    return this.#rows.get(droplet)?.acked?.goal ?? null;
  }

  connect(droplet: string, version: number, follower: Follower): void {
    const row = this.#row(droplet);
    row.follower?.replaced();
    row.follower = follower;
    // An answer may have been lost with the old connection: the droplet says itself which version it reached.
    const known = [row.inFlight, row.acked].find((s) => s?.version === version) ?? null;
    row.acked = known;
    row.inFlight = null;
    row.refusals = 0;
    row.pause?.abort();
    row.pause = null;
    if (known !== null) this.#o.onAnswer(droplet, { version, ok: true, message: '' });
    this.#advance(droplet, row);
  }

  disconnect(droplet: string, follower: Follower): void {
    const row = this.#rows.get(droplet);
    if (row?.follower === follower) row.follower = null;
  }

  answer(droplet: string, follower: Follower, answer: Answer): void {
    const row = this.#rows.get(droplet);
    if (row === undefined || row.follower !== follower || row.inFlight?.version !== answer.version) return;
    const sent = row.inFlight;
    row.inFlight = null;
    row.acked = answer.ok ? sent : null;
    row.refusals = answer.ok ? 0 : row.refusals + 1;
    this.#o.onAnswer(droplet, answer);
    if (answer.ok) this.#advance(droplet, row);
    else this.#pause(droplet, row);
  }

  /** What the droplet should have from now on. */
  want(droplet: string, goal: GoalMap): void {
    const row = this.#row(droplet);
    row.wanted = goal;
    this.#advance(droplet, row);
  }

  /** The droplet is gone: nothing is sent to it any more. */
  forget(droplet: string): void {
    const row = this.#rows.get(droplet);
    if (row === undefined) return;
    row.wanted = null;
    row.acked = null;
    row.inFlight = null;
    row.pause?.abort();
    row.pause = null;
    if (row.follower === null) this.#rows.delete(droplet);
  }

  close(): void {
    for (const row of this.#rows.values()) row.pause?.abort();
    this.#rows.clear();
  }

  #advance(droplet: string, row: Row): void {
    if (row.follower === null || row.wanted === null || row.inFlight !== null || row.pause !== null) return;
    const delta = row.acked === null ? { put: [...row.wanted.values()], drop: [] } : goalDelta(row.acked.goal, row.wanted);
    if (delta === null) return;
    const version = this.#o.nextVersion();
    row.inFlight = { version, goal: row.wanted };
    row.follower.send({ droplet, version, base: row.acked?.version ?? 0, put: delta.put, drop: delta.drop });
  }

  #pause(droplet: string, row: Row): void {
    const pause = new AbortController();
    row.pause = pause;
    this.#o.clock.sleep(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (row.refusals - 1)), pause.signal).then(
      () => {
        if (row.pause !== pause) return;
        row.pause = null;
        this.#advance(droplet, row);
      },
      () => undefined, // aborted: the droplet reconnected, is gone, or the server stops
    );
  }

  #row(droplet: string): Row {
    const found = this.#rows.get(droplet);
    if (found !== undefined) return found;
    const row: Row = { wanted: null, acked: null, inFlight: null, follower: null, refusals: 0, pause: null };
    this.#rows.set(droplet, row);
    return row;
  }
}
