/**
 * The one way to speak to a Proxima or Kubernetes API: a port with an HTTP form (`api/http-client.ts`), an in-process form inside the
 * servers, and an in-memory form for tests (`test/kit/memory-client.ts`). All pass the same contract suite.
 */
import type { LeaseFence } from './lease-fence.ts';
import type { KubeObject } from './object.ts';

/** Group, version and plural name, e.g. `{ group: 'apps', version: 'v1', plural: 'deployments' }`; the core group is ''. */
export interface ResourceId {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  /** Where names are unique: in a namespace of a tenant, in a tenant, or in the whole server. */
  readonly scope: 'namespace' | 'tenant' | 'cluster';
}

/** Where an object is. `tenant` null = the short form: the tenant comes from the credential. */
export interface Place {
  readonly tenant: string | null;
  readonly namespace: string | null;
}

export interface ListOptions {
  /** A tenant's name, 'all', or null for the credential's own. */
  readonly tenant?: string | null;
  /** null or absent = all namespaces. */
  readonly namespace?: string | null;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /**
   * A look at an object's name and stored bytes before it is decoded: false = the caller has no use for it. An object is left out when neither its
   * old nor its new state is of use; one that goes is always told. Only the in-process client looks; others give more than was asked for.
   */
  readonly glance?: Glance;
}

/** With a fence the write holds only while a Lease is the writer's (`lease-fence.ts`). */
export interface WriteOptions {
  readonly fence?: LeaseFence;
}

export type Glance = (name: string, bytes: Uint8Array) => boolean;

export interface ListResult<T extends KubeObject> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
}

export type WatchEvent<T extends KubeObject> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

/** Every call throws MeshError: not-found, already-exists, conflict, invalid, forbidden, expired (watch position gone), unavailable, timeout. */
export interface Client {
  get<T extends KubeObject>(resource: ResourceId, place: Place, name: string): Promise<T>;
  list<T extends KubeObject>(resource: ResourceId, options?: ListOptions): Promise<ListResult<T>>;
  /** Ends (returns) when the server closes; throws `expired` when `resourceVersion` is too old: list again. */
  watch<T extends KubeObject>(resource: ResourceId, options: ListOptions & { readonly resourceVersion: string }, signal: AbortSignal): AsyncIterable<WatchEvent<T>>;
  create<T extends KubeObject>(resource: ResourceId, object: T, options?: WriteOptions): Promise<T>;
  /** Replaces; with metadata.resourceVersion set it is conditional (throws conflict). Status is ignored where the kind has a status sub-resource. */
  update<T extends KubeObject>(resource: ResourceId, object: T, options?: WriteOptions): Promise<T>;
  /** Replaces the status only. */
  updateStatus<T extends KubeObject>(resource: ResourceId, object: T, options?: WriteOptions): Promise<T>;
  /** JSON merge patch (RFC 7386), `subresource: 'status'` for the status. */
  patch<T extends KubeObject>(resource: ResourceId, place: Place, name: string, patch: unknown, options?: WriteOptions & { readonly subresource?: 'status' }): Promise<T>;
  delete(resource: ResourceId, place: Place, name: string, options?: WriteOptions & { readonly uid?: string; readonly propagation?: 'Background' | 'Foreground' | 'Orphan'; readonly gracePeriodSeconds?: number }): Promise<void>;
}
