/** Committed batches in order of revision, to any number of watchers; a watcher holds a position, not a queue, so a slow one costs nothing. */
import { MeshError } from '../../api/errors.ts';
import type { StoreBatch } from './port.ts';

const RING = 4_096;
/** A quiet watcher learns at most this often that the store moved on without it. */
const PROGRESS_MS = 1_000;

interface Waiting {
  readonly prefix: string;
  readonly wake: () => void;
  /** Wakes it although nothing concerned it. */
  later: NodeJS.Timeout | undefined;
}

export class Feed {
  readonly #ring: (StoreBatch | undefined)[] = Array.from({ length: RING });
  /** Acknowledged out of order: kept until the ones before are. */
  readonly #early = new Map<number, StoreBatch>();
  readonly #waiting = new Set<Waiting>();
  readonly #read: (revision: number) => StoreBatch;
  #revision: number;
  #closed = false;

  constructor(revision: number, read: (revision: number) => StoreBatch) {
    this.#revision = revision;
    this.#read = read;
  }

  get revision(): number {
    return this.#revision;
  }

  publish(batch: StoreBatch): void {
    this.#early.set(batch.revision, batch);
    for (let next = this.#early.get(this.#revision + 1); next !== undefined; next = this.#early.get(this.#revision + 1)) {
      this.#early.delete(next.revision);
      this.#ring[next.revision % RING] = next;
      this.#revision = next.revision;
      this.#tell(next.events);
    }
  }

  /** Wakes those whom it concerns. A region has dozens of watchers and each write concerns one or two; the others hear of it once a second. */
  #tell(events: StoreBatch['events']): void {
    for (const w of this.#waiting) {
      if (events.some((e) => e.key.startsWith(w.prefix))) w.wake();
      else w.later ??= setTimeout(w.wake, PROGRESS_MS).unref();
    }
  }

  close(): void {
    this.#closed = true;
    for (const w of this.#waiting) w.wake();
  }

  async *watch(prefix: string, after: number, signal: AbortSignal): AsyncGenerator<StoreBatch> {
    let position = after;
    let told = Date.now();
    let skipped = false;
    while (!signal.aborted && !this.#closed) {
      if (position >= this.#revision) {
        if (skipped && Date.now() - told >= PROGRESS_MS) {
          yield { revision: position, events: [] };
          told = Date.now();
          skipped = false;
        }
        await this.#next(prefix, position, signal, skipped ? PROGRESS_MS - (Date.now() - told) : null);
        continue;
      }
      position += 1;
      const ringed = this.#ring[position % RING];
      const batch = ringed?.revision === position ? ringed : this.#read(position);
      const events = batch.events.filter((e) => e.key.startsWith(prefix));
      skipped ||= events.length === 0;
      if (events.length === 0) continue;
      yield { revision: position, events };
      told = Date.now();
      skipped = false;
    }
    if (this.#closed && !signal.aborted) throw new MeshError('unavailable', 'the store was closed');
  }

  #next(prefix: string, position: number, signal: AbortSignal, afterMs: number | null): Promise<void> {
    return new Promise((resolve) => {
      if (this.#revision > position || this.#closed || signal.aborted) return resolve();
      const wake = (): void => {
        this.#waiting.delete(waiting);
        signal.removeEventListener('abort', wake);
        clearTimeout(waiting.later);
        resolve();
      };
      const waiting: Waiting = { prefix, wake, later: afterMs === null ? undefined : setTimeout(wake, Math.max(1, afterMs)).unref() };
      this.#waiting.add(waiting);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
