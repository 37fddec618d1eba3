/** What one pass of the mover sees beside the application it is about, and look-ups in it that are made once a pass. */
import type { Logger } from '../../base/log.ts';
import type { Budget } from './budget.ts';
import type { ApplicationModel, Model, SiteModel } from './model.ts';
import { isUsable, type MoverOptions } from './mover-model.ts';
import type { MoveMetrics } from './move-metrics.ts';
import type { Plan } from './planner.ts';
import type { Region } from './region.ts';
import type { Telemetry } from './telemetry.ts';
import type { UndoOptions } from './undo.ts';

export interface Surroundings {
  readonly model: Model;
  readonly plan: Plan;
  readonly regions: readonly Region[];
  readonly telemetry: Telemetry;
  readonly now: number;
  readonly mover: MoverOptions;
  /** When a move turned out worse than predicted. */
  readonly undo?: UndoOptions;
  /** Absent: nothing is held back. */
  readonly budget?: Budget;
  readonly metrics?: MoveMetrics;
  /** Only the fronts that its clients use now: the others can wait, somebody else's clients cannot. */
  readonly isUrgent?: boolean;
  /** Application keys whose status says already why they are not planned as they ask. */
  readonly refused: ReadonlySet<string>;
  /** Application keys that have no right to the port they ask for: no front serves them. */
  readonly portless: ReadonlySet<string>;
  readonly log: Logger;
  /** The lease is not ours any more: nothing may be written. */
  readonly isFenced: () => boolean;
}

interface Found {
  readonly sites: ReadonlyMap<string, SiteModel>;
  readonly applications: ReadonlyMap<string, ApplicationModel>;
  readonly nearest: Map<string, string | null>;
  /** By region: its sites that have a front. */
  readonly fronts: ReadonlyMap<string, readonly SiteModel[]>;
}

const found = new WeakMap<Model, Found>();

function lookUps(model: Model): Found {
  let f = found.get(model);
  if (f === undefined) {
    f = { sites: new Map(model.sites.map((s) => [s.name, s])), applications: new Map(model.applications.map((a) => [a.key, a])), nearest: new Map(), fronts: Map.groupBy(model.sites.filter((s) => s.front !== null), (s) => s.region) };
    found.set(model, f);
  }
  return f;
}

export const siteNamed = (model: Model, name: string): SiteModel | undefined => lookUps(model).sites.get(name);
export const applicationNamed = (model: Model, key: string): ApplicationModel | undefined => lookUps(model).applications.get(key);

export const frontSites = (model: Model, region: string): readonly SiteModel[] => lookUps(model).fronts.get(region) ?? [];

/** The front in reach that clients of a region use first. */
export function nearestFront(clientRegion: string, around: Surroundings): string | null {
  const { nearest } = lookUps(around.model);
  const known = nearest.get(clientRegion);
  if (known !== undefined) return known;
  let best: string | null = null;
  let bestMs = Number.POSITIVE_INFINITY;
  for (const site of around.model.sites) {
    if (site.front === null || !isUsable(site.reach)) continue;
    const ms = around.telemetry.clientRtt(clientRegion, site.name, [], around.now);
    if (ms === null || ms >= bestMs) continue;
    best = site.name;
    bestMs = ms;
  }
  nearest.set(clientRegion, best);
  return best;
}
