/** `proxima simulate`: a scenario file in, figures of every policy out. The only place here that reads files. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { MeshError } from '../../api/errors.ts';
import { checkPolicy } from '../global/policy.ts';
import { lightMs } from '../global/distance.ts';
import type { PolicyFigures } from './figures.ts';
import { type Expected, policyNamed, POLICIES } from './policies.ts';
import { decodeScenario, type Scenario } from './scenario.ts';
import { simulate } from './simulation.ts';
import { buildWorld, type SimWorld } from './world.ts';

const SHIPPED = join(import.meta.dirname, 'scenarios');
const HOUR_MS = 3_600_000;

export interface Loaded {
  readonly file: string;
  readonly scenario: Scenario;
  readonly world: SimWorld;
}

export interface Results {
  readonly scenario: string;
  readonly description: string;
  readonly seed: number;
  readonly days: number;
  readonly sites: number;
  readonly clientRegions: number;
  readonly applications: number;
  readonly policies: readonly PolicyFigures[];
}

/** A file, or the name of a scenario that is shipped. Files that it names are looked for beside it. */
export function loadScenario(nameOrFile: string): Loaded {
  const shipped = join(SHIPPED, `${nameOrFile}.yaml`);
  const file = existsSync(nameOrFile) ? nameOrFile : shipped;
  if (!existsSync(file)) throw new MeshError('not-found', `no scenario "${nameOrFile}": neither a file nor one that is shipped`, { next: `proxima simulate small` });
  const scenario = decodeScenario(readFileSync(file, 'utf8'), nameOrFile);
  const readText = (path: string): string => {
    const at = resolve(dirname(file), path);
    if (!existsSync(at)) throw new MeshError('not-found', `${nameOrFile}: no file ${path} beside the scenario`, { fields: { path } });
    return readFileSync(at, 'utf8');
  };
  const world = buildWorld(scenario, readText);
  checkPolicies(scenario, world, nameOrFile);
  return { file, scenario, world };
}

/** Names of sites and regions in the policies, and goals that light cannot reach. */
function checkPolicies(scenario: Scenario, world: SimWorld, source: string): void {
  const places = { sites: world.sites, clientRegions: world.regions.map((r) => r.name) };
  const locations = new Map([...world.sites, ...world.regions].map((x) => [x.name, 'location' in x ? (x.location as { readonly latitude: number; readonly longitude: number }) : null]));
  const floor = (region: string, site: string): number | null => lightMs(locations.get(region), locations.get(site));
  for (const [i, a] of scenario.applications.entries()) {
    // of thousands of made-up places the goals are not looked at one by one
    const policy = world.sites.length * world.regions.length > 20_000 ? { ...a.policy, latency: [] } : a.policy;
    const [issue] = checkPolicy(policy, places, floor, `applications.${i}.policy`);
    if (issue !== undefined) throw new MeshError('invalid', `${source}: ${issue.path}: ${issue.message}`, { fields: { path: issue.path } });
  }
}

/** What somebody who places once would be told: the true mean and peak, from the hours of the scenario. */
export function expectedOf(world: SimWorld): Expected {
  const mean = new Map<string, Map<number, number>>();
  const peak = new Map<string, number>();
  const hours = Math.min(24 * 7, Math.max(1, Math.round((world.end - world.start) / HOUR_MS)));
  for (const [i, a] of world.applications.entries()) {
    const of = new Map<number, number>();
    let most = 0;
    for (let h = 0; h < hours; h++) {
      let total = 0;
      for (const r of a.regions) {
        const rps = world.demand(i, r, a.share, world.start + (h + 0.5) * HOUR_MS);
        of.set(r, (of.get(r) ?? 0) + rps / hours);
        total += rps;
      }
      most = Math.max(most, total);
    }
    mean.set(a.key, of);
    peak.set(a.key, most);
  }
  return { mean, peak };
}

export { POLICIES };

export interface RunOptions {
  /** Instead of those of the scenario. */
  readonly policies?: readonly string[];
  readonly onProgress?: (policy: string, part: number) => void;
}

export function runScenario({ scenario, world }: Loaded, options: RunOptions = {}): Results {
  const expected = expectedOf(world);
  const policies = (options.policies ?? scenario.policies).map((name) => simulate(world, policyNamed(name, expected, world.seed), (part) => options.onProgress?.(name, part)));
  return { scenario: world.name, description: world.description, seed: world.seed, days: (world.end - world.countFrom) / 86_400_000, sites: world.sites.length, clientRegions: world.regions.length, applications: world.applications.length, policies };
}
