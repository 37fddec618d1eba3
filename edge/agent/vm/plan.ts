/** What a VM pod asks of QEMU on this node. */
import { createHash } from 'node:crypto';
import { MeshError } from '../../../api/errors.ts';
import type { Pod } from '../../../api/kinds/core.ts';
import { bytesOf, milliCpu, uidOf, type PodAddress } from '../model.ts';
import type { VmFile } from './folder.ts';
import type { MachineSpec } from './machine.ts';
import { machineDigest, type Accel } from './qemu.ts';
import { DEFAULT_MEMORY_MIB, findImage, type VmImage } from './template.ts';
import type { MachineShape } from './transfer.ts';

export interface QemuHere {
  readonly path: string;
  readonly version: string;
  readonly accel: Accel;
}

export interface VmPlan {
  readonly file: VmFile;
  readonly image: VmImage;
}

export function planVm(pod: Pod, address: PodAddress, qemu: QemuHere, imageDir: string): VmPlan {
  const uid = uidOf(pod);
  const vm = pod.spec.virtualMachine;
  if (vm === undefined) throw new MeshError('internal', 'not a VM pod');
  const image = findImage(imageDir, vm.image);
  const limits = { ...vm.resources?.requests, ...vm.resources?.limits };
  const memoryMiB = Math.max(96, Math.round(bytesOf(limits.memory) / 2 ** 20) || DEFAULT_MEMORY_MIB);
  const spec: MachineSpec = { qemu: qemu.path, accel: qemu.accel, memoryMiB, cpus: Math.max(1, Math.ceil(milliCpu(limits.cpu) / 1000)), kernel: image.kernel, initrd: image.initrd };
  const { tenant = 'system', namespace = 'default', name } = pod.metadata;
  return { file: { name: vm.name, pod: { tenant, namespace, name }, spec, address, tap: tapName(uid), startedAt: Date.now() }, image };
}

export function shapeOf(pod: Pod, spec: MachineSpec, version: string): MachineShape {
  return { image: pod.spec.virtualMachine?.image ?? '', memoryMiB: spec.memoryMiB, cpus: spec.cpus, machine: machineDigest(spec, version) };
}

export function tapName(uid: string): string {
  return `pxt${createHash('sha256').update(uid).digest('hex').slice(0, 10)}`;
}
