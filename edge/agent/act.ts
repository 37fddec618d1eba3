/** What each step does. A step that is missing here does not compile. */
import { MeshError } from '../../api/errors.ts';
import { afterEnd } from './backoff.ts';
import type { Containers } from './containers.ts';
import { uidOf, type Act, type Observed, type PodRecord } from './model.ts';
import type { Records } from './records.ts';
import type { VmReceiver } from './vm/receive.ts';
import type { VmRuntime } from './vm/runtime.ts';
import { sourceOf } from './vm/transfer.ts';

export interface Runtimes {
  readonly containers: Containers;
  readonly vms: VmRuntime;
  readonly arrivals: Pick<VmReceiver, 'receive'>;
}

export interface ActContext {
  readonly record: PodRecord;
  readonly seen: Observed;
  readonly records: Records;
  readonly runtimes: Runtimes;
  readonly now: number;
  readonly finish: () => Promise<void>;
}

export function actTable(c: ActContext): Act {
  const { pod } = c.record;
  const uid = uidOf(pod);
  const { containers, vms, arrivals } = c.runtimes;
  const current = (): PodRecord => c.records.get(uid) ?? c.record;
  const started = (name: string, next: number): void => c.records.change(uid, { starts: { ...current().starts, [name]: next } });
  return {
    'run-sandbox': async ({ attempt }) => {
      await containers.runSandbox(pod, attempt);
    },
    'remove-sandbox': ({ id }) => containers.removeSandbox(pod, id),
    'start-container': async ({ name, attempt, sandboxId }) => {
      const sandbox = c.seen.sandboxes?.find((s) => s.id === sandboxId);
      if (sandbox === undefined) throw new MeshError('internal', `sandbox ${sandboxId} was not seen`);
      await containers.startContainer(pod, name, attempt, sandbox);
      started(name, attempt + 1);
    },
    'stop-container': ({ id, graceMs }) => containers.stopContainer(id, graceMs),
    'remove-container': ({ id }) => containers.removeContainer(id),
    'note-end': async ({ name, attempt, ranMs }) => {
      const { crashes } = current();
      c.records.change(uid, { crashes: { ...crashes, [name]: afterEnd(crashes[name], attempt, ranMs, c.now) } });
    },
    'start-vm': async ({ attempt }) => {
      if (c.record.address === null) throw new MeshError('internal', 'a VM pod without an address');
      await vms.startVm(pod, c.record.address);
      started(pod.spec.virtualMachine?.name ?? '', attempt + 1);
    },
    'receive-vm': async () => {
      sourceOf(pod); // a name that cannot be read is said in the pod's status
      arrivals.receive(uid);
    },
    'stop-vm': ({ graceMs }) => vms.stopVm(uid, graceMs),
    'pause-vm': () => vms.pause(uid),
    'resume-vm': () => vms.resume(uid),
    finish: async () => {
      containers.forget(pod);
      await c.finish();
    },
  };
}
