/** What the fronts measured of moves under way, put before `undo.ts`; and what is kept of a move that begins, to be judged by. */
import type { Endpoint } from '../../api/kinds/mizar.ts';
import { isUsable, type MoveDecision, readyOf, type Traffic } from './mover-model.ts';
import type { SeenSite } from './observe.ts';
import type { ApplicationPlan } from './planner.ts';
import { SITE_LABEL } from './region-objects.ts';
import type { Surroundings } from './surroundings.ts';
import { failedOf, judgeTrial, type Measured, type Trial } from './undo.ts';

export type Trials = Readonly<Record<string, Trial>>;

const LAST_MINUTE_MS = 60_000;
/** What was good for so long with all of the traffic has kept its promise. */
const PROVEN_MS = 60_000;

/** Sites that turned out worse, with the sentence. */
export function failedTrials(key: string, trials: Trials, observed: readonly SeenSite[], around: Surroundings): ReadonlyMap<string, string> {
  const worse = new Map<string, string>();
  for (const [site, trial] of Object.entries(trials)) {
    const seen = observed.find((o) => o.site === site);
    if (trial.since === null || seen === undefined) continue;
    const verdict = judgeTrial(site, trial, measure(key, site, trial, sharesOf(key, seen, around), around), around.undo);
    if (verdict !== null) worse.set(site, verdict);
  }
  return worse;
}

function measure(key: string, site: string, trial: Trial, shares: ReadonlyMap<string, number>, around: Surroundings): Measured[] {
  const { telemetry, now } = around;
  return trial.promised.flatMap(({ clientRegion }) => {
    const its = telemetry.observed(key, site, clientRegion, trial.since ?? now, now, (front) => shares.get(front) ?? 0);
    const all = telemetry.observed(key, site, clientRegion, trial.since ?? now, now);
    if (its === null || all === null) return [];
    return [{ clientRegion, connections: its.connections, latencyMs: its.latencyMs, failed: failedOf(all.failed, trial.failedBefore, its.connections / all.connections) }];
  });
}

/** By front: which part of its connections goes to the site now. */
function sharesOf(key: string, seen: SeenSite, around: Surroundings): ReadonlyMap<string, number> {
  const its = new Set(seen.pods.map((p) => p.address));
  const shares = new Map<string, number>();
  for (const e of around.regions.flatMap((r): readonly Endpoint[] => r.frontsOf(key))) {
    if (e.spec.type !== 'front') continue;
    const sum = (of: readonly { readonly weight: number }[]): number => of.reduce((n, b) => n + b.weight, 0);
    const all = sum(e.spec.backends);
    if (all > 0) shares.set(e.metadata.labels?.[SITE_LABEL] ?? '', sum(e.spec.backends.filter((b) => its.has(b.address))) / all);
  }
  return shares;
}

/** What is still on trial after a pass: moves for gain that began in it, and those whose old place still runs. */
export function keepTrials(key: string, trials: Trials, planned: ApplicationPlan, observed: readonly SeenSite[], decision: MoveDecision, around: Surroundings): Trials {
  const kept: Record<string, Trial> = {};
  const wanted = new Set(planned.sites.map((s) => s.site));
  const isOldThere = observed.some((o) => !wanted.has(o.site) && o.replicas !== null);
  for (const [site, t] of Object.entries(decision.traffic)) {
    if (!wanted.has(site) || decision.undone.some((u) => u.site === site)) continue;
    const before = trials[site] ?? begun(key, site, t, planned, observed, decision, around);
    const isProven = t.state === 'serving' && (!isOldThere || around.now - t.since >= PROVEN_MS);
    if (before !== undefined && !isProven) kept[site] = before.since === null && t.factor > 0 ? { ...before, since: around.now } : before;
  }
  return kept;
}

function begun(key: string, site: string, t: Traffic, planned: ApplicationPlan, observed: readonly SeenSite[], decision: MoveDecision, around: Surroundings): Trial | undefined {
  const { telemetry, now } = around;
  if (t.state !== 'starting' || t.since !== now || !decision.events.some((e) => e.site === site && e.phase === 'starting')) return undefined;
  const old = observed.filter((o) => o.site !== site && isUsable(o.reach) && readyOf(o) > 0 && decision.traffic[o.site]?.factor === 100).map((o) => o.site);
  if (old.length === 0) return undefined; // nothing was there to be better than
  const promised = planned.serves.filter((s) => s.site === site && s.rps > 0).map(({ clientRegion, rttMs }) => {
    const before = old.map((o) => telemetry.observed(key, o, clientRegion, now - LAST_MINUTE_MS, now)?.latencyMs ?? telemetry.clientRtt(clientRegion, o, [], now)).filter((ms) => ms !== null);
    return { clientRegion, predictedMs: Math.round(rttMs * 10) / 10, beforeMs: before.length === 0 ? null : Math.round(Math.min(...before) * 10) / 10 };
  });
  if (promised.length === 0) return undefined;
  const fared = promised.flatMap((p) => telemetry.observed(key, site, p.clientRegion, now - LAST_MINUTE_MS, now) ?? []).filter((f) => f.failed !== null);
  const all = fared.reduce((n, f) => n + f.connections, 0);
  return { since: null, promised, failedBefore: all === 0 ? 0 : fared.reduce((n, f) => n + f.connections * (f.failed ?? 0), 0) / all };
}
