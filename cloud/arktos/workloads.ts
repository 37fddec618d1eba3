/** The loops of deployments and replica sets. */
import { isMeshError } from '../../api/errors.ts';
import { keyOf } from '../../api/informer.ts';
import type { Deployment, ReplicaSet } from '../../api/kinds/core.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import type { Service } from '../../base/lifecycle.ts';
import { Loop } from '../../base/loop.ts';
import { actTogether } from './act.ts';
import { decideDeployment } from './deployment.ts';
import { deploymentNotes, podNotes, replicaSetNotes } from './happenings.ts';
import { controllerOf, placeOf } from './model.ts';
import { decideReplicaSet } from './replicaset.ts';
import type { World } from './world.ts';

const RESYNC_MS = 30_000;
/** After this long a write that the cache never showed was undone by somebody else. */
const UNSEEN_MS = 5_000;

const siblingKey = (o: KubeObject, name: string): string => [o.metadata.tenant, o.metadata.namespace, name].join('/');

export class Workloads implements Service {
  readonly name = 'workloads';
  readonly #world: World;
  readonly #deployments: Loop;
  readonly #replicaSets: Loop;
  /** Pods made or deleted by a set and not yet so in the cache: until then the cache would count wrong. */
  readonly #unseen = new Map<string, Map<string, number>>();

  constructor(world: World) {
    this.#world = world;
    const { log, clock } = world;
    this.#deployments = new Loop({ name: 'deployment', log, clock, resyncMs: 0, run: (key) => this.#deployment(key) });
    this.#replicaSets = new Loop({ name: 'replicaset', log, clock, resyncMs: 0, run: (key) => this.#replicaSet(key) });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#deployments.start(signal);
    await this.#replicaSets.start(signal);
    this.#world.deployments.onChange((key) => this.#deployments.trigger(key));
    this.#world.replicaSets.onChange((key, now, before) => {
      this.#replicaSets.trigger(key);
      this.#ownerOf(now ?? before, 'Deployment', this.#deployments);
    });
    this.#world.pods.onChange((key, now, before) => {
      const pod = now ?? before;
      if (pod === null) return;
      for (const note of podNotes(before, now)) this.#world.events.tell(note);
      const owner = controllerOf(pod);
      if (owner === null) return this.#orphan(pod);
      if (owner.kind !== 'ReplicaSet') return;
      const set = siblingKey(pod, owner.name);
      if (now === null || before === null || now.metadata.deletionTimestamp !== undefined) this.#unseen.get(set)?.delete(key);
      this.#replicaSets.trigger(set);
    });
  }

  async stop(): Promise<void> {
    await Promise.all([this.#deployments.stop(), this.#replicaSets.stop()]);
  }

  #ownerOf(object: KubeObject | null, kind: string, loop: Loop): void {
    const owner = object === null ? null : controllerOf(object);
    if (object !== null && owner?.kind === kind) loop.trigger(siblingKey(object, owner.name));
  }

  /** A pod without an owner may belong to any set of its namespace. */
  #orphan(pod: KubeObject): void {
    for (const rs of this.#world.replicaSets.list()) {
      if (rs.metadata.tenant === pod.metadata.tenant && rs.metadata.namespace === pod.metadata.namespace) this.#replicaSets.trigger(keyOf(rs));
    }
  }

  /** Sets are few: they are read from the API itself, so that no cache can be behind. */
  async #deployment(key: string): Promise<number | void> {
    const cached = this.#world.deployments.get(key);
    if (cached === null) return;
    const deployment = await this.#fresh<Deployment>(cached);
    if (deployment === null) return;
    const { items } = await this.#world.client.list<ReplicaSet>(Resources.ReplicaSet, placeOf(deployment));
    const { steps, againMs } = decideDeployment(deployment, items, this.#world.clock.now());
    await actTogether(this.#world.client, steps, (step) => deploymentNotes(deployment, step).forEach((n) => this.#world.events.tell(n)));
    return Math.min(againMs ?? RESYNC_MS, RESYNC_MS);
  }

  async #fresh<T extends KubeObject>(o: KubeObject): Promise<T | null> {
    return this.#world.client.get<T>(Resources.Deployment, placeOf(o), o.metadata.name).catch((error: unknown) => {
      if (isMeshError(error, 'not-found')) return null;
      throw error;
    });
  }

  async #replicaSet(key: string): Promise<number | void> {
    const { clock, client, pods, replicaSets } = this.#world;
    const rs = replicaSets.get(key);
    if (rs === null) {
      this.#unseen.delete(key);
      return;
    }
    const unseen = this.#unseen.get(key) ?? new Map<string, number>();
    this.#unseen.set(key, unseen);
    for (const [pod, since] of unseen) if (clock.now() - since > UNSEEN_MS) unseen.delete(pod);
    if (unseen.size > 0) return UNSEEN_MS;
    const near = pods.list().filter((p) => p.metadata.namespace === rs.metadata.namespace && p.metadata.tenant === rs.metadata.tenant);
    const { steps, againMs } = decideReplicaSet(rs, near, clock.now());
    await actTogether(client, steps, (step, made) => {
      for (const note of replicaSetNotes(rs, step, made)) this.#world.events.tell(note);
      if (step.kind === 'create' && made !== null && pods.get(keyOf(made)) === null) unseen.set(keyOf(made), clock.now());
      if (step.kind !== 'delete') return;
      const cached = pods.get(keyOf(step.of));
      if (cached !== null && cached.metadata.deletionTimestamp === undefined) unseen.set(keyOf(step.of), clock.now());
    });
    return Math.min(againMs ?? RESYNC_MS, RESYNC_MS);
  }
}
