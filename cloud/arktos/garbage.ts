/** What an object's owners and finalizers mean for it: background, foreground and orphaning deletion. Pure. */
import type { ResourceId } from '../../api/client.ts';
import type { KubeObject } from '../../api/object.ts';
import { isLeaving } from './model.ts';
import type { Step } from './model.ts';

export interface Dependent {
  readonly resource: ResourceId;
  readonly object: KubeObject;
}

const FOREGROUND = 'foregroundDeletion';
const ORPHAN = 'orphan';

/** `goneOwners` are the uids of owners that are no longer there. */
export function decideDependent({ resource, object }: Dependent, goneOwners: ReadonlySet<string>): readonly Step[] {
  const owners = object.metadata.ownerReferences ?? [];
  const left = owners.filter((o) => !goneOwners.has(o.uid));
  if (owners.length === left.length || isLeaving(object)) return [];
  if (left.length > 0) return [{ kind: 'patch', resource, of: object, patch: { metadata: { ownerReferences: left } } }];
  return [{ kind: 'delete', resource, of: object }];
}

export function decideFinalizers({ resource, object }: Dependent, dependents: readonly Dependent[]): readonly Step[] {
  const finalizers = object.metadata.finalizers ?? [];
  if (!isLeaving(object)) return [];
  const without = (name: string): Step => {
    const left = finalizers.filter((f) => f !== name);
    return { kind: 'patch', resource, of: object, patch: { metadata: { finalizers: left.length === 0 ? null : left } } };
  };
  if (finalizers.includes(ORPHAN)) {
    const freed = dependents.map((d): Step => ({ kind: 'patch', resource: d.resource, of: d.object, patch: { metadata: { ownerReferences: (d.object.metadata.ownerReferences ?? []).filter((o) => o.uid !== object.metadata.uid) } } }));
    return [...freed, without(ORPHAN)];
  }
  if (!finalizers.includes(FOREGROUND)) return [];
  const doomed = dependents.filter((d) => !isLeaving(d.object)).map((d): Step => ({ kind: 'delete', resource: d.resource, of: d.object }));
  const blocks = dependents.some((d) => d.object.metadata.ownerReferences?.some((o) => o.uid === object.metadata.uid && o.blockOwnerDeletion === true));
  return blocks ? doomed : [...doomed, without(FOREGROUND)];
}
