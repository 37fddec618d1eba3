/** The network kinds. Addresses and ranges are IPv4. */
import { Type } from 'typebox';
import type { Issue, JsonObject, KindDefinition } from '../definition.ts';
import { asText } from '../definition.ts';
import { ageColumn, column, get, integer, issue, list, name, nameColumn, oneOf, ours, port, protocol, show, text } from './define.ts';

const cidr = (description: string): ReturnType<typeof text> => text(description, { format: 'cidr' });
const ipv4 = (description: string): ReturnType<typeof text> => text(description, { format: 'ipv4' });
const mac = text('MAC address.', { format: 'mac' });
const vni = integer('Geneve network identifier, 24 bits.', 1, 0xff_ff_ff);

const phase = {
  phase: oneOf(['Init', 'Provisioned', 'Error'], 'How far the network plane is with it.'),
  message: Type.Optional(text('Why it is in Error.')),
};
const status = Type.Object(phase);
const phaseColumn = column('Phase', 'status.phase');

const backends = Type.Array(Type.Object({ address: ipv4('Address in the VPC.'), port: port('Port of the backend.'), weight: integer('0 drains: flows that exist stay, new ones go elsewhere.', 0, 100) }), { description: 'Who serves it.', maxItems: 4096 });

const relay = Type.Object(
  {
    address: ipv4('Address inside WireGuard, unique in the mesh.'),
    publicKey: text('WireGuard public key.', { minLength: 1 }),
    endpoint: Type.Optional(text('host:port on the uplink; absent for a relay that only dials out.', { format: 'host-port' })),
    interface: name('WireGuard interface.'),
  },
  { description: 'Set on the droplet that relays for its site.' },
);

const endpointSpec = Type.Object({
  type: oneOf(['simple', 'scaled', 'front'], 'One pod interface; one VPC address served by many; a site\'s entrance for clients outside the mesh.'),
  vpc: name('The VPC.'),
  address: ipv4('In the VPC; for a front, on the site\'s uplink.'),
  subnet: Type.Optional(name('simple: the subnet of the address.')),
  mac: Type.Optional(mac),
  droplet: Type.Optional(name('simple: where the pod is.')),
  pod: Type.Optional(Type.Object({ namespace: name('Namespace.'), name: name('Name.'), uid: name('Uid.') }, { description: 'simple: whose interface it is.' })),
  ports: Type.Optional(Type.Array(Type.Object({ port: port('Port.'), protocol }), { description: 'scaled: what is balanced.' })),
  site: Type.Optional(name('front: the site.')),
  port: Type.Optional(port('front: port on the uplink.')),
  protocol: Type.Optional(protocol),
  application: Type.Optional(name('front: whose traffic is counted.')),
  backends: Type.Optional(backends),
});

const NEEDED: Readonly<Record<string, readonly string[]>> = {
  simple: ['subnet', 'mac', 'droplet', 'pod'],
  scaled: ['ports', 'backends'],
  front: ['site', 'port', 'protocol', 'application', 'backends'],
};
const FIELDS = [...new Set(Object.values(NEEDED).flat())];

/** Each type of endpoint has its own fields: all of them, and none of another's. */
function checkEndpoint(object: JsonObject): readonly Issue[] {
  const type = asText(get(object, 'spec.type'));
  const needed = NEEDED[type] ?? [];
  return FIELDS.flatMap((field) => {
    const isSet = get(object, `spec.${field}`) !== undefined;
    if (needed.includes(field)) return isSet ? [] : [issue(`spec.${field}`, `a ${type} endpoint needs it`, 'required')];
    return isSet ? [issue(`spec.${field}`, `a ${type} endpoint has no ${field}`, 'forbidden')] : [];
  });
}

function prefixLength(object: JsonObject): number {
  return Number(asText(get(object, 'spec.cidr')).split('/')[1]);
}

export const mizar: readonly KindDefinition[] = [
  ours('Vpc', 'A tenant\'s address space: ranges of two VPCs may overlap.', Type.Object({ cidr: cidr('The address range.'), vni: Type.Optional(vni), dividers: Type.Optional(integer('Dividers that serve it.', 1, 64)) }), Type.Object({ ...phase, vni: Type.Optional(vni) }), {
    columns: [nameColumn, column('Cidr', 'spec.cidr'), column('Vni', (o) => show(get(o, 'status.vni') ?? get(o, 'spec.vni'))), column('Dividers', 'spec.dividers', { wide: true }), phaseColumn, ageColumn],
    immutable: ['spec.cidr', 'spec.vni'],
    check: (o) => (prefixLength(o) < 8 || prefixLength(o) > 28 ? [issue('spec.cidr', `${show(get(o, 'spec.cidr'))}: a VPC is between /8 and /28`)] : []),
  }),
  ours('Subnet', 'A range of a VPC in one site; `virtual` where the site is another region\'s.', Type.Object({ vpc: name('The VPC.'), cidr: cidr('The range, inside the VPC\'s.'), site: name('The site.'), bouncers: Type.Optional(integer('Bouncers that know every endpoint of it.', 1, 64)), virtual: Type.Optional(Type.Boolean({ description: 'In another region, reached over the relays.' })) }), Type.Object({ ...phase, allocated: Type.Optional(integer('Addresses in use.', 0)) }), {
    shortNames: ['sn'],
    columns: [nameColumn, column('Vpc', 'spec.vpc'), column('Cidr', 'spec.cidr'), column('Site', 'spec.site'), column('Virtual', (o) => String(get(o, 'spec.virtual') === true), { wide: true }), phaseColumn, column('Allocated', (o) => Number(get(o, 'status.allocated') ?? 0), { type: 'integer' }), ageColumn],
    immutable: ['spec.vpc', 'spec.cidr', 'spec.site'],
    selectable: ['spec.vpc', 'spec.site'],
  }),
  ours('Droplet', 'A node\'s interface on the substrate.', Type.Object({ node: name('The node.'), site: name('The site.'), interface: name('Interface.'), address: ipv4('Substrate address.'), mac, relay: Type.Optional(relay), front: Type.Optional(Type.Object({ interface: name('Uplink interface.'), address: ipv4('Address on the uplink.') }, { description: 'Set on the droplet that is its site\'s front.' })) }), Type.Object({ ...phase, goalVersion: Type.Optional(integer('Goal state that the node has acknowledged.', 0)), mode: Type.Optional(text('How its programs are attached.')) }), {
    columns: [nameColumn, column('Site', 'spec.site'), column('Address', 'spec.address'), column('Interface', 'spec.interface', { wide: true }), column('Relay', 'spec.relay.address'), column('Front', 'spec.front.address'), column('Mode', 'status.mode', { wide: true }), column('Goal', (o) => show(get(o, 'status.goalVersion')), { wide: true }), phaseColumn, ageColumn],
    selectable: ['spec.site', 'spec.node'],
  }),
  ours('Bouncer', 'An in-network table that knows every endpoint of a subnet.', Type.Object({ vpc: name('The VPC.'), subnet: name('The subnet.'), droplet: name('Where it is.') }), status, {
    columns: [nameColumn, column('Vpc', 'spec.vpc'), column('Subnet', 'spec.subnet'), column('Droplet', 'spec.droplet'), phaseColumn, ageColumn],
    selectable: ['spec.vpc', 'spec.subnet', 'spec.droplet'],
  }),
  ours('Divider', 'An in-network table that knows which bouncers serve which network of a VPC.', Type.Object({ vpc: name('The VPC.'), droplet: name('Where it is.') }), status, {
    columns: [nameColumn, column('Vpc', 'spec.vpc'), column('Droplet', 'spec.droplet'), phaseColumn, ageColumn],
    selectable: ['spec.vpc', 'spec.droplet'],
  }),
  ours('Endpoint', 'A pod\'s interface, a scaled address, or a site\'s front.', endpointSpec, status, {
    shortNames: ['ep'],
    columns: [nameColumn, column('Type', 'spec.type'), column('Vpc', 'spec.vpc'), column('Address', (o) => `${show(get(o, 'spec.address'))}${get(o, 'spec.port') === undefined ? '' : `:${show(get(o, 'spec.port'))}`}`), column('Droplet', (o) => show(get(o, 'spec.droplet') ?? get(o, 'spec.site'))), column('Backends', (o) => list(o, 'spec.backends').length, { type: 'integer', wide: true }), phaseColumn, ageColumn],
    selectable: ['spec.type', 'spec.vpc', 'spec.subnet', 'spec.droplet', 'spec.site'],
    check: checkEndpoint,
  }),
];
