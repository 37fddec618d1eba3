/** Tells an operator what telemetry had to repair and where to look: each kind of each site once an hour, with how often since then. */
import type { Logger } from '../../base/log.ts';
import type { Repair } from './telemetry.ts';

interface Said {
  readonly what: string;
  readonly next: string;
}

/** Kinds that point at something to mend. What a resend or a short absence leaves (duplicate, late, missing) is only counted. */
const SAID: Readonly<Partial<Record<Repair, Said>>> = {
  'clock-off': { what: 'its clock is more than 10 s off: samples are taken by the time since they were sent', next: 'set the clocks of its nodes (chronyc tracking)' },
  'below-light-speed': { what: 'round trips that light in fibre cannot make were dropped', next: 'compare spec.location of the Site, and the location of the client region in the configuration, with where they are' },
  asymmetric: { what: 'a way and its reverse differ more than twofold: the shorter counts', next: 'compare GET /v1/links of both sites' },
  absurd: { what: 'numbers that cannot be were dropped', next: 'look at the log of its agents' },
  malformed: { what: 'samples without a sequence number were dropped', next: 'proxima upgrade, at the site' },
  evicted: { what: 'there was no memory for all rows: the least used went', next: 'raise maxRows or maxWays, or have fewer client regions' },
};
const AGAIN_MS = 3_600_000;
const MOST = 100_000;

export class RepairLog {
  readonly #log: Logger;
  /** By `<site> <kind>`: when it was said last, and how often it was since. */
  readonly #said = new Map<string, { at: number; times: number }>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** `news`: `<site> <kind>` to how often, since the last call. */
  note(news: ReadonlyMap<string, number>, now: number): void {
    for (const [key, times] of news) {
      const space = key.lastIndexOf(' ');
      const said = SAID[key.slice(space + 1) as Repair];
      if (said === undefined) continue;
      const last = this.#said.get(key);
      if (last !== undefined && now - last.at < AGAIN_MS) {
        last.times += times;
        continue;
      }
      if (this.#said.size >= MOST) this.#said.clear();
      this.#log.warn('telemetry repaired', { site: key.slice(0, space), repair: key.slice(space + 1), times: times + (last?.times ?? 0), ...said });
      this.#said.set(key, { at: now, times: 0 });
    }
  }
}
