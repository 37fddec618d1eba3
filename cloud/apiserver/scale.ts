/** The scale sub-resource: replicas of a workload as an autoscaling/v1 Scale. */
import { asText, type JsonObject, type KindDefinition } from '../../api/definition.ts';
import { at, decode, metaOf } from './bytes.ts';
import { badRequest } from './errors.ts';
import { objectBody } from './body.ts';
import { applyPatch } from './patching.ts';
import type { Change, Stored } from './registry.ts';

function scaleOf(live: JsonObject): JsonObject {
  const meta = metaOf(live);
  const selector = at(live, 'spec.selector.matchLabels') as JsonObject | undefined;
  const keep: JsonObject = {};
  for (const field of ['name', 'namespace', 'uid', 'resourceVersion', 'creationTimestamp']) if (meta[field] !== undefined) keep[field] = meta[field];
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: keep,
    spec: { replicas: at(live, 'spec.replicas') ?? 0 },
    status: { replicas: at(live, 'status.replicas') ?? 0, selector: Object.entries(selector ?? {}).map(([k, v]) => `${k}=${asText(v)}`).join(',') },
  };
}

export function readScale(_def: KindDefinition, stored: Stored): JsonObject {
  return scaleOf(decode(stored.bytes, stored.revision));
}

export function writeScale(def: KindDefinition, call: { readonly method: string; readonly contentType: string; readonly body: Buffer | null }): Change {
  return (live) => {
    const now = scaleOf(live);
    const wanted = call.method === 'PATCH' ? applyPatch(def, call.contentType === 'application/strategic-merge-patch+json' ? 'application/merge-patch+json' : call.contentType, call.body)(now) : objectBody(call.contentType, call.body);
    const replicas = at(wanted, 'spec.replicas') ?? 0;
    if (typeof replicas !== 'number' || !Number.isInteger(replicas) || replicas < 0) throw badRequest('spec.replicas: must be an integer >= 0', 'spec.replicas');
    const version = metaOf(wanted)['resourceVersion'];
    const meta: JsonObject = { ...metaOf(live), ...(typeof version === 'string' ? { resourceVersion: version } : {}) };
    return { ...live, metadata: meta, spec: { ...(live['spec'] as JsonObject), replicas } };
  };
}
