/**
 * The controllers of a region: caches -> decide -> act, for workloads, placing on nodes, node life and garbage.
 * Namespaces and tenants end in the API server itself (`cloud/apiserver/purge.ts`).
 */
import type { Client } from '../../api/client.ts';
import { systemClock } from '../../base/clock.ts';
import type { Clock } from '../../base/clock.ts';
import { ServiceGroup } from '../../base/lifecycle.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Collector } from './collector.ts';
import { NodeLife } from './node-life.ts';
import { Placing } from './placing.ts';
import { Workloads } from './workloads.ts';
import { World } from './world.ts';

/** `client` may do everything in every tenant. */
export function createControllers(options: { readonly client: Client; readonly log: Logger; readonly clock?: Clock }): Service {
  const world = new World({ client: options.client, clock: options.clock ?? systemClock, log: options.log.child({ part: 'controllers' }) });
  return new ServiceGroup('controllers', [world, new NodeLife(world), new Placing(world), new Workloads(world), new Collector(world)]);
}
