/** The loop of the regional scheduler: one pass over every pod that waits for a node. */
import { isMeshError } from '../../api/errors.ts';
import { keyOf } from '../../api/informer.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import type { Service } from '../../base/lifecycle.ts';
import { Loop } from '../../base/loop.ts';
import { isWaiting, schedule } from '../../scheduler/regional/schedule.ts';
import type { Verdict } from '../../scheduler/regional/schedule.ts';
import { placeOf, withCondition } from './model.ts';
import type { World } from './world.ts';

const ALL = 'all';
const TOGETHER = 16;

export class Placing implements Service {
  readonly name = 'placing';
  readonly #world: World;
  readonly #loop: Loop;
  /** Bound by us and not yet so in the cache; uid -> node. */
  readonly #assumed = new Map<string, string>();

  constructor(world: World) {
    this.#world = world;
    this.#loop = new Loop({ name: 'scheduler', log: world.log, clock: world.clock, maxRetryMs: 2_000, run: () => this.#pass() });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    this.#world.pods.onChange((_, now, before) => {
      const uid = (now ?? before)?.metadata.uid ?? '';
      if (now === null || (now.spec.nodeName ?? '') !== '') this.#assumed.delete(uid);
      this.#loop.trigger(ALL);
    });
    this.#world.nodes.onChange(() => this.#loop.trigger(ALL));
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #pass(): Promise<void> {
    const { pods, nodes, log } = this.#world;
    const seen = pods.list().map((p) => this.#withAssumed(p));
    if (!seen.some(isWaiting)) return;
    const verdicts = [...schedule(seen, nodes.list())];
    const errors: unknown[] = [];
    const work = async (): Promise<void> => {
      for (let v = verdicts.shift(); v !== undefined; v = verdicts.shift()) {
        const pod = keyOf(v.pod);
        await this.#tell(v).catch((error: unknown) => {
          // Somebody changed the pod meanwhile: the cache will show it and ask for another pass.
          if (isMeshError(error, 'not-found') || isMeshError(error, 'conflict')) return log.debug('pod moved on', { pod });
          errors.push(error);
        });
      }
    };
    await Promise.all(Array.from({ length: TOGETHER }, work));
    if (errors.length > 0) throw errors[0];
  }

  #withAssumed(pod: Pod): Pod {
    const node = this.#assumed.get(pod.metadata.uid ?? '');
    return node === undefined ? pod : { ...pod, spec: { ...pod.spec, nodeName: node } };
  }

  async #tell(v: Verdict): Promise<void> {
    const { client, clock, log, pods } = this.#world;
    const { pod } = v;
    const before = pod.status?.conditions ?? [];
    if (v.kind === 'refuse') {
      const old = before.find((c) => c.type === 'PodScheduled');
      if (old?.status === 'False' && old.message === v.message) return;
      const conditions = withCondition(before, { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: v.message }, clock.now());
      await client.patch(Resources.Pod, placeOf(pod), pod.metadata.name, { status: { conditions } }, { subresource: 'status' });
      this.#world.events.tell({ on: pod, type: 'Warning', reason: 'FailedScheduling', message: v.message, from: 'scheduler' });
      log.info('pod has no node', { pod: keyOf(pod), reason: v.message });
      return;
    }
    const uid = pod.metadata.uid ?? '';
    // Conditional: a pod that was bound or changed meanwhile is looked at afresh.
    await client.patch(Resources.Pod, placeOf(pod), pod.metadata.name, { metadata: { resourceVersion: pod.metadata.resourceVersion }, spec: { nodeName: v.node } });
    if ((pods.get(keyOf(pod))?.spec.nodeName ?? '') === '') this.#assumed.set(uid, v.node);
    this.#world.events.tell({ on: pod, type: 'Normal', reason: 'Scheduled', message: `Successfully assigned ${placeOf(pod).namespace}/${pod.metadata.name} to ${v.node}`, from: 'scheduler' });
    log.info('pod bound', { pod: keyOf(pod), node: v.node });
    const conditions = withCondition(before.filter((c) => c.type !== 'PodScheduled' || c.status === 'True'), { type: 'PodScheduled', status: 'True' }, clock.now());
    // The agent may already have written more: it says PodScheduled too, and its words must not be overwritten.
    const live = pods.get(keyOf(pod));
    if (live === null || live.status?.conditions?.some((c) => c.type === 'Ready') === true) return;
    await client.patch(Resources.Pod, placeOf(pod), pod.metadata.name, { status: { conditions } }, { subresource: 'status' });
  }
}
