/**
 * From where instances are to where they are wanted: start first, wait until Ready, shift the fronts' weights 5 -> 50 -> 100, drain what is not
 * wanted any more, then stop it; of sites, and of the instances within one. Pure: (wanted, observed, now) -> steps and the traffic state to
 * remember. Everything needed to go on after a crash is in objects: the deployments, the pods, the fronts, and the traffic state in an
 * annotation of the Placement. Nothing is stopped while a front that can be heard still gives it something.
 */
import { decideInstances, type InstancesDecision, next } from './instances.ts';
import { DEFAULTS, Draft, isUsable, type MoveDecision, type MoveEvent, type MoveInput, type MoverOptions, type ObservedSite, readyOf, type Traffic } from './mover-model.ts';
import type { PlannedSite } from './planner.ts';
import { decideTransfer, endSending } from './transfer.ts';

export { isUsable, readyOf, type MoveDecision, type MoveInput, type MoverOptions, type MoveStep, type ObservedSite, type Traffic } from './mover-model.ts';

const SOON_MS = 50;
const OWED_MS = 250;

export function decideMoves(input: MoveInput, options: MoverOptions = {}): MoveDecision {
  const d = new Draft(input, { ...DEFAULTS, ...options });
  const isSettled = hasReplacement(d);
  const mustStop = input.observed.filter((o) => o.blocks === true);
  for (const o of input.observed) {
    const t = current(o, input.traffic[o.site]);
    if (t !== undefined) d.traffic[o.site] = t;
    const w = d.wanted.get(o.site);
    if (o.isFenced === true || o.stopsFirst === true) retire(o, t, d);
    else if (w !== undefined) stay(o, w, t, isSettled, mustStop, d);
    else if (o.replicas !== null) leave(o, t, isSettled || input.crowded?.has(o.site) === true, d);
    else if (!o.canAct || o.instances.length > 0) keep(o, d); // fronts list who still ends, so that its flows end in peace
    else delete d.traffic[o.site];
  }
  takeBack(d);
  endSending(d);
  // what follows from a change is decided when the change is seen
  if (d.events.length > 0 || JSON.stringify(d.traffic) !== JSON.stringify(input.traffic)) d.wakeAt(input.now + SOON_MS);
  else if (d.steps.length > 0) d.wakeAt(input.now + OWED_MS);
  return { steps: d.steps, traffic: d.traffic, undone: d.undone, waiting: d.waiting, events: d.events, nextAt: Number.isFinite(d.nextAt) ? d.nextAt : null };
}

/** What is remembered of a deployment that somebody removed is not true any more; of one that was only just asked for it is. */
function current(o: ObservedSite, t: Traffic | undefined): Traffic | undefined {
  return o.replicas === null && o.canAct && t?.state !== 'starting' ? undefined : t;
}

/** As it was remembered, although its deployment is gone. */
function keep(o: ObservedSite, d: Draft): void {
  const before = d.input.traffic[o.site];
  if (before !== undefined) d.traffic[o.site] = before;
}

/** It was replaced: no front uses it any more, so it only has to end. */
function retire(o: ObservedSite, t: Traffic | undefined, d: Draft): void {
  if (o.replicas === null) {
    // while its pods may serve it is not forgotten
    const isOver = o.canAct && o.blocks !== true && o.instances.every((i) => i.isLeaving);
    if (isOver) delete d.traffic[o.site];
    else keep(o, d);
    return;
  }
  const why = o.stopsFirst === true ? `${o.site} is out of reach, and policy \`fence\` lets nothing else start before what runs there has ended` : `what runs at ${o.site} was replaced while the site was out of reach`;
  if (t?.state !== 'draining') d.begin(o.site, 'draining', { state: 'draining', factor: 0 }, why);
  // nobody who can be heard sends anything to a site out of reach, and who is fenced must not serve
  const isDone = o.stopsFirst === true || !isUsable(o.reach) || isDrained(o, d) || readyOf({ ...o, isFenced: false }) === 0;
  if (isDone && o.canAct) d.steps.push({ kind: 'stop', site: o.site, region: o.region, reason: 'replaced while out of reach' });
}

/** Nobody gives it anything, for long enough. The time runs from when the fronts are seen to have let go: what was decided may not have been done. */
function isDrained(o: ObservedSite, d: Draft): boolean {
  const { now } = d.input;
  const t = d.traffic[o.site];
  if (t === undefined || t.since === now) return false;
  const { idleSince = now, ...rest } = t;
  const isIdle = o.instances.every((i) => i.weight === 0 || !i.isReady);
  d.traffic[o.site] = isIdle ? { ...rest, idleSince } : rest;
  if (isIdle && now - idleSince < d.o.drainMs) d.wakeAt(idleSince + d.o.drainMs);
  return isIdle && now - idleSince >= d.o.drainMs;
}

function leave(o: ObservedSite, t: Traffic | undefined, isSettled: boolean, d: Draft): void {
  const ready = readyOf(o);
  if (t?.state !== 'draining') {
    if (t !== undefined) d.traffic[o.site] = { ...t, instances: within(o, t, 0, d).traffic };
    if (!isSettled) return;
    const refusal = isUsable(o.reach) ? (d.input.refusal?.(o.site, 'out of') ?? null) : null;
    if (refusal !== null) return void d.waiting.push({ site: o.site, reason: refusal, why: 'budget' });
    return d.begin(o.site, 'draining', { state: 'draining', factor: 0 }, d.input.crowded?.has(o.site) === true ? `${o.site} has no room for it beside what others hold there, and no other site has` : `${o.site} is not in the plan any more and its replacement serves`);
  }
  if (!isSettled && ready > 0 && isUsable(o.reach)) return d.begin(o.site, 'serving', { state: 'serving', factor: 100 }, 'its replacement does not serve any more');
  const isDone = isDrained(o, d) || ready === 0;
  if (isDone && o.canAct && isSettled) d.steps.push({ kind: 'stop', site: o.site, region: o.region, reason: 'drained' });
}

/** A wanted site: as many instances as are wanted, and its share of the traffic. */
function stay(o: ObservedSite, asked: PlannedSite, t: Traffic | undefined, isSettled: boolean, mustStop: readonly ObservedSite[], d: Draft): void {
  const isHeldBack = mustStop.length > 0 && asked.instances > (o.replicas ?? 0);
  if (isHeldBack) d.waiting.push({ site: o.site, reason: `waits until it is certain that nothing serves at ${mustStop.map((x) => x.site).join(', ')}, as policy \`fence\` asks`, why: 'fence' });
  if (isHeldBack && o.replicas === null) return;
  const w = isHeldBack ? { ...asked, instances: o.replicas ?? 0 } : asked;
  const isNew = t === undefined && o.replicas === null;
  const refusal = isNew && d.othersServe(o.site) ? (d.input.refusal?.(o.site, 'into') ?? null) : null;
  if (refusal !== null) return void d.waiting.push({ site: o.site, reason: refusal, why: 'budget' });
  if (decideTransfer(o, w, t, d)) return;
  const surplus = o.replicas !== null && o.replicas > w.instances && isSettled ? Math.max(0, o.instances.filter((i) => !i.isLeaving).length - w.instances) : 0;
  const inside = within(o, t, surplus, d);
  count(o, w, inside, d);
  ramp(o, w, d.traffic[o.site], d);
  const after = d.traffic[o.site];
  if (after !== undefined) d.traffic[o.site] = { ...after, instances: inside.traffic };
}

function within(o: ObservedSite, t: Traffic | undefined, surplus: number, d: Draft): InstancesDecision {
  const { stepMs, drainMs, unreadyMs } = d.o;
  const inside = decideInstances({ observed: o.instances, before: t?.instances ?? {}, surplus, now: d.input.now, stepMs, drainMs, unreadyMs });
  if (inside.nextAt !== null) d.wakeAt(inside.nextAt);
  return inside;
}

/** More at once; fewer only when exactly those leave whom nobody uses. */
function count(o: ObservedSite, w: PlannedSite, inside: InstancesDecision, d: Draft): void {
  const { site, region } = o;
  if (!o.canAct) return;
  for (const pod of inside.mark) d.steps.push({ kind: 'mark', site, region, pod, isMarked: true });
  for (const pod of inside.unmark) d.steps.push({ kind: 'mark', site, region, pod, isMarked: false });
  if (inside.began.length > 0) d.events.push({ site, phase: 'draining', reason: `${inside.began.length} of ${o.instances.length} instances at ${site} ${inside.began.length === 1 ? 'is' : 'are'} not needed any more` });
  const isFewer = o.replicas !== null && o.replicas > w.instances;
  const isEmpty = o.instances.filter((i) => !i.isLeaving).length <= w.instances;
  const mayScale = !isFewer || inside.isDrained || isEmpty;
  if (o.replicas !== w.instances && mayScale) d.steps.push({ kind: 'scale', site, region, replicas: w.instances, reason: w.reason });
  // the region replaces its pods one by one, the new Ready before the old go
  else if (o.isOutdated === true && o.replicas !== null) d.steps.push({ kind: 'scale', site, region, replicas: o.replicas, reason: 'the application was changed' });
}

/** A wanted site's share of traffic: up step by step while it is Ready, back to nothing when it is not for long, given up when it never is. */
function ramp(o: ObservedSite, w: PlannedSite, t: Traffic | undefined, d: Draft): void {
  const { stepMs, startTimeoutMs, unreadyMs } = d.o;
  const { now } = d.input;
  const { site } = o;
  const ready = readyOf(o);
  const isServed = d.othersServe(site);
  if (t === undefined) {
    d.wakeAt(now + startTimeoutMs);
    return d.begin(site, 'starting', { state: 'starting', factor: 0 }, w.reason);
  }
  if (t.state === 'draining') return d.begin(site, 'serving', { ...t, state: 'serving', factor: ready > 0 ? 100 : 0 }, `wanted again: ${w.reason}`);
  if (ready === 0 && t.factor > 0 && isUsable(o.reach)) {
    const unreadySince = t.unreadySince ?? now;
    if (now - unreadySince >= unreadyMs) return d.begin(site, 'starting', { state: 'starting', factor: 0 }, 'no instance is Ready any more');
    d.traffic[site] = { ...t, unreadySince };
    return d.wakeAt(unreadySince + unreadyMs);
  }
  if (t.unreadySince !== undefined) d.traffic[site] = known(t);
  if (ready === 0) {
    if (t.state !== 'starting' || !isUsable(o.reach) || w.isHeld || !isServed) return;
    if (now - t.since >= startTimeoutMs) d.undo(site, 'not-ready', `a move to ${site} was undone: no instance became Ready in ${Math.round(startTimeoutMs / 1000)} s`);
    return d.wakeAt(t.since + startTimeoutMs);
  }
  if (t.factor === 100 || (isServed && d.input.avoid?.has(site) === true)) return;
  const factor = isServed && d.input.isSwitch !== true ? next(t.factor) : 100;
  // with fewer than planned it would get more than it was planned for
  const isShort = factor === 100 && isServed && ready < w.instances && now - t.since < startTimeoutMs;
  if (isShort || (t.factor > 0 && now - t.since < stepMs)) return d.wakeAt(t.since + (isShort ? startTimeoutMs : stepMs));
  d.begin(site, factor === 100 ? 'serving' : (`traffic ${factor} %` as MoveEvent['phase']), { ...known(t), state: factor === 100 ? 'serving' : 'starting', factor }, w.reason);
  if (factor < 100) d.wakeAt(now + stepMs);
}

const known = ({ unreadySince: _u, ...t }: Traffic): Traffic => t;

/** Who turned out worse gives its traffic back, to those who still run where it was before. */
function takeBack(d: Draft): void {
  for (const [site, reason] of d.input.worse ?? []) {
    const t = d.traffic[site];
    if (t === undefined || t.factor === 0 || t.state === 'draining') continue;
    const others = d.input.observed.filter((o) => o.site !== site && readyOf(o) > 0 && isUsable(o.reach) && d.input.avoid?.has(o.site) !== true);
    if (others.length === 0) continue;
    d.traffic[site] = { ...t, state: 'starting', factor: 0, since: d.input.now };
    d.undo(site, 'worse', reason);
    for (const o of others) {
      const before = d.traffic[o.site];
      if (before?.state === 'draining') d.begin(o.site, 'serving', { state: 'serving', factor: 100 }, `wanted again: ${reason}`);
    }
    d.wakeAt(d.input.now);
  }
}

/** Old places are left only when the new ones have taken all of their traffic, and never below the minimum. */
function hasReplacement({ input, wanted }: Draft): boolean {
  const active = input.observed.filter((o) => wanted.get(o.site)?.isHeld === false);
  const inUse = active.filter((o) => isUsable(o.reach));
  if (inUse.length === 0) return false;
  const serves = inUse.every((o) => readyOf(o) > 0 && input.traffic[o.site]?.factor === 100 && input.traffic[o.site]?.state === 'serving');
  const planned = active.reduce((sum, o) => sum + (wanted.get(o.site)?.instances ?? 0), 0);
  const ready = inUse.reduce((sum, o) => sum + Math.min(readyOf(o), wanted.get(o.site)?.instances ?? 0), 0);
  return serves && ready >= Math.min(input.min, planned);
}
