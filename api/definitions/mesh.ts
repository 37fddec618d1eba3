/** The kinds of the mesh: sites and joining, presences, and what the global scheduler is asked. */
import { Type } from 'typebox';
import type { Issue, JsonObject, KindDefinition } from '../definition.ts';
import { ageColumn, column, get, integer, issue, labels, list, map, name, nameColumn, number, oneOf, ours, port, protocol, ref, show, text } from './define.ts';
import { checkPodSpec, defaultPodSpec } from './pod.ts';
import { checkPolicy, policySpec } from './policy.ts';

const time = (description: string): ReturnType<typeof text> => text(description, { format: 'date-time' });
const names = (description: string, o: object = {}): ReturnType<typeof Type.Array> => Type.Array(name('Name.'), { description, ...o });

const siteSpec = Type.Object({
  kind: oneOf(['zone', 'edge'], 'A zone of a region, or an edge site attached to it through gateways.'),
  region: name('The region that it belongs to.'),
  location: Type.Optional(Type.Object({ latitude: number('Degrees north.', -90, 90), longitude: number('Degrees east.', -180, 180) })),
  front: Type.Optional(text('Address of the site\'s front on its uplink.', { format: 'ipv4' })),
  labels: Type.Optional(labels('What policies select by.')),
  cost: Type.Optional(number('Cost of one instance-hour.', 0)),
  trust: Type.Optional(number('How far it is trusted; policies may ask for a minimum.', 0)),
});

const siteStatus = Type.Object({
  phase: Type.Optional(oneOf(['Pending', 'Ready', 'Unreachable'], 'State.')),
  lastSeen: Type.Optional(time('When it was heard of last.')),
  nodes: Type.Optional(integer('Nodes that registered.', 0)),
  gateway: Type.Optional(Type.Object({ connected: Type.Boolean(), since: Type.Optional(time('Since when.')), serial: Type.Optional(text('Serial number of its certificate.')) }, { description: 'Its edge gateway.' })),
  message: Type.Optional(Type.String()),
});

const presenceSpec = Type.Object({
  direction: oneOf(['edge-to-cloud', 'cloud-to-edge'], 'Who calls whom.'),
  protocol: oneOf(['http', 'tcp'], 'How it is spoken.'),
  service: Type.Object({ host: name('Host of the real service, as its side sees it.'), port: port('Its port.'), site: Type.Optional(name('cloud-to-edge: the site where it is.')) }, { description: 'The one real service.' }),
  listen: Type.Object({ sites: names('Sites whose gateways have it.', { maxItems: 1000 }), address: Type.Optional(text('Address to listen on.', { format: 'ipv4' })), port: port('Port to listen on.') }, { description: 'Where callers find it.' }),
  callers: Type.Array(text('A SPIFFE id; `*` at the end stands for anything.', { pattern: '^spiffe://[^*]+\\*?$' }), { description: 'Who may call. Empty = nobody.', maxItems: 1000 }),
  allow: Type.Optional(Type.Array(Type.Object({ methods: Type.Array(text('GET, POST, …', { pattern: '^[A-Z]+$' }), { minItems: 1, description: 'Methods.' }), path: text('Path; `*` at the end stands for anything.', { pattern: '^/' }) }), { description: 'HTTP only: what may be asked. Absent = nothing.', maxItems: 1000 })),
});

function checkPresence(o: JsonObject): readonly Issue[] {
  const issues: Issue[] = [];
  const isToEdge = get(o, 'spec.direction') === 'cloud-to-edge';
  if (isToEdge && get(o, 'spec.service.site') === undefined) issues.push(issue('spec.service.site', 'a cloud-to-edge presence names the site of the service', 'required'));
  if (!isToEdge && get(o, 'spec.service.site') !== undefined) issues.push(issue('spec.service.site', 'an edge-to-cloud service is in the region', 'forbidden'));
  if (!isToEdge && list(o, 'spec.listen.sites').length === 0) issues.push(issue('spec.listen.sites', 'names at least one site', 'required'));
  if (get(o, 'spec.protocol') === 'tcp' && get(o, 'spec.allow') !== undefined) issues.push(issue('spec.allow', 'is for protocol http', 'forbidden'));
  return issues;
}

const applicationSpec = Type.Object({
  template: ref('core.v1.PodTemplateSpec', 'The pod, as in a Deployment.'),
  vpc: name('The VPC in which the instances have their addresses.'),
  service: Type.Object({ port: port('Port at every site\'s front.'), targetPort: Type.Optional(port('Port of an instance.')), protocol: Type.Optional(protocol) }, { description: 'How clients reach it.' }),
  capacity: Type.Optional(number('Requests per second that one instance serves.', 0.001)),
  policyRef: Type.Optional(name('A PlacementPolicy of the same namespace.')),
  policy: Type.Optional(policySpec),
});

function checkApplication(o: JsonObject): readonly Issue[] {
  const issues = checkPodSpec(get(o, 'spec.template.spec'), 'spec.template.spec');
  if (get(o, 'spec.policy') !== undefined && get(o, 'spec.policyRef') !== undefined) issues.push(issue('spec.policy', 'give either policy or policyRef', 'forbidden'));
  if (get(o, 'spec.template.spec.nodeName') !== undefined) issues.push(issue('spec.template.spec.nodeName', 'the schedulers choose the node', 'forbidden'));
  if (get(o, 'spec.policy') !== undefined) issues.push(...checkPolicy(get(o, 'spec.policy'), 'spec.policy'));
  return issues;
}

const sitePlacement = Type.Object({ site: name('Site.'), region: name('Region.'), instances: integer('Wanted.', 0), ready: integer('Serving.', 0), state: oneOf(['starting', 'serving', 'draining', 'unreachable'], 'State.'), reason: text('Why here.') });
const placementSpec = Type.Object({
  application: name('The application.'),
  sites: Type.Array(Type.Object({ site: name('Site.'), instances: integer('Instances.', 0), reason: text('Why here.') }), { description: 'Where it is to run.' }),
  plannedAt: Type.Optional(time('When it was planned.')),
});
const placementStatus = Type.Object({
  sites: Type.Optional(Type.Array(sitePlacement)),
  goals: Type.Optional(Type.Array(Type.Object({ clientRegion: Type.String(), goalMs: Type.Number(), predictedMs: Type.Number(), met: Type.Boolean(), servedFrom: Type.String() }))),
  refused: Type.Optional(Type.Array(Type.Object({ site: Type.String(), reason: Type.String() }))),
  moves: Type.Optional(Type.Array(Type.Object({ at: time('When.'), from: Type.Optional(Type.String()), to: Type.Optional(Type.String()), reason: Type.String(), phase: Type.String() }))),
  message: Type.Optional(Type.String()),
});

const open = (description: string): ReturnType<typeof Type.Unsafe<unknown>> => Type.Unsafe<unknown>({ type: 'object', description, 'x-kubernetes-preserve-unknown-fields': true });
const perSite = (o: JsonObject, path: string): string => show(list(o, path).map((s) => `${show(get(s, 'site'))}=${show(get(s, 'instances'))}`).join(','));

export const mesh: readonly KindDefinition[] = [
  ours('Site', 'A place that can run pods.', siteSpec, siteStatus, {
    columns: [nameColumn, column('Kind', 'spec.kind'), column('Region', 'spec.region'), column('Phase', 'status.phase'), column('Nodes', (o) => Number(get(o, 'status.nodes') ?? 0), { type: 'integer' }), column('Front', 'spec.front'), column('Message', 'status.message', { wide: true }), ageColumn],
    immutable: ['spec.kind', 'spec.region'],
    selectable: ['spec.kind', 'spec.region'],
  }),
  ours('JoinToken', 'A right to join one site, once. Only the hash of the secret is kept.', Type.Object({ site: name('The site.'), secretHash: text('SHA-256 of the secret, hex.', { pattern: '^[0-9a-f]{64}$' }), expiresAt: time('When it ends.'), role: oneOf(['edge', 'node'], 'What joins.') }), Type.Object({ usedAt: Type.Optional(time('When it was used.')), usedBy: Type.Optional(text('By whom.')) }), {
    columns: [nameColumn, column('Site', 'spec.site'), column('Role', 'spec.role'), column('Expires', 'spec.expiresAt'), column('Used', (o) => show(get(o, 'status.usedBy'))), ageColumn],
    immutable: ['spec'],
  }),
  ours('Presence', 'A local address and port that stands for one remote service, for named callers.', presenceSpec, Type.Object({ sites: Type.Optional(Type.Unsafe<unknown>({ type: 'object', additionalProperties: { type: 'object', required: ['ready'], properties: { ready: { type: 'boolean' }, address: { type: 'string' }, message: { type: 'string' } } } })) }), {
    shortNames: ['pres'],
    columns: [nameColumn, column('Direction', 'spec.direction'), column('Protocol', 'spec.protocol'), column('Service', (o) => `${show(get(o, 'spec.service.host'))}:${show(get(o, 'spec.service.port'))}`), column('Sites', (o) => show(list(o, 'spec.listen.sites').map(show).join(','))), column('Port', (o) => show(get(o, 'spec.listen.port'))), ageColumn],
    check: checkPresence,
  }),
  ours('Application', 'What a team asks the global scheduler to run.', applicationSpec, Type.Object({ phase: Type.Optional(oneOf(['Pending', 'Placed', 'Unmet'], 'State.')), message: Type.Optional(Type.String()), observedGeneration: Type.Optional(Type.Integer()) }), {
    shortNames: ['app'],
    categories: ['all'],
    columns: [nameColumn, column('Vpc', 'spec.vpc'), column('Port', (o) => show(get(o, 'spec.service.port'))), column('Kind', (o) => (get(o, 'spec.template.spec.virtualMachine') === undefined ? 'container' : 'vm')), column('Policy', (o) => show(get(o, 'spec.policyRef') ?? (get(o, 'spec.policy') === undefined ? '' : 'own'))), column('Phase', 'status.phase'), column('Message', 'status.message', { wide: true }), ageColumn],
    defaults(o) {
      const spec = get(o, 'spec.template.spec');
      if (spec !== undefined && spec !== null && typeof spec === 'object' && !Array.isArray(spec)) defaultPodSpec(spec);
      const service = map(o, 'spec.service');
      service['protocol'] ??= 'TCP';
      if (service['port'] !== undefined) service['targetPort'] ??= service['port'];
    },
    check: checkApplication,
  }),
  ours('PlacementPolicy', 'What an application accepts: latency, cost, places, moves.', policySpec, null, {
    shortNames: ['pp'],
    columns: [nameColumn, column('Latency', (o) => show(list(o, 'spec.latency').map((l) => `p${show(get(l, 'percentile'))}<=${show(get(l, 'milliseconds'))}ms`).join(','))), column('Min', (o) => Number(get(o, 'spec.instances.min') ?? 0), { type: 'integer' }), column('Max', (o) => Number(get(o, 'spec.instances.max') ?? 0), { type: 'integer' }), column('Edge', (o) => String(get(o, 'spec.edgeAllowed') !== false)), ageColumn],
    check: (o) => checkPolicy(get(o, 'spec'), 'spec'),
  }),
  ours('Placement', 'Where an application runs now, and why.', placementSpec, placementStatus, {
    shortNames: ['pl'],
    columns: [nameColumn, column('Wanted', (o) => perSite(o, 'spec.sites')), column('Serving', (o) => show(list(o, 'status.sites').map((s) => `${show(get(s, 'site'))}=${show(get(s, 'ready'))}/${show(get(s, 'instances'))}`).join(','))), column('Message', 'status.message'), ageColumn],
  }),
  ours('TrafficReport', 'Traffic of a site in one window, as the global scheduler saw it.', open('What was counted.'), null, { shortNames: ['tr'] }),
];
