/** What is there of one application, as the mover wants to see it: its deployments and pods per site, and what the fronts give to each. */
import type { Deployment, Pod } from '../../api/kinds/core.ts';
import type { Application, PolicySpec } from '../../api/kinds/mesh.ts';
import type { Migration, ObservedInstance } from './instances.ts';
import { FENCE_MARGIN_SECONDS } from './eligible.ts';
import type { Model, SiteModel } from './model.ts';
import { isUsable, type ObservedSite } from './mover-model.ts';
import { DELETION_COST_ANNOTATION, deploymentName, epochOf, FENCE_CONDITION, fenceAfterOf, isOutdated, keyOf, MIGRATION_ANNOTATION, placeOf, SEND_ANNOTATION, SITE_LABEL } from './region-objects.ts';
import type { Region } from './region.ts';
import { siteNamed } from './surroundings.ts';
import { unreachableSteps } from './unreachable.ts';

/** The cost of a pod that its replica set shall take first. */
export const LEAVES_FIRST = '-1000';

export interface SeenPod extends ObservedInstance {
  readonly address: string;
  readonly epoch: number;
  readonly fenceAfterSeconds: number | null;
  /** After how many seconds its node stops it by itself, as the node says; null = it has not said so. */
  readonly armedSeconds: number | null;
  readonly pod: Pod;
}

export interface SeenSite extends ObservedSite {
  readonly pods: readonly SeenPod[];
  readonly deployment: Deployment | null;
  /** Of the deployment that is there. */
  readonly epoch: number;
}

export interface Look {
  readonly app: Application;
  readonly model: Model;
  readonly regions: ReadonlyMap<string, Region>;
  readonly policy: Pick<PolicySpec, 'unreachable'>;
  readonly wanted: ReadonlyMap<string, { readonly isHeld: boolean }>;
  /** Sites that its traffic state names. */
  readonly remembered: readonly string[];
  readonly now: number;
}

/** Of the sites where anything of it is, was or is wanted; sorted by name. */
export function observe(look: Look): SeenSite[] {
  const { app, regions, wanted, now } = look;
  const key = keyOf(app);
  const { tenant, namespace, name } = placeOf(key);
  const weights = weightsOf(look);
  return sitesOf(look).map((site) => {
    const region = regions.get(site.region);
    const found = region?.deployment(tenant, namespace, deploymentName(name, site.name)) ?? null;
    const deployment = found?.metadata.deletionTimestamp === undefined ? found : null;
    const pods = (region?.podsAt(key, site.name) ?? []).map((pod) => seenPod(pod, weights));
    const canAct = region?.answers === true;
    const lostMs = site.reach === 'cut-off' || site.reach === 'down' ? now - site.since : 0;
    const stopsFirst = !wanted.has(site.name) && lostMs > 0 && unreachableSteps(look.policy).some((s) => s.action === 'fence' && s.afterSeconds * 1000 <= lostMs);
    const isWaitedFor = stopsFirst || (isExclusive(look.policy) && wanted.get(site.name)?.isHeld === true);
    const blocks = isWaitedFor && (!canAct || pods.some((p) => mayServe(p, lostMs)));
    return { site: site.name, region: site.region, reach: site.reach, canAct, replicas: deployment === null ? null : (deployment.spec.replicas ?? 1), instances: pods, pods, deployment, epoch: epochOf(deployment?.spec.template.metadata?.annotations), ...(deployment !== null && isOutdated(deployment, app) ? { isOutdated: true } : {}), ...(stopsFirst ? { stopsFirst } : {}), ...(blocks ? { blocks } : {}) };
  });
}

/** A policy that fences before it does anything else never wants two to serve. */
export function isExclusive(policy: Pick<PolicySpec, 'unreachable'>): boolean {
  return unreachableSteps(policy).find((s) => s.action !== 'stay')?.action === 'fence';
}

/** Only who was told to end, so that it does not begin again when it hears of it, and whose node has stopped it meanwhile, does not serve. */
function mayServe(pod: SeenPod, lostMs: number): boolean {
  return !pod.isLeaving || pod.armedSeconds === null || lostMs < (pod.armedSeconds + FENCE_MARGIN_SECONDS) * 1000;
}

function sitesOf({ app, model, regions, wanted, remembered }: Look): SiteModel[] {
  const names = new Set([...wanted.keys(), ...remembered]);
  for (const region of regions.values()) for (const d of region.deploymentsOf(keyOf(app))) names.add(d.metadata.labels?.[SITE_LABEL] ?? '');
  return [...names].sort().flatMap((name) => siteNamed(model, name) ?? []);
}

function seenPod(pod: Pod, weights: ReadonlyMap<string, number>): SeenPod {
  const { metadata: m, status } = pod;
  const address = status?.podIP ?? '';
  const isLeaving = m.deletionTimestamp !== undefined;
  return {
    name: m.name,
    uid: m.uid ?? m.name,
    address,
    epoch: epochOf(m.annotations),
    fenceAfterSeconds: fenceAfterOf(m.annotations),
    armedSeconds: armedOf(pod),
    isReady: !isLeaving && address !== '' && status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true,
    isLeaving,
    createdAt: Date.parse(m.creationTimestamp ?? '') || 0,
    weight: weights.get(address) ?? 0,
    isMarked: m.annotations?.[DELETION_COST_ANNOTATION] === LEAVES_FIRST,
    sendTo: m.annotations?.[SEND_ANNOTATION] ?? null,
    migration: migrationOf(m.annotations?.[MIGRATION_ANNOTATION]),
    pod,
  };
}

function armedOf({ status }: Pod): number | null {
  const armed = status?.conditions?.find((c) => c.type === FENCE_CONDITION && c.status === 'True');
  return armed === undefined || armed.message === undefined || !Number.isFinite(Number(armed.message)) ? null : Number(armed.message);
}

/** Written by the agents; what cannot be read says nothing. */
function migrationOf(text: string | undefined): Migration | null {
  if (text === undefined) return null;
  try {
    const m = JSON.parse(text) as Partial<Migration> | null;
    return m?.phase === 'sending' || m?.phase === 'sent' || m?.phase === 'restored' || m?.phase === 'failed' ? (m as Migration) : null;
  } catch {
    return null;
  }
}

/**
 * By address: the most that a front gives it. A front at a site out of reach cannot be told and counts no more; but while only its region's API is
 * silent it still serves as it was told last.
 */
function weightsOf({ app, model, regions }: Look): ReadonlyMap<string, number> {
  const weights = new Map<string, number>();
  for (const region of regions.values()) {
    for (const e of region.frontsOf(keyOf(app))) {
      const at = siteNamed(model, e.metadata.labels?.[SITE_LABEL] ?? '')?.reach ?? 'down';
      if (e.spec.type !== 'front' || !(isUsable(at) || (at === 'cut-off' && region.answers !== true))) continue;
      for (const b of e.spec.backends) weights.set(b.address, Math.max(weights.get(b.address) ?? 0, b.weight));
    }
  }
  return weights;
}
