/** What the global scheduler's REST face answers (/v1/plan, what-if, why, placements): written by the scheduler, read by the command line and other programs. */
import type { Placement } from './kinds/mesh.ts';

type Status = NonNullable<Placement['status']>;

export interface PlanDiffRow {
  /** `<tenant>/<namespace>/<name>` */
  readonly application: string;
  readonly site: string;
  readonly from: number;
  readonly to: number;
  readonly reason: string;
  /** Mean round trip of the application's requests in the plan. */
  readonly latencyMs: number;
  /** Of the application in the plan, per hour. */
  readonly cost: number;
}

export interface Comparison {
  readonly before: number | null;
  readonly after: number | null;
}

export interface DryRun {
  readonly at: number;
  readonly changes: readonly PlanDiffRow[];
  readonly summary: {
    readonly applicationsChanged: number;
    readonly instancesStarted: number;
    readonly instancesStopped: number;
    readonly costPerHour: Comparison;
    /** Mean round trip of the requests of a client region over the applications asked for; null = nothing serves them. */
    readonly latencyMs: readonly (Comparison & { readonly clientRegion: string; readonly rps: number })[];
    readonly goalsMet: { readonly before: string; readonly after: string };
  };
  /** What could not be met in the new plan, and the constraint that binds. */
  readonly unmet: readonly { readonly application: string; readonly reasons: readonly string[] }[];
  /** Applications that would not be planned at all: the field and why. */
  readonly refused: readonly { readonly application: string; readonly reason: string }[];
}

/** What was decided and is not done yet: a site starts, drains, or cannot be acted on. */
export interface UnderWay {
  readonly application: string;
  readonly site: string;
  readonly state: NonNullable<Status['sites']>[number]['state'];
  readonly ready: number;
  readonly instances: number;
}

export interface Why {
  readonly application: string;
  readonly sites: readonly { readonly site: string; readonly instances: number; readonly reason: string }[];
  /** Alternatives, and what speaks against each. */
  readonly refused: readonly { readonly site: string; readonly reason: string }[];
  readonly goals: NonNullable<Status['goals']>;
  readonly unmet: readonly string[];
  /** Why a better placement was not taken. */
  readonly kept: string | null;
  /** What was moved last, oldest first. */
  readonly moves: NonNullable<Status['moves']>;
  /** Mean round trip of its requests, and what it costs per hour. */
  readonly latencyMs: number;
  readonly cost: number;
}

export interface Placed {
  readonly application: string;
  readonly spec: Placement['spec'];
  readonly status: Status;
}
