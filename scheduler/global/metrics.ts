/** What the global scheduler counts, for Prometheus. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Reach } from './model.ts';

const REACHES: readonly Reach[] = ['reachable', 'returning', 'suspect', 'cut-off', 'down'];

export interface SchedulerReads {
  readonly shards: () => number;
  /** ms since the lease of this instance was renewed. */
  readonly silentMs: () => number;
  readonly reaches: () => Iterable<Reach>;
  /** Rows of telemetry in use, by kind. */
  readonly rows: () => Readonly<Record<string, number>>;
}

export class SchedulerMetrics {
  readonly registry = new Registry();
  readonly #pass: Histogram;
  readonly #planned: Counter;
  readonly #moved: Counter;
  readonly #refused: Counter;
  readonly #lapsed: Counter;

  constructor(read: SchedulerReads) {
    const registers = [this.registry];
    this.#pass = new Histogram({ name: 'proxima_global_pass_seconds', help: 'Time of a pass of the global scheduler', buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10], registers });
    this.#planned = new Counter({ name: 'proxima_global_planned_total', help: 'Applications planned, by how: all together, or those that changed', labelNames: ['how'], registers });
    this.#moved = new Counter({ name: 'proxima_global_looked_at_total', help: 'Times that an application was compared with what runs, by outcome', labelNames: ['outcome'], registers });
    this.#refused = new Counter({ name: 'proxima_global_fenced_total', help: 'Writes that were not made or were refused because a shard is not ours any more', labelNames: ['by'], registers });
    this.#lapsed = new Counter({ name: 'proxima_global_lease_lapses_total', help: 'Times that this instance could not renew its lease in time, and acted on nothing until it could', registers });
    new Gauge({
      name: 'proxima_global_lease_age_seconds',
      help: 'Time since this instance renewed its lease in the global API',
      registers,
      collect() {
        this.set(read.silentMs() / 1000);
      },
    });
    new Gauge({
      name: 'proxima_global_shards_held',
      help: 'Shards of applications that this instance holds',
      registers,
      collect() {
        this.set(read.shards());
      },
    });
    new Gauge({
      name: 'proxima_global_sites',
      help: 'Sites by how they stand',
      labelNames: ['reach'],
      registers,
      collect() {
        const counts = new Map<string, number>(REACHES.map((r) => [r, 0]));
        for (const r of read.reaches()) counts.set(r, (counts.get(r) ?? 0) + 1);
        for (const [reach, n] of counts) this.set({ reach }, n);
      },
    });
    new Gauge({
      name: 'proxima_global_telemetry_rows',
      help: 'Rows of telemetry held in memory, by kind',
      labelNames: ['kind'],
      registers,
      collect() {
        for (const [kind, n] of Object.entries(read.rows())) this.set({ kind }, n);
      },
    });
  }

  pass(seconds: number): void {
    this.#pass.observe(seconds);
  }

  planned(how: 'all' | 'changed', count: number): void {
    this.#planned.inc({ how }, count);
  }

  lookedAt(outcome: 'done' | 'failed'): void {
    this.#moved.inc({ outcome });
  }

  lapsed(): void {
    this.#lapsed.inc();
  }

  /** itself: not made, an API was not asked. */
  fenced(by: 'itself' | 'api'): void {
    this.#refused.inc({ by });
  }
}
