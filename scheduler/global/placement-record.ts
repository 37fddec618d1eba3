/** The Placement as it is to be written: where the application runs and why, what was moved, and what the mover must not forget. */
import type { Application, Placement } from '../../api/kinds/mesh.ts';
import { MEMORY_ANNOTATION, type Memory } from './memory.ts';
import { isUsable, type MoveDecision, readyOf } from './mover-model.ts';
import type { SeenSite } from './observe.ts';
import type { ApplicationPlan } from './planner.ts';
import type { Records } from './records.ts';
import { refusals } from './refusals.ts';
import { applicationNamed, type Surroundings } from './surroundings.ts';

export interface Recorded {
  readonly app: Application;
  readonly planned: ApplicationPlan;
  readonly before: Placement | undefined;
  readonly observed: readonly SeenSite[];
  readonly decision: MoveDecision;
  readonly raised: readonly { readonly site: string; readonly reason: string }[];
  readonly memory: Memory;
  readonly around: Surroundings;
}

type Status = NonNullable<Placement['status']>;
const MOVES_KEPT = 30;
const REFUSED_KEPT = 20;

export function placementRecord(r: Recorded): Parameters<Records['placement']>[2] {
  const { app, planned, before, around, memory } = r;
  const model = applicationNamed(around.model, planned.key);
  const isChanged = planned.changes.length > 0 || before === undefined;
  return {
    spec: isChanged ? { application: app.metadata.name, sites: planned.sites.map(({ site, instances, reason }) => ({ site, instances, reason })), plannedAt: new Date(around.now).toISOString() } : before.spec,
    annotations: { [MEMORY_ANNOTATION]: JSON.stringify(memory) },
    status: {
      sites: sitesOf(r),
      goals: planned.goals.map((g) => ({ ...g, predictedMs: Math.round(g.predictedMs) })),
      refused: isChanged && model !== undefined ? refusals(around.model, model, around.plan).slice(0, REFUSED_KEPT) : (before?.status?.refused ?? []),
      moves: movesOf(r),
      message: planned.unmet.length > 0 ? planned.unmet.join('; ') : 'all goals met',
    },
  };
}

function sitesOf({ planned, before, observed, decision }: Recorded): NonNullable<Status['sites']> {
  const wanted = new Map(planned.sites.map((s) => [s.site, s]));
  return observed.flatMap((o) => {
    const w = wanted.get(o.site);
    if (w === undefined && o.replicas === null) return [];
    const state = isUsable(o.reach) ? (decision.traffic[o.site]?.state ?? (w === undefined ? 'draining' : 'starting')) : 'unreachable';
    const old = before?.status?.sites?.find((s) => s.site === o.site);
    const waits = decision.waiting.find((x) => x.site === o.site)?.reason;
    // a sentence with live numbers would rewrite the object every second: the one of the decision stays while the decision stands
    const isSame = old !== undefined && old.instances === w?.instances && !w.isHeld && !old.reason.startsWith('waits');
    const reason = waits ?? (isSame ? old.reason : (w?.reason ?? 'is not in the plan any more; drains when its replacement serves'));
    return [{ site: o.site, region: o.region, instances: w?.instances ?? 0, ready: readyOf(o), state, reason: waits !== undefined && old?.reason.startsWith('waits') === true ? old.reason : reason }] as const;
  });
}

function movesOf({ before, decision, raised, around }: Recorded): NonNullable<Status['moves']> {
  const at = new Date(around.now).toISOString();
  const given = raised.map(({ site, reason }) => ({ at, to: site, reason, phase: 'replaced' }));
  const made = decision.events.map(({ site, reason, phase, bytes, downtimeMs }) => ({ at, to: site, reason, phase, ...(bytes === undefined ? {} : { bytes }), ...(downtimeMs === undefined ? {} : { downtimeMs }) }));
  return [...(before?.status?.moves ?? []), ...given, ...made].slice(-MOVES_KEPT);
}
