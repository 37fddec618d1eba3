/** (deployment, its replica sets, now) -> replica sets to make, scale and delete, and the status that `kubectl rollout status` reads. Pure. */
import { isDeepStrictEqual } from 'node:util';
import type { Deployment, ReplicaSet } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { limitsOf, rolloutStatus } from './deployment-status.ts';
import { HASH_LABEL, isLeaving, isOwnedBy, ownerReference, sameTemplate, templateHash } from './model.ts';
import type { Decision, Step } from './model.ts';

export const REVISION = 'deployment.kubernetes.io/revision';

const replicasOf = (rs: ReplicaSet): number => rs.spec.replicas ?? 0;
/** A status may lag behind a scale-down: never count more than are asked for. */
const availableOf = (rs: ReplicaSet): number => Math.min(rs.status?.availableReplicas ?? 0, replicasOf(rs));
const revisionOf = (rs: ReplicaSet): number => Number(rs.metadata.annotations?.[REVISION] ?? 0);
const sum = (sets: readonly ReplicaSet[], of: (rs: ReplicaSet) => number): number => sets.reduce((n, rs) => n + of(rs), 0);

export function decideDeployment(d: Deployment, sets: readonly ReplicaSet[], now: number): Decision {
  if (isLeaving(d)) return { steps: [], againMs: null };
  const owned = sets.filter((rs) => isOwnedBy(rs, d) && !isLeaving(rs)).sort((a, b) => revisionOf(a) - revisionOf(b));
  const current = owned.findLast((rs) => sameTemplate(rs.spec.template, d.spec.template)) ?? null;
  const old = owned.filter((rs) => rs !== current);
  const revision = Math.max(0, ...old.map(revisionOf)) + 1;
  const steps = d.spec.paused === true ? scalePaused(d, owned) : rollOut(d, current, old, revision);
  if (d.spec.paused !== true) steps.push(...annotate(d, current, revision), ...cleanUp(d, current, old));
  const { status, againMs } = rolloutStatus(d, current, owned, now);
  const isTold = Object.entries(status).every(([k, v]) => isDeepStrictEqual(d.status?.[k as keyof typeof status], v));
  if (!isTold) steps.push({ kind: 'status', resource: Resources.Deployment, of: d, status });
  return { steps, againMs };
}

function scale(of: ReplicaSet, replicas: number): Step[] {
  return replicasOf(of) === replicas ? [] : [{ kind: 'patch', resource: Resources.ReplicaSet, of, patch: { spec: { replicas } } }];
}

function scalePaused(d: Deployment, owned: readonly ReplicaSet[]): Step[] {
  const active = owned.filter((rs) => replicasOf(rs) > 0);
  const newest = active.at(-1) ?? owned.at(-1);
  if (newest === undefined) return [];
  const others = sum(active.filter((rs) => rs !== newest), replicasOf);
  return scale(newest, Math.max(0, (d.spec.replicas ?? 1) - others));
}

function rollOut(d: Deployment, current: ReplicaSet | null, old: readonly ReplicaSet[], revision: number): Step[] {
  const wanted = d.spec.replicas ?? 1;
  const oldTotal = sum(old, replicasOf);
  if (d.spec.strategy?.type === 'Recreate') {
    if (oldTotal > 0) return old.flatMap((rs) => scale(rs, 0));
    if (sum(old, (rs) => rs.status?.replicas ?? 0) > 0) return [];
    return current === null ? [create(d, wanted, revision)] : scale(current, wanted);
  }
  const { surge, unavailable } = limitsOf(d);
  const room = Math.max(0, wanted + surge - oldTotal - (current === null ? 0 : replicasOf(current)));
  if (current === null) return [create(d, Math.min(wanted, room), revision)];
  const have = replicasOf(current);
  const grown = have >= wanted ? wanted : Math.min(wanted, have + room);
  return [...scale(current, grown), ...scaleDownOld(old, current, wanted - unavailable, Math.min(have, grown))];
}

/** Old pods go in two rounds: those that serve nobody first, then as many as keep `minAvailable` pods available. */
function scaleDownOld(old: readonly ReplicaSet[], current: ReplicaSet, minAvailable: number, have: number): Step[] {
  const target = new Map(old.map((rs) => [rs, replicasOf(rs)]));
  const newAvailable = Math.min(availableOf(current), have);
  let budget = Math.max(0, sum(old, replicasOf) + have - minAvailable - (have - newAvailable));
  const lower = (rs: ReplicaSet, most: number): number => {
    const n = Math.max(0, Math.min(most, target.get(rs) ?? 0));
    target.set(rs, (target.get(rs) ?? 0) - n);
    return n;
  };
  for (const rs of old) budget -= lower(rs, Math.min(budget, replicasOf(rs) - availableOf(rs)));
  const available = sum(old, availableOf) + newAvailable;
  let spare = Math.min(budget, Math.max(0, available - minAvailable));
  for (const rs of old) spare -= lower(rs, spare);
  return [...target].flatMap(([rs, replicas]) => scale(rs, replicas));
}

function create(d: Deployment, replicas: number, revision: number): Step {
  const hash = templateHash(d.spec.template);
  const { tenant, namespace, name } = d.metadata;
  const labels = { ...d.spec.template.metadata?.labels, [HASH_LABEL]: hash };
  const object: ReplicaSet = {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${name}-${hash}`,
      ...(tenant === undefined ? {} : { tenant }),
      ...(namespace === undefined ? {} : { namespace }),
      labels,
      annotations: { [REVISION]: String(revision) },
      ownerReferences: [ownerReference(d, 'apps/v1', 'Deployment')],
    },
    spec: {
      replicas,
      ...(d.spec.minReadySeconds === undefined ? {} : { minReadySeconds: d.spec.minReadySeconds }),
      selector: { ...d.spec.selector, matchLabels: { ...d.spec.selector.matchLabels, [HASH_LABEL]: hash } },
      template: { ...d.spec.template, metadata: { ...d.spec.template.metadata, labels } },
    },
  };
  return { kind: 'create', resource: Resources.ReplicaSet, object };
}

/** A rollback makes an old set the newest again: its number moves on. */
function annotate(d: Deployment, current: ReplicaSet | null, revision: number): Step[] {
  const number = String(Math.max(revision, current === null ? 0 : revisionOf(current)));
  const patch = { metadata: { annotations: { [REVISION]: number } } };
  const steps: Step[] = [];
  if (current !== null && current.metadata.annotations?.[REVISION] !== number) steps.push({ kind: 'patch', resource: Resources.ReplicaSet, of: current, patch });
  if (d.metadata.annotations?.[REVISION] !== number) steps.push({ kind: 'patch', resource: Resources.Deployment, of: d, patch });
  return steps;
}

function cleanUp(d: Deployment, current: ReplicaSet | null, old: readonly ReplicaSet[]): Step[] {
  if (current === null) return [];
  const empty = old.filter((rs) => replicasOf(rs) === 0 && (rs.status?.replicas ?? 0) === 0);
  return empty.slice(0, Math.max(0, empty.length - (d.spec.revisionHistoryLimit ?? 10))).map((of) => ({ kind: 'delete', resource: Resources.ReplicaSet, of }));
}
