/**
 * Did a move keep what the plan promised? What was predicted for each client region, and how it fared before, are kept with the move; while both
 * places still run, what the fronts measure is held against both. Clearly worse than either, and the move is undone. Pure.
 */
export interface Prospect {
  readonly clientRegion: string;
  readonly predictedMs: number;
  /** Where it was served from before; null = not known, so that the prediction alone counts. */
  readonly beforeMs: number | null;
}

/** Of one site that takes over; kept with the Placement. */
export interface Trial {
  /** When it got its first traffic; null = it has none yet. */
  readonly since: number | null;
  readonly promised: readonly Prospect[];
  /** Share of the connections that failed before it had traffic, 0..1. */
  readonly failedBefore: number;
}

/** Of one client region since the trial began. */
export interface Measured {
  readonly clientRegion: string;
  /** Connections that went to the site. */
  readonly connections: number;
  readonly latencyMs: number | null;
  /** Of the connections to the site, 0..1; null = not counted. */
  readonly failed: number | null;
}

export interface UndoOptions {
  /** Connections at the new place before it is judged. @default 20 */
  readonly samples?: number;
  /** Worse is more than this many times what was predicted... @default 1.25 */
  readonly ratio?: number;
  /** ...and so many ms above it, and above what was before. @default 5 */
  readonly marginMs?: number;
  /** And this share of its connections failing, 0..1. @default 0.1 */
  readonly failed?: number;
}

const connectionsOf = (measured: readonly Measured[]): number => measured.reduce((n, m) => n + m.connections, 0);
const ms = (value: number): string => `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;

/**
 * The sentence why the move is undone; null = it is not. Slowness is looked at first: a handshake that is under way when a sample ends counts as
 * failed until the next one, and at a slow place more are.
 */
export function judgeTrial(site: string, trial: Trial, measured: readonly Measured[], options: UndoOptions = {}): string | null {
  const { samples = 20, ratio = 1.25, marginMs = 5, failed = 0.1 } = options;
  if (trial.since === null || connectionsOf(measured) < samples) return null;
  const why = slower(trial, measured, { samples, ratio, marginMs }) ?? failing(measured, failed);
  return why === null ? null : `a move to ${site} was undone: ${why}`;
}

function slower(trial: Trial, measured: readonly Measured[], { samples, ratio, marginMs }: Required<Omit<UndoOptions, 'failed'>>): string | null {
  const known = measured.flatMap((m) => {
    const p = trial.promised.find((x) => x.clientRegion === m.clientRegion);
    return p === undefined || m.latencyMs === null ? [] : [{ ...p, n: m.connections, latencyMs: m.latencyMs }];
  });
  const n = known.reduce((sum, k) => sum + k.n, 0);
  if (n < samples) return null;
  const mean = (of: (k: (typeof known)[number]) => number): number => known.reduce((sum, k) => sum + k.n * of(k), 0) / n;
  const [now, predicted, before] = [mean((k) => k.latencyMs), mean((k) => k.predictedMs), mean((k) => k.beforeMs ?? k.predictedMs)];
  if (now <= predicted * ratio || now <= predicted + marginMs || now <= before + marginMs) return null;
  const worst = known.toSorted((a, b) => b.n * (b.latencyMs - b.predictedMs) - a.n * (a.latencyMs - a.predictedMs))[0];
  const whose = worst === undefined || known.length === 1 ? `client region ${worst?.clientRegion ?? ''}` : `${known.length} client regions, most of all ${worst.clientRegion}`;
  return `${whose} measured ${ms(now)} over ${Math.round(n)} connections; ${ms(predicted)} were predicted, ${ms(before)} it was before`;
}

function failing(measured: readonly Measured[], tolerated: number): string | null {
  const counted = measured.filter((m) => m.failed !== null);
  const failures = counted.reduce((n, m) => n + m.connections * (m.failed ?? 0), 0) / Math.max(1, connectionsOf(counted));
  return failures > tolerated ? `${(failures * 100).toFixed(0)} % of ${Math.round(connectionsOf(measured))} connections failed there` : null;
}

/**
 * The share of a site's own connections that failed, out of what its fronts count over all sites: `failedBefore` of everything failed already, what
 * is more than that is the site's.
 */
export function failedOf(failed: number | null, failedBefore: number, share: number): number | null {
  if (failed === null || share <= 0) return null;
  return Math.min(1, Math.max(0, (failed - failedBefore) / share));
}
