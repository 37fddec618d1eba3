/** The kinds of the mesh: sites and joining, presences, and what the global scheduler is asked. */
import { Type } from 'typebox';
import type { Issue, JsonObject, KindDefinition } from '../definition.ts';
import { ageColumn, column, get, integer, issue, labels, list, name, nameColumn, number, oneOf, ours, port, show, text } from './define.ts';
import { placing } from './placing.ts';

const time = (description: string): ReturnType<typeof text> => text(description, { format: 'date-time' });
const names = (description: string, o: object = {}): ReturnType<typeof Type.Array> => Type.Array(name('Name.'), { description, ...o });

const siteSpec = Type.Object({
  kind: oneOf(['zone', 'edge'], 'A zone of a region, or an edge site attached to it through gateways.'),
  region: name('The region that it belongs to.'),
  location: Type.Optional(Type.Object({ latitude: number('Degrees north.', -90, 90), longitude: number('Degrees east.', -180, 180) })),
  front: Type.Optional(text('Address of the site\'s front on its uplink.', { format: 'ipv4' })),
  labels: Type.Optional(labels('What policies select by.')),
  cost: Type.Optional(number('Cost of one instance-hour, in the unit that all sites share. Absent: 1.', 0)),
  trust: Type.Optional(number('How far it is trusted; policies may ask for a minimum (minTrust). Absent: 1.', 0)),
  carbon: Type.Optional(number('Carbon of one instance-hour, in the unit that all sites share (grams of CO2-equivalent, say). Absent: 0.', 0)),
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

const open = (description: string): ReturnType<typeof Type.Unsafe<unknown>> => Type.Unsafe<unknown>({ type: 'object', description, 'x-kubernetes-preserve-unknown-fields': true });
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
  ...placing,
  ours('TrafficReport', 'Traffic of a site in one window, as the global scheduler saw it.', open('What was counted.'), null, { shortNames: ['tr'] }),
];
