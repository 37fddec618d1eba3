/** Committed batches in order of revision, to any number of watchers; a watcher holds a position, not a queue, so a slow one costs nothing. */
import { MeshError } from '../../api/errors.ts';
import type { StoreBatch } from './port.ts';

const RING = 4_096;
/** A quiet watcher learns at most this often that the store moved on without it. */
const PROGRESS_MS = 1_000;

export class Feed {
  readonly #ring: (StoreBatch | undefined)[] = Array.from({ length: RING });
  /** Acknowledged out of order: kept until the ones before are. */
  readonly #early = new Map<number, StoreBatch>();
  readonly #wake = new Set<() => void>();
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
    }
    this.#wakeAll();
  }

  close(): void {
    this.#closed = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    const waiting = [...this.#wake];
    this.#wake.clear();
    for (const wake of waiting) wake();
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
        await this.#next(position, signal, skipped ? PROGRESS_MS - (Date.now() - told) : null);
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

  #next(position: number, signal: AbortSignal, afterMs: number | null): Promise<void> {
    return new Promise((resolve) => {
      if (this.#revision > position || this.#closed) return resolve();
      const done = (): void => {
        this.#wake.delete(done);
        signal.removeEventListener('abort', done);
        clearTimeout(timer);
        resolve();
      };
      const timer = afterMs === null ? undefined : setTimeout(done, Math.max(1, afterMs));
      timer?.unref();
      this.#wake.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
