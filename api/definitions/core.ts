/** Kubernetes' core kinds, and Arktos' Tenant and Network. */
import { Type } from 'typebox';
import type { Json, JsonObject, KindDefinition } from '../definition.ts';
import { asText } from '../definition.ts';
import { kindSchema } from '../kubernetes-types.ts';
import { age, ageColumn, column, define, get, issue, labels, list, map, nameColumn, oneOf, ours, show, text } from './define.ts';
import { checkPod, defaultPod, defaultService, podColumns } from './pod.ts';

const finalized = (object: JsonObject, live: JsonObject | null): void => {
  if (live !== null) return;
  object['spec'] = { ...map(object, 'spec'), finalizers: ['kubernetes'] };
  object['status'] = { phase: 'Active' };
};

const containerSpec = Type.Object({
  finalizers: Type.Optional(Type.Array(Type.String(), { description: 'Who must agree before it is removed.' })),
  storageClusterId: Type.Optional(text('The store that holds the tenant.')),
});

export const core: readonly KindDefinition[] = [
  ours('Tenant', 'A tenant: the hard boundary of names, networks, quota and identity.', containerSpec, Type.Object({ phase: Type.Optional(oneOf(['Active', 'Terminating'], 'Active, or being emptied.')) }), {
    columns: [nameColumn, column('Status', 'status.phase'), ageColumn],
    defaults: finalized,
    schema: {
      type: 'object',
      description: 'A tenant: the hard boundary of names, networks, quota and identity.',
      properties: { apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { $ref: 'meta.v1.ObjectMeta' }, spec: containerSpec as never, status: { type: 'object', properties: { phase: { type: 'string', enum: ['Active', 'Terminating'] } } } },
    },
  }),
  define('Namespace', {
    schema: kindSchema('core.v1.Namespace', 'A namespace: where names of a tenant are unique.'),
    shortNames: ['ns'],
    columns: [nameColumn, column('Status', 'status.phase'), ageColumn],
    defaults(object, live) {
      finalized(object, live);
      const meta = map(object, 'metadata');
      meta['labels'] = { ...map(meta, 'labels'), 'kubernetes.io/metadata.name': meta['name'] ?? '' };
    },
  }),
  define('Node', {
    schema: kindSchema('core.v1.Node', 'A node: a machine that runs pods.'),
    shortNames: ['no'],
    columns: [
      nameColumn,
      column('Status', nodeStatus),
      column('Roles', nodeRoles),
      ageColumn,
      column('Version', 'status.nodeInfo.kubeletVersion'),
      column('Site', (o) => show(map(o, 'metadata.labels')['mesh.proxima.io/site'])),
      column('Internal-IP', (o) => nodeAddress(o, 'InternalIP'), { wide: true }),
      column('External-IP', (o) => nodeAddress(o, 'ExternalIP'), { wide: true }),
      column('OS-Image', 'status.nodeInfo.osImage', { wide: true }),
      column('Kernel-Version', 'status.nodeInfo.kernelVersion', { wide: true }),
      column('Container-Runtime', 'status.nodeInfo.containerRuntimeVersion', { wide: true }),
    ],
    selectable: ['spec.unschedulable'],
    defaults: (object) => void (object['spec'] ??= {}),
  }),
  define('Pod', {
    schema: kindSchema('core.v1.Pod', 'A pod: one VM, or one or more containers, with the same life cycle and the same endpoints.'),
    shortNames: ['po'],
    categories: ['all'],
    columns: podColumns,
    selectable: ['spec.nodeName', 'status.phase', 'status.podIP', 'spec.restartPolicy', 'spec.schedulerName', 'spec.serviceAccountName', 'spec.vpc'],
    defaults: defaultPod,
    check: checkPod,
  }),
  define('Event', {
    schema: kindSchema('core.v1.Event', 'An event: something that happened to an object.'),
    shortNames: ['ev'],
    hasStatus: false,
    columns: [
      column('Last Seen', (o, now) => age(get(o, 'lastTimestamp') ?? get(o, 'eventTime') ?? get(o, 'metadata.creationTimestamp'), now)),
      column('Type', 'type'),
      column('Reason', 'reason'),
      column('Object', (o) => `${show(get(o, 'involvedObject.kind')).toLowerCase()}/${show(get(o, 'involvedObject.name'))}`),
      column('Source', (o) => show(get(o, 'source.component') ?? get(o, 'reportingComponent')), { wide: true }),
      column('Message', 'message'),
      column('Count', (o) => Number(get(o, 'count') ?? 1), { wide: true, type: 'integer' }),
      column('Name', 'metadata.name', { wide: true }),
    ],
    selectable: ['involvedObject.kind', 'involvedObject.namespace', 'involvedObject.name', 'involvedObject.uid', 'involvedObject.apiVersion', 'involvedObject.resourceVersion', 'involvedObject.fieldPath', 'reason', 'reportingComponent', 'source', 'type'],
  }),
  define('ConfigMap', {
    schema: kindSchema('core.v1.ConfigMap', 'A config map: settings for pods.'),
    shortNames: ['cm'],
    hasStatus: false,
    columns: [nameColumn, column('Data', (o) => Object.keys(map(o, 'data')).length + Object.keys(map(o, 'binaryData')).length, { type: 'integer' }), ageColumn],
    check: (object, live) => frozen(object, live, ['data', 'binaryData']),
  }),
  define('Secret', {
    schema: kindSchema('core.v1.Secret', 'A secret: credentials for pods.'),
    hasStatus: false,
    columns: [nameColumn, column('Type', 'type'), column('Data', (o) => Object.keys(map(o, 'data')).length, { type: 'integer' }), ageColumn],
    immutable: ['type'],
    defaults: defaultSecret,
    check: (object, live) => frozen(object, live, ['data', 'type']),
  }),
  define('Service', {
    schema: kindSchema('core.v1.Service', 'A service: one name and address for a set of pods.'),
    shortNames: ['svc'],
    categories: ['all'],
    columns: [
      nameColumn,
      column('Type', 'spec.type'),
      column('Cluster-IP', 'spec.clusterIP'),
      column('External-IP', () => '<none>'),
      column('Port(s)', (o) => show(list(o, 'spec.ports').map((p) => `${show(get(p, 'port'))}/${show(get(p, 'protocol'))}`).join(','))),
      ageColumn,
      column('Selector', (o) => show(pairs(map(o, 'spec.selector'))), { wide: true }),
    ],
    defaults: defaultService,
  }),
  define('ServiceAccount', {
    schema: kindSchema('core.v1.ServiceAccount', 'A service account: the identity of pods.'),
    shortNames: ['sa'],
    hasStatus: false,
    columns: [nameColumn, column('Secrets', (o) => list(o, 'secrets').length, { type: 'integer' }), ageColumn],
  }),
  define('Lease', {
    schema: kindSchema('coordination.v1.Lease', 'A lease: who leads, or that a node lives.'),
    hasStatus: false,
    columns: [nameColumn, column('Holder', 'spec.holderIdentity'), ageColumn],
  }),
  ours('Network', 'A network of a tenant, as in Arktos.', Type.Object({ type: Type.Optional(text('mizar or flat.')), vpcID: Type.Optional(text('The VPC.')), service: Type.Optional(labels('Cluster-IP settings.')) }), Type.Object({ phase: Type.Optional(oneOf(['Pending', 'Ready', 'Failed', 'Terminating', 'Unknown'], 'State.')), message: Type.Optional(Type.String()), dnsServiceIP: Type.Optional(Type.String()) }), {
    shortNames: ['net'],
    columns: [nameColumn, column('Type', 'spec.type'), column('Vpc', 'spec.vpcID'), column('Phase', 'status.phase'), ageColumn],
  }),
];

export const pairs = (m: JsonObject): string => Object.entries(m).map(([k, v]) => `${k}=${show(v)}`).join(',');

function frozen(object: JsonObject, live: JsonObject | null, fields: readonly string[]): ReturnType<KindDefinition['check']> {
  if (live?.['immutable'] !== true) return [];
  if (object['immutable'] !== true) return [issue('immutable', 'field is immutable when `immutable` is set', 'forbidden')];
  return fields.filter((f) => JSON.stringify(object[f]) !== JSON.stringify(live[f])).map((f) => issue(f, 'field is immutable when `immutable` is set', 'forbidden'));
}

/** stringData is a way of writing, never stored. */
function defaultSecret(object: JsonObject): void {
  object['type'] ??= 'Opaque';
  const plain = Object.entries(map(object, 'stringData'));
  delete object['stringData'];
  if (plain.length === 0) return;
  object['data'] = { ...map(object, 'data'), ...Object.fromEntries(plain.map(([k, v]) => [k, Buffer.from(asText(v)).toString('base64')])) };
}

function condition(o: JsonObject, type: string): Json | undefined {
  return list(o, 'status.conditions').find((c) => get(c, 'type') === type);
}

function nodeStatus(o: JsonObject): string {
  const status = get(condition(o, 'Ready'), 'status');
  const ready = status === 'True' ? 'Ready' : status === undefined ? 'Unknown' : 'NotReady';
  return get(o, 'spec.unschedulable') === true ? `${ready},SchedulingDisabled` : ready;
}

function nodeRoles(o: JsonObject): string {
  const prefix = 'node-role.kubernetes.io/';
  return show(Object.keys(map(o, 'metadata.labels')).filter((k) => k.startsWith(prefix)).map((k) => k.slice(prefix.length)).join(','));
}

function nodeAddress(o: JsonObject, type: string): string {
  return show(get(list(o, 'status.addresses').find((a) => get(a, 'type') === type), 'address'));
}
