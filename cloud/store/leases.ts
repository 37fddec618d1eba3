/** Leases of the embedded engine: ids and lifetimes are on disk, deadlines are not; after a restart each lease gets one full lifetime again. */
import type { Database } from 'lmdb';
import { MeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';

export class Leases {
  readonly #table: Database<number, number>;
  readonly #onExpired: (lease: number) => Promise<void>;
  readonly #log: Logger;
  readonly #timers = new Map<number, NodeJS.Timeout>();
  #last = 0;

  constructor(table: Database<number, number>, onExpired: (lease: number) => Promise<void>, log: Logger) {
    this.#table = table;
    this.#onExpired = onExpired;
    this.#log = log;
    for (const { key } of table.getRange({})) {
      this.#last = Math.max(this.#last, key);
      this.#arm(key);
    }
  }

  has(lease: number): boolean {
    return this.#table.get(lease) !== undefined;
  }

  async grant(ttlMs: number): Promise<number> {
    if (!Number.isInteger(ttlMs) || ttlMs < 1) throw new MeshError('invalid', `ttlMs: expected a positive integer, got ${ttlMs}`, { fields: { path: 'ttlMs' } });
    const lease = Math.max(this.#last + 1, Date.now());
    this.#last = lease;
    await this.#table.put(lease, ttlMs);
    this.#arm(lease);
    return lease;
  }

  keepAlive(lease: number): void {
    if (!this.has(lease)) throw new MeshError('not-found', `lease ${lease} is not there`);
    this.#arm(lease);
  }

  async remove(lease: number): Promise<void> {
    clearTimeout(this.#timers.get(lease));
    this.#timers.delete(lease);
    await this.#table.remove(lease);
  }

  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #arm(lease: number): void {
    clearTimeout(this.#timers.get(lease));
    const timer = setTimeout(() => {
      this.#onExpired(lease).catch((error: unknown) => {
        this.#log.warn('lease expiry failed, trying again', { lease, err: error });
        this.#arm(lease);
      });
    }, this.#table.get(lease) ?? 0);
    timer.unref();
    this.#timers.set(lease, timer);
  }
}
