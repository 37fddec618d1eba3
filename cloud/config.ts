/** The region process' configuration: default, unit and meaning beside every key; an unknown key is an error. None is reloadable. */
import { join } from 'node:path';
import type { Static } from 'typebox';
import { decodeConfig } from '../api/config.ts';
import { checkStore, StoreSchema } from '../api/store-config.ts';
import { Type } from '../api/type.ts';

const strict = { additionalProperties: false } as const;
const Name = Type.String({ pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$' });
const Port = Type.Integer({ minimum: 0, maximum: 65_535 });

export const RegionSchema = Type.Object(
  {
    region: Type.String({ ...Name, default: 'local' }),
    /** The store, and the authority when the region makes its own. */
    dataDir: Type.String({ minLength: 1 }),
    /** The Kubernetes API. Port 0 = any free one. */
    listen: Type.Object({ address: Type.String({ default: '127.0.0.1' }), port: Type.Integer({ ...Port, default: 6443 }) }, { ...strict, default: {} }),
    /** Goal state for transit daemons, gRPC; null = none. */
    goal: Type.Union([Type.Object({ address: Type.String({ default: '127.0.0.1' }), port: Port }, strict), Type.Null()], { default: null }),
    /** `<dir>/<use>.key`, `<dir>/<use>.crt`, `<dir>/trust.pem` of the mesh; null = an authority of the region's own under dataDir. */
    identity: Type.Union([Type.Object({ dir: Type.String({ minLength: 1 }), use: Type.String({ default: 'region' }) }, strict), Type.Null()], { default: null }),
    /** host:port of the `agents` of the region's cloud gateways: the way to agents at edge sites, for logs and VM actions. */
    gateways: Type.Array(Type.String({ pattern: '^[^:]+:[0-9]{1,5}$' }), { default: [], maxItems: 16 }),
    /** Where an administrator's kubeconfig is written; default `<dataDir>/admin.kubeconfig`. */
    kubeconfig: Type.Optional(Type.String({ minLength: 1 })),
    /** Names and addresses that the region's own certificate is for, beside localhost and the listen address. */
    names: Type.Array(Type.String({ minLength: 1 }), { default: [] }),
    store: StoreSchema,
    logLevel: Type.Union(['debug', 'info', 'warn', 'error'].map((l) => Type.Literal(l)), { default: 'info' }),
  },
  strict,
);

export type RegionConfig = Static<typeof RegionSchema> & { readonly kubeconfig: string };

export function decodeRegionConfig(input: unknown, source: string): RegionConfig {
  const config = decodeConfig(RegionSchema, input, source);
  checkStore(config.store, source);
  return Object.freeze({ ...config, kubeconfig: config.kubeconfig ?? join(config.dataDir, 'admin.kubeconfig') });
}
