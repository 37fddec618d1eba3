/** This node in the region's API: Node (labels, capacity, conditions), Lease (the heartbeat), Droplet (its place on the substrate). */
import { readFileSync } from 'node:fs';
import { arch, cpus, hostname, release, totalmem } from 'node:os';
import { isMeshError } from '../../api/errors.ts';
import type { Client, Place, ResourceId } from '../../api/client.ts';
import type { Lease, Node } from '../../api/kinds/core.ts';
import type { Droplet } from '../../api/kinds/mizar.ts';
import type { Condition, KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';

export interface Runtimes {
  readonly containers: { readonly ready: boolean; readonly version: string };
  readonly vms: { readonly ready: boolean; readonly version: string };
}

export interface NodeOptions {
  readonly node: string;
  readonly site: string;
  readonly region: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly capacity: { readonly cpuMilli: number; readonly memoryMiB: number; readonly pods: number };
  readonly droplet: Droplet['spec'];
  /** Port of the agent's own HTTPS endpoint; the API server finds it in status.daemonEndpoints. */
  readonly agentPort: () => number;
  readonly runtimes: () => Runtimes;
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Logger;
}

const LEASE_SECONDS = 40;
const RENEW_MS = 5000;
const NODE_MS = 10_000;
const LEASE_PLACE: Place = { tenant: 'system', namespace: 'node-lease' };

export function machineCapacity(): { readonly cpuMilli: number; readonly memoryMiB: number } {
  return { cpuMilli: cpus().length * 1000, memoryMiB: Math.floor(totalmem() / 2 ** 20) };
}

export class NodeRegistration implements Service {
  readonly name = 'node';
  readonly #o: NodeOptions;
  readonly #loop: Loop;
  #conditions: readonly Condition[] = [];

  constructor(options: NodeOptions) {
    this.#o = options;
    const work: Readonly<Record<string, () => Promise<number>>> = { node: () => this.#node(), lease: () => this.#lease(), droplet: () => this.#droplet() };
    this.#loop = new Loop({ name: 'node', log: options.log, clock: options.clock, firstRetryMs: 200, maxRetryMs: 3000, run: (key) => work[key]?.() ?? Promise.resolve() });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    for (const key of ['node', 'lease', 'droplet']) this.#loop.trigger(key);
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** A runtime came or went. */
  changed(): void {
    this.#loop.trigger('node');
  }

  async #node(): Promise<number> {
    const { node, site, region, client } = this.#o;
    const labels = { 'kubernetes.io/hostname': node, 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': arch() === 'x64' ? 'amd64' : arch(), 'mesh.proxima.io/site': site, 'topology.kubernetes.io/region': region, 'topology.kubernetes.io/zone': site, ...this.#o.labels };
    await ensure<Node>(client, Resources.Node, { tenant: null, namespace: null }, { apiVersion: 'v1', kind: 'Node', metadata: { name: node, labels } }, { metadata: { labels } });
    await client.patch<Node>(Resources.Node, { tenant: null, namespace: null }, node, { status: this.#status() }, { subresource: 'status' });
    return NODE_MS;
  }

  #status(): unknown {
    const { capacity, address, node } = this.#o;
    const amounts = { cpu: `${capacity.cpuMilli}m`, memory: `${capacity.memoryMiB}Mi`, pods: String(capacity.pods) };
    const { containers, vms } = this.#o.runtimes();
    const now = new Date(this.#o.clock.now()).toISOString();
    const condition = (type: string, value: boolean, reason: string, message: string): Condition & { readonly lastHeartbeatTime: string } => {
      const status = value ? 'True' : 'False';
      const old = this.#conditions.find((c) => c.type === type);
      return { type, status, reason, message, lastHeartbeatTime: now, lastTransitionTime: old?.status === status ? (old.lastTransitionTime ?? now) : now };
    };
    this.#conditions = [
      condition('Ready', containers.ready || vms.ready, 'AgentReady', containers.ready ? 'the agent runs pods' : 'no container runtime'),
      condition('ContainerRuntimeReady', containers.ready, containers.ready ? 'Answers' : 'NoAnswer', containers.version),
      condition('VmRuntimeReady', vms.ready, vms.ready ? 'Answers' : 'NoRuntime', vms.version),
    ];
    return {
      capacity: amounts,
      allocatable: amounts,
      addresses: [{ type: 'InternalIP', address }, { type: 'Hostname', address: node }],
      conditions: this.#conditions,
      daemonEndpoints: { kubeletEndpoint: { Port: this.#o.agentPort() } },
      nodeInfo: { machineID: readMachineId(), systemUUID: '', bootID: '', kernelVersion: release(), osImage: 'Linux', containerRuntimeVersion: containers.version, kubeletVersion: 'v1.0.0-proxima', kubeProxyVersion: '', operatingSystem: 'linux', architecture: arch() === 'x64' ? 'amd64' : arch() },
    };
  }

  async #lease(): Promise<number> {
    const { node, client, clock } = this.#o;
    const renewTime = new Date(clock.now()).toISOString().replace('Z', '000Z'); // a MicroTime
    const spec: Lease['spec'] = { holderIdentity: node, leaseDurationSeconds: LEASE_SECONDS, renewTime };
    await ensure<Lease>(client, Resources.Lease, LEASE_PLACE, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: node, tenant: 'system', namespace: 'node-lease' }, spec }, { spec });
    return RENEW_MS;
  }

  async #droplet(): Promise<number> {
    const { node, client, droplet } = this.#o;
    await ensure<Droplet>(client, Resources.Droplet, { tenant: null, namespace: null }, { apiVersion: 'mizar.com/v1', kind: 'Droplet', metadata: { name: node }, spec: droplet }, { spec: droplet });
    return 60_000;
  }
}

/** Patches, or creates what is not there. */
async function ensure<T extends KubeObject>(client: Client, resource: ResourceId, place: Place, object: T, patch: unknown): Promise<void> {
  try {
    await client.patch(resource, place, object.metadata.name, patch);
  } catch (error) {
    if (!isMeshError(error, 'not-found')) throw error;
    await client.create(resource, object).catch((e: unknown) => {
      if (!isMeshError(e, 'already-exists')) throw e; // another writer was first; the next pass patches
    });
  }
}

function readMachineId(): string {
  try {
    return readFileSync('/etc/machine-id', 'utf8').trim();
  } catch {
    return hostname(); // a minimal system may have none
  }
}
