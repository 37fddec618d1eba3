/** What a fenced write is conditional on: the Lease that it names, at no later epoch than the writer's (`api/lease-fence.ts`). */
import type { ResourceId } from '../../api/client.ts';
import { asText } from '../../api/definition.ts';
import { FENCE_HEADER, FENCE_PLACE, type LeaseFence, parseFence } from '../../api/lease-fence.ts';
import { Resources } from '../../api/resources.ts';
import type { Condition, Store } from '../store/port.ts';
import { authorize } from './authorize.ts';
import { at, peek } from './bytes.ts';
import { fencedOff, forbidden } from './errors.ts';
import type { Identity } from './identity.ts';
import { keyOf } from './keys.ts';

/** Of a request; undefined = it carries none. A refusal tells of a Lease, so it is for those who may read it. */
export function requestedFence(header: string | readonly string[] | undefined, who: Identity): LeaseFence | undefined {
  if (header === undefined) return undefined;
  const why = authorize(who, { verb: 'get', resource: Resources.Lease, subresource: '', tenant: FENCE_PLACE.tenant });
  if (why !== null) throw forbidden(who.name, 'get', Resources.Lease, '', `in the tenant of ${FENCE_HEADER}`, why);
  return parseFence(typeof header === 'string' ? header : header.join(','));
}

export async function fenceConditions(store: Store, fence: LeaseFence, resource: ResourceId, name: string): Promise<readonly Condition[]> {
  const entry = await store.get(keyOf(Resources.Lease, { ...FENCE_PLACE, name: fence.lease }));
  if (entry === null) throw fencedOff(resource, name, `there is no lease ${fence.lease}; this write carries epoch ${fence.epoch}`);
  const lease = peek(entry.value);
  const epoch = Number(at(lease, 'spec.leaseTransitions') ?? 0);
  if (epoch > fence.epoch) throw fencedOff(resource, name, `lease ${fence.lease} is at epoch ${epoch}, held by ${asText(at(lease, 'spec.holderIdentity')) || 'nobody'}; this write carries epoch ${fence.epoch}`);
  return [{ key: entry.key, is: 'revision', modRevision: entry.modRevision }];
}
