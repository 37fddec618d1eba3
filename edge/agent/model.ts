/** What the agent is asked for, what it sees, and the steps between: the words that decide, observe and act share. */
import type { Pod } from '../../api/kinds/core.ts';
import type { TransferView } from './vm/transfer.ts';

/** Where a pod is in its VPC: its mizar.com Endpoint, kept on disk so that a start without the cloud can attach it again. */
export interface PodAddress {
  readonly vni: number;
  readonly address: string;
  /** Bits of the subnet. */
  readonly prefix: number;
  readonly gateway: string;
  readonly mac: string;
  readonly mtu: number;
}

export interface Crash {
  /** Ends in a row without a long enough run between them. */
  readonly count: number;
  /** When the last of them was seen, ms. */
  readonly at: number;
  /** The start that it was the end of. */
  readonly attempt: number;
}

/** One desired pod, as the disk has it. */
export interface PodRecord {
  readonly pod: Pod;
  readonly address: PodAddress | null;
  /** The network plane has said that packets reach the address. Ready waits for it. */
  readonly provisioned: boolean;
  /** The API no longer has it: end it, and tell nobody. */
  readonly gone: boolean;
  /** Starts so far per container (the VM counts as one), the next start's attempt number. */
  readonly starts: Readonly<Record<string, number>>;
  readonly crashes: Readonly<Record<string, Crash>>;
  /** Of a fenced pod: when the region was asked last whether it wants it, and said yes; ms. Absent = it has not said so yet. */
  readonly wordAt?: number;
}

export interface ObservedSandbox {
  readonly id: string;
  readonly ready: boolean;
  readonly attempt: number;
}

export interface ObservedContainer {
  readonly id: string;
  readonly sandboxId: string;
  readonly name: string;
  readonly attempt: number;
  readonly state: 'created' | 'running' | 'exited' | 'unknown';
  /** ms since the epoch; 0 = not yet. */
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly exitCode: number;
  readonly reason: string;
  readonly image: string;
  readonly imageId: string;
}

export interface ObservedVm {
  readonly power: 'running' | 'paused' | 'shutdown';
  /** The guest has its address. */
  readonly configured: boolean;
  readonly startedAt: number;
  /** Its part in a move with its state; absent = none. */
  readonly transfer?: TransferView;
}

export interface Observed {
  /** null: this runtime does not answer, so nothing is known and nothing is decided about it. */
  readonly sandboxes: readonly ObservedSandbox[] | null;
  readonly containers: readonly ObservedContainer[];
  readonly vm: ObservedVm | null;
  readonly vmReady: boolean;
  /** Last probe result per container name (the VM's name for a VM); absent = not probed yet. */
  readonly probes: Readonly<Record<string, boolean>>;
  /** Why the last attempt at a step failed; shown in the status. */
  readonly trouble: { readonly reason: string; readonly message: string } | null;
}

export type Step =
  | { readonly kind: 'run-sandbox'; readonly attempt: number }
  | { readonly kind: 'remove-sandbox'; readonly id: string; readonly graceMs: number }
  | { readonly kind: 'start-container'; readonly name: string; readonly attempt: number; readonly sandboxId: string }
  | { readonly kind: 'stop-container'; readonly id: string; readonly graceMs: number }
  | { readonly kind: 'remove-container'; readonly id: string }
  | { readonly kind: 'note-end'; readonly name: string; readonly attempt: number; readonly ranMs: number }
  | { readonly kind: 'start-vm'; readonly attempt: number }
  | { readonly kind: 'receive-vm' }
  | { readonly kind: 'stop-vm'; readonly graceMs: number }
  | { readonly kind: 'pause-vm' }
  | { readonly kind: 'resume-vm' }
  | { readonly kind: 'finish' };

export type Act = { readonly [K in Step['kind']]: (step: Extract<Step, { kind: K }>) => Promise<void> };

export function uidOf(pod: Pod): string {
  return pod.metadata.uid ?? `${pod.metadata.tenant ?? 'system'}.${pod.metadata.namespace ?? 'default'}.${pod.metadata.name}`;
}

export function nameOf(pod: Pod): string {
  return `${pod.metadata.tenant ?? 'system'}/${pod.metadata.namespace ?? 'default'}/${pod.metadata.name}`;
}

/** Cores in thousandths from a Kubernetes quantity: `500m`, `2`, `0.5`. */
export function milliCpu(quantity: string | undefined): number {
  if (quantity === undefined) return 0;
  return quantity.endsWith('m') ? Number(quantity.slice(0, -1)) : Math.round(Number(quantity) * 1000);
}

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 };

/** Bytes from a Kubernetes quantity: `128Mi`, `1G`, `1048576`. */
export function bytesOf(quantity: string | undefined): number {
  const match = /^([0-9.]+)((?:[kKMGT]i|[kMGT])|)$/.exec(quantity ?? '');
  return match === null ? 0 : Math.round(Number(match[1]) * (UNITS[match[2] ?? ''] ?? 1));
}

/** Every tenant's pod is in a VPC (its own `default` where it names none); the system's pods are in the node's network unless they name one. */
export function isInVpc(pod: Pod): boolean {
  const { hostNetwork } = pod.spec as { readonly hostNetwork?: boolean };
  return hostNetwork !== true && (pod.spec.vpc !== undefined || (pod.metadata.tenant ?? 'system') !== 'system');
}
