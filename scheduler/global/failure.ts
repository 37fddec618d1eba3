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
  /** Other sites that measured an answer of it lately. */
  readonly witnesses: readonly string[];
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
  /** Silence until a site is suspect. @default 3000 */
  readonly suspectAfterMs?: number;
  /** Neither a renewed Site.status.lastSeen nor a sample for so long: the word of a dead gateway counts no more. @default 20000 */
  readonly staleAfterMs?: number;
  /** And until, without a witness, it is down. @default 20000 */
  readonly downAfterMs?: number;
  /** How long it must have been well again. @default 10000 */
  readonly returnAfterMs?: number;
}

export function judge(site: string, e: Evidence, before: SiteState | null, now: number, o: FailureOptions = {}): SiteState {
  const { suspectAfterMs = 3_000, staleAfterMs = STALE_MS, downAfterMs = 20_000, returnAfterMs = 10_000 } = o;
  const isLost = (reach: Reach | undefined): boolean => reach === 'cut-off' || reach === 'down';
  // a policy's delay runs from the loss: what is learned of a lost site later does not start it again
  const to = (reach: Reach, reason: string): SiteState => (before !== null && (before.reach === reach || (isLost(before.reach) && isLost(reach))) ? { ...before, reach, reason } : { reach, since: now, reason });
  const silentMs = e.heardAt === null ? null : now - e.heardAt;
  const isHeard = silentMs !== null && silentMs <= suspectAfterMs;
  const seen = e.witnesses.length > 0 ? `${e.witnesses.slice(0, 3).join(', ')} still measure${e.witnesses.length === 1 ? 's' : ''} it` : 'no neighbour measures it';
  const quiet = silentMs === null ? 'no sample ever arrived' : `silent for ${(silentMs / 1000).toFixed(1)} s`;
  const saysWell = e.regionAnswers !== false && e.phase === 'Ready' && e.gatewayConnected !== false;
  const doubt = saysWell ? doubtOf(e, now, staleAfterMs) : null;
  if (saysWell && doubt === null) return well(site, before, now, returnAfterMs, to);
  if (e.phase === 'Pending' || e.phase === null) return before ?? { reach: 'down', since: now, reason: `${site} never was ready` };
  if (doubt !== null) return doubted({ reason: `${doubt}; ${quiet}, ${seen}`, isWitnessed: e.witnesses.length > 0, isUnproven: e.isWithoutNode === true }, before, now, { suspectAfterMs, downAfterMs }, to);
  // the region is lost to us, not the site: its own samples through other brokers, or its neighbours, speak for it
  if (e.regionAnswers === false && (isHeard || e.witnesses.length > 0)) return before?.reach === 'reachable' ? to('suspect', `the API of its region does not answer, ${seen}`) : to('cut-off', `the API of its region does not answer, ${seen}`);
  if (e.witnesses.length > 0 || isHeard) return to('cut-off', `its region does not hear its gateway; ${isHeard ? 'its samples still arrive' : seen}`);
  if (before === null) return { reach: 'down', since: now, reason: `${quiet}, ${seen}` };
  if (before.reach === 'reachable' || before.reach === 'returning') return to('suspect', `${quiet}, ${seen}`);
  if (before.reach === 'suspect') return now - before.since < suspectAfterMs ? { ...before, reason: `${quiet}, ${seen}` } : to('cut-off', `its gateway is gone, ${seen}`);
  return now - before.since >= downAfterMs || before.reach === 'down' ? to('down', `${quiet}, ${seen}`) : { ...before, reason: `${quiet}, ${seen}` };
}

/** Why "Ready" is not believed; null = it is. A sample comes through the same gateway: it proves as much as a renewed lastSeen. */
function doubtOf(e: Evidence, now: number, staleAfterMs: number): string | null {
  if (e.isWithoutNode === true) return 'no node of it is Ready';
  if (e.seenAt === undefined || e.seenAt === null) return null;
  const silentMs = now - Math.max(e.seenAt, e.heardAt ?? 0);
  return silentMs > staleAfterMs ? `its region's gateway has not seen it for ${(silentMs / 1000).toFixed(0)} s` : null;
}

/** Ready says its Site, but who says so is dead: suspect first, however it stood; then cut-off; down when no neighbour measures it. */
function doubted(d: { readonly reason: string; readonly isWitnessed: boolean; readonly isUnproven: boolean }, before: SiteState | null, now: number, o: { readonly suspectAfterMs: number; readonly downAfterMs: number }, to: (reach: Reach, reason: string) => SiteState): SiteState {
  const { reason, isWitnessed, isUnproven } = d;
  if (before === null) return { reach: 'suspect', since: now, reason, ...(isUnproven ? { isUnproven } : {}) };
  if (before.reach === 'reachable' || before.reach === 'returning') return to('suspect', reason);
  if (before.reach === 'suspect') return now - before.since < o.suspectAfterMs ? { ...before, reason } : keepUnproven(before, to('cut-off', reason));
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
