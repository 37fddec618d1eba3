/**
 * A VM with state is moved by snapshot and restore: the new pod names its source (`mesh.proxima.io/restore-from`), the old one where to send it
 * (`mesh.proxima.io/send-to`); the agents do the rest and tell on the new pod how it went. Stop-and-copy: the source has stopped when the new
 * one runs, so all of the traffic goes over at once. A transfer that fails leaves the source where it was, running. Pure.
 */
import { type Draft, isUsable, type ObservedSite, readyOf, type Traffic, type Transfer } from './mover-model.ts';
import type { PlannedSite } from './planner.ts';

/** true = the site waits for a state that is under way, and nothing else is to be decided of it. */
export function decideTransfer(o: ObservedSite, w: PlannedSite, t: Traffic | undefined, d: Draft): boolean {
  if (t === undefined) {
    const from = d.input.isStateful === true && o.replicas === null && o.canAct ? sourceFor(o, d) : null;
    if (from === null) return false;
    d.begin(o.site, 'starting', { state: 'starting', factor: 0, transfer: from }, `${w.reason}; with the state of ${from.pod} at ${from.site}`);
    ask(o, w, from, d);
    return true;
  }
  const { transfer } = t;
  if (transfer === undefined || transfer.isDone === true || t.state !== 'starting') return false;
  const told = o.instances.find((i) => !i.isLeaving && i.migration !== null)?.migration ?? null;
  const took = d.input.now - t.since;
  if (told?.phase === 'restored') {
    d.traffic[o.site] = { ...t, transfer: { ...transfer, isDone: true } };
    const { bytes, downtimeMs } = told;
    d.events.push({ site: o.site, phase: 'restored', reason: `${transfer.pod} goes on at ${o.site}`, ...(bytes === undefined ? {} : { bytes }), ...(downtimeMs === undefined ? {} : { downtimeMs }) });
    return false;
  }
  // who has sent all of it never runs it again: from then on there is only forward
  const isSent = told?.phase === 'sent' || d.input.observed.some((x) => x.instances.some((i) => i.uid === transfer.uid && i.migration?.phase === 'sent'));
  const problem = told?.phase === 'failed' ? (told.reason ?? 'the agents gave no reason') : took >= d.o.transferTimeoutMs && !isSent ? `it took longer than ${Math.round(d.o.transferTimeoutMs / 1000)} s` : null;
  if (d.input.avoid?.has(o.site) === true) return true; // given up; what was started is removed when the plan says so
  if (problem === null) {
    ask(o, w, transfer, d);
    d.wakeAt(t.since + d.o.transferTimeoutMs);
  } else d.undo(o.site, 'transfer', `a move to ${o.site} was undone: the state of ${transfer.pod} was not restored there: ${problem}`);
  return true;
}

/** Who leaves its place, runs, and is not on its way already. */
function sourceFor(o: ObservedSite, d: Draft): Transfer | null {
  const taken = new Set(Object.values(d.traffic).map((t) => t.transfer?.uid));
  for (const x of d.input.observed) {
    if (x.site === o.site || d.wanted.has(x.site) || !isUsable(x.reach) || !x.canAct || readyOf(x) === 0) continue;
    const instance = x.instances.find((i) => i.isReady && !taken.has(i.uid));
    if (instance !== undefined) return { site: x.site, pod: instance.name, uid: instance.uid };
  }
  return null;
}

/** One instance each; both ends are told again until both are seen to know. */
function ask(o: ObservedSite, w: PlannedSite, from: Transfer, d: Draft): void {
  if (o.replicas === null && o.canAct) d.steps.push({ kind: 'scale', site: o.site, region: o.region, replicas: 1, reason: w.reason, restoreFrom: `${from.site}/${from.uid}` });
  const source = d.input.observed.find((x) => x.site === from.site);
  const pod = source?.instances.find((i) => i.uid === from.uid);
  if (source?.canAct === true && pod !== undefined && pod.sendTo !== o.site) d.steps.push({ kind: 'send', site: source.site, region: source.region, pod: pod.name, to: o.site });
}

/** A pod that is told to send its VM where nobody waits for it any more runs on where it is. */
export function endSending(d: Draft): void {
  const given = new Set([...d.undone.filter((u) => u.why === 'transfer').map((u) => u.site), ...(d.input.avoid ?? [])]);
  for (const o of d.input.observed) {
    for (const i of o.instances) {
      if (i.sendTo === null || i.isLeaving || !o.canAct) continue;
      const t = d.traffic[i.sendTo]?.transfer;
      if (t?.uid === i.uid && (t.isDone === true || !given.has(i.sendTo))) continue;
      d.steps.push({ kind: 'send', site: o.site, region: o.region, pod: i.name, to: null });
    }
  }
}
