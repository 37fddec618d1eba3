/** (desired, observed, now) -> the pod's status as the API shall show it. Pure; times of unchanged conditions are kept. */
import { isDeepStrictEqual } from 'node:util';
import type { Condition } from '../../api/object.ts';
import type { Pod, PodStatus, VirtualMachine } from '../../api/kinds/core.ts';
import { FENCE_CONDITION, fenceCondition } from './fence.ts';
import { isInVpc, type Observed, type ObservedContainer, type PodRecord } from './model.ts';

const OURS: ReadonlySet<string> = new Set(['PodScheduled', 'Initialized', 'ContainersReady', 'Ready', FENCE_CONDITION]);

type ContainerStatuses = NonNullable<PodStatus['containerStatuses']>;

export interface StatusContext {
  readonly hostIp: string;
  readonly now: number;
}

export function podStatus(record: PodRecord, seen: Observed, context: StatusContext): PodStatus {
  const { pod } = record;
  const before = pod.status;
  const iso = new Date(context.now).toISOString();
  const body = pod.spec.virtualMachine === undefined ? ofContainers(record, seen) : ofVm(record, pod.spec.virtualMachine, seen);
  const settled = before?.phase === 'Succeeded' || before?.phase === 'Failed';
  const phase = settled ? before.phase : body.phase;
  const inVpc = isInVpc(pod);
  const ready = body.ready && !settled && (!inVpc || record.provisioned) && pod.metadata.deletionTimestamp === undefined;
  const waiting = inVpc && (record.address === null || !record.provisioned);
  const why = waiting ? { reason: 'WaitingForEndpoint', message: `${record.address === null ? 'no endpoint' : 'the endpoint is not provisioned'} in VPC ${pod.spec.vpc ?? 'default'} yet` } : seen.trouble;
  const condition = (type: string, value: boolean, reason?: string): Condition => {
    const status = value ? 'True' : 'False';
    const old = before?.conditions?.find((c) => c.type === type);
    return { type, status, ...(value || reason === undefined ? {} : { reason }), lastTransitionTime: old?.status === status && old.lastTransitionTime !== undefined ? old.lastTransitionTime : iso };
  };
  const fence = fenceCondition(record, iso);
  const podIp = !inVpc ? context.hostIp : record.address?.address;
  return {
    phase: phase ?? 'Pending',
    hostIP: context.hostIp,
    ...(podIp === undefined || (!body.started && !inVpc) ? {} : { podIP: podIp }),
    startTime: before?.startTime ?? iso,
    ...(ready || why === null ? {} : { reason: why.reason, message: why.message }),
    // Conditions that others set (readiness gates, the network plane) stay.
    conditions: [condition('PodScheduled', true), condition('Initialized', true), condition('ContainersReady', ready, 'NotReady'), condition('Ready', ready, why?.reason ?? 'NotReady'), ...(fence === null ? [] : [fence]), ...(before?.conditions ?? []).filter((c) => !OURS.has(c.type))],
    ...(body.containerStatuses === undefined ? {} : { containerStatuses: body.containerStatuses }),
    ...(body.virtualMachineStatus === undefined ? {} : { virtualMachineStatus: body.virtualMachineStatus }),
  };
}

interface Body {
  readonly phase: NonNullable<PodStatus['phase']>;
  readonly ready: boolean;
  readonly started: boolean;
  readonly containerStatuses?: ContainerStatuses;
  readonly virtualMachineStatus?: NonNullable<PodStatus['virtualMachineStatus']>;
}

function ofContainers(record: PodRecord, seen: Observed): Body {
  const specs = record.pod.spec.containers ?? [];
  const live = seen.sandboxes?.find((s) => s.ready)?.id;
  const statuses = specs.map((spec) => {
    const mine = seen.containers.filter((c) => c.name === spec.name && c.sandboxId === live);
    const last = mine[0];
    const ready = last?.state === 'running' && (spec.readinessProbe === undefined || seen.probes[spec.name] === true);
    return {
      name: spec.name,
      image: spec.image,
      imageID: last?.imageId ?? '',
      ...(last === undefined ? {} : { containerID: `containerd://${last.id}` }),
      ready,
      started: last?.state === 'running',
      restartCount: last?.attempt ?? record.starts[spec.name] ?? 0,
      state: stateOf(last, record.crashes[spec.name]?.count ?? 0, willRestart(record.pod, last)),
      ...(mine[1] === undefined ? {} : { lastState: stateOf(mine[1], 0, false) }),
    };
  });
  const lasts = specs.map((spec) => seen.containers.find((c) => c.name === spec.name && c.sandboxId === live));
  const ended = lasts.length > 0 && lasts.every((c) => c?.state === 'exited' && !willRestart(record.pod, c));
  const started = lasts.some((c) => c !== undefined && c.state !== 'created');
  const phase = ended ? (lasts.every((c) => c?.exitCode === 0) ? 'Succeeded' : 'Failed') : started ? 'Running' : 'Pending';
  return { phase, started, ready: statuses.length > 0 && statuses.every((s) => s.ready), containerStatuses: statuses };
}

function willRestart(pod: Pod, c: ObservedContainer | undefined): boolean {
  const policy = pod.spec.restartPolicy ?? 'Always';
  return policy === 'Always' || (policy === 'OnFailure' && c?.exitCode !== 0);
}

function stateOf(c: ObservedContainer | undefined, crashes: number, restarts: boolean): Readonly<Record<string, unknown>> {
  const iso = (ms: number): string => new Date(ms).toISOString();
  if (c === undefined || c.state === 'created' || c.state === 'unknown') return { waiting: { reason: 'ContainerCreating' } };
  if (c.state === 'running') return { running: { startedAt: iso(c.startedAt) } };
  if (restarts && crashes > 1) return { waiting: { reason: 'CrashLoopBackOff', message: `ended ${crashes} times in a row, last with exit code ${c.exitCode}` } };
  return { terminated: { exitCode: c.exitCode, reason: c.reason === '' ? (c.exitCode === 0 ? 'Completed' : 'Error') : c.reason, startedAt: iso(c.startedAt), finishedAt: iso(c.finishedAt), containerID: `containerd://${c.id}` } };
}

const VM_STATES = { running: 'active', paused: 'paused', shutdown: 'stopped' } as const;

function ofVm(record: PodRecord, spec: VirtualMachine, seen: Observed): Body {
  const power = seen.vm?.power ?? 'shutdown';
  const ready = power === 'running' && seen.vm?.configured === true && (spec.readinessProbe === undefined || seen.probes[spec.name] === true);
  const wantsOff = spec.powerSpec === 'Shutdown' || spec.powerSpec === 'Suspended';
  const phase = wantsOff && power === 'shutdown' ? 'NoSchedule' : seen.vm !== null && seen.vm.configured ? 'Running' : 'Pending';
  const restarts = Math.max(0, (record.starts[spec.name] ?? 0) - 1);
  return { phase, ready, started: seen.vm !== null, virtualMachineStatus: { name: spec.name, state: VM_STATES[power], powerState: seen.vm === null ? 'nostate' : power, ready, restartCount: restarts } };
}

/** Whether the API knows it already: what it keeps beside our fields does not count. */
export function sameStatus(told: PodStatus | undefined, ours: PodStatus): boolean {
  if (told === undefined) return false;
  const keys = [...new Set([...Object.keys(ours), 'reason', 'message'])] as (keyof PodStatus)[];
  return keys.every((k) => isDeepStrictEqual(told[k], ours[k]));
}
