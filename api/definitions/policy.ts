/** A placement policy's fields and the rules between them; the same inside an Application and as an object of its own. */
import { Type } from 'typebox';
import type { Issue, Json } from '../definition.ts';
import { get, integer, issue, labels, list, name, number, oneOf, show, text } from './define.ts';

const names = (description: string): ReturnType<typeof Type.Array> => Type.Array(name('Name.'), { description, maxItems: 1000 });

const selectorFields = {
  names: Type.Optional(names('Sites by name.')),
  regions: Type.Optional(names('All sites of these regions.')),
  labels: Type.Optional(labels('Sites with all these labels.')),
};
const clockTime = text('HH:MM, UTC.', { pattern: '^([01]\\d|2[0-3]):[0-5]\\d$' });

export const policySpec = Type.Object(
  {
    latency: Type.Optional(Type.Array(Type.Object({ percentile: number('Share of the requests.', 1, 100), milliseconds: number('Round trip of at most.', 0.01), clientRegion: Type.Optional(name('Absent = clients of all regions.')) }), { description: 'Goals that the planner tries to meet.', maxItems: 100 })),
    instances: Type.Object({ min: integer('At least.', 0, 10_000), max: integer('At most.', 1, 10_000) }, { description: 'Instances altogether.' }),
    sites: Type.Optional(Type.Object({ required: Type.Optional(Type.Object(selectorFields)), preferred: Type.Optional(Type.Array(Type.Object({ ...selectorFields, weight: number('Of the preference.', 0, 100) }))), forbidden: Type.Optional(names('Sites where it may never run.')) }, { description: 'Where it may, should and may not run.' })),
    residency: Type.Optional(names('Regions whose sites alone may hold the data.')),
    edgeAllowed: Type.Optional(Type.Boolean({ description: 'May run at edge sites.', default: true })),
    spread: Type.Optional(Type.Object({ over: oneOf(['region', 'site', 'zone'], 'What to spread over.'), min: integer('At least so many of them.', 1, 1000) })),
    affinity: Type.Optional(names('Applications to be near.')),
    antiAffinity: Type.Optional(names('Applications not to share a site with.')),
    minTrust: Type.Optional(number('Least trust of a site.', 0)),
    cost: Type.Optional(Type.Object({ ceiling: Type.Optional(number('Cost per hour of at most.', 0)), weights: Type.Optional(Type.Object({ latency: Type.Optional(number('Weight.', 0)), money: Type.Optional(number('Weight.', 0)), carbon: Type.Optional(number('Weight.', 0)) })) })),
    migration: Type.Optional(Type.Object({ allowed: Type.Boolean({ description: 'May be moved while it runs.' }), maxMovesPerHour: Type.Optional(integer('Moves an hour of at most.', 0, 10_000)), windows: Type.Optional(Type.Array(Type.Object({ from: clockTime, to: clockTime }), { description: 'When it may be moved.' })) })),
    unreachable: Type.Optional(Type.Object({ action: oneOf(['stay', 'duplicate', 'fence', 'move'], 'What to do.'), afterSeconds: number('After so long.', 0, 86_400) }, { description: 'When its site is out of reach.' })),
    failback: Type.Optional(Type.Object({ automatic: Type.Boolean({ description: 'Comes back by itself.' }), maxPerMinute: Type.Optional(number('Instances a minute of at most.', 0)), stabilisationSeconds: Type.Optional(number('The site must have been well for so long.', 0)) })),
    overflow: Type.Optional(Type.Boolean({ description: 'May use further sites when the wanted ones are full.' })),
  },
  { description: 'What is accepted.' },
);

export function checkPolicy(policy: Json | undefined, path: string): Issue[] {
  const issues: Issue[] = [];
  const [min, max] = [get(policy, 'instances.min'), get(policy, 'instances.max')];
  if (typeof min === 'number' && typeof max === 'number' && min > max) issues.push(issue(`${path}.instances.min`, `${min} is more than ${path}.instances.max (${max})`));
  const spread = get(policy, 'spread.min');
  if (typeof spread === 'number' && typeof max === 'number' && spread > max) issues.push(issue(`${path}.spread.min`, `${spread} places cannot be filled by at most ${max} instances`));
  const forbidden = new Set(list(policy, 'sites.forbidden').map(show));
  for (const [i, s] of list(policy, 'sites.required.names').entries()) {
    if (forbidden.has(show(s))) issues.push(issue(`${path}.sites.required.names[${i}]`, `"${show(s)}" is also in ${path}.sites.forbidden`));
  }
  const seen = new Set<string>();
  for (const [i, goal] of list(policy, 'latency').entries()) {
    const key = `${show(get(goal, 'percentile'))} ${show(get(goal, 'clientRegion'))}`;
    if (seen.has(key)) issues.push({ path: `${path}.latency[${i}]`, message: 'Duplicate value: the same percentile and client region again', reason: 'unsupported' });
    seen.add(key);
  }
  return issues;
}
