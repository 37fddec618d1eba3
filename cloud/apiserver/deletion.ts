/**
 * What a delete does to one object, as a pure decision. Finalizers keep an object until they are emptied; a pod on a node stays until its agent
 * deletes it with grace 0; a namespace or tenant stays, Terminating, until it is empty (`purge.ts`).
 */
import type { JsonObject, KindDefinition } from '../../api/definition.ts';
import type { LeaseFence } from '../../api/lease-fence.ts';
import { Resources } from '../../api/resources.ts';
import { at, metaOf } from './bytes.ts';

export interface DeleteOptions {
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan';
  readonly gracePeriodSeconds?: number;
  readonly dryRun?: boolean;
  readonly fence?: LeaseFence;
}

export type DeleteDecision =
  | { readonly kind: 'remove' }
  | { readonly kind: 'mark'; readonly object: JsonObject }
  | { readonly kind: 'unchanged' };

const DEFAULT_GRACE_SECONDS = 30;

const PROPAGATION_FINALIZER = { Foreground: 'foregroundDeletion', Orphan: 'orphan', Background: null } as const;

export function decideDelete(def: KindDefinition, live: JsonObject, options: DeleteOptions, timestamp: (afterSeconds: number) => string): DeleteDecision {
  const meta = metaOf(live);
  const finalizers = new Set(Array.isArray(meta['finalizers']) ? meta['finalizers'].map(String) : []);
  const added = meta['deletionTimestamp'] === undefined ? PROPAGATION_FINALIZER[options.propagation ?? 'Background'] : null;
  if (added !== null) finalizers.add(added);
  const grace = def.resource === Resources.Pod ? podGrace(live, options) : 0;
  const container = def.resource === Resources.Namespace || def.resource === Resources.Tenant;
  if (finalizers.size === 0 && grace === 0 && !(container && hasSpecFinalizers(live))) return { kind: 'remove' };
  const was = meta['deletionGracePeriodSeconds'];
  if (meta['deletionTimestamp'] !== undefined && (typeof was !== 'number' || grace >= was)) return { kind: 'unchanged' };
  const next = structuredClone(live);
  const nextMeta = metaOf(next);
  nextMeta['deletionTimestamp'] = timestamp(grace);
  nextMeta['deletionGracePeriodSeconds'] = grace;
  if (finalizers.size > 0) nextMeta['finalizers'] = [...finalizers];
  if (container) next['status'] = { ...(live['status'] as JsonObject | undefined), phase: 'Terminating' };
  return { kind: 'mark', object: next };
}

/** A pod that no agent holds, or that has ended, needs no grace. */
function podGrace(live: JsonObject, options: DeleteOptions): number {
  const phase = at(live, 'status.phase');
  const node = at(live, 'spec.nodeName');
  if (node === undefined || node === '' || phase === 'Succeeded' || phase === 'Failed') return 0;
  const own = at(live, 'spec.terminationGracePeriodSeconds');
  return Math.max(0, options.gracePeriodSeconds ?? (typeof own === 'number' ? own : DEFAULT_GRACE_SECONDS));
}

function hasSpecFinalizers(live: JsonObject): boolean {
  const list = at(live, 'spec.finalizers');
  return Array.isArray(list) && list.length > 0;
}

/** An object marked for deletion goes with the write that empties its last finalizer. */
export function isGone(object: JsonObject): boolean {
  const meta = metaOf(object);
  if (meta['deletionTimestamp'] === undefined) return false;
  const finalizers = meta['finalizers'];
  const grace = meta['deletionGracePeriodSeconds'];
  return (!Array.isArray(finalizers) || finalizers.length === 0) && !hasSpecFinalizers(object) && (grace === undefined || grace === 0);
}
