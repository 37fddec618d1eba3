/**
 * How much may be in motion: so many applications on their way into or out of one site at once, so many moves an hour over all. (How often one
 * application may be moved is its policy's: `migration.maxMovesPerHour`, kept by the planner.) A budget holds back what is done for gain: what
 * replaces instances that were lost, or serves an application that nobody serves, is counted but never waits. What is counted follows from the
 * Placements alone, so that a new process counts the same.
 */
import type { Placement } from '../../api/kinds/mesh.ts';
import { memoryOf } from './memory.ts';

export interface BudgetLimits {
  /** Applications on their way into or out of one site. @default 20 */
  readonly perSite?: number;
  /** Moves in any hour, of all applications. @default 3600 */
  readonly perHour?: number;
}

interface Use {
  /** Sites that it is entering or leaving. */
  readonly sites: readonly string[];
  readonly movedAt: readonly number[];
}

const HOUR_MS = 3_600_000;
const NOTHING: Use = { sites: [], movedAt: [] };

export class Budget {
  readonly #perSite: number;
  readonly #perHour: number;
  readonly #uses = new Map<string, Use>();
  readonly #known = new Map<string, Placement>();
  readonly #bySite = new Map<string, number>();
  /** Ascending. */
  #moved: number[] = [];

  constructor(limits: BudgetLimits = {}) {
    this.#perSite = limits.perSite ?? 20;
    this.#perHour = limits.perHour ?? 3_600;
  }

  /** As its Placement stands; undefined = it is gone. */
  learn(key: string, placement: Placement | undefined): void {
    if (this.#known.get(key) === placement) return;
    if (placement === undefined) this.#known.delete(key);
    else this.#known.set(key, placement);
    const { traffic, movedAt } = memoryOf(placement);
    this.note(key, { sites: Object.keys(traffic).filter((s) => traffic[s]?.state !== 'serving'), movedAt: placement === undefined ? (this.#uses.get(key)?.movedAt ?? []) : movedAt });
  }

  /** As it will stand when what was just decided is written. */
  note(key: string, use: Use): void {
    const before = this.#uses.get(key) ?? NOTHING;
    for (const s of before.sites) this.#bySite.set(s, (this.#bySite.get(s) ?? 0) - 1);
    for (const s of use.sites) this.#bySite.set(s, (this.#bySite.get(s) ?? 0) + 1);
    if (use.movedAt.length > 0 || before.movedAt.length > 0) {
      const old = new Set(before.movedAt);
      const fresh = use.movedAt.filter((t) => !old.has(t));
      if (fresh.length > 0) this.#moved = [...this.#moved, ...fresh].sort((a, b) => a - b);
    }
    if (use.sites.length === 0 && use.movedAt.length === 0) this.#uses.delete(key);
    else this.#uses.set(key, use);
  }

  /** Why an application must not enter or leave a site for gain now; null = it may. */
  refusal(key: string, site: string, way: 'into' | 'out of', now: number): string | null {
    const its = this.#uses.get(key)?.sites.includes(site) === true ? 1 : 0;
    const inMotion = (this.#bySite.get(site) ?? 0) - its;
    if (inMotion >= this.#perSite) return `waits: ${inMotion} applications are on their way into or out of ${site}; mover.budget.perSite is ${this.#perSite}`;
    if (way === 'out of') return null; // what was begun may end
    this.#moved = this.#moved.filter((t) => now - t < HOUR_MS);
    return this.#moved.length < this.#perHour ? null : `waits: ${this.#moved.length} moves in the last hour; mover.budget.perHour is ${this.#perHour}`;
  }

  /** When the oldest move of the hour counts no more; null = the hour does not bind. */
  freeAt(): number | null {
    return this.#moved.length < this.#perHour ? null : (this.#moved[this.#moved.length - this.#perHour] as number) + HOUR_MS;
  }
}
