/**
 * The sites there are and how each stands. A region's own word comes first; of a region that this process has not heard yet, the Sites that the
 * global API mirrors are what is known: a restart must not forget where applications are.
 */
import type { Site } from '../../api/kinds/mesh.ts';
import type { Logger } from '../../base/log.ts';
import { type Evidence, type FailureOptions, judge, QUIET_MS, type SiteState, STALE_MS } from './failure.ts';
import type { Region } from './region.ts';
import type { Telemetry } from './telemetry.ts';

const WITNESS_MS = 5_000;
/** While somebody measured an answer so lately, nobody's denial counts. */
const FRESH_MS = 2_000;
/** Of a region's sites, so many and this share lost at once are one event. */
const STORM_SITES = 5;
const STORM_SHARE = 0.5;
/** Of the longest pause between samples, what is left after each shorter one. */
const RHYTHM_DECAY = 0.9;
const PAUSE_MS = 12_000;
const SUSPECT_MS = 3_000;
const DOWN_MS = 20_000;

const NOBODY: readonly string[] = [];

interface Seen {
  readonly value: string;
  /** By this process's clock: when the value was seen to change. */
  readonly at: number;
}

export class Sites {
  readonly states = new Map<string, SiteState>();
  readonly #regions: readonly Region[];
  readonly #telemetry: Telemetry;
  readonly #options: FailureOptions;
  readonly #log: Logger;
  readonly #seen = new Map<string, Seen>();
  /** Zones that had a Ready node since this process began: only they can lose one. */
  readonly #alive = new Set<string>();
  /** When a zone had a Ready node last, or was looked at first. */
  readonly #readyAt = new Map<string, number>();
  readonly #rhythms = new Map<string, { heardAt: number; ms: number }>();
  /** By region: when many of its sites were lost at once last. */
  readonly #storms = new Map<string, number>();
  #byName: ReadonlyMap<string, Site> = new Map();
  #order: readonly string[] = [];

  constructor(regions: readonly Region[], telemetry: Telemetry, log: Logger, options: FailureOptions = {}) {
    this.#regions = regions;
    this.#telemetry = telemetry;
    this.#log = log;
    this.#options = options;
  }

  find(name: string): Site | undefined {
    return this.#byName.get(name) ?? this.#regions.flatMap((r) => r.sites).find((s) => s.metadata.name === name);
  }

  /** Is the site given up, or not known? Somebody else serves its clients. */
  isLost(name: string): boolean {
    const reach = this.states.get(name)?.reach;
    return reach === undefined || reach === 'cut-off' || reach === 'down';
  }

  /** What the regions themselves say, whether they answer now or did before. */
  heard(): Site[] {
    const out = new Map<string, Site>();
    for (const region of this.#regions) for (const s of region.sites) if (s.spec.region === region.name && !out.has(s.metadata.name)) out.set(s.metadata.name, s);
    return [...out.values()];
  }

  /** Sorted by name; `mirrored` are the Sites of the global API. */
  judge(mirrored: readonly Site[], now: number): readonly Site[] {
    const heard = this.heard();
    const names = new Set(heard.map((s) => s.metadata.name));
    const silent = new Set(this.#regions.filter((r) => !r.hasAnswered).map((r) => r.name));
    const absent = mirrored.filter((s) => silent.has(s.spec.region) && !names.has(s.metadata.name));
    const sites = this.#inOrder([...heard, ...absent]);
    const regions = new Map(this.#regions.map((r) => [r.name, r]));
    const evidence = new Map(sites.map((s) => [s.metadata.name, this.#evidence(s, regions.get(s.spec.region), now)]));
    this.#watchForStorms(sites, evidence, now);
    for (const site of sites) {
      const stormAt = this.#storms.get(site.spec.region);
      const isStorm = stormAt !== undefined && now - stormAt < (this.#options.downAfterMs ?? DOWN_MS);
      this.#judgeOne(site, { ...(evidence.get(site.metadata.name) as Evidence), isStorm }, now);
    }
    for (const name of this.states.keys()) if (!this.#byName.has(name)) this.#forget(name);
    return sites;
  }

  /** By name; sorted anew only when other sites are there than before. */
  #inOrder(sites: readonly Site[]): readonly Site[] {
    const byName = new Map(sites.map((s) => [s.metadata.name, s]));
    this.#byName = byName;
    if (byName.size !== this.#order.length || this.#order.some((name) => !byName.has(name))) this.#order = [...byName.keys()].sort();
    return this.#order.map((name) => byName.get(name) as Site);
  }

  /** Many sites of one region without a word, that were not lost before: it began, or goes on. */
  #watchForStorms(sites: readonly Site[], evidence: ReadonlyMap<string, Evidence>, now: number): void {
    const counts = new Map<string, { all: number; lost: number }>();
    for (const site of sites) {
      const e = evidence.get(site.metadata.name) as Evidence;
      const count = counts.get(site.spec.region) ?? { all: 0, lost: 0 };
      counts.set(site.spec.region, count);
      const reach = this.states.get(site.metadata.name)?.reach;
      if (reach === 'cut-off' || reach === 'down' || e.phase === 'Pending' || e.phase === null) continue;
      count.all += 1;
      const isSilent = e.heardAt !== null && now - e.heardAt > Math.max(this.#options.suspectAfterMs ?? SUSPECT_MS, 2 * (e.rhythmMs ?? 0));
      if (isSilent || e.regionAnswers === false || e.phase !== 'Ready' || e.gatewayConnected === false) count.lost += 1;
    }
    for (const [region, { all, lost }] of counts) {
      if (lost < STORM_SITES || lost < all * STORM_SHARE) continue;
      const before = this.#storms.get(region);
      if (before === undefined || now - before >= (this.#options.downAfterMs ?? DOWN_MS)) this.#log.warn('many sites of a region are lost at once', { region, lost, of: all });
      else continue;
      this.#storms.set(region, now);
    }
  }

  #judgeOne(site: Site, evidence: Evidence, now: number): void {
    const { name } = site.metadata;
    const before = this.states.get(name) ?? null;
    const isComingUp = evidence.isWithoutNode === true && !this.#alive.has(name) && before?.reach === 'reachable';
    const state = judge(name, evidence, isComingUp ? null : before, now, this.#options);
    if (before?.reach !== state.reach) this.#log.info('site state', { site: name, from: before?.reach ?? null, to: state.reach, reason: state.reason });
    this.states.set(name, state);
  }

  #evidence(site: Site, region: Region | undefined, now: number): Evidence {
    const { name } = site.metadata;
    const isZone = site.spec.kind === 'zone';
    const heardAt = this.#telemetry.heardFrom(name);
    const own = {
      regionAnswers: region === undefined || !region.hasAnswered ? false : region.answers,
      phase: site.status?.phase ?? (isZone ? 'Ready' : null),
      gatewayConnected: isZone ? null : (site.status?.gateway?.connected ?? null),
      seenAt: isZone ? null : this.#seenAt(site, region?.answers === true, now),
      isWithoutNode: isZone && region !== undefined && this.#isWithoutNode(name, region, now),
      heardAt,
      rhythmMs: this.#rhythmOf(name),
    };
    if (isPlain(own, Math.min(QUIET_MS, this.#options.suspectAfterMs ?? SUSPECT_MS), now)) return { ...own, witnesses: NOBODY, deniers: NOBODY };
    return {
      ...own,
      witnesses: this.#telemetry.witnesses(name, now - WITNESS_MS),
      deniers: this.#telemetry.witnesses(name, now - FRESH_MS).length > 0 ? NOBODY : this.#telemetry.deniers(name, now - WITNESS_MS),
    };
  }

  /** Some sites report every second, others every few: the longest pause lately says what silence is. */
  #rhythmOf(name: string): number {
    const heardAt = this.#telemetry.heardFrom(name);
    if (heardAt === null) return 0;
    const known = this.#rhythms.get(name);
    if (known === undefined) this.#rhythms.set(name, { heardAt, ms: 0 });
    else if (heardAt !== known.heardAt) {
      // a pause long enough to be taken for a loss is not how the site speaks
      const pause = heardAt - known.heardAt;
      known.ms = Math.max(known.ms * RHYTHM_DECAY, pause > PAUSE_MS ? 0 : pause);
      known.heardAt = heardAt;
    }
    return this.#rhythms.get(name)?.ms ?? 0;
  }

  /** Without a single Node object a zone was never set up: nothing died there. An agent that starts, or whose runtime hangs, is not Ready for a while. */
  #isWithoutNode(name: string, region: Region, now: number): boolean {
    const { known, ready, silent } = region.nodesOf(name);
    if (ready > 0) this.#alive.add(name);
    const readyAt = ready > 0 || known === 0 ? now : (this.#readyAt.get(name) ?? now);
    this.#readyAt.set(name, readyAt);
    return known > 0 && (silent === known || now - readyAt > (this.#options.staleAfterMs ?? STALE_MS));
  }

  /** When `lastSeen` changed, by our clock: the gateway's own may be wrong. While its API does not answer nothing can change, and nothing ages. */
  #seenAt(site: Site, canChange: boolean, now: number): number | null {
    const value = site.status?.lastSeen;
    if (value === undefined) return null;
    const { name } = site.metadata;
    const before = this.#seen.get(name);
    if (before?.value === value && canChange) return before.at;
    const at = before === undefined && canChange ? Math.min(now, Date.parse(value)) : now;
    this.#seen.set(name, { value, at });
    return at;
  }

  #forget(name: string): void {
    this.states.delete(name);
    this.#seen.delete(name);
    this.#alive.delete(name);
    this.#readyAt.delete(name);
    this.#rhythms.delete(name);
    this.#log.info('site is gone', { site: name });
  }
}

/** It was heard just now and its region says that it is well: what neighbours say changes nothing. */
function isPlain(e: Omit<Evidence, 'witnesses' | 'deniers'>, quietMs: number, now: number): boolean {
  return e.regionAnswers === true && e.phase === 'Ready' && e.gatewayConnected !== false && e.isWithoutNode !== true && e.heardAt !== null && now - e.heardAt <= quietMs;
}
