/**
 * `proxima join`: preflight -> keys on this node -> enrolment at the gateway that the token names -> certificates and two configuration
 * files -> what to type next. Nothing is written before the preflight is well and the gateway has proved who it is; the token is not spent
 * on what the daemons would refuse.
 */
import { createHash } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { join as path } from 'node:path';
import { decodeConfig } from '../../api/config.ts';
import { MeshError } from '../../api/errors.ts';
import { enrol } from '../../certs/enrol.ts';
import { writeDurably } from '../../certs/files.ts';
import { decodeToken } from '../../certs/token.ts';
import { isTunnelAddress } from '../../dataplane/transit/plan.ts';
import { EdgeGatewaySchema } from '../../gateway/config.ts';
import { ensureTunnelKey } from '../../gateway/tunnel/wireguard.ts';
import { decodeAgentConfig, RELAY_KEY, type AgentConfig, type ProbeTargetConfig } from '../config.ts';
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
  /** On the gateway node: its end of the tunnels to other sites, an address of 100.64.0.0/10 that no other site has. Default interface: by the node's name. */
  readonly relay?: { readonly address: string; readonly interface?: string };
  /** What this node measures its distance to. Default: nothing. */
  readonly probes?: readonly ProbeTargetConfig[];
  /** UDP: this node answers other sites' packet trains there. Default: it does not. */
  readonly echoPort?: number;
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
  /** Where further nodes of the site enrol. */
  readonly enrol: number;
  /** The one address of all HTTP presences. */
  readonly entry: number;
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

const PORTS: JoinPorts = { regionApi: 6443, goal: 50_051, mqtt: 8883, agent: 10_250, enrol: 7444, entry: 8443 };

export async function join(options: JoinOptions): Promise<Joined> {
  const say = options.onProgress ?? (() => undefined);
  const ticket = decodeToken(options.token);
  const isGateway = options.gatewayLan === undefined;
  const ports = { ...PORTS, ...options.ports };
  const lan = options.lan ?? firstLan(options.front?.interface);
  checkRelay(options);
  configsOf(options, { site: ticket.site, region: 'r', lan, ports, relayKey: '' });
  say('checking this machine');
  const rows = options.skipPreflight === true ? [] : await doctor({ dir: options.dir, gateways: [ticket.gateway], tcpPorts: isGateway ? Object.values(ports) : [ports.agent], udpPorts: [6081] });
  refuseUnfit(rows);
  say(`making keys, and joining site ${ticket.site} at ${ticket.gateway}`);
  const enrolled = await enrol(options.token, { dir: options.dir, node: options.node, uses: isGateway ? ['gateway', 'node'] : ['node'] });
  say('writing the configuration');
  const relayKey = options.relay === undefined ? '' : ensureTunnelKey(path(options.dir, RELAY_KEY));
  const files = writeConfigs(options, configsOf(options, { site: enrolled.site, region: enrolled.endpoints.region, lan, ports, relayKey }));
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

function checkRelay(o: JoinOptions): void {
  if (o.relay === undefined) return;
  const bad = (message: string, next: string): MeshError => new MeshError('invalid', `relay: ${message}`, { fields: { path: 'relay' }, next });
  if (o.gatewayLan !== undefined) throw bad('only a site\'s first node is its relay', 'leave --relay out here');
  if (!isTunnelAddress(o.relay.address)) throw bad(`expected an address of 100.64.0.0/10, got "${o.relay.address}"`, 'e.g. --relay 100.64.3.1, another for each site');
}

/** At most 15 characters, and another on each node: wireguard-go keeps its sockets by name for a whole machine. */
function relayInterface(node: string): string {
  return node.length <= 10 ? `pxwg-${node}` : `pxwg-${createHash('sha256').update(node).digest('hex').slice(0, 10)}`;
}

interface Facts {
  readonly site: string;
  readonly region: string;
  readonly lan: { readonly interface: string; readonly address: string };
  readonly ports: JoinPorts;
  /** Public. */
  readonly relayKey: string;
}

/** What is written is what the daemons will accept. `gateway` null: a further node. */
function configsOf(o: JoinOptions, { site, region, lan, ports, relayKey }: Facts): { readonly agent: object; readonly gateway: object | null } {
  const gateway = o.gatewayLan ?? lan.address;
  const dataDir = o.dataDir ?? o.dir;
  const serverName = `api.${region}.proxima`;
  const relay = o.relay === undefined ? {} : { relay: { address: o.relay.address, interface: o.relay.interface ?? relayInterface(o.node), publicKey: relayKey } };
  const agent = {
    node: o.node,
    site,
    region,
    dir: dataDir,
    identity: { dir: o.dir, use: 'node' },
    api: { server: `https://${gateway}:${ports.regionApi}`, serverName },
    goal: { server: `${gateway}:${ports.goal}`, serverName },
    mqtt: { server: `mqtts://${gateway}:${ports.mqtt}` },
    enrol: `${gateway}:${ports.enrol}`,
    droplet: { interface: lan.interface, address: lan.address, ...relay, ...(o.front === undefined ? {} : { front: o.front }) },
    listen: { address: '0.0.0.0', port: ports.agent },
    ...(o.images === undefined ? {} : { images: o.images }),
    ...(o.probes === undefined || o.probes.length === 0 ? {} : { probes: o.probes }),
    ...(o.echoPort === undefined ? {} : { echo: { address: o.front?.address ?? '0.0.0.0', port: o.echoPort } }),
  };
  decodeAgentConfig(agent, 'agent.json');
  if (o.gatewayLan !== undefined) return { agent, gateway: null };
  const edge = {
    site,
    identity: { dir: o.dir, use: 'gateway' },
    stateDir: path(dataDir, 'gateway'),
    lanAddress: lan.address,
    services: Object.fromEntries([['region-api', ports.regionApi], ['goal-grpc', ports.goal], ['enrol', ports.enrol]].map(([name, port]) => [name, { address: lan.address, port }])),
    entry: { address: lan.address, port: ports.entry },
    agents: { port: ports.agent },
    mqtt: { listen: [{ address: lan.address, port: ports.mqtt, tls: true }] },
  };
  decodeConfig(EdgeGatewaySchema, edge, 'gateway.json');
  return { agent, gateway: edge };
}

function writeConfigs(o: JoinOptions, configs: ReturnType<typeof configsOf>): Joined['files'] {
  const write = (name: string, config: object): string => {
    const file = path(o.dir, name);
    writeDurably(file, `${JSON.stringify(config, null, 2)}\n`);
    return file;
  };
  return { agent: write('agent.json', configs.agent), gateway: configs.gateway === null ? null : write('gateway.json', configs.gateway) };
}
