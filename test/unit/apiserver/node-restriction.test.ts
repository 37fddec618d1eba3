import * as assert from 'uvu/assert';
import type { JsonObject } from '../../../api/definition.ts';
import { isMeshError } from '../../../api/errors.ts';
import type { Node, Pod } from '../../../api/kinds/core.ts';
import { Resources } from '../../../api/resources.ts';
import { authorize } from '../../../cloud/apiserver/authorize.ts';
import { identityOfCertificate, nodeOf } from '../../../cloud/apiserver/identity.ts';
import { nodeMayWrite } from '../../../cloud/apiserver/node-restriction.ts';
import { testApiServer } from '../../kit/api-server.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('what a node may do', { timeoutMs: 20_000 });

const write = (plural: string, object: JsonObject | null, live: JsonObject | null, site: string | null = 's1'): string => nodeMayWrite(plural, { node: 'n1', site, object, live }) ?? 'allowed';
const node = (name: string, labels: JsonObject = {}, spec?: JsonObject): JsonObject => ({ metadata: { name, labels }, ...(spec === undefined ? {} : { spec }) });
const pod = (nodeName: string, more: { readonly annotations?: JsonObject; readonly labels?: JsonObject; readonly status?: JsonObject } = {}): JsonObject => ({ metadata: { name: 'p', annotations: more.annotations ?? {}, labels: more.labels ?? {} }, spec: { nodeName }, ...(more.status === undefined ? {} : { status: more.status }) });
const SITE = 'mesh.proxima.io/site';

it('writes its own node, and neither another’s nor another site', () => {
  assert.is(write('/nodes', node('n1', { [SITE]: 's1', disk: 'ssd' }), null), 'allowed');
  assert.match(write('/nodes', node('n2'), null), /only what bears its own name/);
  assert.match(write('/nodes', null, node('n2')), /only what bears its own name/);
  assert.match(write('/nodes', node('n1', { [SITE]: 's2' }), null), /mesh\.proxima\.io\/site\]: the certificate is of site s1/);
  assert.match(write('/nodes', node('n1', { 'node-restriction.kubernetes.io/pci': 'yes' }), node('n1')), /not a node's own to set/);
  assert.match(write('/nodes', node('n1'), node('n1', { 'mesh.proxima.io/trusted': 'no' })), /trusted\]: not a node's own/, 'nor does it take one off');
  assert.match(write('/nodes', node('n1', {}, {}), node('n1', {}, { unschedulable: true })), /its own taints and cordon/);
});

it('writes the status of pods bound to it, ends them, and changes nothing that they are', () => {
  assert.is(write('/pods', pod('n1', { status: { phase: 'Running' } }), pod('n1')), 'allowed');
  assert.is(write('/pods', pod('n1', { annotations: { 'mesh.proxima.io/migration': '{}' } }), pod('n1')), 'allowed');
  assert.is(write('/pods', null, pod('n1')), 'allowed');
  assert.match(write('/pods', pod('n2', { status: { phase: 'Failed' } }), pod('n2')), /not bound to node n1/);
  assert.match(write('/pods', null, pod('n2')), /not bound to node n1/);
  assert.match(write('/pods', pod('n1'), pod('')), /not bound to node n1/, 'it does not bind');
  assert.match(write('/pods', pod('n1', { labels: { app: 'bank' } }), pod('n1')), /a pod's status/);
  assert.match(write('/pods', pod('n1', { annotations: { other: '1' } }), pod('n1')), /annotations\[other\]/);
});

it('writes its lease and its droplet', () => {
  const lease = (name: string, namespace: string): JsonObject => ({ metadata: { name, namespace } });
  const droplet = (name: string, of: string, site: string): JsonObject => ({ metadata: { name }, spec: { node: of, site } });
  assert.is(write('coordination.k8s.io/leases', lease('n1', 'node-lease'), null), 'allowed');
  assert.match(write('coordination.k8s.io/leases', lease('n2', 'node-lease'), null), /its own name/);
  assert.match(write('coordination.k8s.io/leases', lease('n1', 'default'), null), /namespace node-lease/);
  assert.is(write('mizar.com/droplets', droplet('n1', 'n1', 's1'), null), 'allowed');
  assert.match(write('mizar.com/droplets', droplet('n1', 'n1', 's2'), null), /certificate is of site s1/);
  assert.match(write('mizar.com/droplets', droplet('n1', 'n1', 's1'), droplet('n1', 'n2', 's1')), /not of node n1/);
});

it('is a node by name, group and URI together', () => {
  const of = (CN: string, O: string, subjectaltname?: string) => identityOfCertificate({ CN, O } as never, subjectaltname);
  const known = of('system:node:n1', 'system:nodes', 'URI:spiffe://proxima/site/s1/node/n1, DNS:n1');
  assert.equal([nodeOf(known), known.site], ['n1', 's1']);
  assert.is(nodeOf(of('system:node:n1', 'system:nodes', 'URI:spiffe://proxima/site/s1/node/n2')), null);
  assert.is(nodeOf(of('system:node:n1', 'system:other')), null);
  assert.is(nodeOf(of('mallory', 'system:nodes')), null);
});

it('reads what it needs', () => {
  const who = { name: 'system:node:n1', groups: ['system:nodes'], tenant: 'system' };
  const may = (verb: 'get' | 'list' | 'create' | 'delete', resource: keyof typeof Resources, tenant: string | null = 'system', subresource = ''): boolean => authorize(who, { verb, resource: Resources[resource], subresource, tenant }) === null;
  for (const kind of ['Node', 'Pod', 'Vpc', 'Subnet', 'Endpoint', 'Droplet', 'ConfigMap'] as const) assert.ok(may('list', kind), kind);
  assert.not(may('list', 'Secret'));
  assert.not(may('list', 'ConfigMap', 'acme'));
  assert.not(may('list', 'ConfigMap', 'all'));
  assert.not(may('list', 'Lease'), 'leases are also the network plane’s claims');
  assert.not(may('create', 'Pod'));
  assert.not(may('create', 'Pod', 'system', 'binding'));
  assert.not(may('create', 'Endpoint'));
  assert.not(may('get', 'Pod', 'acme', 'log'));
});

it('is refused by a server in words, over HTTPS', async (t) => {
  const { server, client } = await testApiServer(t);
  const admin = server.localClient();
  for (const name of ['n1', 'n2']) await admin.create(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
  const made = (name: string, nodeName: string) => admin.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name, tenant: 'system', namespace: 'default' }, spec: { nodeName, containers: [{ name: 'c', image: 'c' }] } } as Pod);
  await made('mine', 'n1');
  await made('theirs', 'n2');
  const n1 = client('system:node:n1', ['system:nodes']);
  const CLUSTER = { tenant: null, namespace: null };
  const PLACE = { tenant: 'system', namespace: 'default' };
  const outcome = (what: Promise<unknown>): Promise<string> => what.then(() => 'allowed', (e: unknown) => (isMeshError(e, 'forbidden') ? e.message : String(e)));
  const status = { status: { phase: 'Running' } };
  assert.is(await outcome(n1.patch<Pod>(Resources.Pod, PLACE, 'mine', status, { subresource: 'status' })), 'allowed');
  assert.is(await outcome(n1.patch(Resources.Pod, PLACE, 'theirs', status, { subresource: 'status' })), 'pods "theirs" is forbidden: User "system:node:n1" cannot update resource "pods" in API group "" by a node: spec.nodeName: the pod is not bound to node n1');
  assert.match(await outcome(n1.delete(Resources.Pod, PLACE, 'theirs', { gracePeriodSeconds: 0 })), /cannot delete resource "pods"/);
  assert.match(await outcome(n1.patch<Node>(Resources.Node, CLUSTER, 'n2', status, { subresource: 'status' })), /only what bears its own name/);
  assert.is(await outcome(n1.patch<Node>(Resources.Node, CLUSTER, 'n1', { metadata: { labels: { disk: 'ssd' } } })), 'allowed');
  assert.is(await outcome(n1.delete(Resources.Pod, PLACE, 'mine', { gracePeriodSeconds: 0 })), 'allowed');
});

run();
