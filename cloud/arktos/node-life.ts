/** The loop of node life: who is heard of, and whose pods have to be made elsewhere. */
import type { Node, Pod } from '../../api/kinds/core.ts';
import type { Service } from '../../base/lifecycle.ts';
import { Loop } from '../../base/loop.ts';
import { actTogether } from './act.ts';
import { nodeNotes } from './happenings.ts';
import { decideLost, decideNode, SILENT_MS } from './nodes.ts';
import type { World } from './world.ts';

const SITE = 'mesh.proxima.io/site';

export class NodeLife implements Service {
  readonly name = 'node life';
  readonly #world: World;
  readonly #loop: Loop;
  /** By our clock: an agent's own may be wrong. After a restart everyone starts as just heard. */
  readonly #heardAt = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
    this.#loop = new Loop({ name: 'node life', log: world.log, clock: world.clock, resyncMs: 0, run: (key) => this.#look(key) });
  }

  async start(signal: AbortSignal): Promise<void> {
    const { leases, nodes, pods, clock } = this.#world;
    await this.#loop.start(signal);
    leases.onChange((_, lease) => {
      if (lease !== null) this.#heardAt.set(lease.metadata.name, clock.now());
    });
    nodes.onChange((key, now, before) => {
      if (now === null) this.#heardAt.delete(key);
      if (now === null || before === null) this.#loop.trigger(key);
    });
    pods.onChange((_, pod) => {
      const node = pod?.spec.nodeName ?? '';
      if (node !== '' && nodes.get(node) === null) this.#loop.trigger(node);
    });
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #look(name: string): Promise<number | void> {
    const { nodes, clock, client, log } = this.#world;
    const node = nodes.get(name);
    const now = clock.now();
    const heardAt = this.#heardAt.get(name) ?? now;
    this.#heardAt.set(name, heardAt);
    if (node === null) this.#heardAt.delete(name);
    const { steps, againMs } = node === null ? decideLost(this.#podsOn(name), now) : decideNode(this.#view(node, heardAt, now), now);
    const evicted = steps.filter((s) => s.kind === 'delete').length;
    if (steps.length > 0) log.info('node not heard of', { node: name, silentMs: now - heardAt, isThere: node !== null, evicted });
    await actTogether(client, steps, (step) => nodeNotes(step).forEach((n) => this.#world.events.tell(n)));
    if (againMs !== null) return Math.max(1, againMs);
    return node === null ? undefined : SILENT_MS / 4;
  }

  #view(node: Node, heardAt: number, now: number): Parameters<typeof decideNode>[0] {
    const site = this.#world.sites.get(node.metadata.labels?.[SITE] ?? '')?.spec.kind ?? null;
    return { node, heardAt, site, pods: now - heardAt < SILENT_MS ? [] : this.#podsOn(node.metadata.name) };
  }

  #podsOn(node: string): readonly Pod[] {
    return this.#world.pods.list().filter((p) => p.spec.nodeName === node);
  }
}
