/**
 * The one control loop. Level-triggered: a trigger says "look at this key again", never what changed. Triggers of one key coalesce,
 * at most one run per key is in flight, failures back off per key with jitter, and every known key is looked at again each resync interval.
 */
import type { Clock } from './clock.ts';
import { systemClock } from './clock.ts';
import type { Service } from './lifecycle.ts';
import type { Logger } from './log.ts';

export interface LoopOptions {
  readonly name: string;
  /** One pass over one key; throw to be retried with back-off. Return a delay in ms to be run again without a trigger. */
  readonly run: (key: string, signal: AbortSignal) => Promise<number | void>;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Keys running at once. @default 4 */
  readonly concurrency?: number;
  /** Milliseconds until a known key is looked at again; 0 = never. @default 30000 */
  readonly resyncMs?: number;
  /** @default 100 */
  readonly firstRetryMs?: number;
  /** @default 30000 */
  readonly maxRetryMs?: number;
  readonly random?: () => number;
}

export class Loop implements Service {
  readonly name: string;
  readonly #o: LoopOptions;
  readonly #clock: Clock;
  readonly #queue = new Set<string>();
  readonly #running = new Set<string>();
  readonly #again = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, AbortController>();
  readonly #abort = new AbortController();
  #started = false;
  #idle: (() => void)[] = [];

  constructor(options: LoopOptions) {
    this.name = options.name;
    this.#o = options;
    this.#clock = options.clock ?? systemClock;
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#abort.abort(signal.reason), { once: true });
    this.#started = true;
    this.#pump();
  }

  async stop(): Promise<void> {
    this.#started = false;
    this.#queue.clear();
    this.#abort.abort(new Error(`loop ${this.name} stopped`));
    for (const t of this.#timers.values()) t.abort();
    this.#timers.clear();
    if (this.#running.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Asks for a pass over `key`, now or after `delayMs`. */
  trigger(key: string, delayMs = 0): void {
    if (this.#abort.signal.aborted) return;
    if (delayMs > 0) return this.#later(key, delayMs);
    this.#timers.get(key)?.abort();
    this.#timers.delete(key);
    if (this.#running.has(key)) this.#again.add(key);
    else this.#queue.add(key);
    this.#pump();
  }

  /** Forgets a key: no resync, no retry. A run in flight ends undisturbed. */
  forget(key: string): void {
    this.#queue.delete(key);
    this.#again.delete(key);
    this.#failures.delete(key);
    this.#timers.get(key)?.abort();
    this.#timers.delete(key);
  }

  #later(key: string, delayMs: number): void {
    this.#timers.get(key)?.abort();
    const cancel = new AbortController();
    this.#timers.set(key, cancel);
    this.#clock.sleep(delayMs, cancel.signal).then(
      () => {
        if (this.#timers.get(key) === cancel) this.#timers.delete(key);
        this.trigger(key);
      },
      () => undefined, // cancelled by a newer trigger, forget or stop
    );
  }

  #pump(): void {
    if (!this.#started) return;
    for (const key of this.#queue) {
      if (this.#running.size >= (this.#o.concurrency ?? 4)) return;
      this.#queue.delete(key);
      this.#running.add(key);
      void this.#runOne(key);
    }
  }

  async #runOne(key: string): Promise<void> {
    let next: number | void = undefined;
    try {
      next = await this.#o.run(key, this.#abort.signal);
      this.#failures.delete(key);
      const resync = this.#o.resyncMs ?? 30_000;
      if (next === undefined && resync > 0) next = resync * (0.9 + 0.2 * (this.#o.random ?? Math.random)());
    } catch (error) {
      if (!this.#abort.signal.aborted) {
        const n = (this.#failures.get(key) ?? 0) + 1;
        this.#failures.set(key, n);
        const base = Math.min(this.#o.maxRetryMs ?? 30_000, (this.#o.firstRetryMs ?? 100) * 2 ** (n - 1));
        next = base * (0.8 + 0.4 * (this.#o.random ?? Math.random)());
        this.#o.log.warn('loop run failed', { loop: this.name, key, failures: n, retryMs: Math.round(next), err: error });
      }
    }
    this.#running.delete(key);
    if (this.#abort.signal.aborted) {
      if (this.#running.size === 0) for (const f of this.#idle.splice(0)) f();
      return;
    }
    if (this.#again.delete(key)) this.#queue.add(key);
    else if (typeof next === 'number') this.#later(key, Math.max(1, next));
    this.#pump();
  }
}
