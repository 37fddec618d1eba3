/** What a schema cannot know about a policy: whether its names exist, and whether physics allows its goals. */
import type { PolicySpec } from '../../api/kinds/mesh.ts';
import { refusedByPolicy } from './eligible.ts';
import type { Model } from './model.ts';

export interface PolicyIssue {
  readonly path: string;
  readonly message: string;
}

/** What is known of the places; `regions`: those that are there though they have no site yet. */
export type Places = Pick<Model, 'sites' | 'clientRegions'> & { readonly regions?: readonly string[] };

/** `floor(clientRegion, site)`: the least ms that light needs, null when a place is not known. */
export function checkPolicy(policy: PolicySpec, model: Places, floor: (clientRegion: string, site: string) => number | null, root = 'spec'): PolicyIssue[] {
  const out: PolicyIssue[] = [];
  const sites = new Set(model.sites.map((s) => s.name));
  const regions = new Set([...model.sites.map((s) => s.region), ...(model.regions ?? [])]);
  const known = (names: readonly string[] | undefined, set: ReadonlySet<string>, what: string, path: string): void => {
    for (const [i, name] of (names ?? []).entries()) if (!set.has(name)) out.push({ path: `${root}.${path}[${i}]`, message: `no ${what} "${name}"; there are ${[...set].sort().slice(0, 12).join(', ')}` });
  };
  const { min, max } = policy.instances;
  if (min > max) out.push({ path: `${root}.instances.min`, message: `${min} is more than ${root}.instances.max (${max})` });
  known(policy.residency, regions, 'region', 'residency');
  known(policy.sites?.forbidden, sites, 'site', 'sites.forbidden');
  for (const [name, selector] of [['sites.required', policy.sites?.required] as const, ...(policy.sites?.preferred ?? []).map((p, i) => [`sites.preferred[${i}]`, p] as const)]) {
    known(selector?.names, sites, 'site', `${name}.names`);
    known(selector?.regions, regions, 'region', `${name}.regions`);
  }
  const allowed = model.sites.filter((s) => refusedByPolicy(policy, s) === null);
  if (model.sites.length > 0 && allowed.length === 0) out.push({ path: root, message: 'no site is allowed by all of its rules together' });
  for (const [i, goal] of (policy.latency ?? []).entries()) {
    if (goal.clientRegion !== undefined && !model.clientRegions.includes(goal.clientRegion)) {
      out.push({ path: `${root}.latency[${i}].clientRegion`, message: `no client region "${goal.clientRegion}"; there are ${model.clientRegions.slice(0, 12).join(', ')}` });
      continue;
    }
    for (const region of goal.clientRegion === undefined ? model.clientRegions : [goal.clientRegion]) {
      const floors = allowed.map((s) => floor(region, s.name));
      const least = floors.length === 0 || floors.includes(null) ? 0 : Math.min(...(floors as number[]));
      if (goal.milliseconds < least) out.push({ path: `${root}.latency[${i}].milliseconds`, message: `${goal.milliseconds} ms is less than light needs from client region ${region} to the nearest allowed site (${least.toFixed(1)} ms)` });
    }
  }
  return out;
}
