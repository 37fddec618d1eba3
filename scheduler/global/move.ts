/** Carries one application's plan out: look, decide, record it, then scale, weigh, drain and stop in the regions that answer. */
import type { Deployment } from '../../api/kinds/core.ts';
import type { Application, Placement, PolicySpec } from '../../api/kinds/mesh.ts';
import type { Backend, Endpoint } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import { crowdedSites } from './crowded.ts';
import { decideEpochs, type Epochs, fenceSteps, withEpochs } from './epoch.ts';
import { backendsOf, frontShares, type Instances } from './fronts.ts';
import { type Memory, memoryOf } from './memory.ts';
import { decideMoves, isUsable, type MoveDecision, type MoveStep } from './mover.ts';
import { isExclusive, LEAVES_FIRST, observe, type SeenSite } from './observe.ts';
import { placementRecord } from './placement-record.ts';
import type { SiteModel } from './model.ts';
import type { ApplicationPlan } from './planner.ts';
import type { Records } from './records.ts';
import { APPLICATION_LABEL, DELETION_COST_ANNOTATION, deploymentObject, FENCE_AFTER_ANNOTATION, frontName, frontObject, keyOf, placeOf, SEND_ANNOTATION, STATEFUL_ANNOTATION } from './region-objects.ts';
import type { Region } from './region.ts';
import { applicationNamed, frontSites, nearestFront, type Surroundings } from './surroundings.ts';
import { failedTrials, keepTrials } from './trials.ts';
import { unreachableSteps } from './unreachable.ts';

export type { Surroundings } from './surroundings.ts';

const UNDO_FOR_MS = 600_000;
const HOUR_MS = 3_600_000;
const UNKNOWN_MS = 1e6;
const ANY: PolicySpec = { instances: { min: 1, max: 10 } };

/** Of one application's pass. */
export interface Moved {
  /** When it must be looked at again though nothing changed, ms since the epoch; null = a change of its objects, its plan or its sites says so. */
  readonly nextAt: number | null;
}

const NOWHERE: ReadonlySet<string> = new Set();
const NOT_MOVED: Moved = { nextAt: null };

/** One application in one pass. */
interface Move {
  readonly app: Application;
  readonly key: string;
  readonly planned: ApplicationPlan;
  readonly policy: PolicySpec;
  readonly around: Surroundings;
  readonly observed: readonly SeenSite[];
  readonly epochs: Epochs;
  /** Where it must end although nobody serves instead. */
  readonly crowded: ReadonlySet<string>;
  readonly decision: MoveDecision;
}

export async function moveApplication(app: Application, planned: ApplicationPlan | undefined, placement: Placement | undefined, around: Surroundings, records: Records): Promise<Moved> {
  if (planned === undefined || around.isFenced()) return NOT_MOVED;
  // nobody can be asked, nothing can be done: an empty plan is then no decision
  if (planned.sites.length === 0 && (placement?.spec.sites.length ?? 0) > 0 && !around.regions.some((r) => r.answers === true)) return NOT_MOVED;
  const key = keyOf(app);
  const memory = memoryOf(placement);
  around.budget?.learn(key, placement);
  const { move, remembered, raised } = decide(app, planned, memory, placement !== undefined, around);
  // before anything is awaited: others decide meanwhile
  around.budget?.note(key, { sites: Object.keys(remembered.traffic).filter((s) => remembered.traffic[s]?.state !== 'serving'), movedAt: remembered.movedAt });
  const { decision, observed } = move;
  for (const e of [...raised.map((r) => ({ ...r, phase: 'replaced' })), ...decision.events]) around.log.info('move', { application: key, site: e.site, phase: e.phase, reason: e.reason });
  around.metrics?.moved(key, decision, placement === undefined ? 'first' : isRepair(planned, observed, move.policy) ? 'repair' : 'gain', raised.length);
  await records.placement(app, placement, placementRecord({ app, planned, before: placement, observed, decision, raised, memory: remembered, around }));
  const message = planned.unmet.length > 0 ? planned.unmet.join('; ') : planned.sites.map((s) => `${s.instances} at ${s.site}`).join(', ');
  if (!around.refused.has(key)) await records.applicationStatus(app, { phase: planned.sites.length === 0 ? 'Pending' : planned.unmet.length > 0 ? 'Unmet' : 'Placed', message, ...(app.metadata.generation === undefined ? {} : { observedGeneration: app.metadata.generation }) });
  const done = await Promise.all(around.regions.filter((r) => r.answers === true).map((region) => act(region, move)));
  return { nextAt: nextOf(move, remembered, raised.length, done.every(Boolean)) };
}

function nextOf({ decision, around }: Move, remembered: Memory, raised: number, isDone: boolean): number | null {
  const { now } = around;
  const waits = decision.waiting.length > 0 ? [now + 5_000] : [];
  const trials = Object.keys(remembered.trials ?? {}).length > 0 ? [now + 1_000] : [];
  const soon = raised > 0 ? [now + 1] : [];
  const again = [decision.nextAt, ...soon, ...remembered.avoid.map((a) => a.until), ...waits, ...trials, ...(isDone ? [] : [now + 1])].filter((t) => t !== null);
  return again.length === 0 ? null : Math.min(...again);
}

function decide(app: Application, planned: ApplicationPlan, memory: Memory, hadPlace: boolean, around: Surroundings): { readonly move: Move; readonly remembered: Memory; readonly raised: readonly { readonly site: string; readonly reason: string }[] } {
  const { now } = around;
  const key = keyOf(app);
  const policy = applicationNamed(around.model, key)?.policy ?? ANY;
  const seen = observe({ app, model: around.model, regions: new Map(around.regions.map((r) => [r.name, r])), policy, wanted: new Map(planned.sites.map((s) => [s.site, s])), remembered: Object.keys(memory.traffic), now });
  const { epochs, raised } = decideEpochs({ wanted: planned.sites, observed: withEpochs(seen, memory.epochs ?? {}), traffic: memory.traffic, epochs: memory.epochs ?? {} });
  const observed = withEpochs(seen, epochs);
  // what was given up unseen is forgotten with it: when it is seen again it is of an earlier epoch
  const unseen = new Set(raised.map((r) => r.site).filter((site) => observed.some((o) => o.site === site && o.replicas === null)));
  const traffic = Object.fromEntries(Object.entries(memory.traffic).filter(([site]) => !unseen.has(site)));
  const avoid = memory.avoid.filter((a) => a.until > now);
  const isStateful = app.spec.template.spec.virtualMachine !== undefined && app.spec.template.metadata?.annotations?.[STATEFUL_ANNOTATION] === 'true';
  const crowded = planned.sites.length > 0 ? NOWHERE : crowdedSites(key, around.model, around.plan, observed, (site) => around.telemetry.capacityOf(site) !== null);
  const isForGain = hadPlace && !isRepair(planned, observed, policy);
  const decision = decideMoves(
    {
      wanted: planned.sites, observed, traffic, min: policy.instances.min, now, isStateful,
      isSwitch: isStateful || (isExclusive(policy) && policy.instances.max === 1),
      avoid: new Set(avoid.map((a) => a.site)),
      crowded,
      worse: failedTrials(key, memory.trials ?? {}, observed, around),
      refusal: (site, way) => (isForGain ? (around.budget?.refusal(key, site, way, now) ?? null) : null),
    },
    around.mover,
  );
  // what only waits has not moved
  const isMove = hadPlace && Object.keys(decision.traffic).some((site) => traffic[site] === undefined && decision.traffic[site]?.state === 'starting');
  const trials = keepTrials(key, memory.trials ?? {}, planned, observed, decision, around);
  const remembered: Memory = {
    traffic: decision.traffic,
    avoid: [...avoid, ...decision.undone.map(({ site, reason }) => ({ site, reason, until: now + UNDO_FOR_MS }))],
    movedAt: [...memory.movedAt.filter((t) => now - t < HOUR_MS), ...(isMove ? [now] : [])],
    ...(Object.keys(epochs).length === 0 ? {} : { epochs }),
    ...(Object.keys(trials).length === 0 ? {} : { trials }),
  };
  const fencing = fenceSteps(observed, unreachableSteps(policy).find((s) => s.action === 'fence')?.afterSeconds ?? null);
  return { move: { app, key, planned, policy, around, observed, epochs, crowded, decision: { ...decision, steps: [...decision.steps, ...fencing] } }, remembered, raised };
}

/** Something was lost, or fewer serve than the policy's minimum: what is done then waits for no budget. */
function isRepair(planned: ApplicationPlan, observed: readonly SeenSite[], policy: PolicySpec): boolean {
  const held = new Set(planned.sites.filter((s) => s.isHeld).map((s) => s.site));
  if (observed.some((o) => o.replicas !== null && (!isUsable(o.reach) || held.has(o.site)))) return true;
  const ready = observed.reduce((n, o) => n + (o.isFenced === true || !isUsable(o.reach) ? 0 : o.instances.filter((i) => i.isReady).length), 0);
  return ready < policy.instances.min;
}

/** false = something was not written and is owed. */
async function act(region: Region, move: Move): Promise<boolean> {
  const { around, key, decision } = move;
  try {
    for (const step of decision.steps) if (step.region === region.name && !around.isFenced()) await carryOut(step, region, move);
    if (around.portless.has(key)) await removeFronts(region, key);
    else await weigh(region, move);
    return true;
  } catch (error) {
    around.log.warn('move not carried out', { application: key, region: region.name, err: error });
    return false;
  }
}

type Carry = { readonly [K in MoveStep['kind']]: (step: Extract<MoveStep, { kind: K }>, region: Region, move: Move, seen: SeenSite | undefined) => Promise<unknown> };

const CARRY: Carry = {
  scale: (step, region, { app, epochs, policy }, seen) => {
    const fence = unreachableSteps(policy).find((s) => s.action === 'fence');
    const traits = { epoch: epochs[step.site] ?? 0, fenceAfterSeconds: fence?.afterSeconds ?? null, ...(step.restoreFrom === undefined ? {} : { restoreFrom: step.restoreFrom }) };
    return region.ensure(Resources.Deployment, deploymentObject(app, step.site, step.replicas, seen?.deployment === null ? traits : {}));
  },
  stop: (step, region, { app }) => region.remove(Resources.Deployment, deploymentObject(app, step.site, 0)),
  mark: (step, region, _move, seen) => annotate(region, seen, step.pod, DELETION_COST_ANNOTATION, step.isMarked ? LEAVES_FIRST : null),
  send: (step, region, _move, seen) => annotate(region, seen, step.pod, SEND_ANNOTATION, step.to),
  fence: (step, region, _move, seen) => annotate(region, seen, step.pod, FENCE_AFTER_ANNOTATION, step.afterSeconds === null ? null : String(step.afterSeconds)),
};

async function annotate(region: Region, seen: SeenSite | undefined, name: string, annotation: string, value: string | null): Promise<void> {
  const pod = seen?.pods.find((p) => p.name === name)?.pod;
  if (pod !== undefined) await region.annotate(pod, { [annotation]: value });
}

async function carryOut(step: MoveStep, region: Region, move: Move): Promise<void> {
  const seen = move.observed.find((o) => o.site === step.site);
  await (CARRY[step.kind] as (s: MoveStep, r: Region, m: Move, o: SeenSite | undefined) => Promise<unknown>)(step, region, move, seen);
}

async function weigh(region: Region, move: Move): Promise<void> {
  const { app, key, planned, around } = move;
  const instances = instancesOf(move);
  // pods of a region that was never heard are not known: while nobody else serves, the fronts keep what they have
  if (instances.length === 0 && around.regions.some((r) => !r.hasAnswered)) return;
  const place = placeOf(key);
  const rtt = (a: string, b: string): number => around.telemetry.siteRtt(a, b, around.now) ?? UNKNOWN_MS;
  const used = new Set(planned.serves.flatMap((s) => (s.rps > 0 ? (nearestFront(s.clientRegion, around) ?? []) : [])));
  const its = new Set(instances.map((i) => i.site));
  const known = new Map<string, readonly Backend[]>();
  const { port, targetPort = port } = app.spec.service;
  const fronts = frontSites(around.model, region.name);
  const there = new Map(region.frontsOf(key).map((e) => [e.metadata.name, e]));
  for (const isFirst of around.isUrgent === true ? [true] : [true, false]) {
    for (const site of fronts) {
      if (used.has(site.name) !== isFirst || around.isFenced() || !isUsable(site.reach)) continue; // out of reach it cannot hear us; what it has serves its own clients
      const order = isFirst || its.has(site.name) ? null : instances.length < 2 ? '' : instances.map((i) => ({ i, ms: rtt(site.name, i.site) })).sort((x, y) => x.ms - y.ms || (x.i.site < y.i.site ? -1 : 1)).map((x) => x.i.site).join();
      let backends = order === null ? undefined : known.get(order);
      if (backends === undefined) {
        backends = backendsOf(frontShares({ front: site.name, serves: planned.serves, instances, frontOf: (r) => nearestFront(r, around), rtt }), instances, targetPort);
        if (order !== null) known.set(order, backends);
      }
      const have = there.get(frontName(place, site.name));
      if (have === undefined || !isFrontOf(have, app, site, backends)) await region.ensure(Resources.Endpoint, frontObject(app, site.name, site.front as string, backends));
    }
  }
}

/** Does the front say so already? Cheaper than to make the object and compare it. */
function isFrontOf(have: Endpoint, app: Application, site: SiteModel, backends: readonly Backend[]): boolean {
  const { spec } = have;
  const { port, protocol = 'TCP' } = app.spec.service;
  if (spec.type !== 'front' || have.metadata.deletionTimestamp !== undefined || spec.address !== site.front || spec.port !== port || spec.protocol !== protocol || spec.vpc !== app.spec.vpc || spec.site !== site.name || spec.application !== keyOf(app)) return false;
  return spec.backends.length === backends.length && backends.every((b, i) => spec.backends[i]?.address === b.address && spec.backends[i].port === b.port && spec.backends[i].weight === b.weight);
}

/** What fronts may use: Ready, and of the current epoch. What is older, or leaves, keeps its flows only. */
function instancesOf({ planned, observed, epochs, crowded, decision }: Move): Instances[] {
  return observed.flatMap((o) => {
    const epoch = epochs[o.site] ?? 0;
    const isCurrent = o.isFenced !== true && o.stopsFirst !== true && !crowded.has(o.site);
    const t = decision.traffic[o.site];
    const ready = isCurrent ? o.pods.filter((p) => p.isReady && p.epoch === epoch) : [];
    const ending = o.pods.filter((p) => p.address !== '' && (p.isLeaving || (p.isReady && !ready.includes(p))));
    if (ready.length + ending.length === 0) return [];
    const w = planned.sites.find((s) => s.site === o.site);
    const addresses = ready.map((p) => ({ address: p.address, factor: t?.instances === undefined ? 100 : (t.instances[p.name]?.factor ?? 0) }));
    return [{ site: o.site, addresses, leaving: ending.map((p) => p.address), factor: t?.factor ?? 0, isPlanned: w !== undefined && !w.isHeld, ...(w === undefined ? {} : { wanted: w.instances }), isReachable: isUsable(o.reach) && w?.isHeld !== true }];
  });
}

async function removeFronts(region: Region, key: string): Promise<void> {
  for (const e of region.frontsOf(key)) await region.remove(Resources.Endpoint, e);
}

/** The application is gone: so is everything of it, in every region that answers; the Placement stays until all have answered. */
export async function removeApplication(placement: Placement, around: Surroundings, records: Records): Promise<void> {
  const key = keyOf(placement);
  const { tenant, namespace, name } = placeOf(key);
  let isDone = true;
  for (const region of around.regions) {
    if (region.answers !== true || around.isFenced()) {
      isDone = false;
      continue;
    }
    const isIts = (o: { readonly metadata: Deployment['metadata'] }): boolean => o.metadata.labels?.[APPLICATION_LABEL] === name && (o.metadata.tenant ?? 'system') === tenant && o.metadata.namespace === namespace;
    for (const d of region.deploymentsOf(key)) if (isIts(d)) await region.remove(Resources.Deployment, d);
    await removeFronts(region, key);
  }
  if (!isDone) return;
  around.budget?.learn(key, undefined);
  around.metrics?.forget(key);
  await records.forget(placement);
}
