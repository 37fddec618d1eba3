/** Back-off as data: an iterator of delays, entropy injected, so that a test reads the schedule instead of waiting for it. */
export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  readonly factor?: number;
  /** Share of each delay that is random, 0..1. */
  readonly jitter?: number;
  readonly random?: () => number;
}

export function* backoff(options: BackoffOptions): Generator<number, never> {
  const { firstMs, maxMs, factor = 2, jitter = 0.2, random = Math.random } = options;
  let delay = firstMs;
  for (;;) {
    yield Math.round(delay * (1 - jitter + 2 * jitter * random()));
    delay = Math.min(maxMs, delay * factor);
  }
}
