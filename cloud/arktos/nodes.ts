/**
 * Which nodes are heard of, and what follows. Pure. A node of a zone that is silent has failed and its pods move; a node of an edge site
 * that is silent may only be cut off, and its pods are left alone: the planner above decides about them.
 */
import type { Node, Pod } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { isLeaving, isReady, withCondition } from './model.ts';
import type { Decision, Step } from './model.ts';

export const SILENT_MS = 20_000;
export const EVICT_MS = 60_000;

export interface NodeView {
  readonly node: Node;
  readonly pods: readonly Pod[];
  /** When its lease last changed, by our clock. */
  readonly heardAt: number;
  /** Kind of its site; null = not known, which is treated like an edge. */
  readonly site: 'zone' | 'edge' | null;
}

export function decideNode({ node, pods, heardAt, site }: NodeView, now: number): Decision {
  const silentFor = now - heardAt;
  if (silentFor < SILENT_MS) return { steps: [], againMs: SILENT_MS - silentFor };
  const steps: Step[] = [];
  const message = 'The agent stopped renewing its lease.';
  const types = ['Ready', 'ContainerRuntimeReady', 'VmRuntimeReady'];
  const before = node.status?.conditions ?? [];
  if (types.some((type) => before.find((c) => c.type === type)?.status !== 'Unknown')) {
    const conditions = types.reduce((all, type) => withCondition(all, { type, status: 'Unknown', reason: 'NodeStatusUnknown', message }, now), before);
    steps.push({ kind: 'status', resource: Resources.Node, of: node, status: { conditions } });
  }
  if (site !== 'zone') return { steps, againMs: null };
  for (const pod of pods.filter(isReady)) {
    const conditions = withCondition(pod.status?.conditions ?? [], { type: 'Ready', status: 'False', reason: 'NodeUnknown', message: `node ${node.metadata.name} is not heard of` }, now);
    steps.push({ kind: 'status', resource: Resources.Pod, of: pod, status: { conditions } });
  }
  if (silentFor < EVICT_MS) return { steps, againMs: EVICT_MS - silentFor };
  for (const pod of pods) if (!isLeaving(pod)) steps.push({ kind: 'delete', resource: Resources.Pod, of: pod });
  return { steps, againMs: null };
}

/** Pods of a node that was taken out of the region: nobody else will ever end them. */
export function decideLost(pods: readonly Pod[], now: number): Decision {
  const age = (p: Pod): number => now - Date.parse(p.metadata.creationTimestamp ?? '1970-01-01');
  const lost = pods.filter((p) => isLeaving(p) || age(p) >= EVICT_MS);
  const wait = pods.filter((p) => !lost.includes(p)).map((p) => EVICT_MS - age(p));
  return { steps: lost.map((of) => ({ kind: 'delete', resource: Resources.Pod, of, graceSeconds: 0 })), againMs: wait.length === 0 ? null : Math.min(...wait) };
}
