/** What the controllers of a region see: one cache per kind, shared by all of them. */
import type { Client, ListOptions, ResourceId } from '../../api/client.ts';
import { Informer } from '../../api/informer.ts';
import type { Deployment, Lease, Node, Pod, ReplicaSet } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Events } from './events.ts';

export const LEASES = { tenant: 'system', namespace: 'node-lease' } as const;

const OWNERS = Buffer.from('"ownerReferences"');
const FINALIZERS = Buffer.from('"finalizers"');
const hasTies = (_: string, bytes: Uint8Array): boolean => {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return text.includes(OWNERS) || text.includes(FINALIZERS);
};

export class World implements Service {
  readonly name = 'caches';
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly deployments: Informer<Deployment>;
  readonly replicaSets: Informer<ReplicaSet>;
  readonly pods: Informer<Pod>;
  readonly nodes: Informer<Node>;
  readonly leases: Informer<Lease>;
  readonly sites: Informer<Site>;
  readonly events: Events;
  /** Every kind whose objects may have owners here. */
  readonly owned: ReadonlyMap<ResourceId, Informer<KubeObject>>;
  readonly #all: readonly Informer<KubeObject>[];

  constructor(deps: { readonly client: Client; readonly clock: Clock; readonly log: Logger }) {
    this.client = deps.client;
    this.clock = deps.clock;
    this.log = deps.log;
    this.events = new Events(deps);
    const of = <T extends KubeObject>(resource: ResourceId, list: ListOptions = { tenant: 'all' }): Informer<T> => new Informer<T>({ ...deps, resource, list });
    this.deployments = of(Resources.Deployment);
    this.replicaSets = of(Resources.ReplicaSet);
    this.pods = of(Resources.Pod);
    this.nodes = of(Resources.Node, {});
    this.leases = of(Resources.Lease, LEASES);
    this.sites = of(Resources.Site, {});
    const plain = <T extends KubeObject>(i: Informer<T>): Informer<KubeObject> => i as unknown as Informer<KubeObject>;
    // Of these only ties matter here. Thousands of them have none, and are neither decoded nor kept.
    const others = [Resources.ConfigMap, Resources.Secret, Resources.Service, Resources.Placement].map((r) => [r, of<KubeObject>(r, { tenant: 'all', glance: hasTies })] as const);
    this.owned = new Map<ResourceId, Informer<KubeObject>>([[Resources.Deployment, plain(this.deployments)], [Resources.ReplicaSet, plain(this.replicaSets)], [Resources.Pod, plain(this.pods)], ...others]);
    this.#all = [...this.owned.values(), plain(this.nodes), plain(this.leases), plain(this.sites)];
  }

  /** Resolves when every cache is filled: deciding on half a world would make too much and delete too much. */
  async start(signal: AbortSignal): Promise<void> {
    await this.events.start(signal);
    await Promise.all(this.#all.map((i) => i.start(signal)));
    await Promise.all(this.#all.map((i) => i.synced));
  }

  async stop(): Promise<void> {
    await Promise.all([this.events.stop(), ...this.#all.map((i) => i.stop())]);
  }
}
