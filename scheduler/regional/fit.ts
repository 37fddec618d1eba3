/** Whether one node may take one pod. Pure; every refusal is a reason that a person can act on. */
import type { Node, Pod } from '../../api/kinds/core.ts';
import type { Amounts } from './amounts.ts';

interface Toleration {
  readonly key?: string;
  readonly operator?: 'Exists' | 'Equal';
  readonly value?: string;
  readonly effect?: string;
}

interface Term {
  readonly matchExpressions?: readonly { readonly key: string; readonly operator: string; readonly values?: readonly string[] }[];
}

interface NodeAffinity {
  readonly nodeAffinity?: { readonly requiredDuringSchedulingIgnoredDuringExecution?: { readonly nodeSelectorTerms?: readonly Term[] } };
}

const conditionIsTrue = (node: Node, type: string): boolean => node.status?.conditions?.find((c) => c.type === type)?.status === 'True';

function tolerates(pod: Pod, taint: { readonly key: string; readonly value?: string; readonly effect: string }): boolean {
  return ((pod.spec.tolerations ?? []) as readonly Toleration[]).some(
    (t) =>
      (t.effect === undefined || t.effect === '' || t.effect === taint.effect) &&
      (t.key === undefined || t.key === '' ? t.operator === 'Exists' : t.key === taint.key) &&
      (t.operator === 'Exists' || (t.value ?? '') === (taint.value ?? '')),
  );
}

function matchesTerm(term: Term, labels: Readonly<Record<string, string>>): boolean {
  return (term.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key];
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
      case 'Gt':
        return value !== undefined && Number(value) > Number(values[0]);
      case 'Lt':
        return value !== undefined && Number(value) < Number(values[0]);
      default:
        return false;
    }
  });
}

/** What does not depend on the pods that are already there; null = nothing against it. */
export function refusedByNode(pod: Pod, node: Node): string | null {
  const labels = node.metadata.labels ?? {};
  for (const [key, value] of Object.entries(pod.spec.nodeSelector ?? {})) if (labels[key] !== value) return "didn't match the pod's nodeSelector";
  const terms = (pod.spec.affinity as NodeAffinity | undefined)?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  if (terms !== undefined && !terms.some((t) => matchesTerm(t, labels))) return "didn't match the pod's node affinity";
  if (node.spec?.unschedulable === true) return 'were unschedulable';
  if (!conditionIsTrue(node, 'Ready')) return 'were not ready';
  const runtime = pod.spec.virtualMachine === undefined ? 'ContainerRuntimeReady' : 'VmRuntimeReady';
  if (!conditionIsTrue(node, runtime)) return pod.spec.virtualMachine === undefined ? 'had no container runtime' : 'had no VM runtime';
  const taint = (node.spec?.taints ?? []).find((t) => t.effect !== 'PreferNoSchedule' && !tolerates(pod, t));
  return taint === undefined ? null : `had the taint {${taint.key}: ${taint.value ?? ''}} that the pod didn't tolerate`;
}

export function refusedByCapacity(asked: Amounts, free: Amounts): string | null {
  if (free.pods < 1) return 'had too many pods';
  if (asked.cpuMilli > free.cpuMilli) return 'had insufficient cpu';
  return asked.memoryBytes > free.memoryBytes ? 'had insufficient memory' : null;
}
