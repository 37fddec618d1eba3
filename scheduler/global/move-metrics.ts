/** What the mover counts, for Prometheus. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { MoveDecision } from './mover-model.ts';

export class MoveMetrics {
  readonly registry = new Registry();
  readonly #started: Counter;
  readonly #done: Counter;
  readonly #undone: Counter;
  readonly #fenced: Counter;
  readonly #bytes: Counter;
  readonly #waiting = new Map<string, ReadonlySet<string>>();

  constructor() {
    const registers = [this.registry];
    const counter = (name: string, help: string, ...labelNames: string[]): Counter => new Counter({ name, help, labelNames, registers });
    this.#started = counter('proxima_moves_started_total', 'Sites that an application began to start at, by why: gain, repair or first', 'why');
    this.#done = counter('proxima_moves_done_total', 'Sites that an application took over with all of their traffic, and that it left', 'what');
    this.#undone = counter('proxima_moves_undone_total', 'Moves given up, by why', 'why');
    this.#fenced = counter('proxima_moves_epochs_raised_total', 'Times that what runs at a site out of reach was given up for good');
    this.#bytes = counter('proxima_moves_transferred_bytes_total', 'Bytes of VM state that moves took along');
    const waiting = this.#waiting;
    new Gauge({
      name: 'proxima_moves_waiting',
      help: 'Applications that wait to enter or leave a site, by for what',
      labelNames: ['why'],
      registers,
      collect() {
        this.reset();
        for (const why of ['budget', 'fence']) this.set({ why }, [...waiting.values()].filter((w) => w.has(why)).length);
      },
    });
  }

  moved(application: string, decision: MoveDecision, why: 'gain' | 'repair' | 'first', raised: number): void {
    for (const e of decision.events) {
      if (e.phase === 'starting') this.#started.inc({ why });
      else if (e.phase === 'serving') this.#done.inc({ what: 'entered' });
      else if (e.phase === 'restored') this.#bytes.inc(e.bytes ?? 0);
    }
    this.#done.inc({ what: 'left' }, decision.steps.filter((s) => s.kind === 'stop').length);
    for (const u of decision.undone) this.#undone.inc({ why: u.why });
    this.#fenced.inc(raised);
    if (decision.waiting.length === 0) this.#waiting.delete(application);
    else this.#waiting.set(application, new Set(decision.waiting.map((w) => w.why)));
  }

  forget(application: string): void {
    this.#waiting.delete(application);
  }
}
