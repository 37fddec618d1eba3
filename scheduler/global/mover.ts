/**
 * From where instances are to where they are wanted: start first, wait until Ready, shift the fronts' weights 5 -> 50 -> 100, drain what is not
 * wanted any more, then stop it. Pure: (wanted, observed, now) -> steps and the traffic state to remember. Everything needed to go on after
 * a crash is in objects: the deployments, the pods, the fronts, and the traffic state in an annotation of the Placement.
 */
import type { Reach } from './model.ts';
import type { PlannedSite } from './planner.ts';

/** Of one site; kept with the Placement. */
export interface Traffic {
  readonly state: 'starting' | 'serving' | 'draining';
  readonly factor: 0 | 5 | 50 | 100;
  /** When state or factor changed last. */
  readonly since: number;
  /** Since when it has traffic and no instance is Ready; one failed probe is not the end of an instance. */
  readonly unreadySince?: number;
}

export interface ObservedSite {
  readonly site: string;
  readonly region: string;
  readonly reach: Reach;
  /** Does the API that holds its deployment answer now? */
  readonly canAct: boolean;
  /** null = there is no deployment. */
  readonly replicas: number | null;
  readonly ready: number;
}

export interface MoveInput {
  readonly wanted: readonly PlannedSite[];
  readonly observed: readonly ObservedSite[];
  readonly traffic: Readonly<Record<string, Traffic>>;
  readonly min: number;
  readonly now: number;
}

export interface MoverOptions {
  /** Between 5, 50 and 100 %. @default 2000 */
  readonly stepMs?: number;
  /** From weight 0 until the instances are stopped. @default 8000 */
  readonly drainMs?: number;
  /** Without Ready for so long, a start is undone. @default 120000 */
  readonly startTimeoutMs?: number;
  /** A site with traffic may be without a Ready instance for so long before its ramp begins anew. @default 5000 */
  readonly unreadyMs?: number;
}

export type MoveStep =
  | { readonly kind: 'scale'; readonly site: string; readonly region: string; readonly replicas: number; readonly reason: string }
  | { readonly kind: 'stop'; readonly site: string; readonly region: string; readonly reason: string };

export interface MoveDecision {
  readonly steps: readonly MoveStep[];
  readonly traffic: Readonly<Record<string, Traffic>>;
  /** Starts that were given up: the planner must not choose these sites for a while. */
  readonly undone: readonly { readonly site: string; readonly reason: string }[];
  /** When time alone may change the answer, ms since the epoch; null = only what is observed or wanted can. */
  readonly nextAt: number | null;
  /** Sentences for the Placement's history, one per transition. */
  readonly events: readonly { readonly site: string; readonly phase: string; readonly reason: string }[];
}

export const isUsable = (reach: Reach): boolean => reach === 'reachable' || reach === 'returning' || reach === 'suspect';

const NEXT: Readonly<Record<Traffic['factor'], Traffic['factor']>> = { 0: 5, 5: 50, 50: 100, 100: 100 };

interface Draft {
  readonly steps: MoveStep[];
  readonly events: MoveDecision['events'][number][];
  readonly undone: MoveDecision['undone'][number][];
  readonly traffic: Record<string, Traffic>;
  readonly begin: (o: ObservedSite, phase: string, t: Omit<Traffic, 'since'>, reason: string) => void;
}

export function decideMoves(input: MoveInput, options: MoverOptions = {}): MoveDecision {
  const { now, traffic } = input;
  const { drainMs = 8_000 } = options;
  const wanted = new Map(input.wanted.map((w) => [w.site, w]));
  const next: Record<string, Traffic> = {};
  const events: Draft['events'] = [];
  const begin: Draft['begin'] = (o, phase, t, reason) => {
    next[o.site] = { ...t, since: now };
    events.push({ site: o.site, phase, reason });
  };
  const draft: Draft = { steps: [], events, undone: [], traffic: next, begin };
  const isSettled = hasReplacement(input, wanted);
  for (const o of input.observed) {
    const t = traffic[o.site];
    const w = wanted.get(o.site);
    if (t !== undefined) next[o.site] = t;
    if (w !== undefined) {
      if (o.canAct && o.replicas !== w.instances) draft.steps.push({ kind: 'scale', site: o.site, region: o.region, replicas: w.instances, reason: w.reason });
      ramp(o, w, t, input, options, draft);
    } else if (o.replicas === null) {
      if (o.canAct) delete next[o.site];
    } else if (t?.state === 'draining') {
      if (o.canAct && (now - t.since >= drainMs || o.ready === 0)) draft.steps.push({ kind: 'stop', site: o.site, region: o.region, reason: 'drained' });
    } else if (isSettled) begin(o, 'draining', { state: 'draining', factor: 0 }, `${o.site} is not in the plan any more and its replacement serves`);
  }
  return { steps: draft.steps, traffic: next, undone: draft.undone, events, nextAt: nextOf(next, input, options) };
}

/** The soonest of the timers that run: of a ramp, of a drain, of a start that may be given up, of a site that lost its last Ready instance. */
function nextOf(traffic: MoveDecision['traffic'], input: MoveInput, options: MoverOptions): number | null {
  const { stepMs = 2_000, drainMs = 8_000, startTimeoutMs = 120_000, unreadyMs = 5_000 } = options;
  const times = input.observed.flatMap((o) => {
    const t = traffic[o.site];
    if (t === undefined) return [];
    if (t.state === 'draining') return [t.since + drainMs];
    if (t.unreadySince !== undefined) return [t.unreadySince + unreadyMs];
    if (t.factor < 100) return [t.since + (o.ready > 0 ? stepMs : startTimeoutMs)];
    return [];
  });
  const soonest = Math.min(...times.map((t) => Math.max(t, input.now + 1)));
  return Number.isFinite(soonest) ? soonest : null;
}

/** A wanted site's share of traffic: up step by step while it is Ready, back to nothing when it is not for long, given up when it never is. */
function ramp(o: ObservedSite, w: PlannedSite, t: Traffic | undefined, input: MoveInput, options: MoverOptions, draft: Draft): void {
  const { stepMs = 2_000, startTimeoutMs = 120_000, unreadyMs = 5_000 } = options;
  const { now } = input;
  const { begin } = draft;
  if (t === undefined) return begin(o, 'starting', { state: 'starting', factor: 0 }, w.reason);
  if (t.state === 'draining') return begin(o, 'serving', { state: 'serving', factor: o.ready > 0 ? 100 : 0 }, `wanted again: ${w.reason}`);
  if (o.ready === 0 && t.factor > 0 && isUsable(o.reach)) {
    const unreadySince = t.unreadySince ?? now;
    if (now - unreadySince >= unreadyMs) return begin(o, 'starting', { state: 'starting', factor: 0 }, 'no instance is Ready any more');
    draft.traffic[o.site] = { ...t, unreadySince };
    return;
  }
  const othersServe = input.observed.some((x) => x.site !== o.site && x.ready > 0 && isUsable(x.reach) && input.traffic[x.site]?.factor === 100);
  if (o.ready > 0 && t.factor < 100 && (t.factor === 0 || now - t.since >= stepMs)) {
    const factor = othersServe ? NEXT[t.factor] : 100;
    return begin(o, factor === 100 ? 'serving' : `traffic ${factor} %`, { state: factor === 100 ? 'serving' : 'starting', factor }, w.reason);
  }
  if (o.ready === 0 && t.state === 'starting' && isUsable(o.reach) && !w.isHeld && now - t.since >= startTimeoutMs && othersServe) {
    const reason = `a move to ${o.site} was undone: no instance became Ready in ${Math.round(startTimeoutMs / 1000)} s`;
    draft.undone.push({ site: o.site, reason });
    draft.events.push({ site: o.site, phase: 'undone', reason });
  } else if (t.unreadySince !== undefined) draft.traffic[o.site] = { state: t.state, factor: t.factor, since: t.since };
}

/** Old places are left only when the new ones have taken all of their traffic, and never below the minimum. */
function hasReplacement(input: MoveInput, wanted: ReadonlyMap<string, PlannedSite>): boolean {
  const active = input.observed.filter((o) => wanted.get(o.site)?.isHeld === false);
  const inUse = active.filter((o) => isUsable(o.reach));
  if (inUse.length === 0) return false;
  const serving = inUse.every((o) => o.ready > 0 && input.traffic[o.site]?.factor === 100);
  const ready = inUse.reduce((sum, o) => sum + o.ready, 0);
  const planned = active.reduce((sum, o) => sum + (wanted.get(o.site)?.instances ?? 0), 0);
  return serving && ready >= Math.min(input.min, planned);
}
