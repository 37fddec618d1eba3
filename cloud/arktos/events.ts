/**
 * Events: what happened to an object, for `kubectl describe` and `kubectl get events`. The same thing happening again counts up one Event, found
 * by its name, so any number of controllers and restarts write the same one. What an object may say is limited as in Kubernetes (25 at once,
 * then one in five minutes), what waits to be written is limited too, and the server lets Events go after about an hour.
 */
import { createHash } from 'node:crypto';
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';

export interface Note {
  readonly on: KubeObject;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  /** Who says so: `scheduler`, `controllers`, `agent`. */
  readonly from: string;
  readonly host?: string;
}

export interface Event extends KubeObject {
  readonly involvedObject: { readonly apiVersion: string; readonly kind: string; readonly name: string; readonly namespace?: string; readonly uid?: string };
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  readonly count: number;
  readonly firstTimestamp: string;
  readonly lastTimestamp: string;
  readonly source: { readonly component: string; readonly host?: string };
  readonly reportingComponent: string;
  readonly reportingInstance: string;
}

const BURST = 25;
const REFILL_MS = 300_000;
const MAX_WAITING = 1_024;
const MAX_OBJECTS = 4_096;
const MAX_MESSAGE = 1_024;

/** Tells what an object may still say. `left` falls with each event and rises with time. */
interface Allowance {
  readonly left: number;
  readonly at: number;
}

export function spend(before: Allowance | undefined, now: number): Allowance | null {
  const had = before === undefined ? BURST : Math.min(BURST, before.left + (now - before.at) / REFILL_MS);
  return had < 1 ? null : { left: had - 1, at: now };
}

/** The Event as it is first written; its name says what it is about, so that the same again finds it. */
export function eventOf(note: Note, count: number, first: number, last: number): Event {
  const { on, type, reason, from, host } = note;
  const { name, uid, tenant, namespace } = on.metadata;
  const message = note.message.slice(0, MAX_MESSAGE);
  const time = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;
  const hash = createHash('sha256').update(JSON.stringify([on.kind, uid, type, reason, message, from])).digest('hex').slice(0, 16);
  return {
    apiVersion: 'v1',
    kind: 'Event',
    // What is of no namespace tells its events in the operators' own.
    metadata: { name: `${name.slice(0, 230)}.${hash}`, tenant: tenant ?? 'system', namespace: namespace ?? 'default' },
    involvedObject: { apiVersion: on.apiVersion, kind: on.kind, name, ...(namespace === undefined ? {} : { namespace }), ...(uid === undefined ? {} : { uid }) },
    type,
    reason,
    message,
    count,
    firstTimestamp: time(first),
    lastTimestamp: time(last),
    source: { component: from, ...(host === undefined ? {} : { host }) },
    reportingComponent: from,
    reportingInstance: host ?? '',
  };
}

interface Waiting {
  readonly note: Note;
  readonly count: number;
  readonly first: number;
  readonly last: number;
}

export class Events implements Service {
  readonly name = 'events';
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #loop: Loop;
  readonly #waiting = new Map<string, Waiting>();
  readonly #allowances = new Map<string, Allowance>();
  #isFull = false;

  constructor(deps: { readonly client: Client; readonly clock: Clock; readonly log: Logger }) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#loop = new Loop({ name: this.name, log: deps.log, clock: deps.clock, resyncMs: 0, concurrency: 2, maxRetryMs: 5_000, run: (key) => this.#write(key) });
  }

  start(signal: AbortSignal): Promise<void> {
    return this.#loop.start(signal);
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Never waits and never fails: what cannot be told is not told. */
  tell(note: Note): void {
    const now = this.#clock.now();
    const { metadata } = eventOf(note, 1, now, now);
    const key = [metadata.tenant, metadata.namespace, metadata.name].join('/');
    const waiting = this.#waiting.get(key);
    if (waiting === undefined && !this.#may(note, now)) return;
    this.#waiting.set(key, { note, count: (waiting?.count ?? 0) + 1, first: waiting?.first ?? now, last: now });
    this.#loop.trigger(key);
  }

  #may(note: Note, now: number): boolean {
    const isFull = this.#waiting.size >= MAX_WAITING;
    if (isFull !== this.#isFull) this.#log.warn(isFull ? 'events are left out: too many wait to be written' : 'events are written again', { waiting: this.#waiting.size });
    this.#isFull = isFull;
    if (isFull) return false;
    const uid = note.on.metadata.uid ?? note.on.metadata.name;
    const left = spend(this.#allowances.get(uid), now);
    if (left === null) return false;
    // Written anew, the most recent is last: the object that was silent longest is forgotten first.
    this.#allowances.delete(uid);
    this.#allowances.set(uid, left);
    const oldest = this.#allowances.keys().next().value;
    if (this.#allowances.size > MAX_OBJECTS && oldest !== undefined) this.#allowances.delete(oldest);
    return true;
  }

  async #write(key: string): Promise<void> {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) return this.#loop.forget(key);
    const event = eventOf(waiting.note, waiting.count, waiting.first, waiting.last);
    const place = { tenant: event.metadata.tenant ?? null, namespace: event.metadata.namespace ?? null };
    try {
      const known = await this.#client.get<Event>(Resources.Event, place, event.metadata.name).catch((error: unknown) => {
        if (isMeshError(error, 'not-found')) return null;
        throw error;
      });
      if (known === null) await this.#client.create(Resources.Event, event);
      else await this.#client.patch(Resources.Event, place, event.metadata.name, { metadata: { resourceVersion: known.metadata.resourceVersion }, count: (known.count ?? 1) + waiting.count, lastTimestamp: event.lastTimestamp });
    } catch (error) {
      // Its namespace goes or has gone, and everything in it: there is nobody left to tell.
      if (!isMeshError(error, 'forbidden') && !isMeshError(error, 'not-found')) throw error;
    }
    this.#done(key, waiting);
  }

  /** What came in meanwhile is still to be written. */
  #done(key: string, written: Waiting): void {
    const now = this.#waiting.get(key);
    if (now === undefined || now.count === written.count) {
      this.#waiting.delete(key);
      this.#loop.forget(key);
      return;
    }
    this.#waiting.set(key, { ...now, count: now.count - written.count });
    this.#loop.trigger(key);
  }
}
