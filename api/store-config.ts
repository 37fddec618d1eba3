/** Where a server process keeps its objects: one schema for every configuration that has a store. */
import type { Static } from 'typebox';
import { MeshError } from './errors.ts';
import { Type } from './type.ts';

const strict = { additionalProperties: false } as const;
const Pem = Type.String({ minLength: 1 });

export const StoreSchema = Type.Object(
  {
    /** lmdb: embedded, one machine. etcd: a cluster, any number of processes. */
    kind: Type.Union([Type.Literal('lmdb'), Type.Literal('etcd')], { default: 'lmdb' }),
    /** lmdb: most that the database may grow to, MiB. */
    mapSizeMiB: Type.Integer({ minimum: 64, default: 16_384 }),
    /** Revisions of history that a watch can resume from. */
    keepRevisions: Type.Integer({ minimum: 1000, default: 100_000 }),
    /** lmdb: most that history may take on disk, MiB; the oldest goes first, also when it is fewer revisions. */
    historyMiB: Type.Integer({ minimum: 1, default: 1_024 }),
    /** etcd: `http://host:port` or `https://host:port` of its members. */
    endpoints: Type.Array(Type.String({ pattern: '^https?://[^/]+$' }), { default: [], maxItems: 16 }),
    /** etcd: before every key. Stores with the same one are the same store; null = `/proxima/<name of the region, or "global">`. */
    namespace: Type.Union([Type.String({ pattern: '^/.*[^/]$' }), Type.Null()], { default: null }),
    /** etcd: files of the authority and of the client certificate; null = none. */
    tls: Type.Union([Type.Object({ ca: Pem, cert: Pem, key: Pem }, strict), Type.Null()], { default: null }),
  },
  { ...strict, default: {} },
);
export type StoreConfig = Static<typeof StoreSchema>;

/** What one schema cannot say. */
export function checkStore(config: StoreConfig, source: string): void {
  const isEtcd = config.kind === 'etcd';
  if (isEtcd && config.endpoints.length === 0) throw new MeshError('invalid', `${source}: store.endpoints: is required for etcd`, { fields: { path: 'store.endpoints' }, next: 'list the members: ["https://10.0.0.1:2379"]' });
  if (!isEtcd && config.endpoints.length > 0) throw new MeshError('invalid', `${source}: store.endpoints: lmdb has none`, { fields: { path: 'store.endpoints' }, next: 'set store.kind to "etcd"' });
}
