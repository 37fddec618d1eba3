/** The node agent's process: configuration to running parts. The only file of the edge that names concrete classes of other folders. */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../api/client.ts';
import { MeshError } from '../api/errors.ts';
import { createHttpClient, type HttpClient } from '../api/http-client.ts';
import { systemClock } from '../base/clock.ts';
import { ServiceGroup, type Service } from '../base/lifecycle.ts';
import { createLogger, type Logger } from '../base/log.ts';
import { loadIdentity, type LoadedIdentity } from '../certs/enrol.ts';
import { siteCapacity } from './agent/capacity.ts';
import { composeAgent, type NodeAgent } from './agent/compose.ts';
import { LatencyProbes } from './agent/latency.ts';
import { AgentEndpoint } from './agent/logs.ts';
import { FollowedNames } from './agent/names.ts';
import type { PodNetwork } from './agent/network.ts';
import { machineCapacity, NodeRegistration } from './agent/node.ts';
import { Renewal } from './agent/renewal.ts';
import { Telemetry } from './agent/telemetry.ts';
import { Echo } from './agent/train.ts';
import { TransitNetwork, type FrontCount, type TransitPort } from './agent/transit.ts';
import { transferEndpoint } from './agent/vm/transfer-endpoint.ts';
import { TransferWay } from './agent/vm/way.ts';
import { decodeAgentConfig, type AgentConfig } from './config.ts';
import { DataPlane } from './data-plane.ts';
import { renewedClient } from './renewed-client.ts';

/** The data plane of this node, as the agent uses it. */
export interface AgentTransit extends TransitPort, Service {
  /** Totals of the front's counters. */
  frontCounts(): Promise<readonly FrontCount[]>;
}

export interface AgentParts {
  /** Makes the data plane in place of the built one; null = none. */
  readonly transit?: ((config: AgentConfig, identity: LoadedIdentity, log: Logger) => AgentTransit) | null;
}

export interface RunningAgent {
  readonly node: string;
  /** Port of the agent's mTLS endpoint. */
  readonly port: number;
  /** Ends the agent; containerd, containers and VMs go on. */
  stop(): Promise<void>;
}

/** Checks a configuration and gives it back with its defaults: `--check`. */
export function agentCheck(input: unknown, source = 'agent config'): AgentConfig {
  return decodeAgentConfig(input, source);
}

export async function agentStart(input: unknown, parts: AgentParts = {}, source = 'agent config'): Promise<RunningAgent> {
  const config = decodeAgentConfig(input, source);
  const log = createLogger({ name: 'agent', level: config.logLevel }).child({ node: config.node });
  const identity = loadIdentity(config.identity.dir, config.identity.use);
  const api = renewedClient(clientOf(config, identity), systemClock);
  const { client } = api;
  const transit = parts.transit === undefined ? dataPlaneOf(config, client, log) : (parts.transit?.(config, identity, log) ?? null);
  let tls = tlsOf(identity);
  const way = new TransferWay({ site: config.site, node: config.node, port: () => endpoint.port, client, tls: () => tls });
  const node = await nodeAgent(config, client, transit, way, log);
  const endpoint: AgentEndpoint = new AgentEndpoint({ listen: config.listen, region: config.region, tls: tlsOf(identity), logDir: join(config.dir, 'logs'), records: node.records, vms: node.vms, upgrades: transferEndpoint(node.departures, way, log), log });
  const registration = registrationOf(config, client, node, endpoint, log);
  node.onRuntime = () => registration.changed();
  const telemetry = telemetryOf(config, client, identity, transit, log);
  const renewal = new Renewal({
    ...config.identity, enrol: config.enrol, clock: systemClock, log,
    onRenewed: (fresh) => {
      tls = tlsOf(fresh);
      endpoint.renew(tlsOf(fresh));
      telemetry?.renew(tlsOf(fresh));
      api.replace(clientOf(config, fresh));
    },
  });
  const group = new ServiceGroup('agent', [...(transit === null ? [] : [transit]), endpoint, node, registration, ...(telemetry === null ? [] : [telemetry]), ...(config.echo === undefined ? [] : [new Echo(config.echo, log)]), renewal]);
  await group.start(new AbortController().signal);
  log.info('agent started', { site: config.site, containerRuntime: node.runtimeName, endpointPort: endpoint.port, dataPlane: transit !== null });
  return {
    node: config.node,
    port: endpoint.port,
    stop: async () => {
      await group.stop();
      await api.close();
    },
  };
}

const tlsOf = (identity: LoadedIdentity): { readonly key: string; readonly cert: string; readonly ca: string } => ({ key: identity.keyPem, cert: identity.chainPem, ca: identity.trustPem });

function clientOf(config: AgentConfig, identity: LoadedIdentity): HttpClient {
  const { server, serverName } = config.api;
  return createHttpClient({ server, ca: identity.trustPem, credential: { kind: 'certificate', cert: identity.chainPem, key: identity.keyPem }, ...(serverName === undefined ? {} : { serverName }) }, { userAgent: `proxima-agent/${config.node}` });
}

/** null where the configuration names no goal state: pods in a VPC cannot be attached then, and say so. */
function dataPlaneOf(config: AgentConfig, client: Client, log: Logger): AgentTransit | null {
  return config.goal === null ? null : new DataPlane(config, client, log);
}

function nodeAgent(config: AgentConfig, client: Client, transit: AgentTransit | null, way: TransferWay, log: Logger): Promise<NodeAgent> {
  let self: NodeAgent | null = null;
  const network: PodNetwork = transit === null ? noDataPlane : new TransitNetwork(transit, (uid) => self?.records.get(uid)?.address ?? null);
  return composeAgent({
    dir: config.dir, node: config.node, site: config.site, region: config.region, address: config.droplet.address,
    cniPlugin: config.cniPlugin, images: config.images.containers, vmImageDir: config.images.vmDir, mtu: config.mtu, systemVpc: config.systemVpc,
    client, network, way, clock: systemClock, log,
  }).then((agent) => (self = agent));
}

const noDataPlane: PodNetwork = {
  attach: () => Promise.reject(new MeshError('unsupported', 'this agent has no data plane: pods of a VPC cannot run here', { next: 'set "goal" in the agent config' })),
  detach: () => Promise.resolve(),
};

function registrationOf(config: AgentConfig, client: Client, node: NodeAgent, endpoint: AgentEndpoint, log: Logger): NodeRegistration {
  const { interface: name, address, relay, front } = config.droplet;
  const found = (networkInterfaces()[name] ?? []).find((i) => i.address === address);
  const mac = config.droplet.mac ?? found?.mac;
  if (mac === undefined) throw new MeshError('invalid', `droplet.interface: ${name} does not have the address ${address} on this machine`, { fields: { path: 'droplet.interface' }, next: 'ip -br addr shows what there is' });
  const machine = machineCapacity();
  return new NodeRegistration({
    node: config.node, site: config.site, region: config.region, address, labels: config.labels,
    capacity: { cpuMilli: config.capacity.cpuMilli ?? machine.cpuMilli, memoryMiB: config.capacity.memoryMiB ?? machine.memoryMiB, pods: config.capacity.pods },
    droplet: { node: config.node, site: config.site, interface: name, address, mac, ...(relay === undefined ? {} : { relay }), ...(front === undefined ? {} : { front }) },
    agentPort: () => endpoint.port,
    runtimes: () => ({ containers: { ready: node.containerd.isReady, version: node.runtimeName }, vms: { ready: node.vms.isReady, version: node.vms.version } }),
    client, clock: systemClock, log,
  });
}

type TelemetryService = Service & Pick<Telemetry, 'renew'>;

function telemetryOf(config: AgentConfig, client: Client, identity: LoadedIdentity, transit: AgentTransit | null, log: Logger): TelemetryService | null {
  if (config.mqtt === null) return null;
  const { server, serverName } = config.mqtt;
  const names = new FollowedNames(config.dir, client, config.names, log);
  // One node per site, its front, speaks for the site.
  const speaks = config.droplet.front !== undefined;
  const telemetry = new Telemetry({
    site: config.site, node: config.node, dir: config.dir,
    broker: { url: server, ...tlsOf(identity), ...(serverName === undefined ? {} : { serverName }) },
    counters: transit !== null && speaks ? () => transit.frontCounts() : null,
    names, latency: new LatencyProbes(config.probes), probePeriodMs: config.probePeriodMs,
    capacity: speaks ? siteCapacity(client, config.site, systemClock) : null,
    clock: systemClock, log,
  });
  return {
    name: telemetry.name,
    start: async (signal) => {
      await names.start(signal);
      await telemetry.start(signal);
    },
    stop: async () => {
      await telemetry.stop();
      await names.stop();
    },
    renew: (tls) => telemetry.renew(tls),
  };
}
