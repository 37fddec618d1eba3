/** What a team asks the global scheduler to run, what it accepts, and where it runs. */
import { Type } from 'typebox';
import type { Issue, Json, JsonObject, KindDefinition } from '../definition.ts';
import { age, ageColumn, column, get, integer, issue, list, map, name, nameColumn, number, oneOf, ours, port, protocol, ref, show, text } from './define.ts';
import { allocation } from './allocation.ts';
import { checkPodSpec, defaultPodSpec } from './pod.ts';
import { checkPolicy, checkSelfReference } from './policy-rules.ts';
import { defaultPolicy, policySpec } from './policy.ts';

const time = (description: string): ReturnType<typeof text> => text(description, { format: 'date-time' });

const applicationSpec = Type.Object({
  template: ref('core.v1.PodTemplateSpec', 'The pod of every instance, as in a Deployment: containers, or one virtualMachine.'),
  vpc: name('The VPC of the tenant in which the instances have their addresses.'),
  service: Type.Object(
    {
      port: port('Port at every site\'s front, where clients come in. No two applications have the same port and protocol.'),
      targetPort: Type.Optional(port('Port of an instance. Default: port.')),
      protocol: Type.Optional(protocol),
    },
    { description: 'How clients reach it.' },
  ),
  capacity: Type.Optional(number('Requests per second that one instance serves; the number of instances follows from it. Default 100.', 0.001)),
  policyRef: Type.Optional(name('Name of a PlacementPolicy of the same namespace. Neither this nor policy: one to ten instances, anywhere.')),
  policy: Type.Optional(policySpec),
});

function checkApplication(o: JsonObject): readonly Issue[] {
  const policy = get(o, 'spec.policy');
  const issues = checkPodSpec(get(o, 'spec.template.spec'), 'spec.template.spec');
  if (policy !== undefined && get(o, 'spec.policyRef') !== undefined) issues.push(issue('spec.policy', 'give either policy or policyRef', 'forbidden'));
  if (get(o, 'spec.template.spec.nodeName') !== undefined) issues.push(issue('spec.template.spec.nodeName', 'the schedulers choose the node', 'forbidden'));
  if (policy !== undefined) issues.push(...checkPolicy(policy, 'spec.policy'), ...checkSelfReference(policy, 'spec.policy', show(get(o, 'metadata.name'))));
  return issues;
}

function defaultApplication(o: JsonObject): void {
  const spec = get(o, 'spec.template.spec');
  if (spec !== undefined && spec !== null && typeof spec === 'object' && !Array.isArray(spec)) defaultPodSpec(spec);
  const service = map(o, 'spec.service');
  service['protocol'] ??= 'TCP';
  if (service['port'] !== undefined) service['targetPort'] ??= service['port'];
  defaultPolicy(get(o, 'spec.policy'));
}

const applicationStatus = Type.Object({
  phase: Type.Optional(oneOf(['Pending', 'Placed', 'Unmet'], 'Pending: not placed, message says why. Placed: runs where the message says. Unmet: accepted, but something it asks for cannot be given now; message names what binds.')),
  message: Type.Optional(text('Where it runs, or the field or the constraint that is in the way.')),
  observedGeneration: Type.Optional(Type.Integer({ description: 'Generation of the spec that this is about.' })),
});

const plannedSite = Type.Object({ site: name('Site.'), instances: integer('Instances.', 0), reason: text('Why here: the fact of the model behind it.') }, { description: 'One site of the plan.' });
const placementSpec = Type.Object({
  application: name('The application.'),
  sites: Type.Array(plannedSite, { description: 'Where it is to run. Written by the planner.' }),
  plannedAt: Type.Optional(time('When this was planned.')),
});

const sitePlacement = Type.Object(
  {
    site: name('Site.'),
    region: name('Its region.'),
    instances: integer('Wanted.', 0),
    ready: integer('Ready to serve.', 0),
    state: oneOf(['starting', 'serving', 'draining', 'unreachable'], 'starting: not all of its traffic yet. serving: all of it. draining: no new requests, then stopped. unreachable: cannot be acted on.'),
    reason: text('Why here.'),
  },
  { description: 'One site as it is.' },
);
const goalState = Type.Object(
  {
    clientRegion: text('Clients of this region.'),
    goalMs: number('The strictest goal for them, in milliseconds.', 0),
    predictedMs: number('Round trip to where they are served, in milliseconds.', 0),
    met: Type.Boolean({ description: 'Is the goal met?' }),
    servedFrom: text('The site that serves them.'),
  },
  { description: 'One client region with a goal and with demand.' },
);
const refusal = Type.Object({ site: text('Site.'), reason: text('The policy\'s rule, the missing room, or the latency.') }, { description: 'One site that is not used.' });
const move = Type.Object(
  { at: time('When.'), from: Type.Optional(text('Site.')), to: Type.Optional(text('Site.')), reason: text('Why.'), phase: text('How far it came: starting, traffic 5 %, restored, serving, draining, undone, ...'), bytes: Type.Optional(integer('State that a VM took along.', 0)), downtimeMs: Type.Optional(number('How long a VM stood still while its state moved.', 0)) },
  { description: 'One step of a move.' },
);
const placementStatus = Type.Object({
  sites: Type.Optional(Type.Array(sitePlacement, { description: 'Where it runs now.' })),
  goals: Type.Optional(Type.Array(goalState, { description: 'Latency goals, met or not, per client region.' })),
  refused: Type.Optional(Type.Array(refusal, { description: 'Alternatives that were refused, and why (20 at most; `proxima why` prints all).' })),
  moves: Type.Optional(Type.Array(move, { description: 'What was moved last, oldest first (30 at most).' })),
  message: Type.Optional(text('What is not met and the constraint that binds, or that all goals are met.')),
});

const SHOWN_CHARACTERS = 90;
const short = (value: string): string => (value.length <= SHOWN_CHARACTERS ? value : `${value.slice(0, SHOWN_CHARACTERS - 1)}…`);
const message = (o: JsonObject): string => short(show(get(o, 'status.message')));

const sum = (items: readonly Json[], field: string): number => items.reduce<number>((n, i) => n + Number(get(i, field) ?? 0), 0);

/** Of what is wanted: instances that drain are not counted. */
function ready(o: JsonObject): string {
  const wanted = list(o, 'spec.sites');
  const names = new Set(wanted.map((s) => show(get(s, 'site'))));
  return `${sum(list(o, 'status.sites').filter((s) => names.has(show(get(s, 'site')))), 'ready')}/${sum(wanted, 'instances')}`;
}

/** `edge-a=2,west-1=1`, with the state of those that do not serve yet or any more. */
function where(o: JsonObject): string {
  const states = new Map(list(o, 'status.sites').map((s) => [show(get(s, 'site')), show(get(s, 'state'))]));
  const wanted = list(o, 'spec.sites').map((s) => [show(get(s, 'site')), show(get(s, 'instances'))] as const);
  const leaving = [...states].filter(([site, state]) => state === 'draining' && !wanted.some(([w]) => w === site)).map(([site]) => [site, '0'] as const);
  return [...wanted, ...leaving].map(([site, n]) => `${site}=${n}${(states.get(site) ?? 'serving') === 'serving' ? '' : `(${states.get(site) ?? ''})`}`).join(',') || '<nowhere>';
}

function goalsMet(o: JsonObject): string {
  const goals = list(o, 'status.goals');
  return goals.length === 0 ? '-' : `${goals.filter((g) => get(g, 'met') === true).length}/${goals.length}`;
}

function lastMove(o: JsonObject, now: number): string {
  const times = list(o, 'status.moves').map((m) => show(get(m, 'at'))).sort();
  return times.length === 0 ? '-' : age(times.at(-1), now);
}

const duration = (seconds: number): string => (seconds >= 3600 && seconds % 3600 === 0 ? `${seconds / 3600}h` : seconds >= 60 && seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`);

/** `duplicate@5s,move@10m` */
function unreachable(o: JsonObject): string {
  const given = get(o, 'spec.unreachable');
  const steps = given === undefined ? [] : Array.isArray(given) ? given : [given];
  return steps.map((s) => `${show(get(s, 'action'))}@${duration(Number(get(s, 'afterSeconds')))}`).join(',') || 'duplicate@1s';
}

function latency(o: JsonObject): string {
  return list(o, 'spec.latency').map((l) => `p${show(get(l, 'percentile'))}<=${show(get(l, 'milliseconds'))}ms${get(l, 'clientRegion') === undefined ? '' : `@${show(get(l, 'clientRegion'))}`}`).join(',') || '-';
}

/** What narrows the choice of sites, in a few words. */
function places(o: JsonObject): string {
  const required = get(o, 'spec.sites.required');
  const labels = Object.entries(map(required, 'labels')).map(([k, v]) => `${k}=${show(v)}`);
  const parts = [...list(required, 'names').map(show), ...list(required, 'regions').map(show), ...labels, ...list(o, 'spec.residency').map((r) => `data in ${show(r)}`)];
  if (get(o, 'spec.edgeAllowed') === false) parts.push('no edge');
  return short(parts.join(',')) || 'any';
}

const kindOf = (o: JsonObject): string => (get(o, 'spec.template.spec.virtualMachine') === undefined ? 'container' : 'vm');

export const placing: readonly KindDefinition[] = [
  ours('Application', 'What a team asks the global scheduler to run: a pod, how clients reach it, and what it accepts. Its Placement has the same name.', applicationSpec, applicationStatus, {
    shortNames: ['app'],
    categories: ['all'],
    columns: [
      nameColumn,
      column('Kind', kindOf),
      column('Port', (o) => show(get(o, 'spec.service.port'))),
      column('Policy', (o) => show(get(o, 'spec.policyRef') ?? (get(o, 'spec.policy') === undefined ? '-' : 'own'))),
      column('Phase', (o) => show(get(o, 'status.phase')) || 'Pending'),
      column('Message', message),
      ageColumn,
      column('Vpc', 'spec.vpc', { wide: true }),
    ],
    defaults: defaultApplication,
    check: checkApplication,
  }),
  ours('PlacementPolicy', 'What an application accepts: latency, cost, places, moves, failures. Named by spec.policyRef of applications of the same namespace.', policySpec, null, {
    shortNames: ['pp'],
    columns: [
      nameColumn,
      column('Latency', latency),
      column('Min', (o) => Number(get(o, 'spec.instances.min') ?? 0), { type: 'integer' }),
      column('Max', (o) => Number(get(o, 'spec.instances.max') ?? 0), { type: 'integer' }),
      column('Sites', places),
      column('Unreachable', unreachable),
      ageColumn,
      column('Move', (o) => (get(o, 'spec.migration.allowed') === false ? 'never' : list(o, 'spec.migration.windows').map((w) => `${show(get(w, 'from'))}-${show(get(w, 'to'))}`).join(',') || 'any time'), { wide: true }),
    ],
    defaults: (o) => defaultPolicy(get(o, 'spec')),
    check: (o) => checkPolicy(get(o, 'spec'), 'spec'),
  }),
  ours('Placement', 'Where an application runs now, and why. Written by the global scheduler, read by everybody else.', placementSpec, placementStatus, {
    shortNames: ['pl'],
    columns: [
      nameColumn,
      column('Where', where),
      column('Ready', ready),
      column('Goals', goalsMet),
      column('Moved', lastMove),
      column('Message', message),
      ageColumn,
    ],
  }),
  allocation,
];
