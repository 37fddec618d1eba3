/**
 * Unreachable is not dead. A site that its region does not hear is asked about: do neighbours still measure it, do its own samples come in,
 * does its region's API answer at all? Pure; times are inputs, and the state before is one of them.
 */
import type { Reach } from './model.ts';

export interface Evidence {
  /** Does the API of the site's region answer? null = not asked yet. */
  readonly regionAnswers: boolean | null;
  /** The region's own word: Site.status. */
  readonly phase: 'Pending' | 'Ready' | 'Unreachable' | null;
  readonly gatewayConnected: boolean | null;
  /** When its cloud gateway last renewed Site.status.lastSeen; null = it never did. */
  readonly seenAt?: number | null;
  /** A zone all of whose nodes are dead, says its region. */
  readonly isWithoutNode?: boolean;
  /** When the last sample of the site arrived. */
  readonly heardAt: number | null;
  /** ms between its samples, as they came lately; silence is judged by it. */
  readonly rhythmMs?: number;
  /** Other sites that measured an answer of it lately. */
  readonly witnesses: readonly string[];
  /** Other sites, themselves well connected, that had answers of it and get none any more; empty while anybody gets one. */
  readonly deniers?: readonly string[];
  /** Many sites of its region went at once: what they share is more likely gone than each of them. */
  readonly isStorm?: boolean;
}

export interface SiteState {
  readonly reach: Reach;
  readonly since: number;
  readonly reason: string;
  /** Was never seen well by this process: when it is, it does not come back from anything. */
  readonly isUnproven?: boolean;
}

export const STALE_MS = 20_000;

export interface FailureOptions {
  /** Silence until a site is suspect; at least twice its rhythm. @default 3000 */
  readonly suspectAfterMs?: number;
  /** Neither a renewed Site.status.lastSeen nor a sample for so long: the word of a dead gateway counts no more. @default 20000 */
  readonly staleAfterMs?: number;
  /** And until, without a witness, it is down; a site lost with many others is only suspect for so long, unless neighbours deny it. @default 20000 */
  readonly downAfterMs?: number;
  /** How long it must have been well again. @default 10000 */
  readonly returnAfterMs?: number;
}

/** Where others say so too, two samples that did not come are silence enough, ms. */
export const QUIET_MS = 2_000;
/** So many independent signs make a loss certain at once: the region's own word is one, each neighbour that gets no answer is one. */
const CERTAIN = 2;

export function judge(site: string, e: Evidence, before: SiteState | null, now: number, o: FailureOptions = {}): SiteState {
  const { suspectAfterMs = 3_000, staleAfterMs = STALE_MS, downAfterMs = 20_000, returnAfterMs = 10_000 } = o;
  const isLost = (reach: Reach | undefined): boolean => reach === 'cut-off' || reach === 'down';
  // a policy's delay runs from the loss: what is learned of a lost site later does not start it again
  const to = (reach: Reach, reason: string): SiteState => (before !== null && (before.reach === reach || (isLost(before.reach) && isLost(reach))) ? { ...before, reach, reason } : { reach, since: now, reason });
  const silentMs = e.heardAt === null ? null : now - e.heardAt;
  const isHeard = silentMs !== null && silentMs <= Math.max(suspectAfterMs, 2 * (e.rhythmMs ?? 0));
  const { deniers = [], witnesses } = e;
  const seen = witnesses.length > 0 ? `${witnesses.slice(0, 3).join(', ')} still measure${witnesses.length === 1 ? 's' : ''} it` : 'no neighbour measures it';
  const quiet = silentMs === null ? 'no sample ever arrived' : `silent for ${(silentMs / 1000).toFixed(1)} s`;
  const saysWell = e.regionAnswers !== false && e.phase === 'Ready' && e.gatewayConnected !== false;
  const saysLost = e.regionAnswers !== false && !saysWell && e.phase !== 'Pending' && e.phase !== null;
  const isQuiet = silentMs !== null && silentMs > Math.min(Math.max(QUIET_MS, 1.5 * (e.rhythmMs ?? 0)), Math.max(suspectAfterMs, 2 * (e.rhythmMs ?? 0)));
  if (isQuiet && deniers.length > 0 && deniers.length + (saysLost ? 1 : 0) >= CERTAIN && !isLost(before?.reach)) {
    return to('cut-off', `${quiet}, ${deniers.slice(0, 3).join(', ')} get no answer of it${saysLost ? ', and its region does not hear its gateway' : ''}`);
  }
  const doubt = saysWell ? doubtOf(e, now, staleAfterMs) : null;
  if (saysWell && doubt === null && !(isLost(before?.reach) && isQuiet && deniers.length >= CERTAIN)) return well(site, before, now, returnAfterMs, to);
  if (saysWell && doubt === null) return { ...(before as SiteState), reason: `${quiet}, ${deniers.slice(0, 3).join(', ')} get no answer of it` };
  if (e.phase === 'Pending' || e.phase === null) return before ?? { reach: 'down', since: now, reason: `${site} never was ready`, isUnproven: true };
  const patienceMs = e.isStorm === true ? Math.max(suspectAfterMs, downAfterMs) : suspectAfterMs;
  if (doubt !== null) return doubted({ reason: `${doubt}; ${quiet}, ${seen}`, isWitnessed: witnesses.length > 0, isUnproven: e.isWithoutNode === true }, before, now, { patienceMs, downAfterMs }, to);
  return lost(e, before, now, { isHeard, patienceMs, downAfterMs, quiet, seen }, to);
}

/** Its region, or the region's API, is not heard to say that it is well. */
function lost(e: Evidence, before: SiteState | null, now: number, o: { readonly isHeard: boolean; readonly patienceMs: number; readonly downAfterMs: number; readonly quiet: string; readonly seen: string }, to: (reach: Reach, reason: string) => SiteState): SiteState {
  const { isHeard, quiet, seen } = o;
  const isWaiting = before === null || before.reach === 'reachable' || before.reach === 'returning' || (before.reach === 'suspect' && now - before.since < o.patienceMs);
  const wait = (reason: string): SiteState => (before?.reach === 'suspect' ? { ...before, reason } : to('suspect', reason));
  if (isWaiting && e.isStorm === true) return wait(`lost with many others of its region; ${quiet}, ${seen}`);
  // the region is lost to us, not the site: its own samples through other brokers, or its neighbours, speak for it; an API that restarts is no loss
  if (e.regionAnswers === false && (isHeard || e.witnesses.length > 0)) {
    const isPatient = before !== null && (isWaiting || (before.reach === 'suspect' && now - before.since < Math.max(o.patienceMs, o.downAfterMs)));
    return isPatient ? wait(`the API of its region does not answer, ${seen}`) : to('cut-off', `the API of its region does not answer, ${seen}`);
  }
  if (e.witnesses.length > 0 || isHeard) return to('cut-off', `its region does not hear its gateway; ${isHeard ? 'its samples still arrive' : seen}`);
  if (before === null) return { reach: 'down', since: now, reason: `${quiet}, ${seen}` };
  if (isWaiting) return wait(`${quiet}, ${seen}`);
  if (before.reach === 'suspect') return to('cut-off', `its gateway is gone, ${seen}`);
  return now - before.since >= o.downAfterMs || before.reach === 'down' ? to('down', `${quiet}, ${seen}`) : { ...before, reason: `${quiet}, ${seen}` };
}

/** Why "Ready" is not believed; null = it is. A sample comes through the same gateway: it proves as much as a renewed lastSeen. */
function doubtOf(e: Evidence, now: number, staleAfterMs: number): string | null {
  if (e.isWithoutNode === true) return 'no node of it is Ready';
  if (e.seenAt === undefined || e.seenAt === null) return null;
  const silentMs = now - Math.max(e.seenAt, e.heardAt ?? 0);
  return silentMs > staleAfterMs ? `its region's gateway has not seen it for ${(silentMs / 1000).toFixed(0)} s` : null;
}

/** Ready says its Site, but who says so is dead: suspect first, however it stood; then cut-off; down when no neighbour measures it. */
function doubted(d: { readonly reason: string; readonly isWitnessed: boolean; readonly isUnproven: boolean }, before: SiteState | null, now: number, o: { readonly patienceMs: number; readonly downAfterMs: number }, to: (reach: Reach, reason: string) => SiteState): SiteState {
  const { reason, isWitnessed, isUnproven } = d;
  if (before === null) return { reach: 'suspect', since: now, reason, ...(isUnproven ? { isUnproven } : {}) };
  if (before.reach === 'reachable' || before.reach === 'returning') return to('suspect', reason);
  if (before.reach === 'suspect') return now - before.since < o.patienceMs ? { ...before, reason } : keepUnproven(before, to('cut-off', reason));
  const isDown = !isWitnessed && (before.reach === 'down' || now - before.since >= o.downAfterMs);
  return keepUnproven(before, to(isDown ? 'down' : 'cut-off', reason));
}

const keepUnproven = (before: SiteState, state: SiteState): SiteState => (before.isUnproven === true ? { ...state, isUnproven: true } : state);

/** Back is not well yet: the site must stay well for a while before anything is decided from it. */
function well(site: string, before: SiteState | null, now: number, returnAfterMs: number, to: (reach: Reach, reason: string) => SiteState): SiteState {
  if (before === null || before.isUnproven === true) return { reach: 'reachable', since: 0, reason: `${site} is ready` };
  if (before.reach === 'reachable') return before;
  if (before.reach === 'suspect') return { reach: 'reachable', since: 0, reason: `${site} answered again before anything was done` };
  if (before.reach === 'returning') return now - before.since >= returnAfterMs ? { ...before, reach: 'reachable', reason: `${site} is well again since ${new Date(before.since).toISOString()}` } : before;
  return to('returning', `${site} is back`);
}
