/**
 * A VM that moves with its state: the words that both ends and the disk share, and every decision about them. Pure.
 *
 *   target                                  source
 *     want     (who, which machine)    ->
 *                                      <-   offer    (may be had)
 *     go       (QEMU listens)          ->            writes `sending`, stops the guest
 *                                      <-   state ...  end
 *     loaded   (writes `loaded`)       ->            writes `sent`: never runs it again
 *                                      <-   commit
 *     running  (writes `committed`,    ->            ends its QEMU
 *               lets the guest go on)
 *
 * Presumed abort: the source runs on unless it has written `sent`, the target only lets go after it has read `commit`. So at no time do both
 * run, whoever dies when. A target that lost the connection after `loaded` asks again for the outcome.
 */
import { MeshError } from '../../../api/errors.ts';
import type { Pod } from '../../../api/kinds/core.ts';
import type { Identity } from '../../../certs/names.ts';

/** On the pod that is to have the state: `<site>/<pod uid>` of the one that has it. */
export const RESTORE_FROM = 'mesh.proxima.io/restore-from';
/** On the pod that has the state: the site it may go to. */
export const SEND_TO = 'mesh.proxima.io/send-to';
/** On both: how it goes, JSON of MigrationReport. */
export const MIGRATION = 'mesh.proxima.io/migration';

export interface Source {
  readonly site: string;
  readonly uid: string;
}

/** What has to be equal for one QEMU to read what another wrote. */
export interface MachineShape {
  readonly image: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  /** QEMU's release and its arguments, as a digest. */
  readonly machine: string;
}

/** One end's part of a transfer, as its disk has it. */
export type Transfer =
  | { readonly role: 'send'; readonly id: string; readonly to: string; readonly phase: 'sending' | 'sent'; readonly ranBefore: boolean; readonly bytes: number; readonly stoppedAt: number }
  | {
      readonly role: 'receive';
      readonly id: string;
      readonly from: Source;
      readonly phase: 'receiving' | 'loaded' | 'committed' | 'restored' | 'failed';
      /** Tries so far; each has an id of its own. */
      readonly attempt: number;
      readonly startedAt: number;
      readonly bytes: number;
      readonly downtimeMs: number | null;
      readonly reason: string | null;
      /** There is no such pod any more, and so no state to wait for: the VM starts without a past. */
      readonly isSourceGone?: true;
    };

export type Receiving = Extract<Transfer, { role: 'receive' }>;
export type Sending = Extract<Transfer, { role: 'send' }>;

export interface MigrationReport {
  readonly phase: 'sending' | 'sent' | 'restored' | 'failed';
  readonly bytes?: number;
  readonly downtimeMs?: number;
  readonly reason?: string;
}

/** How the agent's loop sees a transfer; undefined = none, or one that is over. */
export type TransferView = 'moving' | 'moved' | 'receiving' | 'interrupted' | 'failed';

const annotations = (pod: Pod): Readonly<Record<string, string>> => pod.metadata.annotations ?? {};

/** null = it starts without a past. */
export function sourceOf(pod: Pod): Source | null {
  const text = annotations(pod)[RESTORE_FROM];
  if (text === undefined) return null;
  const match = /^([a-z0-9][a-z0-9._-]{0,62})\/([A-Za-z0-9][A-Za-z0-9._-]{0,127})$/.exec(text);
  if (match === null) throw new MeshError('invalid', `metadata.annotations[${RESTORE_FROM}]: expected <site>/<pod uid>, got "${text}"`, { fields: { path: 'metadata.annotations', reason: 'InvalidRestoreFrom' } });
  return { site: match[1] ?? '', uid: match[2] ?? '' };
}

/** Why this caller may not have that pod's state; null = it may. Both ends' desired state has to say so. */
export function refusal(pod: Pod, caller: Identity, tenant: string): MeshError | null {
  if (caller.kind !== 'node') return new MeshError('forbidden', `${caller.uri} is no node: only nodes take over VMs`);
  const to = annotations(pod)[SEND_TO];
  if (to === undefined || to !== caller.site) return new MeshError('forbidden', `pod ${pod.metadata.name} is ${to === undefined ? 'not to be sent anywhere' : `to be sent to ${to}, not to ${caller.site}`}`, { next: `the annotation ${SEND_TO} of that pod says where it may go` });
  if ((pod.metadata.tenant ?? 'system') !== tenant) return new MeshError('forbidden', `pod ${pod.metadata.name} is not of tenant ${tenant}`);
  if (pod.spec.virtualMachine === undefined) return new MeshError('invalid', `pod ${pod.metadata.name} is no VM pod`);
  return null;
}

export function mismatch(ours: MachineShape, theirs: MachineShape): MeshError | null {
  const differing = (['image', 'memoryMiB', 'cpus', 'machine'] as const).filter((k) => ours[k] !== theirs[k]);
  if (differing.length === 0) return null;
  return new MeshError('unsupported', `the machines differ in ${differing.map((k) => `${k} (${theirs[k]} there, ${ours[k]} here)`).join(', ')}`, { next: 'give both pods the same image and resources, and both nodes the same QEMU and accelerator' });
}

/** What the source says of a transfer that it is asked about: whatever it has not written down as sent never happened. */
export function outcomeOf(transfer: Transfer | undefined, id: string): 'committed' | 'aborted' {
  return transfer?.role === 'send' && transfer.id === id && transfer.phase === 'sent' ? 'committed' : 'aborted';
}

/**
 * What an agent does at its start with what its predecessor left.
 * resume: the guest goes on here. leave: it is another's now. discard: start over. ask: the source knows. go-on: it is ours, let it run.
 */
export function afterRestart(transfer: Transfer, hasMachine: boolean): 'resume' | 'leave' | 'discard' | 'ask' | 'go-on' | 'none' {
  if (transfer.role === 'send') return transfer.phase === 'sent' ? 'leave' : 'resume';
  switch (transfer.phase) {
    case 'receiving': return 'discard';
    case 'loaded': return 'ask';
    // A machine that died after the commit took the state with it; then it is a VM that ended, which starts again.
    case 'committed': return hasMachine ? 'go-on' : 'none';
    case 'restored': return 'none';
    case 'failed': return transfer.isSourceGone === true ? 'none' : 'leave';
  }
}

/** `isActive`: this process works on the arrival. */
export function viewOf(transfer: Transfer | undefined, isActive: boolean): TransferView | undefined {
  if (transfer === undefined) return isActive ? 'receiving' : undefined;
  if (transfer.role === 'receive' && (transfer.phase === 'restored' || transfer.isSourceGone === true)) return undefined;
  if (transfer.role === 'send') return transfer.phase === 'sent' ? 'moved' : 'moving';
  if (transfer.phase === 'failed') return 'failed';
  return isActive ? 'receiving' : 'interrupted';
}

export function reportOf(transfer: Transfer | undefined): MigrationReport | null {
  if (transfer === undefined) return null;
  const bytes = transfer.bytes === 0 ? {} : { bytes: transfer.bytes };
  if (transfer.role === 'send') return { phase: transfer.phase, ...bytes };
  const phase = transfer.phase === 'receiving' ? 'sending' : transfer.phase === 'loaded' || transfer.phase === 'committed' ? 'sent' : transfer.phase;
  return { phase, ...bytes, ...(transfer.downtimeMs === null ? {} : { downtimeMs: transfer.downtimeMs }), ...(transfer.reason === null ? {} : { reason: transfer.reason }) };
}

/**
 * ms without an answer, from two clocks that need not agree. `stoppedMs`, `turnMs`: the source's, from stop to commit and from loaded to
 * commit; `waitedMs`, `wentOnMs`: the target's, from loaded to commit and from commit to the guest's word that it serves. Half of what the
 * target waited longer than the source took is the commit's way.
 */
export function downtimeMs(t: { readonly stoppedMs: number; readonly turnMs: number; readonly waitedMs: number; readonly wentOnMs: number }): number {
  return Math.round(t.stoppedMs + Math.max(0, t.waitedMs - t.turnMs) / 2 + t.wentOnMs);
}

export const ATTEMPTS = 3;

/**
 * When a try that failed is followed by another; null = never. `hasBegun`: the source had stopped for it. The two pods are told one after the
 * other, so a source that knows of nothing yet is asked again for a while.
 */
export function retryAt(transfer: Receiving, hasBegun: boolean, error: MeshError, now: number, patienceMs: number): number | null {
  if (!hasBegun) {
    const patience = error.kind === 'not-found' ? patienceMs / 4 : patienceMs;
    return ['forbidden', 'not-found', 'conflict', 'unavailable', 'timeout'].includes(error.kind) && now - transfer.startedAt < patience ? now + 500 : null;
  }
  return error.retryable && transfer.attempt < ATTEMPTS ? now + 500 * 2 ** transfer.attempt : null;
}
