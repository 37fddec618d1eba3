/**
 * (desired pod, observed pod, now) -> steps. Pure. Each answer is only the steps that may be done now, in order; the loop observes
 * and asks again until there are none. `wakeAt` says when time alone will change the answer.
 */
import type { Pod } from '../../api/kinds/core.ts';
import { startableAt } from './backoff.ts';
import { FENCE_GRACE_MS, fencedAt } from './fence.ts';
import { RESTORE_FROM } from './vm/transfer.ts';
import { isInVpc, type Observed, type ObservedContainer, type PodRecord, type Step } from './model.ts';

export interface Decision {
  readonly steps: readonly Step[];
  /** ms since the epoch; null = only an event or a resync. */
  readonly wakeAt: number | null;
}

const nothing: Decision = { steps: [], wakeAt: null };
const DEFAULT_GRACE_S = 30;

export function decide(record: PodRecord, seen: Observed, now: number): Decision {
  const { pod } = record;
  if (record.gone || pod.metadata.deletionTimestamp !== undefined) return end(record, seen);
  if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return nothing;
  if (isInVpc(pod) && record.address === null) return nothing; // the network plane has not given it an endpoint yet
  const at = fencedAt(record, now);
  if (at !== null && now >= at) return fence(seen);
  const { steps, wakeAt } = pod.spec.virtualMachine === undefined ? runContainers(record, seen, now) : runVm(record, seen, now);
  return { steps, wakeAt: at === null ? wakeAt : Math.min(at, wakeAt ?? at) };
}

/** The region gave no word for too long: what runs ends, nothing starts. The sandbox, and with it the address, stays for when it is wanted again. */
function fence(seen: Observed): Decision {
  if (seen.vm?.transfer === 'moved') return nothing; // stands still already, and what says that it has moved has to stay
  if (seen.vm !== null) return seen.vm.power === 'shutdown' ? nothing : { steps: [{ kind: 'stop-vm', graceMs: FENCE_GRACE_MS }], wakeAt: null };
  const running = seen.containers.filter((c) => c.state === 'running');
  return { steps: running.map((c) => ({ kind: 'stop-container', id: c.id, graceMs: FENCE_GRACE_MS })), wakeAt: null };
}

function graceMsOf(record: PodRecord): number {
  if (record.gone) return 0;
  const seconds = record.pod.metadata.deletionGracePeriodSeconds ?? record.pod.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_S;
  return seconds * 1000;
}

function end(record: PodRecord, seen: Observed): Decision {
  const graceMs = graceMsOf(record);
  if (seen.vm !== null) return { steps: [{ kind: 'stop-vm', graceMs }, { kind: 'finish' }], wakeAt: null };
  if (record.pod.spec.virtualMachine === undefined && seen.sandboxes === null) return nothing;
  const running = seen.containers.filter((c) => c.state === 'running');
  const steps: Step[] = running.map((c) => ({ kind: 'stop-container', id: c.id, graceMs }));
  for (const s of seen.sandboxes ?? []) steps.push({ kind: 'remove-sandbox', id: s.id, graceMs: 0 });
  return { steps: [...steps, { kind: 'finish' }], wakeAt: null };
}

function shouldRestart(pod: Pod, exitCode: number): boolean {
  const policy = pod.spec.restartPolicy ?? 'Always';
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

function runContainers(record: PodRecord, seen: Observed, now: number): Decision {
  if (seen.sandboxes === null) return nothing;
  const sandbox = seen.sandboxes.find((s) => s.ready);
  const stale = seen.sandboxes.filter((s) => s !== sandbox);
  const steps: Step[] = [];
  if (sandbox === undefined && seen.sandboxes.length > 0) {
    // A sandbox that is gone took its containers with it (a reboot, a kill): that is not the containers' own crash.
    for (const c of newest(seen.containers)) if (c.state === 'running') steps.push({ kind: 'stop-container', id: c.id, graceMs: 0 });
  }
  for (const s of stale) steps.push({ kind: 'remove-sandbox', id: s.id, graceMs: 0 });
  if (sandbox === undefined) {
    const attempt = Math.max(-1, ...seen.sandboxes.map((s) => s.attempt)) + 1;
    return { steps: [...steps, { kind: 'run-sandbox', attempt }], wakeAt: null };
  }
  let wakeAt: number | null = null;
  for (const spec of record.pod.spec.containers ?? []) {
    const mine = seen.containers.filter((c) => c.name === spec.name && c.sandboxId === sandbox.id);
    const one = containerSteps(record, spec.name, mine, sandbox.id, now);
    steps.push(...one.steps);
    if (one.wakeAt !== null) wakeAt = Math.min(wakeAt ?? Infinity, one.wakeAt);
  }
  return { steps, wakeAt };
}

/** `mine`: this container's instances in the live sandbox, newest first. */
function containerSteps(record: PodRecord, name: string, mine: readonly ObservedContainer[], sandboxId: string, now: number): Decision {
  const [last, ...older] = mine;
  const steps: Step[] = older.slice(1).map((c) => ({ kind: 'remove-container', id: c.id })); // one ended instance stays, for its log and exit code
  // An agent that was killed right after a start has not written it down.
  const start: Step = { kind: 'start-container', name, attempt: Math.max(record.starts[name] ?? 0, (last?.attempt ?? -1) + 1), sandboxId };
  if (last === undefined) return { steps: [...steps, start], wakeAt: null };
  if (last.state === 'running') return { steps, wakeAt: null };
  if (last.state === 'created' || last.state === 'unknown') return { steps: [...steps, { kind: 'remove-container', id: last.id }, start], wakeAt: null };
  if (!shouldRestart(record.pod, last.exitCode)) return { steps, wakeAt: null };
  if ((record.crashes[name]?.attempt ?? -1) < last.attempt) return { steps: [...steps, { kind: 'note-end', name, attempt: last.attempt, ranMs: Math.max(0, last.finishedAt - last.startedAt) }], wakeAt: null };
  const at = startableAt(record.crashes[name]);
  return now >= at ? { steps: [...steps, start], wakeAt: null } : { steps, wakeAt: at };
}

function newest(containers: readonly ObservedContainer[]): readonly ObservedContainer[] {
  const byName = new Map<string, ObservedContainer>();
  for (const c of containers) if (!byName.has(c.name)) byName.set(c.name, c);
  return [...byName.values()];
}

function runVm(record: PodRecord, seen: Observed, now: number): Decision {
  const spec = record.pod.spec.virtualMachine;
  if (spec === undefined || !seen.vmReady) return nothing;
  const power = spec.powerSpec ?? 'Running';
  const { vm } = seen;
  const moving = moves(record, spec.name, vm);
  if (moving !== null) return moving;
  if (power === 'Shutdown' || power === 'Suspended') return vm !== null && vm.power !== 'shutdown' ? { steps: [{ kind: 'stop-vm', graceMs: graceMsOf(record) }], wakeAt: null } : nothing;
  if (vm === null || vm.power === 'shutdown') return startVm(record, vm, now);
  if (power === 'Paused') return vm.power === 'running' && vm.configured ? { steps: [{ kind: 'pause-vm' }], wakeAt: null } : nothing;
  return vm.power === 'paused' ? { steps: [{ kind: 'resume-vm' }], wakeAt: null } : nothing;
}

/** What a move with its state asks for; null = nothing, the VM is like any other. A VM that has moved away, or is on its way, is left alone. */
function moves(record: PodRecord, name: string, vm: Observed['vm']): Decision | null {
  const isNew = vm === null && (record.starts[name] ?? 0) === 0;
  if (record.pod.metadata.annotations?.[RESTORE_FROM] !== undefined && (isNew || vm?.transfer === 'interrupted')) return { steps: [{ kind: 'receive-vm' }], wakeAt: null };
  return vm?.transfer === undefined ? null : nothing;
}

function startVm(record: PodRecord, vm: Observed['vm'], now: number): Decision {
  const name = record.pod.spec.virtualMachine?.name ?? '';
  const attempt = record.starts[name] ?? 0;
  if (vm !== null) {
    if (!shouldRestart(record.pod, 1)) return nothing;
    return { steps: [{ kind: 'note-end', name, attempt: attempt - 1, ranMs: Math.max(0, now - vm.startedAt) }, { kind: 'stop-vm', graceMs: 0 }], wakeAt: null };
  }
  const at = startableAt(record.crashes[name]);
  return now >= at ? { steps: [{ kind: 'start-vm', attempt }], wakeAt: null } : { steps: [], wakeAt: at };
}
