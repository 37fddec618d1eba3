/**
 * A pod that its policy fences (`mesh.proxima.io/fence-after-seconds`) runs only while its region knows that it does: without a word for so long the
 * node stops it by itself, and starts it again only after the region has said once more that it is wanted. So whoever replaces it need not
 * hear from here: it waits for as long, and a margin. A word is an answer to a question about this very pod, and counts from when it was asked.
 */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Pod } from '../../api/kinds/core.ts';
import type { Condition } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { nameOf, type PodRecord, uidOf } from './model.ts';
import type { Records } from './records.ts';

export const FENCE_AFTER = 'mesh.proxima.io/fence-after-seconds';
/** True on a pod whose node stops it by itself; the message is after how many seconds. Until it says so, nobody may count on it. */
export const FENCE_CONDITION = 'mesh.proxima.io/FenceArmed';

/** What a fenced pod gets to end in; the margin of who replaces it is 5 s. */
export const FENCE_GRACE_MS = 1_000;
/** A clock that was set back says nothing about how long ago something was. */
const SET_BACK_MS = 2_000;
const MAX_PERIOD_MS = 5_000;
const MIN_PERIOD_MS = 200;

export function fenceAfterMs(pod: Pod): number | null {
  const text = pod.metadata.annotations?.[FENCE_AFTER];
  const seconds = Number(text);
  return text === undefined || text === '' || !Number.isFinite(seconds) || seconds < 0 ? null : seconds * 1000;
}

/** When the pod must be stopped, ms since the epoch; null = never, or not before the first word. Pure. */
export function fencedAt(record: PodRecord, now: number): number | null {
  const after = fenceAfterMs(record.pod);
  if (after === null || record.wordAt === undefined) return null;
  return now < record.wordAt - SET_BACK_MS ? now : record.wordAt + after;
}

export function fenceCondition(record: PodRecord, at: string): Condition | null {
  const after = fenceAfterMs(record.pod);
  if (after === null || record.wordAt === undefined) return null;
  const old = record.pod.status?.conditions?.find((c) => c.type === FENCE_CONDITION);
  return { type: FENCE_CONDITION, status: 'True', message: String(after / 1000), lastTransitionTime: old?.lastTransitionTime ?? at };
}

export interface FenceWatchOptions {
  readonly client: Client;
  readonly records: Records;
  readonly clock: Clock;
  readonly log: Logger;
  /** The region still wants it, or wants something else of it. */
  readonly onPod: (pod: Pod) => void;
  readonly onGone: (pod: Pod) => void;
  /** Its time runs anew. */
  readonly onWord: (uid: string) => void;
}

export class FenceWatch implements Service {
  readonly name = 'fence';
  readonly #o: FenceWatchOptions;
  readonly #loop: Loop;

  constructor(options: FenceWatchOptions) {
    this.#o = options;
    this.#loop = new Loop({ name: 'fence', log: options.log, clock: options.clock, concurrency: 16, resyncMs: 0, run: (uid) => this.#ask(uid) });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    for (const r of this.#o.records.all()) this.look(r.pod);
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  look(pod: Pod): void {
    if (fenceAfterMs(pod) !== null) this.#loop.trigger(uidOf(pod));
  }

  async #ask(uid: string): Promise<number | void> {
    const { client, records, clock } = this.#o;
    const record = records.get(uid);
    const after = record === undefined ? null : fenceAfterMs(record.pod);
    if (record === undefined || record.gone || after === null || record.pod.metadata.deletionTimestamp !== undefined) return this.#loop.forget(uid);
    const period = Math.max(MIN_PERIOD_MS, Math.min(MAX_PERIOD_MS, after / 3));
    const { tenant = null, namespace = null, name } = record.pod.metadata;
    const asked = clock.now();
    try {
      const pod = await client.get<Pod>(Resources.Pod, { tenant, namespace }, name);
      if (uidOf(pod) !== uid) this.#o.onGone(record.pod);
      else if (pod.metadata.deletionTimestamp !== undefined) this.#o.onPod(pod);
      else this.#heard(uid, asked);
    } catch (error) {
      if (isMeshError(error, 'not-found')) this.#o.onGone(record.pod);
      else this.#o.log.debug('no word about a fenced pod', { pod: nameOf(record.pod), err: error });
    }
    return period;
  }

  #heard(uid: string, asked: number): void {
    const before = this.#o.records.get(uid);
    if (before === undefined) return;
    const wasFenced = (fencedAt(before, asked) ?? Number.POSITIVE_INFINITY) <= asked;
    this.#o.records.change(uid, { wordAt: asked });
    if (wasFenced) this.#o.log.info('the region wants a fenced pod again', { pod: nameOf(before.pod), silentMs: asked - (before.wordAt ?? asked) });
    if (wasFenced || before.wordAt === undefined) this.#o.onWord(uid);
  }
}
