/** What is worth an Event. Pure: (step done, its object) or (object before, object now) -> notes. */
import type { Deployment, Pod, ReplicaSet } from '../../api/kinds/core.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Note } from './events.ts';
import { isLeaving, type Step } from './model.ts';

interface ContainerState {
  readonly running?: object;
  readonly waiting?: { readonly reason?: string; readonly message?: string };
}
interface ContainerStatus {
  readonly name: string;
  readonly restartCount?: number;
  readonly state?: ContainerState;
}

const STARTING = new Set(['', 'ContainerCreating', 'PodInitializing']);

const statusesOf = (pod: Pod): readonly ContainerStatus[] => (pod.status as { readonly containerStatuses?: readonly ContainerStatus[] } | undefined)?.containerStatuses ?? [];

/** From what an agent reports, so that a site need not send events over its uplink beside it. */
export function podNotes(before: Pod | null, now: Pod | null): readonly Note[] {
  if (before === null || now === null || before.metadata.uid !== now.metadata.uid) return [];
  const host = now.spec.nodeName ?? '';
  const note = (type: Note['type'], reason: string, message: string): Note => ({ on: now, type, reason, message, from: 'agent', ...(host === '' ? {} : { host }) });
  const notes: Note[] = [];
  if (isLeaving(now) && !isLeaving(before)) notes.push(note('Normal', 'Killing', `Stopping the pod, with ${now.metadata.deletionGracePeriodSeconds ?? 30} s of grace`));
  const earlier = new Map(statusesOf(before).map((s) => [s.name, s]));
  for (const s of statusesOf(now)) {
    const was = earlier.get(s.name);
    const isNewRun = s.state?.running !== undefined && (was?.state?.running === undefined || (was.restartCount ?? 0) !== (s.restartCount ?? 0));
    if (isNewRun) notes.push(note('Normal', 'Started', `Started container ${s.name}`));
    const waits = s.state?.waiting?.reason ?? '';
    if (!STARTING.has(waits) && waits !== (was?.state?.waiting?.reason ?? '')) notes.push(note('Warning', waits.endsWith('BackOff') ? 'BackOff' : 'Failed', `Container ${s.name}: ${s.state?.waiting?.message ?? waits}`));
  }
  const ready = (p: Pod) => p.status?.conditions?.find((c) => c.type === 'Ready');
  if (!isLeaving(now) && ready(before)?.status === 'True' && ready(now)?.status === 'False') notes.push(note('Warning', 'Unhealthy', ready(now)?.message ?? 'The pod is not ready any more'));
  return notes;
}

/** Of a replica set's pods. */
export function replicaSetNotes(rs: ReplicaSet, step: Step, made: KubeObject | null): readonly Note[] {
  const say = (reason: string, message: string): readonly Note[] => [{ on: rs, type: 'Normal', reason, message, from: 'replicaset-controller' }];
  if (step.kind === 'create') return say('SuccessfulCreate', `Created pod: ${made?.metadata.name ?? ''}`);
  return step.kind === 'delete' ? say('SuccessfulDelete', `Deleted pod: ${step.of.metadata.name}`) : [];
}

/** Of a deployment's replica sets. */
export function deploymentNotes(d: Deployment, step: Step): readonly Note[] {
  const scaled = (name: string, to: number, from: number): readonly Note[] => [{ on: d, type: 'Normal', reason: 'ScalingReplicaSet', message: `Scaled ${to >= from ? 'up' : 'down'} replica set ${name} to ${to} from ${from}`, from: 'deployment-controller' }];
  if (step.kind === 'create') return scaled(step.object.metadata.name, (step.object as ReplicaSet).spec.replicas ?? 0, 0);
  if (step.kind !== 'patch' || step.of.kind !== 'ReplicaSet') return [];
  const to = (step.patch as { readonly spec?: { readonly replicas?: number } }).spec?.replicas;
  return to === undefined ? [] : scaled(step.of.metadata.name, to, (step.of as ReplicaSet).spec.replicas ?? 0);
}

/** Of a node that is not heard of. */
export function nodeNotes(step: Step): readonly Note[] {
  if (step.kind === 'status' && step.of.kind === 'Node') return [{ on: step.of, type: 'Warning', reason: 'NodeNotReady', message: `Node ${step.of.metadata.name} stopped renewing its lease`, from: 'node-controller' }];
  if (step.kind !== 'delete') return [];
  return [{ on: step.of, type: 'Warning', reason: 'NodeLost', message: `Marked for deletion: node ${(step.of as Pod).spec.nodeName ?? ''} is not heard of`, from: 'node-controller' }];
}
