/** (replica set, pods of its namespace, now) -> pods to make or delete, and the status. Pure. */
import type { Pod, ReplicaSet } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { availableAt, controllerOf, isLeaving, isOwnedBy, isReady, ownerReference, selects } from './model.ts';
import type { Decision, Step } from './model.ts';

/** Pods made in one pass: the next pass continues, so a typo in `replicas` does not fill the store at once. */
const BURST = 100;

const isOver = (p: Pod): boolean => p.status?.phase === 'Succeeded' || p.status?.phase === 'Failed';

/** As in Kubernetes: a number, absent or not a number = 0; of pods that are as ready as each other the lowest goes first. */
export const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost';

/** As a text that sorts like the number; the range is that of an int32. */
function costOf(pod: Pod): string {
  const cost = Number(pod.metadata.annotations?.[DELETION_COST] ?? 0);
  return String((Number.isSafeInteger(cost) ? Math.max(-(2 ** 31), Math.min(2 ** 31, cost)) : 0) + 2 ** 32).padStart(11, '0');
}

/** Cheapest to lose first: without a node, not running, not ready, of the lowest deletion cost, youngest. */
function worth(pod: Pod): string {
  const rank = (pod.spec.nodeName ?? '') === '' ? 0 : pod.status?.phase !== 'Running' ? 1 : isReady(pod) ? 3 : 2;
  const age = 9e15 - Date.parse(pod.metadata.creationTimestamp ?? '1970-01-01');
  return `${rank} ${costOf(pod)} ${String(age).padStart(16, '0')} ${pod.metadata.name}`;
}

function newPod(rs: ReplicaSet): Pod {
  const { metadata, spec } = rs.spec.template;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: '',
      generateName: `${rs.metadata.name}-`,
      ...(rs.metadata.tenant === undefined ? {} : { tenant: rs.metadata.tenant }),
      ...(rs.metadata.namespace === undefined ? {} : { namespace: rs.metadata.namespace }),
      labels: metadata?.labels ?? {},
      ...(metadata?.annotations === undefined ? {} : { annotations: metadata.annotations }),
      ownerReferences: [ownerReference(rs, 'apps/v1', 'ReplicaSet')],
    },
    spec,
  };
}

export function decideReplicaSet(rs: ReplicaSet, pods: readonly Pod[], now: number): Decision {
  if (isLeaving(rs)) return { steps: [], againMs: null };
  const adopted = pods.filter((p) => controllerOf(p) === null && !isLeaving(p) && !isOver(p) && selects(rs.spec.selector, p.metadata.labels));
  const owned = [...pods.filter((p) => isOwnedBy(p, rs)), ...adopted];
  const active = owned.filter((p) => !isLeaving(p) && !isOver(p));
  const wanted = rs.spec.replicas ?? 1;
  const steps: Step[] = adopted.map((p) => ({ kind: 'patch', resource: Resources.Pod, of: p, patch: { metadata: { ownerReferences: [...(p.metadata.ownerReferences ?? []), ownerReference(rs, 'apps/v1', 'ReplicaSet')] } } }));
  const missing = Math.min(BURST, wanted - active.length);
  for (let i = 0; i < missing; i++) steps.push({ kind: 'create', resource: Resources.Pod, object: newPod(rs) });
  if (active.length > wanted) {
    const ranked = active.map((p) => ({ p, worth: worth(p) })).sort((a, b) => (a.worth < b.worth ? -1 : 1));
    for (const { p } of ranked.slice(0, active.length - wanted)) steps.push({ kind: 'delete', resource: Resources.Pod, of: p });
  }
  // Pods that ended are replaced and would otherwise pile up.
  for (const p of owned) if (isOver(p) && !isLeaving(p)) steps.push({ kind: 'delete', resource: Resources.Pod, of: p });
  return withStatus(rs, active, steps, now, wanted - active.length > BURST);
}

function withStatus(rs: ReplicaSet, active: readonly Pod[], steps: Step[], now: number, isMore: boolean): Decision {
  const min = rs.spec.minReadySeconds ?? 0;
  const ready = active.filter(isReady);
  const times = ready.map((p) => availableAt(p, min) ?? 0);
  const labels = rs.spec.template.metadata?.labels ?? {};
  const status = {
    replicas: active.length,
    fullyLabeledReplicas: active.filter((p) => Object.entries(labels).every(([k, v]) => p.metadata.labels?.[k] === v)).length,
    readyReplicas: ready.length,
    availableReplicas: times.filter((t) => t <= now).length,
    observedGeneration: rs.metadata.generation ?? 1,
  };
  const told = rs.status;
  const isTold = told !== undefined && Object.entries(status).every(([k, v]) => (told[k as keyof typeof status] ?? 0) === v);
  if (!isTold) steps.push({ kind: 'status', resource: Resources.ReplicaSet, of: rs, status });
  const next = times.filter((t) => t > now);
  return { steps, againMs: isMore ? 1 : next.length === 0 ? null : Math.min(...next) - now };
}
