/**
 * `proxima join`: preflight -> keys on this node -> enrolment at the gateway that the token names -> certificates and two configuration
 * files -> what to type next. Nothing is written before the preflight is well and the gateway has proved who it is.
 */
import { networkInterfaces } from 'node:os';
import { join as path } from 'node:path';
import { decodeConfig } from '../../api/config.ts';
import { MeshError } from '../../api/errors.ts';
import { enrol, type Enrolled } from '../../certs/enrol.ts';
import { writeDurably } from '../../certs/files.ts';
import { decodeToken } from '../../certs/token.ts';
import { EdgeGatewaySchema } from '../../gateway/config.ts';
import { decodeAgentConfig, type AgentConfig } from '../config.ts';
import { doctor, type CheckRow } from './doctor.ts';

export interface JoinOptions {
  readonly token: string;
  /** Configuration and certificates go here. */
  readonly dir: string;
  /** The node's data; default `<dir>`. */
  readonly dataDir?: string;
  readonly node: string;
  /** Interface and address on the site's LAN: the node's droplet. Default: the first that is neither loopback nor the uplink. */
  readonly lan?: { readonly interface: string; readonly address: string };
  /** For a further node of a site: the LAN address of its edge gateway. Absent: this node is the gateway. */
  readonly gatewayLan?: string;
  /** On the gateway node: the site's front. */
  readonly front?: { readonly interface: string; readonly address: string };
  readonly images?: AgentConfig['images'];
  readonly ports?: Partial<JoinPorts>;
  /** Without checks of the machine, for labs that have made it. */
  readonly skipPreflight?: boolean;
  readonly onProgress?: (what: string) => void;
}

export interface JoinPorts {
  readonly regionApi: number;
  readonly goal: number;
  readonly mqtt: number;
  readonly agent: number;
}

export interface Joined {
  readonly site: string;
  readonly region: string;
  readonly identities: readonly string[];
  readonly files: { readonly agent: string; readonly gateway: string | null };
  readonly warnings: readonly CheckRow[];
  /** Commands to run now, in order. */
  readonly next: readonly string[];
}

const PORTS: JoinPorts = { regionApi: 6443, goal: 50_051, mqtt: 8883, agent: 10_250 };

export async function join(options: JoinOptions): Promise<Joined> {
  const say = options.onProgress ?? (() => undefined);
  const ticket = decodeToken(options.token);
  const isGateway = options.gatewayLan === undefined;
  const ports = { ...PORTS, ...options.ports };
  const lan = options.lan ?? firstLan(options.front?.interface);
  say('checking this machine');
  const rows = options.skipPreflight === true ? [] : await doctor({ dir: options.dir, gateways: [ticket.gateway], tcpPorts: isGateway ? [ports.regionApi, ports.goal, ports.mqtt, ports.agent] : [ports.agent], udpPorts: [6081] });
  refuseUnfit(rows);
  say(`making keys, and joining site ${ticket.site} at ${ticket.gateway}`);
  const enrolled = await enrol(options.token, { dir: options.dir, node: options.node, uses: isGateway ? ['gateway', 'node'] : ['node'] });
  say('writing the configuration');
  const files = writeConfigs(options, enrolled, lan, ports);
  const start = (what: string, file: string): string => `proxima ${what} start --config ${file}`;
  return {
    site: enrolled.site,
    region: enrolled.endpoints.region,
    identities: enrolled.identities.map((i) => i.uri),
    files,
    warnings: rows.filter((r) => !r.ok),
    next: [...(files.gateway === null ? [] : [start('gateway', files.gateway)]), start('agent', files.agent)],
  };
}

function refuseUnfit(rows: readonly CheckRow[]): void {
  const bad = rows.filter((r) => !r.ok && !r.optional);
  const [first] = bad;
  if (first === undefined) return;
  const more = bad.slice(1).map((r) => r.check);
  throw new MeshError(first.kind, `${first.check}: ${first.detail}${more.length === 0 ? '' : ` (also not well: ${more.join(', ')})`}`, { fields: { checks: bad.map((r) => r.check) }, next: first.fix });
}

function firstLan(uplink: string | undefined): { readonly interface: string; readonly address: string } {
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    const v4 = addresses?.find((a) => a.family === 'IPv4' && !a.internal);
    if (v4 !== undefined && name !== uplink) return { interface: name, address: v4.address };
  }
  throw new MeshError('invalid', 'this machine has no network interface with an IPv4 address', { fields: { path: 'lan' }, next: 'ip -br addr; then name it: --lan INTERFACE=ADDRESS' });
}

function writeConfigs(o: JoinOptions, enrolled: Enrolled, lan: { readonly interface: string; readonly address: string }, ports: JoinPorts): Joined['files'] {
  const { site, endpoints } = enrolled;
  const gateway = o.gatewayLan ?? lan.address;
  const agent = {
    node: o.node,
    site,
    region: endpoints.region,
    dir: o.dataDir ?? o.dir,
    identity: { dir: o.dir, use: 'node' },
    api: { server: `https://${gateway}:${ports.regionApi}`, serverName: `api.${endpoints.region}.proxima` },
    goal: { server: `${gateway}:${ports.goal}`, serverName: `api.${endpoints.region}.proxima` },
    mqtt: { server: `mqtts://${gateway}:${ports.mqtt}` },
    droplet: { interface: lan.interface, address: lan.address, ...(o.front === undefined ? {} : { front: o.front }) },
    listen: { address: '0.0.0.0', port: ports.agent },
    ...(o.images === undefined ? {} : { images: o.images }),
  };
  const agentFile = path(o.dir, 'agent.json');
  decodeAgentConfig(agent, agentFile); // what is written is what the agent will accept
  writeDurably(agentFile, `${JSON.stringify(agent, null, 2)}\n`);
  if (o.gatewayLan !== undefined) return { agent: agentFile, gateway: null };
  const edge = {
    site,
    identity: { dir: o.dir, use: 'gateway' },
    stateDir: path(o.dataDir ?? o.dir, 'gateway'),
    lanAddress: lan.address,
    services: { 'region-api': { address: lan.address, port: ports.regionApi }, 'goal-grpc': { address: lan.address, port: ports.goal } },
    mqtt: { listen: [{ address: lan.address, port: ports.mqtt, tls: true }] },
  };
  const gatewayFile = path(o.dir, 'gateway.json');
  decodeConfig(EdgeGatewaySchema, edge, gatewayFile);
  writeDurably(gatewayFile, `${JSON.stringify(edge, null, 2)}\n`);
  return { agent: agentFile, gateway: gatewayFile };
}
