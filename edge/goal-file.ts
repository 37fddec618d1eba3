/**
 * The goal state that was applied last, on disk: after a boot while the region is out of reach, the kernel's maps are empty and nobody else
 * knows what they held. Written at most once a second; where the kernel still holds a goal, that one is as new or newer and stays.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { GoalAck, GoalState } from '../api/goal.ts';
import type { Service } from '../base/lifecycle.ts';
import type { Logger } from '../base/log.ts';
import { Loop } from '../base/loop.ts';
import { writeDurably } from '../certs/files.ts';

/** What the data plane offers here. */
export interface GoalHolder {
  readonly version: number;
  hasGoal(): boolean;
  goal(): GoalState;
  apply(goal: GoalState): Promise<GoalAck>;
}

const WRITE_MS = 1000;

export class GoalFile implements Service {
  readonly name = 'goal file';
  readonly #path: string;
  readonly #holder: GoalHolder;
  readonly #log: Logger;
  readonly #loop: Loop;
  #isDue = false;
  #isRestored = false;

  constructor(path: string, holder: GoalHolder, log: Logger) {
    this.#path = path;
    this.#holder = holder;
    this.#log = log;
    this.#loop = new Loop({ name: this.name, log, resyncMs: 0, firstRetryMs: WRITE_MS, run: async () => this.#write() });
  }

  /** Before the first goal of the region can come. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#restore();
    await this.#loop.start(signal);
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    if (this.#isDue) this.#write();
  }

  /** As said to the region: what came from disk is no version of its, so it sends everything. */
  get version(): number {
    return this.#isRestored ? 0 : this.#holder.version;
  }

  async apply(goal: GoalState): Promise<GoalAck> {
    const ack = await this.#holder.apply(goal);
    if (!ack.ok) return ack;
    this.#isRestored = false;
    // Not anew with each goal: a stream of them would put the write off for ever.
    if (!this.#isDue) this.#loop.trigger('goal', WRITE_MS);
    this.#isDue = true;
    return ack;
  }

  #write(): void {
    this.#isDue = false;
    writeDurably(this.#path, JSON.stringify(this.#holder.goal()), 0o600);
  }

  async #restore(): Promise<void> {
    if (this.#holder.hasGoal() || !existsSync(this.#path)) return;
    try {
      const saved = JSON.parse(readFileSync(this.#path, 'utf8')) as GoalState;
      const ack = await this.#holder.apply({ ...saved, base: 0, drop: [] });
      if (!ack.ok) return this.#log.warn('the goal state on disk is of no use', { path: this.#path, reason: ack.message });
      this.#isRestored = true;
      this.#log.info('goal state taken from disk', { version: saved.version, entries: saved.put.length });
    } catch (error) {
      // A damaged file is as good as none: the region sends all of it.
      this.#log.warn('the goal state on disk cannot be read', { path: this.#path, err: error });
    }
  }
}
