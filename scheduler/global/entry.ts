/** One application while a plan is made: its small problem, where it is now, and what it takes of the sites. */
import { refusedByPolicy, standingOf } from './eligible.ts';
import type { Evaluation } from './evaluation.ts';
import type { ApplicationModel, Model, SiteInstances } from './model.ts';
import type { SmallProblem } from './problem.ts';

export interface Flow {
  readonly r: number;
  readonly c: number;
  readonly rps: number;
}

/** Where an application goes, as the search decided it. */
export interface Choice {
  /** Candidates, sorted. */
  readonly open: readonly number[];
  /** By position in `open`: fewest instances that serve the load, and instances to have. */
  readonly least: readonly number[];
  readonly n: readonly number[];
  readonly flows: readonly Flow[];
  /** With what moving there costs; without. */
  readonly score: number;
  readonly points: number;
  readonly broken: number;
  readonly unserved: number;
  readonly latencyMs: number;
  readonly spent: number;
}

export interface Entry {
  readonly app: ApplicationModel;
  readonly rps: number;
  readonly current: readonly SiteInstances[];
  /** Of the current ones: those that count, and those that run on at a site out of reach. */
  readonly serving: readonly SiteInstances[];
  readonly held: readonly SiteInstances[];
  /** Keys of the applications that it must not share a site with, whichever of them says so; and of those that it wants to share with. */
  readonly apart: readonly string[];
  readonly near: readonly string[];
  small: SmallProblem;
  /** Sites of those it wants to share with, when `small` was made. */
  beside: ReadonlySet<number>;
  /** Points that opening a site must gain first; why nothing may be moved for gain. */
  flat: number;
  pinned: string | null;
  choice: Choice;
  /** The ledger's count of changes when it was decided last. */
  solvedAt: number;
  /** Why a better place was not taken. */
  kept: string | null;
}

export function split(app: ApplicationModel, current: readonly SiteInstances[], model: Model, siteIndex: ReadonlyMap<string, number>, now: number): { readonly serving: readonly SiteInstances[]; readonly held: readonly SiteInstances[] } {
  const serving: SiteInstances[] = [];
  const held: SiteInstances[] = [];
  for (const c of current) {
    const site = model.sites[siteIndex.get(c.site) ?? -1];
    if (site === undefined || c.instances <= 0 || refusedByPolicy(app.policy, site) !== null) continue;
    const standing = standingOf(app.policy, site, now);
    if (standing === 'held') held.push(c);
    else if (standing !== 'lost' && !app.avoid.some((a) => a.site === c.site && a.until > now)) serving.push(c);
  }
  return { serving, held };
}

/** Not decided yet. */
export const NOWHERE: Choice = { open: [], least: [], n: [], flows: [], score: 0, points: 0, broken: 0, unserved: 0, latencyMs: 0, spent: 0 };

/** The last evaluated set of `e` as a value. */
export function choiceOf(e: Evaluation, set: readonly number[]): Choice {
  const open = set.toSorted((a, b) => a - b);
  e.evaluate(open);
  return { open, least: open.map((c) => e.least[c] as number), n: open.map((c) => e.n[c] as number), flows: e.flows(open), score: e.score, points: e.points, broken: e.broken, unserved: e.unserved, latencyMs: e.latencyOf(open), spent: e.spentOn(open) };
}
