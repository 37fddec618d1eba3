/** The node agent's configuration: defaults, units and meaning beside every key; an unknown key is an error. */
import { join } from 'node:path';
import type { Static } from 'typebox';
import { decodeConfig } from '../api/config.ts';
import { Type } from '../api/type.ts';

const strict = { additionalProperties: false } as const;
const Name = Type.String({ pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$' });
const Ids = Type.Record(Type.String({ pattern: '^[0-9]{1,5}$' }), Type.String(), { default: {} });

/** The relay's private key, in the identity's folder. */
export const RELAY_KEY = 'relay.key';

export const ProbeTargetSchema = Type.Object(
  {
    /** Name of the site or client region. */
    to: Type.String({ minLength: 1 }),
    kind: Type.Union([Type.Literal('site'), Type.Literal('client-region')]),
    address: Type.String({ minLength: 1 }),
    port: Type.Integer({ minimum: 1, maximum: 65_535 }),
    /** tcp: the time of a connect, refused or not. udp: the time of an echo. */
    protocol: Type.Union([Type.Literal('tcp'), Type.Literal('udp')], { default: 'tcp' }),
    /** Where its agent echoes (`echo` there): the bandwidth of the way is estimated once a minute. With udp it is `port`. */
    echoPort: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
  },
  strict,
);

export const AgentSchema = Type.Object(
  {
    node: Name,
    site: Name,
    region: Name,
    /** The node's data. Unix sockets live in it, so it has to be short (at most 60 characters). */
    dir: Type.String({ minLength: 1, maxLength: 60, pattern: '^/' }),
    /** `<dir>/<use>.key`, `<dir>/<use>.crt`, `<dir>/trust.pem`, as joining writes them. */
    identity: Type.Object({ dir: Type.String({ minLength: 1 }), use: Type.String({ default: 'node' }) }, strict),
    /** The region's API; at the edge the edge gateway's local address of it. */
    api: Type.Object({ server: Type.String({ pattern: '^https://' }), serverName: Type.Optional(Type.String()) }, strict),
    /** host:port of the goal state stream; null = no data plane on this node. */
    goal: Type.Union([Type.Object({ server: Type.String(), serverName: Type.Optional(Type.String()) }, strict), Type.Null()], { default: null }),
    /** mqtts://host:port of the broker for telemetry; null = none is sent. */
    mqtt: Type.Union([Type.Object({ server: Type.String({ pattern: '^mqtts?://' }), serverName: Type.Optional(Type.String()) }, strict), Type.Null()], { default: null }),
    /** host:port where the node's certificate is renewed; null = the address in `endpoints.json`, which joining wrote, and none without that file. */
    enrol: Type.Union([Type.String({ minLength: 1 }), Type.Null()], { default: null }),
    /** The node's place on the substrate. */
    droplet: Type.Object(
      {
        interface: Type.String({ minLength: 1 }),
        address: Type.String({ pattern: '^[0-9.]+$' }),
        /** Default: the interface's own. */
        mac: Type.Optional(Type.String({ pattern: '^([0-9a-f]{2}:){5}[0-9a-f]{2}$' })),
        relay: Type.Optional(Type.Object({ address: Type.String(), publicKey: Type.String(), endpoint: Type.Optional(Type.String()), interface: Type.String() }, strict)),
        front: Type.Optional(Type.Object({ interface: Type.String(), address: Type.String() }, strict)),
      },
      strict,
    ),
    /** Where packets that are passed on are handled: in XDP or not at all there; auto = as the driver and the droplet's role make it pay. */
    dataPlane: Type.Object({ mode: Type.Union([Type.Literal('auto'), Type.Literal('xdp'), Type.Literal('tcx')], { default: 'auto' }) }, { ...strict, default: { mode: 'auto' } }),
    /** VPC of the system tenant's pods that name none; null = they are in the node's own network. */
    systemVpc: Type.Union([Type.String({ minLength: 1 }), Type.Null()], { default: null }),
    labels: Type.Record(Type.String(), Type.String(), { default: {} }),
    /** What the scheduler may give away here; default: the machine's. */
    capacity: Type.Object({ cpuMilli: Type.Optional(Type.Integer({ minimum: 1 })), memoryMiB: Type.Optional(Type.Integer({ minimum: 1 })), pods: Type.Integer({ minimum: 1, default: 110 }) }, { ...strict, default: { pods: 110 } }),
    /** MTU of pod interfaces, bytes: the substrate's less 100 for Geneve and WireGuard. */
    mtu: Type.Integer({ minimum: 576, maximum: 9000, default: 1300 }),
    cniPlugin: Type.String({ default: join(import.meta.dirname, '..', 'dataplane', 'cni', 'proxima-cni') }),
    images: Type.Object({ containers: Type.Array(Type.String(), { default: [] }), vmDir: Type.String({ default: '' }) }, { ...strict, default: { containers: [], vmDir: '' } }),
    /** The agent's own mTLS endpoint: logs and VM actions. Port 0 = any free one. */
    listen: Type.Object({ address: Type.String(), port: Type.Integer({ minimum: 0, maximum: 65_535 }) }, { ...strict, default: { address: '0.0.0.0', port: 10_250 } }),
    probes: Type.Array(ProbeTargetSchema, { default: [] }),
    /** Answers others' bandwidth estimates: UDP, back as it came, at most 500 datagrams a second. Absent: it does not. */
    echo: Type.Optional(Type.Object({ address: Type.String({ default: '0.0.0.0' }), port: Type.Integer({ minimum: 0, maximum: 65_535 }) }, strict)),
    /** ms between two rounds of probes. */
    probePeriodMs: Type.Integer({ minimum: 100, default: 1000 }),
    /** What the 16 bit ids in the counters mean, beside what the network plane says. */
    names: Type.Object({ applications: Ids, clientRegions: Ids }, { ...strict, default: { applications: {}, clientRegions: {} } }),
    logLevel: Type.Union(['debug', 'info', 'warn', 'error'].map((l) => Type.Literal(l)), { default: 'info' }),
  },
  strict,
);

export type AgentConfig = Static<typeof AgentSchema>;
export type ProbeTargetConfig = Static<typeof ProbeTargetSchema>;

/** No key is reloadable: a change needs a restart of the agent, which pods do not notice. */
export function decodeAgentConfig(input: unknown, source: string): AgentConfig {
  return decodeConfig(AgentSchema, input, source);
}
