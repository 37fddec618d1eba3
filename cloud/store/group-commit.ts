/**
 * Which writes share a commit. To write and sync costs about as much for one as for ten, so those that wait go together. But if all go
 * with one commit, all callers get their answers at once and ask again at once: disk and processor take turns, each idle while the other works.
 * Where the work for half of the writes lasts longer than a commit, every commit therefore takes half, and the next half is worked on meanwhile.
 */
import { performance } from 'node:perf_hooks';

interface Write {
  readonly run: () => void;
  readonly done: PromiseWithResolvers<void>;
}

/** The shortest of so many commits is what one takes: others were seen late, by a loop that was busy. */
const COMMITS_SEEN = 32;
/** How much the newest look counts in the work for one write. */
const NEWEST = 0.1;

/** How many of `waiting` the next commit takes; `onTheWay` are in the one before it. */
export function groupSize(waiting: number, onTheWay: number, commitMs: number, writeMs: number): number {
  const half = Math.ceil((waiting + onTheWay) / 2);
  return half * writeMs > commitMs ? Math.min(half, waiting) : waiting;
}

export class GroupCommit {
  readonly #transaction: (run: () => void) => Promise<unknown>;
  #waiting: Write[] = [];
  #onTheWay = 0;
  #isAsked = false;
  readonly #commits = new Float64Array(COMMITS_SEEN).fill(Number.POSITIVE_INFINITY);
  #commitCount = 0;
  #writeMs = 0;
  #loop = performance.eventLoopUtilization();

  /** `transaction` runs what it is given between begin and commit, and resolves when that is durable. */
  constructor(transaction: (run: () => void) => Promise<unknown>) {
    this.#transaction = transaction;
  }

  /** Runs `write` in a transaction; resolves when what it wrote is durable. What one throws is its own: the others of its group are written. */
  add(write: () => void): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#waiting.push({ run: write, done });
    this.#ask();
    return done.promise;
  }

  #ask(): void {
    if (this.#isAsked || this.#waiting.length === 0) return;
    this.#isAsked = true;
    let group: readonly Write[] = [];
    let begun = 0;
    const end = (settle: (w: Write) => void): void => {
      this.#onTheWay -= group.length;
      this.#commits[this.#commitCount++ % COMMITS_SEEN] = performance.now() - begun;
      for (const w of group) settle(w);
    };
    this.#transaction(() => {
      this.#isAsked = false;
      group = this.#take();
      for (const w of group) this.#run(w);
      begun = performance.now();
      this.#ask();
    }).then(
      () => end((w) => w.done.resolve()),
      (error: unknown) => {
        if (begun === 0) group = this.#takeAll();
        end((w) => w.done.reject(error));
      },
    );
  }

  #take(): readonly Write[] {
    const group = this.#waiting.splice(0, groupSize(this.#waiting.length, this.#onTheWay, Math.min(...this.#commits), this.#writeMs));
    this.#onTheWay += group.length;
    const loop = performance.eventLoopUtilization();
    const { active } = performance.eventLoopUtilization(loop, this.#loop);
    this.#loop = loop;
    this.#writeMs += NEWEST * (active / group.length - this.#writeMs);
    return group;
  }

  /** For a transaction that did not even begin. */
  #takeAll(): readonly Write[] {
    this.#isAsked = false;
    this.#onTheWay += this.#waiting.length;
    return this.#waiting.splice(0);
  }

  #run(write: Write): void {
    try {
      write.run();
    } catch (error) {
      write.done.reject(error);
    }
  }
}
