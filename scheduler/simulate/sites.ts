/** The sites of a simulation: what really fails, and what the scheduler's own judgement makes of the traces that it leaves. */
import { type Evidence, judge, type SiteState } from '../global/failure.ts';
import type { Reach, SiteModel } from '../global/model.ts';
import type { Failure, SimWorld } from './world.ts';

/** What a region's gateway takes to miss a site; so long its word is still "Ready". */
const GATEWAY_MS = 3_000;
const RHYTHM_MS = 1_000;

const WELL: SiteState = { reach: 'reachable', since: 0, reason: '' };

export class SimSites {
  readonly #world: SimWorld;
  readonly #states = new Map<number, SiteState>();
  readonly #regionSizes = new Map<string, number>();

  constructor(world: SimWorld) {
    this.#world = world;
    for (const s of world.sites) this.#regionSizes.set(s.region, (this.#regionSizes.get(s.region) ?? 0) + 1);
  }

  /** What is wrong with a site now; null = nothing. */
  failureOf(site: number, now: number): Failure | null {
    return this.#world.failures.find((f) => f.sites.has(site) && f.from <= now && now < f.to) ?? null;
  }

  /** Every site that fails now or did a while ago is judged; true = some reach is another one. */
  judge(now: number): boolean {
    let isChanged = false;
    for (const f of this.#world.failures) {
      if (now < f.from) continue;
      for (const s of f.sites) {
        const before = this.#states.get(s) ?? null;
        if (now >= f.to && (before === null || (before.reach === 'reachable' && before.since === 0))) continue;
        const state = judge(this.#world.sites[s]?.name ?? '', this.#evidence(s, now), before ?? WELL, now);
        if (state.reach !== (before ?? WELL).reach) isChanged = true;
        this.#states.set(s, state);
      }
    }
    return isChanged;
  }

  reach(site: number): Reach {
    return this.#states.get(site)?.reach ?? 'reachable';
  }

  models(): readonly SiteModel[] {
    if (this.#states.size === 0) return this.#world.sites;
    return this.#world.sites.map((s, i) => {
      const state = this.#states.get(i);
      return state === undefined ? s : { ...s, reach: state.reach, since: state.since };
    });
  }

  #evidence(site: number, now: number): Evidence {
    const f = this.failureOf(site, now);
    if (f === null) return { regionAnswers: true, phase: 'Ready', gatewayConnected: true, heardAt: now, witnesses: [], rhythmMs: RHYTHM_MS };
    const isMissed = now - f.from >= GATEWAY_MS;
    return {
      regionAnswers: true,
      phase: isMissed ? 'Unreachable' : 'Ready',
      gatewayConnected: !isMissed,
      heardAt: f.from,
      rhythmMs: RHYTHM_MS,
      witnesses: f.kind === 'gateway' ? ['a neighbour'] : [],
      deniers: f.kind === 'gateway' ? [] : ['a neighbour'],
    };
  }
}
