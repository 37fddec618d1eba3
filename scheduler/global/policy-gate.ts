/**
 * Refuses a policy before it is stored when the sites say that it can never be met: a site, region or client region that is not there, a latency
 * goal that light cannot reach from any allowed site. What depends on what runs now (room, reach, measured latency) is accepted and shown as unmet.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Client } from '../../api/client.ts';
import type { Issue, JsonObject } from '../../api/definition.ts';
import type { Allocation, Application, PlacementPolicy, PolicySpec, Site } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import type { ClientRegionConfig } from './global-scheduler.ts';
import { plainSite, type SiteModel } from './model.ts';
import { checkPolicy, type Places, type PolicyIssue } from './policy.ts';
import { lightMs } from './distance.ts';

export interface PolicyGateDeps {
  /** Of the global API, which mirrors the sites of every region. */
  readonly client: () => Client;
  readonly clock: Clock;
}

export interface PolicyGateOptions {
  readonly clientRegions: readonly ClientRegionConfig[];
  readonly regions: readonly string[];
}

interface Known {
  readonly at: number;
  readonly places: Places;
  readonly floor: (clientRegion: string, site: string) => number | null;
}

/** So long the sites read last are used again: files are applied object by object. */
const FRESH_MS = 1_000;

export class PolicyGate {
  readonly #d: PolicyGateDeps;
  readonly #o: PolicyGateOptions;
  #known: Known | null = null;

  constructor(deps: PolicyGateDeps, options: PolicyGateOptions) {
    this.#d = deps;
    this.#o = options;
  }

  /** For the API server, after the schema: `live` is null on creation. What did not change is not looked at again. */
  async admit(kind: string, object: JsonObject, live: JsonObject | null): Promise<readonly Issue[]> {
    if (kind === 'Allocation') return live === null ? this.#regionsOf(object as unknown as Allocation) : [];
    const found = policyIn(kind, object);
    if (found === null || (live !== null && isDeepStrictEqual(policyIn(kind, live), found))) return [];
    return (await this.issues(found.policy, found.path)).map((i) => ({ ...i, reason: 'invalid' as const }));
  }

  /** An allocation's spec never changes, so it is looked at once. */
  async #regionsOf({ spec }: Allocation): Promise<readonly Issue[]> {
    const regions = spec.selector?.regions ?? [];
    const issues = await this.issues({ instances: { min: 1, max: 1 }, residency: regions.map((r) => r.region) }, 'spec');
    return issues.map((i) => ({ path: i.path.replace(/^spec\.residency(\[\d+\])$/, 'spec.selector.regions$1.region'), message: i.message, reason: 'invalid' as const }));
  }

  /** Every field that cannot be right, as the sites are now. Empty while no site is known. */
  async issues(policy: PolicySpec, path: string): Promise<readonly PolicyIssue[]> {
    const known = this.#known;
    if (known !== null && Math.abs(this.#d.clock.now() - known.at) < FRESH_MS && issuesOf(policy, known, path).length === 0) return [];
    return issuesOf(policy, await this.#read(), path); // nobody is refused for a site that came a moment ago
  }

  async #read(): Promise<Known> {
    const now = this.#d.clock.now();
    const { items } = await this.#d.client().list<Site>(Resources.Site);
    const places = { sites: items.map(siteOf), clientRegions: this.#o.clientRegions.map((r) => r.name), regions: this.#o.regions };
    this.#known = { at: now, places, floor: floors(items, this.#o.clientRegions) };
    return this.#known;
  }
}

function issuesOf(policy: PolicySpec, { places, floor }: Known, path: string): readonly PolicyIssue[] {
  if (places.sites.length === 0) return [];
  // rules that together allow no site of today may allow one of tomorrow: that is shown, not refused
  return checkPolicy(policy, places, floor, path).filter((i) => i.path !== path);
}

function policyIn(kind: string, object: JsonObject): { readonly policy: PolicySpec; readonly path: string } | null {
  if (kind === 'PlacementPolicy') return { policy: (object as unknown as PlacementPolicy).spec, path: 'spec' };
  const policy = kind === 'Application' ? (object as unknown as Application).spec.policy : undefined;
  return policy === undefined ? null : { policy, path: 'spec.policy' };
}

/** Of a site, only what rules about places ask. */
function siteOf(site: Site): SiteModel {
  const { spec, metadata } = site;
  return { ...plainSite, name: metadata.name, region: spec.region, kind: spec.kind, labels: { ...metadata.labels, ...spec.labels }, trust: spec.trust ?? 1 };
}

/** A row per client region, made when it is asked for first. */
function floors(sites: readonly Site[], clientRegions: readonly ClientRegionConfig[]): Known['floor'] {
  const rows = new Map<string, ReadonlyMap<string, number | null>>();
  return (clientRegion, site) => {
    let row = rows.get(clientRegion);
    if (row === undefined) {
      const from = clientRegions.find((r) => r.name === clientRegion)?.location;
      row = new Map(sites.map((s) => [s.metadata.name, lightMs(from, s.spec.location)]));
      rows.set(clientRegion, row);
    }
    return row.get(site) ?? null;
  };
}
