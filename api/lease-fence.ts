/**
 * A write that holds only while a Lease is the writer's. It names the Lease and how often that had changed hands when the writer took it
 * (`spec.leaseTransitions`, its epoch); the server refuses it, in the transaction that would write, once the Lease is at a later epoch.
 * Leases of the tenant `system` in the namespace `default` only. Over HTTP: the header `proxima-fence: <lease>=<epoch>`.
 */
import { isMeshError, MeshError } from './errors.ts';

export interface LeaseFence {
  readonly lease: string;
  readonly epoch: number;
}

export const FENCE_HEADER = 'proxima-fence';
export const FENCE_PLACE = { tenant: 'system', namespace: 'default' } as const;
/** `fields.cause` of the refusal, and the reason of the first of the Status' causes. */
export const FENCED = 'Fenced';

export const fenceText = (f: LeaseFence): string => `${f.lease}=${f.epoch}`;

export function parseFence(text: string): LeaseFence {
  const found = /^([a-z0-9][a-z0-9.-]{0,252})=(\d{1,15})$/.exec(text);
  if (found === null) throw new MeshError('invalid', `${FENCE_HEADER}: "${text.slice(0, 80)}" is not <lease>=<epoch>`, { fields: { path: FENCE_HEADER, reason: 'BadRequest' } });
  return { lease: found[1] as string, epoch: Number(found[2]) };
}

/** Was it refused because the Lease is somebody else's by now? */
export const isFenced = (error: unknown): error is MeshError => isMeshError(error, 'conflict') && error.fields['cause'] === FENCED;
