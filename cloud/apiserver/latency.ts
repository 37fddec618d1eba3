/** How long requests took, by method and code. */
import { Histogram, type Registry } from 'prom-client';

export class Latency {
  readonly #histogram: Histogram;
  /** Looking a label set up costs more than the rest of the observation. */
  readonly #children = new Map<string, Map<number, ReturnType<Histogram['labels']>>>();

  constructor(registry: Registry) {
    this.#histogram = new Histogram({ name: 'apiserver_request_duration_seconds', help: 'Time to answer a request, watches left out', labelNames: ['method', 'code'], buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2], registers: [registry] });
  }

  observe(method: string, code: number, ms: number): void {
    const ofMethod = this.#children.get(method) ?? new Map<number, ReturnType<Histogram['labels']>>();
    this.#children.set(method, ofMethod);
    const child = ofMethod.get(code) ?? this.#histogram.labels(method, String(code));
    ofMethod.set(code, child);
    child.observe(ms / 1000);
  }
}
