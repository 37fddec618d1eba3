/**
 * The node agent's loop. One key per pod: observe (containerd, QEMU, probes) -> decide -> act -> report, again until there is nothing left
 * to do. What is desired comes from the API while it is reachable and from disk always, so a cut uplink or a reboot changes nothing here.
 */
import { isMeshError } from '../../api/errors.ts';
import type { Client } from '../../api/client.ts';
import type { Pod, PodStatus } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { actTable, type Runtimes } from './act.ts';
import { decide } from './decide.ts';
import { FenceWatch } from './fence.ts';
import { nameOf, uidOf, type Observed, type PodRecord } from './model.ts';
import type { Prober } from './probes.ts';
import type { Records } from './records.ts';
import { podStatus, sameStatus } from './status.ts';
import { MIGRATION, reportOf } from './vm/transfer.ts';

export interface AgentOptions {
  readonly node: string;
  readonly hostIp: string;
  readonly client: Client;
  readonly records: Records;
  readonly runtimes: Runtimes;
  readonly prober: Prober;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Passes per trigger; a pod that is not done by then is looked at again a little later. */
const MAX_PASSES = 12;

export class Agent implements Service {
  readonly name = 'agent';
  readonly #o: AgentOptions;
  readonly #loop: Loop;
  readonly #reports: Loop;
  readonly #fence: FenceWatch;
  readonly #trouble = new Map<string, NonNullable<Observed['trouble']>>();
  /** The newest status of each pod, and what the API has taken of it. */
  readonly #status = new Map<string, PodStatus>();
  readonly #told = new Map<string, PodStatus>();

  constructor(options: AgentOptions) {
    this.#o = options;
    this.#loop = new Loop({ name: 'pods', log: options.log, clock: options.clock, concurrency: 4, resyncMs: 10_000, maxRetryMs: 10_000, run: (uid) => this.#pod(uid) });
    this.#reports = new Loop({ name: 'pod status', log: options.log, clock: options.clock, resyncMs: 0, maxRetryMs: 3000, run: (uid) => this.#report(uid) });
    const { client, records, clock, log } = options;
    this.#fence = new FenceWatch({ client, records, clock, log, onPod: (pod) => this.onPod(pod), onGone: (pod) => this.onGone(pod), onWord: (uid) => this.#loop.trigger(uid) });
  }

  /** Everything on disk is looked at, cloud or no cloud. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    await this.#reports.start(signal);
    await this.#fence.start(signal);
    for (const record of this.#o.records.all()) this.#loop.trigger(uidOf(record.pod));
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    await this.#reports.stop();
    await this.#fence.stop();
  }

  trigger(uid: string): void {
    this.#loop.trigger(uid);
  }

  triggerAll(): void {
    for (const record of this.#o.records.all()) this.#loop.trigger(uidOf(record.pod));
  }

  statusOf(uid: string): PodStatus | null {
    return this.#status.get(uid) ?? null;
  }

  /** The API's whole list of this node's pods: what is not in it is gone. */
  onList(pods: readonly Pod[]): void {
    const named = new Set(pods.map(uidOf));
    for (const pod of pods) this.onPod(pod);
    for (const record of this.#o.records.all()) if (!named.has(uidOf(record.pod))) this.onGone(record.pod);
  }

  onPod(pod: Pod): void {
    const uid = uidOf(pod);
    // A settled pod that this node has nothing of needs nothing.
    if (this.#o.records.get(uid) === undefined && (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') && pod.metadata.deletionTimestamp === undefined) return;
    const changed = this.#o.records.desire(pod);
    if (pod.status !== undefined) this.#told.set(uid, pod.status);
    if (changed) this.#fence.look(pod);
    if (changed) this.#loop.trigger(uid);
    else this.#reports.trigger(uid);
  }

  onGone(pod: Pod): void {
    const uid = uidOf(pod);
    if (this.#o.records.get(uid) === undefined) return;
    this.#o.records.change(uid, { gone: true });
    this.#loop.trigger(uid);
  }

  async #pod(uid: string): Promise<number | void> {
    for (let pass = 0; pass < MAX_PASSES; pass++) {
      const record = this.#o.records.get(uid);
      if (record === undefined) return this.#loop.forget(uid);
      const seen = await this.#observe(record);
      const { steps, wakeAt } = decide(record, seen, this.#o.clock.now());
      this.#note(record, seen);
      if (steps.length === 0) return wakeAt === null ? undefined : Math.max(1, wakeAt - this.#o.clock.now());
      for (const step of steps) {
        this.#o.log.info('step', { pod: nameOf(record.pod), ...step });
        try {
          await this.#act(record, seen, step);
        } catch (error) {
          this.#trouble.set(uid, { reason: isMeshError(error) && typeof error.fields['reason'] === 'string' ? error.fields['reason'] : 'StepFailed', message: `${step.kind}: ${(error as Error).message}` });
          this.#note(record, { ...seen, trouble: this.#trouble.get(uid) ?? null });
          throw error;
        }
      }
      this.#trouble.delete(uid);
    }
    return 500;
  }

  async #act(record: PodRecord, seen: Observed, step: ReturnType<typeof decide>['steps'][number]): Promise<void> {
    const table = actTable({ record, seen, records: this.#o.records, runtimes: this.#o.runtimes, now: this.#o.clock.now(), finish: () => this.#finish(record) });
    await (table[step.kind] as (s: typeof step) => Promise<void>)(step);
  }

  async #observe(record: PodRecord): Promise<Observed> {
    const uid = uidOf(record.pod);
    const { containers, vms } = this.#o.runtimes;
    const isVm = record.pod.spec.virtualMachine !== undefined;
    const none = { sandboxes: null, containers: [] };
    const fromCri = isVm ? none : await containers.observe(uid).catch((error: unknown) => {
      if (isMeshError(error, 'unavailable') || isMeshError(error, 'timeout')) return none; // containerd is down; its watch starts it again
      throw error;
    });
    const vm = isVm ? vms.observe(uid) : null;
    const live = fromCri.sandboxes?.find((s) => s.ready)?.id;
    const running = new Set(fromCri.containers.filter((c) => c.state === 'running' && c.sandboxId === live).map((c) => c.name));
    if (vm?.power === 'running' && vm.configured) running.add(record.pod.spec.virtualMachine?.name ?? '');
    this.#o.prober.watch(record.pod, running);
    return { ...fromCri, vm, vmReady: vms.isReady, probes: this.#o.prober.results(record.pod), trouble: this.#trouble.get(uid) ?? null };
  }

  #note(record: PodRecord, seen: Observed): void {
    const uid = uidOf(record.pod);
    const told = this.#told.get(uid) ?? record.pod.status;
    const before = this.#status.get(uid) ?? told;
    const status = podStatus({ ...record, pod: { ...record.pod, ...(before === undefined ? {} : { status: before }) } }, seen, { hostIp: this.#o.hostIp, now: this.#o.clock.now() });
    this.#status.set(uid, status);
    if (!sameStatus(told, status) || this.#untold(record) !== null) this.#reports.trigger(uid);
  }

  /** How a move with its state goes, as the API does not know it yet; null = it knows. */
  #untold(record: PodRecord): string | null {
    const report = reportOf(this.#o.runtimes.vms.transfers.get(uidOf(record.pod)));
    const text = report === null ? null : JSON.stringify(report);
    return record.pod.metadata.annotations?.[MIGRATION] === text ? null : text;
  }

  /** Tells the API, as a merge patch of the status: fields that others own stay. */
  async #report(uid: string): Promise<void> {
    const record = this.#o.records.get(uid);
    const status = this.#status.get(uid);
    if (record === undefined || status === undefined || record.gone) return;
    const { tenant = null, namespace = null, name } = record.pod.metadata;
    const patch = (body: object, options: { readonly subresource?: 'status' }): Promise<Pod> => this.#o.client.patch<Pod>(Resources.Pod, { tenant, namespace }, name, body, options);
    const migration = this.#untold(record);
    try {
      // Before the status: whoever waits for Ready finds how it came about.
      if (migration !== null) {
        await patch({ metadata: { uid, annotations: { [MIGRATION]: migration } } }, {});
        const { pod } = this.#o.records.get(uid) ?? record;
        this.#o.records.change(uid, { pod: { ...pod, metadata: { ...pod.metadata, annotations: { ...pod.metadata.annotations, [MIGRATION]: migration } } } });
      }
      if (sameStatus(this.#told.get(uid), status)) return;
      const cleared = { reason: null, message: null };
      await patch({ metadata: { uid }, status: { ...cleared, ...status } }, { subresource: 'status' });
      this.#told.set(uid, status);
    } catch (error) {
      if (isMeshError(error, 'not-found') || isMeshError(error, 'conflict')) return; // deleted, or another pod of that name: the watch says which
      throw error;
    }
  }

  /** The pod is down: the API may let its object go, and the node forgets it. */
  async #finish(record: PodRecord): Promise<void> {
    const uid = uidOf(record.pod);
    if (!record.gone) {
      const { tenant = null, namespace = null, name } = record.pod.metadata;
      await this.#o.client.delete(Resources.Pod, { tenant, namespace }, name, { uid, gracePeriodSeconds: 0 }).catch((error: unknown) => {
        if (!isMeshError(error, 'not-found') && !isMeshError(error, 'conflict')) throw error;
      });
    }
    this.#o.prober.forget(uid);
    this.#o.records.forget(uid);
    this.#trouble.delete(uid);
    this.#status.delete(uid);
    this.#told.delete(uid);
    this.#loop.forget(uid);
    this.#reports.forget(uid);
  }
}
