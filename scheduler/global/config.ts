/** The configuration of the global process. One schema: defaults, units and meaning beside every key; an unknown key is an error. */
import { Type } from 'typebox';
import type { Static } from 'typebox';
import { decodeConfig } from '../../api/config.ts';
import { MeshError } from '../../api/errors.ts';
import { checkStore, StoreSchema } from '../../api/store-config.ts';

const strict = { additionalProperties: false } as const;
const Name = Type.String({ pattern: '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$' });
const Port = Type.Integer({ minimum: 0, maximum: 65_535 });
const Path = Type.String({ minLength: 1 });
const Location = Type.Object({ latitude: Type.Number({ minimum: -90, maximum: 90 }), longitude: Type.Number({ minimum: -180, maximum: 180 }) }, strict);

export const GlobalSchema = Type.Object(
  {
    /** Of this instance, for its lease; unique among the instances. */
    identity: Type.String({ pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$', default: 'global-0' }),
    /** The embedded store's folder. */
    dataDir: Path,
    /** On etcd, any number of instances share it: each serves the API, and they deal the applications among themselves. */
    store: StoreSchema,
    /** The global API. Files in PEM; `ca` is what client certificates must chain to; `tokens`: a file of static bearer tokens, a line each: token,user,uid,"group,group". */
    api: Type.Object({ host: Type.String({ default: '127.0.0.1' }), port: Port, cert: Path, key: Path, ca: Path, tokens: Type.Optional(Path) }, strict),
    /** Written at start: an administrator's way to the global API. */
    kubeconfig: Type.Optional(Type.Object({ path: Path, cert: Path, key: Path, server: Type.Optional(Type.String()) }, strict)),
    /**
     * /v1 on an address of its own, beside that of the global API. Without `cert` and `key`: those of the API. `tls: false`: plain HTTP, where no client
     * certificate can be shown. `openSteering`: anybody may ask which fronts serve an application; all else always needs a credential.
     */
    rest: Type.Object({ host: Type.String({ default: '127.0.0.1' }), port: Port, cert: Type.Optional(Path), key: Type.Optional(Path), tls: Type.Boolean({ default: true }), openSteering: Type.Boolean({ default: false }) }, strict),
    regions: Type.Array(
      Type.Object(
        {
          name: Name,
          kubeconfig: Path,
          broker: Type.Union([Type.Object({ url: Type.String({ pattern: '^mqtts://' }), key: Path, cert: Path, ca: Path }, strict), Type.Null()], { default: null }),
        },
        strict,
      ),
      { minItems: 1 },
    ),
    /** Where clients are. The order gives the numbers in the data plane: append, do not insert. */
    clientRegions: Type.Array(Type.Object({ name: Name, cidrs: Type.Array(Type.String({ pattern: '^\\d+\\.\\d+\\.\\d+\\.\\d+/\\d+$' }), { minItems: 1 }), location: Type.Optional(Location) }, strict), { default: [] }),
    /** A pass at least each so many ms; what changes begins one at once. */
    intervalMs: Type.Integer({ minimum: 100, default: 1_000 }),
    /** Half of an observation's weight is gone after so many ms. */
    halfLifeMs: Type.Integer({ minimum: 500, default: 10_000 }),
    mover: Type.Object(
      {
        /** Between 5, 50 and 100 %; from weight 0 until stopped; without Ready until a start is undone; without Ready until a site with traffic begins at 5 % again. */
        stepMs: Type.Integer({ minimum: 0, default: 2_000 }), drainMs: Type.Integer({ minimum: 0, default: 8_000 }), startTimeoutMs: Type.Integer({ minimum: 1_000, default: 120_000 }), unreadyMs: Type.Integer({ minimum: 0, default: 5_000 }),
        /** A VM whose state takes longer to arrive stays where it is. */
        transferTimeoutMs: Type.Integer({ minimum: 1_000, default: 600_000 }),
        /** What is moved for gain waits: applications on their way into or out of one site; moves in any hour, of all applications. Repairs never wait. */
        budget: Type.Object({ perSite: Type.Integer({ minimum: 1, default: 20 }), perHour: Type.Integer({ minimum: 0, default: 3_600 }) }, { ...strict, default: {} }),
        /** A move is taken back when, over so many connections, its place is slower than predicted by this ratio and margin, and by the margin than before; or when this share of them fails. */
        undo: Type.Object({ samples: Type.Integer({ minimum: 1, default: 20 }), ratio: Type.Number({ minimum: 1, default: 1.25 }), marginMs: Type.Number({ minimum: 0, default: 5 }), failed: Type.Number({ minimum: 0, maximum: 1, default: 0.1 }) }, { ...strict, default: {} }),
      },
      { ...strict, default: {} },
    ),
    /** ms of silence until suspect, at least twice the pause between its samples; without a renewed Site.status.lastSeen and without a sample until `Ready` is not believed; until down without a witness; of being well until a site counts again. */
    failure: Type.Object({ suspectAfterMs: Type.Integer({ minimum: 100, default: 3_000 }), staleAfterMs: Type.Integer({ minimum: 1_000, default: 20_000 }), downAfterMs: Type.Integer({ minimum: 1_000, default: 20_000 }), returnAfterMs: Type.Integer({ minimum: 0, default: 10_000 }) }, { ...strict, default: {} }),
    /** Plans for what usually comes within `leadMs`, by the shape of the days before; off: only for what is measured. */
    prediction: Type.Object({ isOn: Type.Boolean({ default: true }), leadMs: Type.Integer({ minimum: 60_000, maximum: 14_400_000, default: 1_800_000 }) }, { ...strict, default: {} }),
    /** Parts that applications are dealt into; each is held by one instance. The same in all instances. */
    shards: Type.Integer({ minimum: 1, maximum: 256, default: 16 }),
    /** An instance that did not renew its lease for so many ms loses its shards to the others. */
    leaseMs: Type.Integer({ minimum: 1_000, maximum: 60_000, default: 5_000 }),
    /** After a start: ms that regions have to answer before anything is planned without them. */
    startGraceMs: Type.Integer({ minimum: 0, default: 10_000 }),
    logLevel: Type.Union(['debug', 'info', 'warn', 'error'].map((l) => Type.Literal(l)), { default: 'info' }),
  },
  strict,
);
export type GlobalConfig = Static<typeof GlobalSchema>;

/** Defaults filled in, everything checked, frozen; the error names the first wrong field. */
export function decodeGlobalConfig(input: unknown, source = 'global config'): GlobalConfig {
  const config = decodeConfig(GlobalSchema, input, source);
  checkStore(config.store, source);
  const twice = (names: readonly string[], path: string): void => {
    const again = names.find((n, i) => names.indexOf(n) !== i);
    if (again !== undefined) throw new MeshError('invalid', `${source}: ${path}: "${again}" is there twice`, { fields: { path } });
  };
  twice(config.regions.map((r) => r.name), 'regions');
  twice(config.clientRegions.map((r) => r.name), 'clientRegions');
  if ((config.rest.cert === undefined) !== (config.rest.key === undefined)) throw new MeshError('invalid', `${source}: rest: cert and key go together`, { fields: { path: 'rest' } });
  if (!config.rest.tls && config.rest.cert !== undefined) throw new MeshError('invalid', `${source}: rest.tls: is false, but rest.cert is given`, { fields: { path: 'rest.tls' } });
  return config;
}
