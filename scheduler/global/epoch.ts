/**
 * Fencing tokens. Each (application, site) has an epoch, kept with the Placement and carried by its deployment and pods. It is raised when what
 * runs at a site out of reach is given up: fronts use instances of the current epoch only, and what comes back with an earlier one is stopped, not
 * adopted. What the policy lets run on (`stay`, `duplicate`) keeps its epoch. Pure.
 */
import { isUsable, type MoveStep, readyOf, type Traffic } from './mover-model.ts';
import type { SeenSite } from './observe.ts';
import type { PlannedSite } from './planner.ts';

export type Epochs = Readonly<Record<string, number>>;

export interface EpochInput {
  readonly wanted: readonly PlannedSite[];
  readonly observed: readonly SeenSite[];
  readonly traffic: Readonly<Record<string, Traffic>>;
  readonly epochs: Epochs;
}

export interface EpochDecision {
  readonly epochs: Epochs;
  readonly raised: readonly { readonly site: string; readonly reason: string }[];
}

export function decideEpochs({ wanted, observed, traffic, epochs }: EpochInput): EpochDecision {
  const planned = new Map(wanted.map((w) => [w.site, w]));
  const replacement = observed.find((o) => planned.get(o.site)?.isHeld === false && isUsable(o.reach) && readyOf(o) > 0 && (traffic[o.site]?.factor ?? 0) > 0);
  const next: Record<string, number> = { ...epochs };
  const raised: EpochDecision['raised'][number][] = [];
  for (const o of observed) {
    const epoch = epochs[o.site] ?? 0;
    const isThere = o.replicas === null ? traffic[o.site] !== undefined && traffic[o.site]?.state !== 'draining' : o.epoch >= epoch;
    if (isUsable(o.reach) || planned.has(o.site) || !isThere) continue;
    // a fence is raised before anything else starts, else when somebody serves instead
    if (o.stopsFirst !== true && replacement === undefined) continue;
    next[o.site] = epoch + 1;
    raised.push({ site: o.site, reason: `${o.stopsFirst === true ? `policy \`fence\` gives up` : `${replacement?.site ?? ''} serves instead of`} what runs at ${o.site}; its epoch ${epoch} is not used again` });
  }
  return { epochs: raised.length === 0 ? epochs : next, raised };
}

/** Only what is of the current epoch counts; a deployment of an earlier one has to end. */
export function withEpochs(observed: readonly SeenSite[], epochs: Epochs): SeenSite[] {
  return observed.map((o) => {
    const epoch = epochs[o.site] ?? 0;
    const isFenced = o.replicas !== null && o.epoch < epoch;
    const instances = isFenced || o.stopsFirst !== undefined ? o.pods : o.pods.filter((p) => p.epoch === epoch);
    return isFenced ? { ...o, instances, isFenced } : { ...o, instances };
  });
}

/** Running pods learn what the policy says now without being replaced. */
export function fenceSteps(observed: readonly SeenSite[], afterSeconds: number | null): MoveStep[] {
  return observed.flatMap((o) => (o.canAct ? o.pods.filter((p) => !p.isLeaving && p.fenceAfterSeconds !== afterSeconds).map((p) => ({ kind: 'fence', site: o.site, region: o.region, pod: p.name, afterSeconds }) as const) : []));
}
