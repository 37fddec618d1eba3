/**
 * The sites there are and how each stands. A region's own word comes first; of a region that this process has not heard yet, the Sites that the
 * global API mirrors are what is known: a restart must not forget where applications are.
 */
import type { Site } from '../../api/kinds/mesh.ts';
import type { Logger } from '../../base/log.ts';
import { type Evidence, type FailureOptions, judge, type SiteState, STALE_MS } from './failure.ts';
import type { Region } from './region.ts';
import type { Telemetry } from './telemetry.ts';

const WITNESS_MS = 5_000;

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
  #all: readonly Site[] = [];

  constructor(regions: readonly Region[], telemetry: Telemetry, log: Logger, options: FailureOptions = {}) {
    this.#regions = regions;
    this.#telemetry = telemetry;
    this.#log = log;
    this.#options = options;
  }

  find(name: string): Site | undefined {
    return this.#regions.flatMap((r) => r.sites).find((s) => s.metadata.name === name) ?? this.#all.find((s) => s.metadata.name === name);
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
    const sites = [...heard, ...absent].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    for (const site of sites) this.#judgeOne(site, now);
    const there = new Set(sites.map((s) => s.metadata.name));
    for (const name of this.states.keys()) if (!there.has(name)) this.#forget(name);
    this.#all = sites;
    return sites;
  }

  #judgeOne(site: Site, now: number): void {
    const { name } = site.metadata;
    const before = this.states.get(name) ?? null;
    const evidence = this.#evidence(site, now);
    const isComingUp = evidence.isWithoutNode === true && !this.#alive.has(name) && before?.reach === 'reachable';
    const state = judge(name, evidence, isComingUp ? null : before, now, this.#options);
    if (before?.reach !== state.reach) this.#log.info('site state', { site: name, from: before?.reach ?? null, to: state.reach, reason: state.reason });
    this.states.set(name, state);
  }

  #evidence(site: Site, now: number): Evidence {
    const { name } = site.metadata;
    const region = this.#regions.find((r) => r.name === site.spec.region);
    const isZone = site.spec.kind === 'zone';
    return {
      regionAnswers: region === undefined || !region.hasAnswered ? false : region.answers,
      phase: site.status?.phase ?? (isZone ? 'Ready' : null),
      gatewayConnected: isZone ? null : (site.status?.gateway?.connected ?? null),
      seenAt: isZone ? null : this.#seenAt(site, region?.answers === true, now),
      isWithoutNode: isZone && region !== undefined && this.#isWithoutNode(name, region, now),
      heardAt: this.#telemetry.heardFrom(name),
      witnesses: this.#telemetry.witnesses(name, now - WITNESS_MS),
    };
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
    this.#log.info('site is gone', { site: name });
  }
}
