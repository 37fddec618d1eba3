/** What the mover is asked, what it sees, what it answers: the words that its parts share. */
import type { Factor, InstanceTraffic, ObservedInstance } from './instances.ts';
import type { Reach } from './model.ts';
import type { PlannedSite } from './planner.ts';

/** The state of a VM that a site begins with. */
export interface Transfer {
  /** Where it comes from. */
  readonly site: string;
  readonly pod: string;
  readonly uid: string;
  readonly isDone?: true;
}

/** Of one site; kept with the Placement. */
export interface Traffic {
  readonly state: 'starting' | 'serving' | 'draining';
  readonly factor: Factor;
  /** When state or factor changed last. */
  readonly since: number;
  /** While draining: since when no front gives it anything; absent = one does. */
  readonly idleSince?: number;
  /** Since when it has traffic and no instance is Ready; one failed probe is not the end of an instance. */
  readonly unreadySince?: number;
  /** By the pod's name. */
  readonly instances?: Readonly<Record<string, InstanceTraffic>>;
  /** It begins with the state of a VM elsewhere. */
  readonly transfer?: Transfer;
}

export interface ObservedSite {
  readonly site: string;
  readonly region: string;
  readonly reach: Reach;
  /** Does the API that holds its deployment answer now? */
  readonly canAct: boolean;
  /** null = there is no deployment. */
  readonly replicas: number | null;
  /** Its instances, whatever their state; those of an earlier epoch too. */
  readonly instances: readonly ObservedInstance[];
  /** What is there was replaced while the site was out of reach: it serves nobody and is stopped. */
  readonly isFenced?: boolean;
  /** Its deployment was written for an older generation of the Application. */
  readonly isOutdated?: boolean;
  /** The policy fences it: what is there is stopped at once. */
  readonly stopsFirst?: boolean;
  /** By what is known something may serve there, and the policy lets nothing be started elsewhere while it does. */
  readonly blocks?: boolean;
}

export interface MoveInput {
  readonly wanted: readonly PlannedSite[];
  readonly observed: readonly ObservedSite[];
  readonly traffic: Readonly<Record<string, Traffic>>;
  readonly min: number;
  readonly now: number;
  /** Sites where a move was undone: they get no traffic while others serve. */
  readonly avoid?: ReadonlySet<string>;
  /** Sites without room for what runs there: it leaves although nothing replaces it. */
  readonly crowded?: ReadonlySet<string>;
  /** Places that turned out worse than predicted, and the sentence. */
  readonly worse?: ReadonlyMap<string, string>;
  /** Why a site must not be entered or left for gain now; null = it may. */
  readonly refusal?: (site: string, way: 'into' | 'out of') => string | null;
  /** All of the traffic at once: at most one instance serves. */
  readonly isSwitch?: boolean;
  /** A move takes the state of the VM along. */
  readonly isStateful?: boolean;
}

export interface MoverOptions {
  /** Between 5, 50 and 100 %. @default 2000 */
  readonly stepMs?: number;
  /** From weight 0 until the instances are stopped. @default 8000 */
  readonly drainMs?: number;
  /** Without Ready for so long, a start is undone. @default 120000 */
  readonly startTimeoutMs?: number;
  /** A site with traffic may be without a Ready instance for so long before its ramp begins anew. @default 5000 */
  readonly unreadyMs?: number;
  /** A VM's transfer that takes longer is undone. @default 600000 */
  readonly transferTimeoutMs?: number;
}

export const DEFAULTS: Required<MoverOptions> = { stepMs: 2_000, drainMs: 8_000, startTimeoutMs: 120_000, unreadyMs: 5_000, transferTimeoutMs: 600_000 };

type At = { readonly site: string; readonly region: string };
export type MoveStep = At &
  (
    | { readonly kind: 'scale'; readonly replicas: number; readonly reason: string; readonly restoreFrom?: string }
    | { readonly kind: 'stop'; readonly reason: string }
    /** Which pod the replica set takes first when the number is lowered. */
    | { readonly kind: 'mark'; readonly pod: string; readonly isMarked: boolean }
    /** null = it is not to be sent any more. */
    | { readonly kind: 'send'; readonly pod: string; readonly to: string | null }
    /** After how many seconds without a word of its region its node stops the pod; null = never. */
    | { readonly kind: 'fence'; readonly pod: string; readonly afterSeconds: number | null }
  );

export interface MoveEvent {
  readonly site: string;
  readonly phase: 'starting' | 'traffic 5 %' | 'traffic 50 %' | 'serving' | 'draining' | 'stopped' | 'undone' | 'restored';
  readonly reason: string;
  readonly bytes?: number;
  readonly downtimeMs?: number;
}

export interface MoveDecision {
  readonly steps: readonly MoveStep[];
  readonly traffic: Readonly<Record<string, Traffic>>;
  /** Moves that were given up: the planner must not choose these sites for a while. */
  readonly undone: readonly { readonly site: string; readonly reason: string; readonly why: 'not-ready' | 'worse' | 'transfer' }[];
  /** What is wanted and waits, and for what. */
  readonly waiting: readonly { readonly site: string; readonly reason: string; readonly why: 'budget' | 'fence' }[];
  /** When time alone may change the answer, ms since the epoch; null = only what is observed or wanted can. */
  readonly nextAt: number | null;
  /** Sentences for the Placement's history, one per transition. */
  readonly events: readonly MoveEvent[];
}

export const isUsable = (reach: Reach): boolean => reach === 'reachable' || reach === 'returning' || reach === 'suspect';

/** Ready instances that may serve. */
export const readyOf = (o: ObservedSite): number => (o.isFenced === true ? 0 : o.instances.filter((i) => i.isReady).length);

/** What one pass decides, while it is decided. */
export class Draft {
  readonly input: MoveInput;
  readonly o: Required<MoverOptions>;
  readonly wanted: ReadonlyMap<string, PlannedSite>;
  readonly steps: MoveStep[] = [];
  readonly events: MoveEvent[] = [];
  readonly undone: MoveDecision['undone'][number][] = [];
  readonly waiting: MoveDecision['waiting'][number][] = [];
  readonly traffic: Record<string, Traffic> = {};
  nextAt = Number.POSITIVE_INFINITY;

  constructor(input: MoveInput, o: Required<MoverOptions>) {
    this.input = input;
    this.o = o;
    this.wanted = new Map(input.wanted.map((w) => [w.site, w]));
  }

  begin(site: string, phase: MoveEvent['phase'], t: Omit<Traffic, 'since'>, reason: string): void {
    this.traffic[site] = { ...t, since: this.input.now };
    this.events.push({ site, phase, reason });
  }

  undo(site: string, why: 'not-ready' | 'worse' | 'transfer', reason: string): void {
    this.undone.push({ site, reason, why });
    this.events.push({ site, phase: 'undone', reason });
  }

  wakeAt(at: number): void {
    this.nextAt = Math.min(this.nextAt, Math.max(at, this.input.now + 1));
  }

  /** Does anybody else serve all that it is given? */
  othersServe(site: string): boolean {
    return this.input.observed.some((x) => x.site !== site && readyOf(x) > 0 && isUsable(x.reach) && this.input.traffic[x.site]?.factor === 100);
  }
}
