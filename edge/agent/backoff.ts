/** When a container or a VM that ended may start again: at once the first time, then 1 s doubling to 5 minutes; ten minutes of running forgive. */
import type { Crash } from './model.ts';

const FIRST_MS = 1000;
const MAX_MS = 300_000;
const FORGIVE_MS = 600_000;

export function afterEnd(last: Crash | undefined, attempt: number, ranMs: number, now: number): Crash {
  return { count: ranMs >= FORGIVE_MS ? 1 : (last?.count ?? 0) + 1, at: now, attempt };
}

/** The earliest start, ms; 0 = any time. */
export function startableAt(crash: Crash | undefined): number {
  if (crash === undefined || crash.count <= 1) return 0;
  return crash.at + Math.min(MAX_MS, FIRST_MS * 2 ** (crash.count - 2));
}
