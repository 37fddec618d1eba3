/** Committed batches in order of revision, to any number of watchers; a watcher holds a position, not a queue, so a slow one costs nothing. */
import { MeshError } from '../../api/errors.ts';
import type { StoreBatch, StoreEvent, WatchQuery } from './port.ts';

/** For watchers that are busy with what came before; whoever is further behind reads from disk. */
const RING = 512;
/** A quiet watcher learns at most this often that the store moved on without it. */
const PROGRESS_MS = 1_000;

interface Waiting {
  readonly concerns: (event: StoreEvent) => boolean;
  /** `upTo`: nothing until there concerned it. */
  readonly wake: (upTo: number) => void;
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
      this.#tell(next);
    }
  }

  /** Wakes those whom it concerns. A region has dozens of watchers and each write concerns one or two; the others hear of it once a second. */
  #tell({ revision, events }: StoreBatch): void {
    for (const w of this.#waiting) {
      if (events.some(w.concerns)) w.wake(revision - 1);
      else w.later ??= setTimeout(() => w.wake(this.#revision), PROGRESS_MS).unref();
    }
  }

  close(): void {
    this.#closed = true;
    for (const w of this.#waiting) w.wake(0);
  }

  async *watch({ prefix, after, wants }: WatchQuery, signal: AbortSignal): AsyncGenerator<StoreBatch> {
    const concerns = wants === undefined ? (e: StoreEvent): boolean => e.key.startsWith(prefix) : (e: StoreEvent): boolean => e.key.startsWith(prefix) && wants(e);
    let position = after;
    let told = Date.now();
    let skipped = false;
    // One listener for the whole watch: to add and remove one costs more than the wait itself.
    let wake: Waiting['wake'] | null = null;
    const onAbort = (): void => wake?.(0);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!signal.aborted && !this.#closed) {
        if (position >= this.#revision) {
          if (skipped && Date.now() - told >= PROGRESS_MS) {
            yield { revision: position, events: [] };
            told = Date.now();
            skipped = false;
          }
          if (position < this.#revision || signal.aborted || this.#closed) continue;
          const upTo = await this.#next(concerns, skipped ? PROGRESS_MS - (Date.now() - told) : null, (w) => (wake = w));
          wake = null;
          skipped ||= upTo > position;
          position = Math.max(position, upTo);
          continue;
        }
        position += 1;
        const ringed = this.#ring[position % RING];
        const batch = ringed?.revision === position ? ringed : this.#read(position);
        const events = batch.events.filter(concerns);
        skipped ||= events.length === 0;
        if (events.length === 0) continue;
        yield { revision: position, events };
        told = Date.now();
        skipped = false;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    if (this.#closed && !signal.aborted) throw new MeshError('unavailable', 'the store was closed');
  }

  /** Resolves with the revision up to which nothing concerned the watcher. */
  #next(concerns: Waiting['concerns'], afterMs: number | null, offer: (wake: Waiting['wake']) => void): Promise<number> {
    return new Promise((resolve) => {
      const wake = (upTo: number): void => {
        this.#waiting.delete(waiting);
        clearTimeout(waiting.later);
        resolve(upTo);
      };
      const waiting: Waiting = { concerns, wake, later: afterMs === null ? undefined : setTimeout(() => wake(this.#revision), Math.max(1, afterMs)).unref() };
      this.#waiting.add(waiting);
      offer(wake);
    });
  }
}
