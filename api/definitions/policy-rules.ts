/** The rules between the fields of a policy that need nothing but the policy; `scheduler/global/policy.ts` has those that need the sites. */
import type { Issue, Json } from '../definition.ts';
import { get, issue, list, show } from './define.ts';

type Rule = (policy: Json | undefined, path: string) => readonly Issue[];

const instances: Rule = (policy, path) => {
  const [min, max, spread] = [get(policy, 'instances.min'), get(policy, 'instances.max'), get(policy, 'spread.min')];
  const issues: Issue[] = [];
  if (typeof min === 'number' && typeof max === 'number' && min > max) issues.push(issue(`${path}.instances.min`, `${min} is more than ${path}.instances.max (${max})`));
  if (typeof spread === 'number' && typeof max === 'number' && spread > max) issues.push(issue(`${path}.spread.min`, `${spread} places cannot be filled by at most ${max} instances (${path}.instances.max)`));
  return issues;
};

/** A selector that is there but says nothing is a slip of the indentation more often than "everything". */
function emptySelector(policy: Json | undefined, at: string, path: string): Issue[] {
  const selector = get(policy, at);
  if (selector === undefined) return [];
  const isEmpty = list(selector, 'names').length + list(selector, 'regions').length + Object.keys(get(selector, 'labels') ?? {}).length === 0;
  return isEmpty ? [issue(path, 'selects nothing: give names, regions or labels', 'required')] : [];
}

const places: Rule = (policy, path) => {
  const issues = emptySelector(policy, 'sites.required', `${path}.sites.required`);
  for (const [i, preferred] of list(policy, 'sites.preferred').entries()) issues.push(...emptySelector({ preferred }, 'preferred', `${path}.sites.preferred[${i}]`));
  const forbidden = new Set(list(policy, 'sites.forbidden').map(show));
  for (const [i, s] of list(policy, 'sites.required.names').entries()) {
    if (forbidden.has(show(s))) issues.push(issue(`${path}.sites.required.names[${i}]`, `"${show(s)}" is also in ${path}.sites.forbidden`));
  }
  const residency = list(policy, 'residency').map(show);
  const regions = list(policy, 'sites.required.regions').map(show);
  if (residency.length > 0 && regions.length > 0 && !regions.some((r) => residency.includes(r))) issues.push(issue(`${path}.sites.required.regions`, `none of ${regions.join(', ')} is in ${path}.residency (${residency.join(', ')})`));
  if (get(policy, 'residency') !== undefined && residency.length === 0) issues.push(issue(`${path}.residency`, 'allows no region: name at least one, or leave it out', 'required'));
  return issues;
};

const goals: Rule = (policy, path) => {
  const seen = new Set<string>();
  return list(policy, 'latency').flatMap((goal, i) => {
    const key = `${show(get(goal, 'percentile'))} ${show(get(goal, 'clientRegion'))}`;
    if (seen.has(key)) return [{ path: `${path}.latency[${i}]`, message: 'Duplicate value: the same percentile and client region again', reason: 'unsupported' as const }];
    seen.add(key);
    return [];
  });
};

const neighbours: Rule = (policy, path) => {
  const near = new Set(list(policy, 'affinity').map(show));
  return list(policy, 'antiAffinity').flatMap((a, i) => (near.has(show(a)) ? [issue(`${path}.antiAffinity[${i}]`, `"${show(a)}" is also in ${path}.affinity`)] : []));
};

const windows: Rule = (policy, path) =>
  list(policy, 'migration.windows').flatMap((w, i) => (get(w, 'from') === get(w, 'to') ? [issue(`${path}.migration.windows[${i}].to`, `is the same as from ("${show(get(w, 'from'))}"): the window is empty`)] : []));

/** How much is taken from a site that may still be alive: never less in a later step. */
const STRENGTH: Readonly<Record<string, number>> = { stay: 0, duplicate: 1, fence: 2, move: 2 };

const escalation: Rule = (policy, path) => {
  const steps = list(policy, 'unreachable');
  return steps.flatMap((step, i) => {
    const before = steps[i - 1];
    if (before === undefined) return [];
    const at = `${path}.unreachable[${i}]`;
    const [was, is] = [show(get(before, 'action')), show(get(step, 'action'))];
    if (Number(get(step, 'afterSeconds')) <= Number(get(before, 'afterSeconds'))) return [issue(`${at}.afterSeconds`, `${show(get(step, 'afterSeconds'))} is not more than that of the step before (${show(get(before, 'afterSeconds'))})`)];
    if ((STRENGTH[is] ?? 0) < (STRENGTH[was] ?? 0)) return [issue(`${at}.action`, `"${is}" comes after "${was}", which cannot be taken back`)];
    return [];
  });
};

const edge: Rule = (policy, path) => (get(policy, 'overflow') === false && get(policy, 'edgeAllowed') === false ? [issue(`${path}.overflow`, `false keeps it at edge sites, which ${path}.edgeAllowed: false forbids`)] : []);

const RULES: readonly Rule[] = [instances, places, goals, neighbours, windows, escalation, edge];

/** `path` is where the policy is: `spec`, `spec.policy`. */
export function checkPolicy(policy: Json | undefined, path: string): Issue[] {
  return RULES.flatMap((rule) => rule(policy, path));
}

/** An application is neither near to nor far from itself. */
export function checkSelfReference(policy: Json | undefined, path: string, application: string): Issue[] {
  return (['affinity', 'antiAffinity'] as const).flatMap((field) => list(policy, field).flatMap((a, i) => (show(a) === application ? [issue(`${path}.${field}[${i}]`, `"${application}" is this application itself`)] : [])));
}
