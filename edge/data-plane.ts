/**
 * The data plane of this node put together: the relay's tunnel first (its device has to be there), then the transit daemon, then the stream of
 * goal states. Peers of the relay come from the network plane's ConfigMap `relay-<site>` and are kept on disk, so that a site that boots while
 * it is cut off still knows them.
 */
import { existsSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../api/client.ts';
import { Informer } from '../api/informer.ts';
import type { KubeObject } from '../api/object.ts';
import { Resources } from '../api/resources.ts';
import type { Service } from '../base/lifecycle.ts';
import type { Logger } from '../base/log.ts';
import { Loop } from '../base/loop.ts';
import { loadIdentity } from '../certs/enrol.ts';
import { writeDurably } from '../certs/files.ts';
import { GoalClient } from '../dataplane/transit/goal-client.ts';
import { ifindexOf } from '../dataplane/transit/links.ts';
import { createTransit, type EndpointAttachment, type Transit as TransitDaemon } from '../dataplane/transit/transit.ts';
import type { TunnelPeer } from '../gateway/tunnel/tunnel.ts';
import { ensureTunnel } from '../gateway/tunnel/wireguard.ts';
import type { FrontCount } from './agent/transit.ts';
import { RELAY_KEY, type AgentConfig } from './config.ts';
import { GoalFile } from './goal-file.ts';

interface PeersMap extends KubeObject {
  readonly data?: { readonly peers?: string };
}
interface RelayPeer {
  readonly publicKey: string;
  readonly endpoint: string | null;
  readonly allowedIps: readonly string[];
  readonly keepaliveSeconds: number;
}

const TUNNEL_MTU = 1420;
/** How soon a tunnel that vanished (its process was killed) is noticed. */
const LOOK_MS = 2000;
/** Peers, routes and addresses as well, which takes several programs to read. */
const WHOLE_MS = 30_000;
const TUNNEL = 'tunnel';
export const GOAL_FILE = 'goal.json';

export class DataPlane implements Service {
  readonly name = 'data-plane';
  readonly #config: AgentConfig;
  readonly #transit: TransitDaemon;
  readonly #file: GoalFile;
  readonly #goals: GoalClient | null;
  readonly #tunnel: Loop | null;
  readonly #peersMap: Informer<PeersMap> | null;
  readonly #log: Logger;
  /** Number of the tunnel's device that the programs are attached to; 0 = not known. */
  #tunnelIfindex = 0;
  #wholeAt = Number.NEGATIVE_INFINITY;
  /** Of the peer list: how often it changed, and the one that the tunnel has. */
  #peersChanged = 0;
  #peersDone = -1;

  constructor(config: AgentConfig, client: Client, log: Logger) {
    this.#config = config;
    this.#log = log.child({ part: 'data-plane' });
    const { droplet, goal } = config;
    const relay = droplet.relay;
    this.#transit = createTransit({
      droplet: config.node, interface: droplet.interface, address: droplet.address, uplink: droplet.front?.interface ?? null,
      tunnel: relay === undefined ? null : { interface: relay.interface, address: relay.address }, mode: config.dataPlane.mode, log: this.#log,
    });
    this.#file = new GoalFile(join(config.dir, GOAL_FILE), this.#transit, this.#log);
    this.#goals = goal === null ? null : new GoalClient({
      droplet: config.node, target: goal.server, log: this.#log, version: () => this.#file.version, apply: (g) => this.#file.apply(g),
      tls: () => {
        const identity = loadIdentity(config.identity.dir, config.identity.use);
        return { ca: identity.trustPem, cert: identity.chainPem, key: identity.keyPem, ...(goal.serverName === undefined ? {} : { serverName: goal.serverName }) };
      },
    });
    this.#tunnel = relay === undefined ? null : new Loop({ name: TUNNEL, log: this.#log, maxRetryMs: LOOK_MS, run: () => this.#keepTunnel() });
    this.#peersMap = relay === undefined ? null : new Informer<PeersMap>({ client, log: this.#log, resource: Resources.ConfigMap, list: { tenant: 'system', namespace: 'default', fieldSelector: `metadata.name=relay-${config.site}` } });
  }

  async start(signal: AbortSignal): Promise<void> {
    if (this.#tunnel !== null) this.#tunnelIfindex = await this.#ensureTunnel();
    await this.#transit.start();
    await this.#file.start(signal);
    await this.#goals?.start();
    this.#peersMap?.onChange((_, map) => {
      if (map?.data?.peers === undefined) return; // a list that is gone is no list of nobody
      writeDurably(this.#peersFile(), map.data.peers);
      this.#peersChanged++;
      this.#tunnel?.trigger(TUNNEL);
    });
    await this.#tunnel?.start(signal);
    this.#tunnel?.trigger(TUNNEL);
    await this.#peersMap?.start(signal);
  }

  /** Tunnel and programs stay: traffic goes on without the agent. */
  async stop(): Promise<void> {
    await this.#peersMap?.stop();
    await this.#tunnel?.stop();
    await this.#goals?.stop();
    await this.#file.stop();
    await this.#transit.stop();
  }

  attachEndpoint(endpoint: EndpointAttachment): Promise<void> {
    return this.#transit.attachEndpoint(endpoint);
  }

  detachEndpoint(endpoint: { readonly vni: number; readonly address: string }): Promise<void> {
    return this.#transit.detachEndpoint(endpoint);
  }

  async frontCounts(): Promise<readonly FrontCount[]> {
    return this.#transit.counters();
  }

  #peersFile(): string {
    return join(this.#config.dir, 'relay-peers.json');
  }

  #peers(): readonly TunnelPeer[] {
    if (!existsSync(this.#peersFile())) return [];
    const peers = JSON.parse(readFileSync(this.#peersFile(), 'utf8')) as readonly RelayPeer[];
    return peers.map((p) => ({ publicKey: p.publicKey, endpoint: p.endpoint, allowedIps: p.allowedIps, keepalive: p.keepaliveSeconds }));
  }

  /** The loop has one key: two passes at once would make one device twice. */
  async #keepTunnel(): Promise<number> {
    const relay = this.#config.droplet.relay;
    const isThere = relay !== undefined && networkInterfaces()[relay.interface]?.some((a) => a.address === relay.address) === true;
    if (isThere && this.#peersDone === this.#peersChanged && performance.now() - this.#wholeAt < WHOLE_MS) return LOOK_MS;
    this.#peersDone = -1; // until the whole of it is well
    const peers = this.#peersChanged;
    const ifindex = await this.#ensureTunnel();
    if (ifindex !== this.#tunnelIfindex) {
      await this.#transit.reconfigure();
      this.#tunnelIfindex = ifindex;
      this.#log.info('the tunnel is another device now', { interface: relay?.interface, ifindex });
    }
    this.#wholeAt = performance.now();
    this.#peersDone = peers;
    return LOOK_MS;
  }

  async #ensureTunnel(): Promise<number> {
    const relay = this.#config.droplet.relay;
    if (relay === undefined) return 0;
    const listenPort = relay.endpoint === undefined ? null : Number(relay.endpoint.slice(relay.endpoint.lastIndexOf(':') + 1));
    const made = await ensureTunnel({ interface: relay.interface, address: `${relay.address}/32`, privateKeyFile: join(this.#config.identity.dir, RELAY_KEY), listenPort, mtu: TUNNEL_MTU, peers: this.#peers() }, this.#log);
    if (made.steps.length > 0) this.#log.info('tunnel changed', { interface: relay.interface, engine: made.engine, steps: made.steps.map((s) => s.kind) });
    return ifindexOf(relay.interface);
  }
}
