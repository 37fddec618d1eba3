/** Carries one application's plan out: record it, then scale, weigh, drain and stop in the regions that answer. */
import type { Application, Placement } from '../../api/kinds/mesh.ts';
import type { Deployment } from '../../api/kinds/core.ts';
import type { Endpoint } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import type { Logger } from '../../base/log.ts';
import { backendsOf, frontShares, type Instances } from './fronts.ts';
import type { Model } from './model.ts';
import { decideMoves, isUsable, type MoveDecision, type MoverOptions, type ObservedSite } from './mover.ts';
import { type ApplicationPlan, type Plan, refusals } from './planner.ts';
import type { Records } from './records.ts';
import { APPLICATION_LABEL, deploymentName, deploymentObject, frontObject, keyOf, placeOf } from './region-objects.ts';
import type { Region } from './region.ts';
import type { Telemetry } from './telemetry.ts';
import { type Memory, MEMORY_ANNOTATION, memoryOf } from './memory.ts';

export interface Surroundings {
  readonly model: Model;
  readonly plan: Plan;
  readonly regions: readonly Region[];
  readonly telemetry: Telemetry;
  readonly now: number;
  readonly mover: MoverOptions;
  /** Application keys whose status says already why they are not planned as they ask. */
  readonly refused: ReadonlySet<string>;
  /** Application keys that have no right to the port they ask for: no front serves them. */
  readonly portless: ReadonlySet<string>;
  readonly log: Logger;
  /** The lease is not ours any more: nothing may be written. */
  readonly isFenced: () => boolean;
}

const UNDO_FOR_MS = 600_000;
const MOVES_KEPT = 30;
const UNKNOWN_MS = 1e6;

function observe(app: Application, around: Surroundings): ObservedSite[] {
  const { tenant, namespace, name } = placeOf(keyOf(app));
  return around.model.sites.map((site) => {
    const region = around.regions.find((r) => r.name === site.region);
    const deployment = region?.deployment(tenant, namespace, deploymentName(name, site.name)) ?? null;
    const isGone = deployment === null || deployment.metadata.deletionTimestamp !== undefined;
    return { site: site.name, region: site.region, reach: site.reach, canAct: region?.answers === true, replicas: isGone ? null : (deployment.spec.replicas ?? 1), ready: region?.podsOf(tenant, namespace, name, site.name).ready.length ?? 0 };
  });
}

/** Of one application's pass. */
export interface Moved {
  /** When it must be looked at again though nothing changed, ms since the epoch; null = a change of its objects, its plan or its sites says so. */
  readonly nextAt: number | null;
}

const NOT_MOVED: Moved = { nextAt: null };

export async function moveApplication(app: Application, planned: ApplicationPlan | undefined, placement: Placement | undefined, around: Surroundings, records: Records): Promise<Moved> {
  if (planned === undefined || around.isFenced()) return NOT_MOVED;
  // nobody can be asked, nothing can be done: an empty plan is then no decision
  if (planned.sites.length === 0 && (placement?.spec.sites.length ?? 0) > 0 && !around.regions.some((r) => r.answers === true)) return NOT_MOVED;
  const key = keyOf(app);
  const memory = memoryOf(placement);
  const observed = observe(app, around);
  const min = around.model.applications.find((a) => a.key === key)?.policy.instances.min ?? 1;
  const decision = decideMoves({ wanted: planned.sites, observed, traffic: memory.traffic, min, now: around.now }, around.mover);
  const remembered = remember(memory, planned, placement !== undefined, decision, around.now);
  for (const e of decision.events) around.log.info('move', { application: key, site: e.site, phase: e.phase, reason: e.reason });
  await records.placement(app, placement, record(app, planned, placement, observed, decision, remembered, around));
  const message = planned.unmet.length > 0 ? planned.unmet.join('; ') : planned.sites.map((s) => `${s.instances} at ${s.site}`).join(', ');
  if (!around.refused.has(key)) await records.applicationStatus(app, { phase: planned.sites.length === 0 ? 'Pending' : planned.unmet.length > 0 ? 'Unmet' : 'Placed', message, ...(app.metadata.generation === undefined ? {} : { observedGeneration: app.metadata.generation }) });
  const done = await Promise.all(around.regions.filter((r) => r.answers === true).map((region) => act(region, app, planned, observed, decision, around)));
  const again = [decision.nextAt, ...remembered.avoid.map((a) => a.until), ...(done.every(Boolean) ? [] : [around.now + 1])].filter((t) => t !== null);
  return { nextAt: again.length === 0 ? null : Math.min(...again) };
}

function remember(memory: Memory, planned: ApplicationPlan, hadPlace: boolean, decision: MoveDecision, now: number): Memory {
  const isMove = hadPlace && planned.changes.some((c) => c.from === 0);
  return {
    traffic: decision.traffic,
    avoid: [...memory.avoid.filter((a) => a.until > now), ...decision.undone.map((u) => ({ ...u, until: now + UNDO_FOR_MS }))],
    movedAt: [...memory.movedAt.filter((t) => now - t < 3_600_000), ...(isMove ? [now] : [])],
  };
}

function record(app: Application, planned: ApplicationPlan, before: Placement | undefined, observed: readonly ObservedSite[], decision: MoveDecision, memory: Memory, around: Surroundings): Parameters<Records['placement']>[2] {
  const wanted = new Map(planned.sites.map((s) => [s.site, s]));
  const sites = observed.flatMap((o) => {
    const w = wanted.get(o.site);
    if (w === undefined && o.replicas === null) return [];
    const state = isUsable(o.reach) ? (decision.traffic[o.site]?.state ?? (w === undefined ? 'draining' : 'starting')) : 'unreachable';
    const old = before?.status?.sites?.find((s) => s.site === o.site);
    // a sentence with live numbers would rewrite the object every second: the one of the decision stays while the decision stands
    const reason = old !== undefined && old.instances === w?.instances && !w.isHeld ? old.reason : (w?.reason ?? 'is not in the plan any more; drains when its replacement serves');
    return [{ site: o.site, region: o.region, instances: w?.instances ?? 0, ready: o.ready, state, reason }] as const;
  });
  const model = around.model.applications.find((a) => a.key === planned.key);
  const isChanged = planned.changes.length > 0 || before === undefined;
  const at = new Date(around.now).toISOString();
  const moves = [...(before?.status?.moves ?? []), ...decision.events.map((e) => ({ at, to: e.site, reason: e.reason, phase: e.phase }))].slice(-MOVES_KEPT);
  const rounded = planned.goals.map((g) => ({ ...g, predictedMs: Math.round(g.predictedMs) }));
  return {
    spec: isChanged ? { application: app.metadata.name, sites: planned.sites.map(({ site, instances, reason }) => ({ site, instances, reason })), plannedAt: at } : before.spec,
    annotations: { [MEMORY_ANNOTATION]: JSON.stringify(memory) },
    status: {
      sites,
      goals: rounded,
      refused: isChanged && model !== undefined ? refusals(around.model, model, planned, around.plan.used, around.now).slice(0, 20) : (before?.status?.refused ?? []),
      moves,
      message: planned.unmet.length > 0 ? planned.unmet.join('; ') : 'all goals met',
    },
  };
}

/** false = something was not written and is owed. */
async function act(region: Region, app: Application, planned: ApplicationPlan, observed: readonly ObservedSite[], decision: MoveDecision, around: Surroundings): Promise<boolean> {
  try {
    for (const step of decision.steps) {
      if (step.region !== region.name || around.isFenced()) continue;
      if (step.kind === 'scale') await region.ensure(Resources.Deployment, deploymentObject(app, step.site, step.replicas));
      else await region.remove(Resources.Deployment, deploymentObject(app, step.site, 0));
    }
    if (around.portless.has(keyOf(app))) {
      await removeFronts(region, keyOf(app));
      return true;
    }
    const instances = instancesOf(app, planned, observed, decision, around);
    // pods of a region that was never heard are not known: while nobody else serves, the fronts keep what they have
    if (instances.length === 0 && around.regions.some((r) => !r.hasAnswered)) return true;
    for (const site of around.model.sites) {
      if (site.region !== region.name || site.front === null || around.isFenced()) continue;
      if (!isUsable(site.reach)) continue; // it cannot hear us; what it has serves its own clients
      const shares = frontShares({ front: site.name, serves: planned.serves, instances, frontOf: (r) => nearestFront(r, around), rtt: (a, b) => around.telemetry.siteRtt(a, b, around.now) ?? UNKNOWN_MS });
      await region.ensure(Resources.Endpoint, frontObject(app, site.name, site.front, backendsOf(shares, instances, app.spec.service.targetPort ?? app.spec.service.port)));
    }
    return true;
  } catch (error) {
    around.log.warn('move not carried out', { application: keyOf(app), region: region.name, err: error });
    return false;
  }
}

function instancesOf(app: Application, planned: ApplicationPlan, observed: readonly ObservedSite[], decision: MoveDecision, around: Surroundings): Instances[] {
  const { tenant, namespace, name } = placeOf(keyOf(app));
  return observed.flatMap((o) => {
    const pods = around.regions.find((r) => r.name === o.region)?.podsOf(tenant, namespace, name, o.site);
    if (pods === undefined || pods.ready.length + pods.leaving.length === 0) return [];
    const w = planned.sites.find((s) => s.site === o.site);
    return [{ site: o.site, addresses: pods.ready, leaving: pods.leaving, factor: decision.traffic[o.site]?.factor ?? 0, isPlanned: w !== undefined && !w.isHeld, isReachable: isUsable(o.reach) && w?.isHeld !== true }];
  });
}

function nearestFront(clientRegion: string, around: Surroundings): string | null {
  let best: string | null = null;
  let bestMs = Number.POSITIVE_INFINITY;
  for (const site of around.model.sites) {
    if (site.front === null || !isUsable(site.reach)) continue;
    const ms = around.telemetry.clientRtt(clientRegion, site.name, [], around.now);
    if (ms === null || ms >= bestMs) continue;
    best = site.name;
    bestMs = ms;
  }
  return best;
}

async function removeFronts(region: Region, key: string): Promise<void> {
  for (const e of region.of<Endpoint>(Resources.Endpoint)) if (e.spec.type === 'front' && e.spec.application === key) await region.remove(Resources.Endpoint, e);
}

/** The application is gone: so is everything of it, in every region that answers; the Placement stays until all have answered. */
export async function removeApplication(placement: Placement, around: Surroundings, records: Records): Promise<void> {
  const { tenant, namespace, name } = placeOf(keyOf(placement));
  let isDone = true;
  for (const region of around.regions) {
    if (region.answers !== true || around.isFenced()) {
      isDone = false;
      continue;
    }
    const isIts = (o: { readonly metadata: Deployment['metadata'] }): boolean => o.metadata.labels?.[APPLICATION_LABEL] === name && (o.metadata.tenant ?? 'system') === tenant;
    for (const d of region.of<Deployment>(Resources.Deployment)) if (isIts(d) && d.metadata.namespace === namespace) await region.remove(Resources.Deployment, d);
    await removeFronts(region, keyOf(placement));
  }
  if (isDone) await records.forget(placement);
}
