/**
 * The loops of the network plane: what runs when what changed. A run decides on the newest View and acts; it is level-triggered, so a
 * trigger too many costs one decision, and everything is looked at again every minute in case one was too few.
 */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import type { Claims } from './claims.ts';
import { decideEndpoint, holderOf, type Problem, withProblem } from './endpoints.ts';
import type { Answer } from './goal-feed.ts';
import type { ConfigMap } from './names.ts';
import { recordFor, recordNames, writeRecord } from './records.ts';
import type { Step } from './steps.ts';
import { executor, isTerminal, placeOf, statusSteps } from './steps.ts';
import { decideSubnet } from './subnets.ts';
import { sweepClaim } from './sweep.ts';
import { ALL, type Trigger, WAITING } from './triggers.ts';
import type { AckedGoal } from './vpcs.ts';
import { decideVpc } from './vpcs.ts';
import type { View } from './world.ts';
import { keyOf, vpcKeyOf } from './world.ts';

export interface OperatorsOptions {
  readonly client: Client;
  readonly claims: Claims;
  readonly view: () => View;
  readonly records: () => ReadonlyMap<string, ConfigMap>;
  readonly claimNames: () => Iterable<string>;
  readonly acked: AckedGoal;
  readonly log: Logger;
  readonly clock: Clock;
}

type Area = Trigger['area'];

const RESYNC_MS = 60_000;
const RACE_RETRY_MS = 20;

export class Operators implements Service {
  readonly name = 'network-operators';
  readonly #o: OperatorsOptions;
  readonly #act: (steps: readonly Step[]) => Promise<void>;
  readonly #loops: { readonly [K in Area]: Loop };
  readonly #resync: Loop;
  readonly #answers = new Map<string, Answer>();
  /** Pods without an address. */
  readonly #waiting = new Set<string>();

  constructor(options: OperatorsOptions) {
    this.#o = options;
    this.#act = executor(options.client, options.claims);
    this.#loops = {
      vpc: this.#loop('vpc', (key) => this.#act(decideVpc(key, options.view(), options.claims, options.acked))),
      subnet: this.#loop('subnet', (key) => this.#act(decideSubnet(key, options.view(), options.acked))),
      endpoint: this.#loop('endpoint', (key) => this.#endpoint(key)),
      claim: this.#loop('claim', (name) => sweepClaim(options.client, options.claims, options.view(), name, options.clock.now())),
      droplet: this.#loop('droplet', (name) => this.#droplet(name)),
      record: this.#loop('record', (name) => this.#record(name)),
    };
    this.#resync = new Loop({ name: 'network resync', log: options.log, clock: options.clock, resyncMs: RESYNC_MS, run: async () => this.triggerAll() });
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const loop of Object.values(this.#loops)) await loop.start(signal);
    await this.#resync.start(signal);
    this.#resync.trigger('all');
  }

  async stop(): Promise<void> {
    await Promise.all([this.#resync, ...Object.values(this.#loops)].map((loop) => loop.stop()));
  }

  trigger(t: Trigger): void {
    if (t.area === 'endpoint' && t.key === WAITING) for (const key of this.#waiting) this.#loops.endpoint.trigger(key);
    else if (t.area === 'record' && t.key === ALL) for (const name of recordNames(this.#o.view(), this.#o.records().keys())) this.#loops.record.trigger(name);
    else this.#loops[t.area].trigger(t.key);
  }

  triggerAll(): void {
    const view = this.#o.view();
    const { bouncers, dividers } = view.world;
    const each = (area: Area, keys: Iterable<string>): void => new Set(keys).forEach((key) => this.#loops[area].trigger(key));
    each('vpc', [...view.vpcs.keys(), ...dividers.map(vpcKeyOf)]);
    each('subnet', [...view.subnets.keys(), ...bouncers.map((b) => keyOf({ ...b, metadata: { ...b.metadata, name: b.spec.subnet } }))]);
    each('endpoint', [...view.pods.keys(), ...view.endpoints.keys()]);
    each('claim', this.#o.claimNames());
    each('record', recordNames(view, this.#o.records().keys()));
  }

  /** A droplet has brought a goal state into its kernel, or could not. */
  answered(droplet: string, answer: Answer): void {
    this.#answers.set(droplet, answer);
    this.#loops.droplet.trigger(droplet);
    const view = this.#o.view();
    for (const b of view.bouncersByDroplet.get(droplet) ?? []) if (b.status?.phase !== 'Provisioned') this.#loops.subnet.trigger(keyOf({ ...b, metadata: { ...b.metadata, name: b.spec.subnet } }));
    for (const d of view.dividersByDroplet.get(droplet) ?? []) if (d.status?.phase !== 'Provisioned') this.#loops.vpc.trigger(vpcKeyOf(d));
    const site = view.droplets.get(droplet)?.spec.site ?? '';
    const scaled = [...view.scaledByVpc.values()].flat();
    const served = [...(view.simpleByDroplet.get(droplet) ?? []), ...(view.frontsBySite.get(site) ?? []), ...scaled];
    for (const e of served) if (e.status?.phase !== 'Provisioned') this.#loops.endpoint.trigger(keyOf(e));
  }

  #loop(name: string, run: (key: string) => Promise<number | void>): Loop {
    return new Loop({
      name: `network ${name}`,
      log: this.#o.log,
      clock: this.#o.clock,
      resyncMs: 0,
      run: async (key, signal) => {
        try {
          return await run(key);
        } catch (error) {
          if (signal.aborted) return undefined;
          // Somebody else was first. The caches hear of it in a moment; that is the normal way of racing, not a failure.
          if (isMeshError(error, 'conflict') || isMeshError(error, 'already-exists')) return RACE_RETRY_MS;
          throw error;
        }
      },
    });
  }

  async #endpoint(key: string): Promise<void> {
    const view = this.#o.view();
    const { steps, problem } = decideEndpoint(key, view, this.#o.claims, this.#o.acked);
    await this.#act(steps);
    const pod = view.pods.get(key);
    if (pod === undefined || isTerminal(pod)) {
      this.#waiting.delete(key);
      if (pod !== undefined) for (const claim of this.#o.claims.heldBy(holderOf(pod))) this.#loops.claim.trigger(claim);
      return;
    }
    await this.#report(key, pod, problem);
  }

  /** Says on the pod why it has no address, and takes it back when it has one. Conditional, because the agent writes conditions too. */
  async #report(key: string, pod: Pod, problem: Problem | null): Promise<void> {
    if (problem === null) this.#waiting.delete(key);
    else this.#waiting.add(key);
    const conditions = withProblem(pod, problem, this.#o.clock.now());
    if (conditions === null) return;
    if (problem !== null) this.#o.log.info('pod has no address', { pod: key, reason: problem.reason, message: problem.message });
    const { resourceVersion } = pod.metadata;
    const patch = { metadata: resourceVersion === undefined ? {} : { resourceVersion }, status: { conditions } };
    await this.#o.client.patch(Resources.Pod, placeOf(pod), pod.metadata.name, patch, { subresource: 'status' }).catch((error: unknown) => {
      if (!isMeshError(error, 'not-found')) throw error;
    });
  }

  async #record(name: string): Promise<void> {
    const records = this.#o.records();
    const view = this.#o.view();
    // Others keep ConfigMaps in the same namespace.
    if (recordNames(view, records.keys()).includes(name)) await writeRecord(this.#o.client, name, recordFor(name, view), records.get(name));
  }

  async #droplet(name: string): Promise<void> {
    const droplet = this.#o.view().droplets.get(name);
    const answer = this.#answers.get(name);
    if (droplet === undefined) this.#answers.delete(name);
    if (droplet === undefined || answer === undefined) return;
    const status = answer.ok ? { phase: 'Provisioned', message: null, goalVersion: answer.version } : { phase: 'Error', message: answer.message.slice(0, 1024) };
    await this.#act(statusSteps(Resources.Droplet, droplet, status));
  }
}
