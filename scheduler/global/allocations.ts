/** Carries Allocations out: reads them, decides, writes the status first, then makes or removes their Applications. One instance does it at a time. */
import { isDeepStrictEqual } from 'node:util';
import { Counter, Registry } from 'prom-client';
import type { Client, WriteOptions } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { Allocation, Application, Placement } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { membersOf } from './allocation.ts';
import { decideAllocation, type Decision, isDue } from './allocation-decide.ts';
import { type Fence, fenced } from './fence.ts';
import type { Snapshot } from './global-scheduler.ts';

export interface AllocationsDeps {
  /** Of the global API. */
  readonly client: Client;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly source: {
    readonly snapshot: Snapshot | null;
    /** Is what exists once in the mesh this instance's to do? */
    readonly leads: boolean;
    /** That under which it is written. */
    readonly fence: Fence;
  };
}

const EVERY_MS = 1_000;
const ALL = { tenant: 'all' } as const;

interface Kept<T> {
  readonly of: (o: { readonly metadata: Allocation['metadata'] }) => ReadonlyMap<string, T>;
}

const spaceOf = (o: { readonly metadata: Allocation['metadata'] }): string => `${o.metadata.tenant ?? 'system'}/${o.metadata.namespace ?? 'default'}`;

function bySpace<T extends { readonly metadata: Allocation['metadata'] }>(items: readonly T[]): Kept<T> {
  const spaces = new Map<string, Map<string, T>>();
  for (const i of items) spaces.set(spaceOf(i), (spaces.get(spaceOf(i)) ?? new Map<string, T>()).set(i.metadata.name, i));
  return { of: (o) => spaces.get(spaceOf(o)) ?? new Map() };
}

export class Allocations implements Service {
  readonly name = 'allocations';
  readonly #d: AllocationsDeps;
  readonly #clock: Clock;
  readonly #loop: Loop;
  readonly registry = new Registry();
  readonly #phases = new Counter({ name: 'proxima_global_allocations_total', help: 'Allocations that came into a phase', labelNames: ['phase'], registers: [this.registry] });

  constructor(deps: AllocationsDeps) {
    this.#d = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#loop = new Loop({ name: 'allocations', log: deps.log, clock: this.#clock, concurrency: 1, resyncMs: EVERY_MS, maxRetryMs: 5_000, run: async () => this.pass().then(() => EVERY_MS) });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    this.#loop.trigger('all');
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
  }

  /** One look at every Allocation, and at Applications whose Allocation is gone. */
  async pass(): Promise<void> {
    const { client, source } = this.#d;
    if (!source.leads) return;
    const owned = (a: Application): boolean => a.metadata.ownerReferences?.some((o) => o.kind === 'Allocation') === true;
    const [allocations, applications] = await Promise.all([client.list<Allocation>(Resources.Allocation, ALL), client.list<Application>(Resources.Application, ALL)]);
    if (allocations.items.length === 0 && !applications.items.some(owned)) return;
    const placements = bySpace((await client.list<Placement>(Resources.Placement, ALL)).items);
    const apps = bySpace(applications.items.filter((a) => a.metadata.deletionTimestamp === undefined));
    const uids = new Set(allocations.items.filter((a) => a.metadata.deletionTimestamp === undefined).map((a) => a.metadata.uid));
    for (const orphan of applications.items.filter(owned)) if (orphan.metadata.ownerReferences?.some((o) => o.kind === 'Allocation' && uids.has(o.uid)) !== true) await this.#remove(orphan);
    const undecided = allocations.items.filter((a) => uids.has(a.metadata.uid)).sort((a, b) => (spaceOf(a) + a.metadata.name < spaceOf(b) + b.metadata.name ? -1 : 1));
    const isUnplanned = (a: Allocation): boolean => a.status?.phase === 'Placing' && membersOf(a).some((m) => !placements.of(a).has(m.application));
    let hasBegun = undecided.some(isUnplanned);
    let hasRetried = false;
    for (const allocation of undecided) {
      const now = this.#clock.now();
      const isNew = isDue(allocation, now);
      const isAgain = isNew && allocation.status?.phase === 'Failed';
      // the room that the first one takes is in the next snapshot only; and to try again costs a plan
      if (isNew && (hasBegun || (isAgain && hasRetried))) continue;
      hasRetried ||= isAgain;
      const decision = decideAllocation({ allocation, applications: apps.of(allocation), placements: placements.of(allocation), snapshot: source.snapshot, now });
      hasBegun ||= isNew && decision.make.length > 0;
      await this.#act(allocation, decision);
    }
  }

  /** The status goes first: what was chosen is known before anything of it exists. */
  async #act(allocation: Allocation, { status, make, remove }: Decision): Promise<void> {
    const { name, namespace = 'default', tenant = 'system' } = allocation.metadata;
    if (!isDeepStrictEqual(JSON.parse(JSON.stringify(status)), allocation.status ?? {})) {
      await this.#write((o) => this.#d.client.patch(Resources.Allocation, { tenant, namespace }, name, { status }, { ...o, subresource: 'status' }));
      if (status.phase !== allocation.status?.phase) {
        this.#d.log.info('allocation', { allocation: `${tenant}/${namespace}/${name}`, phase: status.phase, reason: status.message });
        this.#phases.inc({ phase: status.phase ?? 'Pending' });
      }
    }
    for (const app of make) {
      await this.#write((o) => this.#d.client.create(Resources.Application, app, o)).catch((error: unknown) => {
        if (!isMeshError(error, 'already-exists') && !isMeshError(error, 'invalid')) throw error;
        this.#d.log.warn('application of an allocation not made', { application: app.metadata.name, err: error }); // the next look decides what that means
      });
    }
    for (const app of remove) await this.#remove(app);
  }

  #write<T>(write: (options: WriteOptions) => Promise<T>): Promise<T> {
    return fenced(this.#d.source.fence, null, write);
  }

  async #remove(app: Application): Promise<void> {
    const { name, namespace = 'default', tenant = 'system' } = app.metadata;
    await this.#write((o) => this.#d.client.delete(Resources.Application, { tenant, namespace }, name, o)).catch((error: unknown) => {
      if (!isMeshError(error, 'not-found')) throw error;
    });
  }
}
