/** What the operators decide, and the one table that does it. Each step is safe to repeat, so a crash between two of them costs nothing. */
import type { Client, Place, ResourceId } from '../../api/client.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Pod } from '../../api/kinds/core.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Claims } from './claims.ts';
import type { SimpleEndpoint } from './world.ts';

export type Step =
  | { readonly kind: 'create'; readonly resource: ResourceId; readonly object: KubeObject }
  /** Only the named status fields change; null removes one. */
  | { readonly kind: 'status'; readonly resource: ResourceId; readonly object: KubeObject; readonly status: Readonly<Record<string, unknown>> }
  | { readonly kind: 'delete'; readonly resource: ResourceId; readonly object: KubeObject }
  /** Takes `name` for `holder`; throws conflict when somebody else has it, and the next decision knows that. */
  | { readonly kind: 'claim'; readonly name: string; readonly holder: string }
  /** Deletes the endpoint of a pod that is gone; asks the API first, because a cache may not have seen the pod yet. */
  | { readonly kind: 'release'; readonly endpoint: SimpleEndpoint };

export type Executor = (steps: readonly Step[]) => Promise<void>;

export function executor(client: Client, claims: Claims): Executor {
  const act: { readonly [K in Step['kind']]: (s: Extract<Step, { kind: K }>) => Promise<void> } = {
    // Names are deterministic: if it is there, somebody decided the same.
    create: (s) => unless('already-exists', client.create(s.resource, s.object)),
    status: (s) => unless('not-found', client.patch(s.resource, placeOf(s.object), s.object.metadata.name, { status: s.status }, { subresource: 'status' })),
    delete: (s) => unless('not-found', client.delete(s.resource, placeOf(s.object), s.object.metadata.name, uidOf(s.object))),
    claim: async (s) => {
      const holder = await claims.take(s.name, s.holder);
      if (holder !== s.holder) throw new MeshError('conflict', `${s.name} was just taken by ${holder}`, { fields: { name: s.name, holder } });
    },
    release: async ({ endpoint }) => {
      if (await isPodAlive(client, endpoint)) return;
      await unless('not-found', client.delete(Resources.Endpoint, placeOf(endpoint), endpoint.metadata.name, uidOf(endpoint)));
    },
  };
  return async (steps) => {
    for (const step of steps) await (act[step.kind] as (s: Step) => Promise<void>)(step);
  };
}

export function placeOf(object: KubeObject): Place {
  return { tenant: object.metadata.tenant ?? null, namespace: object.metadata.namespace ?? null };
}

/** The status step that brings `status` about, or none when it already is. */
export function statusSteps(resource: ResourceId, object: KubeObject & { readonly status?: unknown }, status: Readonly<Record<string, unknown>>): readonly Step[] {
  const now = (object.status ?? {}) as Readonly<Record<string, unknown>>;
  const isSame = Object.entries(status).every(([key, value]) => (now[key] ?? null) === (value ?? null));
  return isSame ? [] : [{ kind: 'status', resource, object, status }];
}

export function isTerminal(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

async function isPodAlive(client: Client, endpoint: SimpleEndpoint): Promise<boolean> {
  const { namespace, name, uid } = endpoint.spec.pod;
  try {
    const pod = await client.get<Pod>(Resources.Pod, { tenant: endpoint.metadata.tenant ?? null, namespace }, name);
    return pod.metadata.uid === uid && !isTerminal(pod);
  } catch (error) {
    if (isMeshError(error, 'not-found')) return false;
    throw error;
  }
}

function uidOf(object: KubeObject): { readonly uid?: string } {
  return object.metadata.uid === undefined ? {} : { uid: object.metadata.uid };
}

async function unless(kind: 'already-exists' | 'not-found', work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isMeshError(error, kind)) throw error;
  }
}
