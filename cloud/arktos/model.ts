/** Words that every controller uses: owners, selectors, readiness, and the one list of steps that they may ask for. Pure. */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Place, ResourceId } from '../../api/client.ts';
import type { LabelSelector, Pod, PodTemplate } from '../../api/kinds/core.ts';
import type { Condition, KubeObject, ObjectMeta, OwnerReference } from '../../api/object.ts';

export type Step =
  | { readonly kind: 'create'; readonly resource: ResourceId; readonly object: KubeObject }
  | { readonly kind: 'patch'; readonly resource: ResourceId; readonly of: KubeObject; readonly patch: unknown }
  | { readonly kind: 'status'; readonly resource: ResourceId; readonly of: KubeObject; readonly status: unknown }
  | { readonly kind: 'delete'; readonly resource: ResourceId; readonly of: KubeObject; readonly graceSeconds?: number };

export interface Decision {
  readonly steps: readonly Step[];
  /** Milliseconds until time alone may change the decision; null = it will not. */
  readonly againMs: number | null;
}

export const HASH_LABEL = 'pod-template-hash';

export const placeOf = (o: KubeObject): Place => ({ tenant: o.metadata.tenant ?? null, namespace: o.metadata.namespace ?? null });
export const controllerOf = (o: KubeObject): OwnerReference | null => o.metadata.ownerReferences?.find((r) => r.controller === true) ?? null;
export const isOwnedBy = (o: KubeObject, owner: KubeObject): boolean => controllerOf(o)?.uid === owner.metadata.uid;
export const isLeaving = (o: KubeObject): boolean => o.metadata.deletionTimestamp !== undefined;

export function ownerReference(owner: KubeObject, apiVersion: string, kind: string): OwnerReference {
  return { apiVersion, kind, name: owner.metadata.name, uid: owner.metadata.uid ?? '', controller: true, blockOwnerDeletion: true };
}

export function selects(selector: LabelSelector, labels: ObjectMeta['labels'] = {}): boolean {
  const equal = Object.entries(selector.matchLabels ?? {}).every(([k, v]) => labels[k] === v);
  return (
    equal &&
    (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      const value = labels[key];
      if (operator === 'Exists') return value !== undefined;
      if (operator === 'DoesNotExist') return value === undefined;
      return operator === 'In' ? value !== undefined && values.includes(value) : value === undefined || !values.includes(value);
    })
  );
}

const conditionOf = (pod: Pod, type: string): Condition | null => pod.status?.conditions?.find((c) => c.type === type) ?? null;
export const isReady = (pod: Pod): boolean => !isLeaving(pod) && conditionOf(pod, 'Ready')?.status === 'True';

/** When the pod counts (or counted) as available; null = it is not ready. */
export function availableAt(pod: Pod, minReadySeconds: number): number | null {
  if (!isReady(pod)) return null;
  const since = Date.parse(conditionOf(pod, 'Ready')?.lastTransitionTime ?? '');
  return minReadySeconds === 0 || Number.isNaN(since) ? 0 : since + minReadySeconds * 1000;
}

/** Equal objects print the same whatever the order of their keys. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, canonical(v)]));
}

export function withoutHash(template: PodTemplate): PodTemplate {
  const { [HASH_LABEL]: _, ...labels } = template.metadata?.labels ?? {};
  return { ...template, metadata: { ...template.metadata, labels } };
}

export const sameTemplate = (a: PodTemplate, b: PodTemplate): boolean => isDeepStrictEqual(withoutHash(a), withoutHash(b));

export function templateHash(template: PodTemplate): string {
  return createHash('sha256').update(JSON.stringify(canonical(withoutHash(template)))).digest('hex').slice(0, 10);
}

/** The condition list with one condition set; its time moves only with its status. */
export function withCondition(before: readonly Condition[], next: Omit<Condition, 'lastTransitionTime'>, now: number): readonly Condition[] {
  const old = before.find((c) => c.type === next.type);
  const lastTransitionTime = old?.status === next.status && old.lastTransitionTime !== undefined ? old.lastTransitionTime : new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
  const made = { ...old, ...next, lastTransitionTime };
  return old === undefined ? [...before, made] : before.map((c) => (c.type === next.type ? made : c));
}
