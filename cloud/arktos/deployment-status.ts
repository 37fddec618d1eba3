/** How far a deployment has come, as its status says it. Pure. */
import type { Deployment, ReplicaSet } from '../../api/kinds/core.ts';
import type { Condition } from '../../api/object.ts';
import { withCondition } from './model.ts';

type Status = NonNullable<Deployment['status']>;
type Dated = Condition & { readonly lastUpdateTime?: string };

function resolve(value: number | string | undefined, of: number, round: (n: number) => number): number {
  if (typeof value === 'number') return value;
  const text = value ?? '25%';
  return text.endsWith('%') ? round((Number(text.slice(0, -1)) * of) / 100) : Number(text);
}

export function limitsOf(d: Deployment): { readonly surge: number; readonly unavailable: number } {
  const wanted = d.spec.replicas ?? 1;
  const { maxSurge, maxUnavailable } = d.spec.strategy?.rollingUpdate ?? {};
  const surge = resolve(maxSurge, wanted, Math.ceil);
  const unavailable = Math.min(wanted, resolve(maxUnavailable, wanted, Math.floor));
  return surge === 0 && unavailable === 0 ? { surge, unavailable: 1 } : { surge, unavailable };
}

export function rolloutStatus(d: Deployment, current: ReplicaSet | null, owned: readonly ReplicaSet[], now: number): { readonly status: Status; readonly againMs: number | null } {
  const total = (of: (s: NonNullable<ReplicaSet['status']>) => number | undefined): number => owned.reduce((n, rs) => n + ((rs.status === undefined ? 0 : of(rs.status)) ?? 0), 0);
  const wanted = d.spec.replicas ?? 1;
  const counts = {
    observedGeneration: d.metadata.generation ?? 1,
    replicas: total((s) => s.replicas),
    updatedReplicas: current?.status?.replicas ?? 0,
    readyReplicas: total((s) => s.readyReplicas),
    availableReplicas: total((s) => s.availableReplicas),
    unavailableReplicas: Math.max(0, Math.max(wanted, total((s) => s.replicas)) - total((s) => s.availableReplicas)),
  };
  const enough = counts.availableReplicas >= wanted - limitsOf(d).unavailable;
  const available: Omit<Condition, 'lastTransitionTime'> = enough
    ? { type: 'Available', status: 'True', reason: 'MinimumReplicasAvailable', message: 'Deployment has minimum availability.' }
    : { type: 'Available', status: 'False', reason: 'MinimumReplicasUnavailable', message: 'Deployment does not have minimum availability.' };
  const isDone = counts.updatedReplicas === wanted && counts.replicas === wanted && counts.availableReplicas === wanted;
  const progress = progressing(d, current, counts, isDone, now);
  const conditions = withCondition(d.status?.conditions ?? [], available, now);
  const status = { ...counts, conditions: withCondition(conditions, progress.condition, now) };
  return { status, againMs: progress.againMs };
}

type Counts = Pick<Status, 'replicas' | 'updatedReplicas' | 'readyReplicas' | 'availableReplicas' | 'observedGeneration'>;

function progressing(d: Deployment, current: ReplicaSet | null, counts: Counts, isDone: boolean, now: number): { readonly condition: Omit<Dated, 'lastTransitionTime'>; readonly againMs: number | null } {
  const name = current === null ? d.metadata.name : current.metadata.name;
  const old = d.status?.conditions?.find((c) => c.type === 'Progressing') as Dated | undefined;
  const keep = (made: Omit<Dated, 'lastTransitionTime' | 'lastUpdateTime'>, isMoving: boolean): Omit<Dated, 'lastTransitionTime'> => {
    const isSame = old?.reason === made.reason && old?.message === made.message && !isMoving;
    return { ...made, lastUpdateTime: isSame && old?.lastUpdateTime !== undefined ? old.lastUpdateTime : new Date(now).toISOString().replace(/\.\d+Z$/, 'Z') };
  };
  if (isDone) return { condition: keep({ type: 'Progressing', status: 'True', reason: 'NewReplicaSetAvailable', message: `ReplicaSet "${name}" has successfully progressed.` }, false), againMs: null };
  const before = d.status;
  const isMoving = before === undefined || (['updatedReplicas', 'readyReplicas', 'availableReplicas', 'observedGeneration'] as const).some((k) => (counts[k] ?? 0) > (before[k] ?? 0)) || (counts.replicas ?? 0) < (before.replicas ?? 0);
  const deadline = (d.spec.progressDeadlineSeconds ?? 600) * 1000;
  const since = isMoving || old?.reason === 'NewReplicaSetAvailable' ? now : Date.parse(old?.lastUpdateTime ?? new Date(now).toISOString());
  const isLate = !isMoving && (old?.reason === 'ProgressDeadlineExceeded' || now - since >= deadline) && d.spec.paused !== true;
  if (isLate) return { condition: keep({ type: 'Progressing', status: 'False', reason: 'ProgressDeadlineExceeded', message: `ReplicaSet "${name}" has timed out progressing.` }, false), againMs: null };
  return { condition: keep({ type: 'Progressing', status: 'True', reason: 'ReplicaSetUpdated', message: `ReplicaSet "${name}" is progressing.` }, isMoving), againMs: Math.max(1000, since + deadline - now) };
}
