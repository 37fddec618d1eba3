/** What the global scheduler is made of, and how it may be set. */
import type { Client } from '../../api/client.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { BudgetLimits } from './budget.ts';
import type { FailureOptions } from './failure.ts';
import type { MoverOptions } from './mover.ts';
import type { PlanningOptions } from './planning.ts';
import type { PredictionOptions } from './prediction.ts';
import type { Region } from './region.ts';
import type { UndoOptions } from './undo.ts';

export interface ClientRegionConfig {
  readonly name: string;
  readonly cidrs: readonly string[];
  readonly location?: { readonly latitude: number; readonly longitude: number } | null;
}

export interface GlobalSchedulerOptions {
  readonly identity: string;
  readonly clientRegions: readonly ClientRegionConfig[];
  /** A pass at least so often; what changes begins one at once. @default 1000 */
  readonly intervalMs?: number;
  readonly halfLifeMs?: number;
  readonly failure?: FailureOptions;
  /** After a start, regions have so long to answer before anything is planned without them. @default 10000 */
  readonly startGraceMs?: number;
  readonly mover?: MoverOptions;
  readonly undo?: UndoOptions;
  readonly budget?: BudgetLimits;
  readonly planning?: PlanningOptions;
  readonly prediction?: PredictionOptions;
  /** Parts that applications are dealt into, each held by one instance. The same in all instances. @default 16 */
  readonly shards?: number;
  /** An instance that did not renew for so long loses its shards. @default 5000 */
  readonly leaseMs?: number;
}

export interface GlobalSchedulerDeps {
  /** The global API. */
  readonly client: Client;
  readonly regions: readonly Region[];
  readonly log: Logger;
  readonly clock?: Clock;
}
