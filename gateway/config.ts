/** The configuration of both gateways. One schema each: defaults, units and meaning beside every key; an unknown key is an error. */
import type { Static } from 'typebox';
import { Type } from '../api/type.ts';

const strict = { additionalProperties: false } as const;
const Port = Type.Integer({ minimum: 0, maximum: 65_535 });
const Name = Type.String({ pattern: '^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$', description: 'lower-case letters, digits, ".", "_", "-"' });
const Listen = Type.Object({ address: Type.String({ minLength: 1 }), port: Port }, strict);
const Endpoint = Type.Object({ host: Type.String({ minLength: 1 }), port: Type.Integer({ minimum: 1, maximum: 65_535 }) }, strict);
const LogLevel = Type.Union(['debug', 'info', 'warn', 'error'].map((l) => Type.Literal(l)), { default: 'info' });
/** `<dir>/<use>.key`, `<dir>/<use>.crt` (chain), `<dir>/trust.pem`: what `issueToFiles` and `enrol` write. */
const Identity = (use: string) => Type.Object({ dir: Type.String({ minLength: 1 }), use: Type.String({ default: use }) }, strict);

export const CloudGatewaySchema = Type.Object(
  {
    region: Name,
    identity: Identity('gateway'),
    /** The region's authority, which signs enrolments: `region-<r>.crt` and `.key`. */
    authority: Type.Object({ cert: Type.String(), key: Type.String() }, strict),
    /** Where edge gateways dial. */
    mux: Listen,
    /** Joining, renewal, refusals and metrics. */
    enrol: Listen,
    mqtt: Type.Union([Listen, Type.Null()], { default: null }),
    /** What sites are told to dial, host:port; default: address and port above. */
    advertise: Type.Optional(Type.Object({ mux: Type.String(), enrol: Type.String() }, strict)),
    /** Local address of cloud-to-edge presences. */
    presences: Type.Object({ address: Type.String() }, { ...strict, default: { address: '127.0.0.1' } }),
    /** Where the region's API asks for connections to agents at edge sites, with the region's certificate; null = it cannot. */
    agents: Type.Union([Listen, Type.Null()], { default: null }),
    /** What every edge gateway may reach as `@name`: region-api, goal-grpc. */
    services: Type.Record(Type.String(), Endpoint, { default: {} }),
    /** The region's API, https://host:port; the gateway's own identity is the credential. */
    api: Type.Object({ server: Type.String({ minLength: 1 }), /** Name in the API's certificate when it is not the host of `server`. */ serverName: Type.Optional(Type.String()) }, strict),
    /** Lifetime of certificates that this gateway issues. */
    certificateSeconds: Type.Integer({ minimum: 60, default: 2_592_000 }),
    logLevel: LogLevel,
  },
  strict,
);
export type CloudGatewayConfig = Static<typeof CloudGatewaySchema>;

export const EdgeGatewaySchema = Type.Object(
  {
    site: Name,
    identity: Identity('gateway'),
    /** Last presence list and message queue. */
    stateDir: Type.String({ minLength: 1 }),
    /** host:port of the region's cloud gateways; default: from `endpoints.json`, which joining wrote. */
    gateways: Type.Optional(Type.Array(Type.String(), { minItems: 1, maxItems: 16 })),
    /** host:port for renewal; default: from `endpoints.json`. */
    enrol: Type.Optional(Type.String()),
    /** Where presences listen when they name no address: the site's LAN address. */
    lanAddress: Type.String({ default: '127.0.0.1' }),
    /** Local addresses of region services, e.g. {"region-api": {"address": "192.168.50.1", "port": 6443}}. */
    services: Type.Record(Type.String(), Listen, { default: {} }),
    /**
     * What the region reaches of the site: agents, at one port of one network (a.b.c.d/n; null = the network that `lanAddress` is in). Each agent
     * answers the region's certificate only. null = no agent: `kubectl logs` does not work for the site then.
     */
    agents: Type.Union([Type.Object({ port: Type.Integer({ minimum: 1, maximum: 65_535, default: 10_250 }), network: Type.Union([Type.String({ pattern: '^[0-9.]+/[0-9]{1,2}$' }), Type.Null()], { default: null }) }, strict), Type.Null()], { default: { port: 10_250, network: null } }),
    /** One mTLS HTTP address for every HTTP presence: the Host header is `<presence>.<tenant>`. */
    entry: Type.Union([Listen, Type.Null()], { default: null }),
    mqtt: Type.Union(
      [
        Type.Object(
          {
            /** `tls: false` only on loopback. */
            listen: Type.Array(Type.Object({ address: Type.String(), port: Port, tls: Type.Boolean({ default: true }) }, strict)),
            queueBytes: Type.Integer({ minimum: 65_536, default: 268_435_456 }),
          },
          strict,
        ),
        Type.Null(),
      ],
      { default: null },
    ),
    logLevel: LogLevel,
  },
  strict,
);
export type EdgeGatewayConfig = Static<typeof EdgeGatewaySchema>;
