import * as assert from 'uvu/assert';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { JsonObject } from '../../../api/definition.ts';
import { definitions } from '../../../api/definitions.ts';
import { isMeshError, type MeshError } from '../../../api/errors.ts';
import { Resources, type ResourceName } from '../../../api/resources.ts';
import { admit } from '../../../cloud/apiserver/admission.ts';
import { masterIdentity } from '../../../cloud/apiserver/identity.ts';
import { decodeJson } from '../../../api/decode.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('schemas');

function tryAdmit(name: ResourceName, body: object, live: JsonObject | null = null): { readonly object: JsonObject; readonly error: MeshError | null } {
  const object = JSON.parse(JSON.stringify({ metadata: { name: 'x' }, ...body })) as JsonObject;
  try {
    admit(definitions[name], object, live, { who: masterIdentity, fieldValidation: 'Ignore', warnings: [] });
    return { object, error: null };
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return { object, error };
  }
}

const path = (name: ResourceName, body: object): unknown => tryAdmit(name, body).error?.fields['path'];

it('names the field that is wrong', () => {
  const policy = (o: object): object => ({ spec: { instances: { min: 1, max: 2 }, ...o } });
  const cases: readonly (readonly [ResourceName, object, string])[] = [
    ['Vpc', { spec: { cidr: '10.0.0.0/33' } }, 'spec.cidr'],
    ['Vpc', { spec: { cidr: '10.0.0.1/16' } }, 'spec.cidr'],
    ['Vpc', { spec: { cidr: '10.0.0.0/16', vni: 16_777_216 } }, 'spec.vni'],
    ['Vpc', { spec: {} }, 'spec.cidr'],
    ['Vpc', {}, 'spec'],
    ['PlacementPolicy', policy({ instances: { min: 3, max: 2 } }), 'spec.instances.min'],
    ['PlacementPolicy', policy({ latencyy: [] }), 'spec.latencyy'],
    ['PlacementPolicy', policy({ latency: [{ percentile: 101, milliseconds: 5 }] }), 'spec.latency[0].percentile'],
    ['PlacementPolicy', policy({ unreachable: { action: 'panic', afterSeconds: 1 } }), 'spec.unreachable.action'],
    ['Presence', { spec: { direction: 'edge-to-cloud', protocol: 'http', service: { host: 'h', port: 70_000 }, listen: { sites: ['s'], port: 80 }, callers: [] } }, 'spec.service.port'],
    ['Presence', { spec: { direction: 'edge-to-cloud', protocol: 'tcp', service: { host: 'h', port: 7 }, listen: { sites: ['s'], port: 80 }, callers: ['bob'] } }, 'spec.callers[0]'],
    ['Endpoint', { spec: { type: 'simple', vpc: 'v', address: '10.0.0.1', subnet: 's', mac: '02:00:00:00:00:01', droplet: 'd' } }, 'spec.pod'],
    ['Endpoint', { spec: { type: 'front', vpc: 'v', site: 's', address: '10.0.0.1', port: 80, protocol: 'TCP', application: 'a', backends: [{ address: '10.0.0.2', port: 80, weight: 101 }] } }, 'spec.backends[0].weight'],
    ['Site', { spec: { kind: 'cellar', region: 'r' } }, 'spec.kind'],
    ['JoinToken', { spec: { site: 's', secretHash: 'abc', expiresAt: '2030-01-01T00:00:00Z', role: 'edge' } }, 'spec.secretHash'],
    ['Application', { spec: { vpc: 'v', service: { port: 80 }, template: { spec: { containers: [{ name: 'a', image: 'i', ports: [{ containerPort: 0 }] }] } } } }, 'spec.template.spec.containers[0].ports[0].containerPort'],
    ['Application', { spec: { vpc: 'v', service: { port: 80 }, template: { spec: { containers: [{ name: 'a', image: 'i', resources: { requests: { cpu: '5 cores' } } }] } } } }, 'spec.template.spec.containers[0].resources.requests[cpu]'],
    ['Pod', { spec: { containers: [] } }, 'spec.containers'],
    ['Pod', { spec: { containers: [{ name: 'A', image: 'i' }] } }, 'spec.containers[0].name'],
    ['Pod', { spec: { virtualMachine: { name: 'v' } } }, 'spec.virtualMachine.image'],
    ['Deployment', { spec: { selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels: { a: 'c' } }, spec: { containers: [{ name: 'a', image: 'i' }] } } } }, 'spec.template.metadata.labels'],
    ['ConfigMap', { metadata: { name: 'No Good' } }, 'metadata.name'],
  ];
  for (const [name, body, expected] of cases) assert.is(path(name, body), expected, `${name} ${JSON.stringify(body)}`);
});

it('takes the example tenant as it is', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/examples/acme.yaml'), 'utf8');
  const documents = parseAllDocuments(text);
  if (!Array.isArray(documents)) throw new Error('no documents');
  for (const d of documents) {
    const body = d.toJS() as { kind: ResourceName };
    assert.is(tryAdmit(body.kind, body).error, null, body.kind);
  }
});

it('fills in what the protocol promises, and the container that stands for a VM', () => {
  const { object } = tryAdmit('Pod', { spec: { virtualMachine: { name: 'vm1', image: 'img' } } });
  const spec = object['spec'] as JsonObject;
  assert.is(spec['restartPolicy'], 'Always');
  assert.equal((spec['containers'] as JsonObject[]).map((c) => [c['name'], c['image']]), [['vm1', 'img']]);
  const deployment = tryAdmit('Deployment', { spec: { selector: { matchLabels: { a: 'b' } }, template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'a', image: 'i', ports: [{ containerPort: 80 }] }] } } } }).object;
  const text = JSON.stringify(deployment);
  assert.match(text, /"replicas":1/);
  assert.match(text, /"protocol":"TCP"/);
  assert.match(text, /"maxSurge":"25%"/);
});

it('keeps what must not change', () => {
  const live = tryAdmit('Vpc', { spec: { cidr: '10.0.0.0/16' } }).object;
  assert.is(tryAdmit('Vpc', { spec: { cidr: '10.1.0.0/16' } }, live).error?.fields['path'], 'spec.cidr');
  const pod = tryAdmit('Pod', { spec: { containers: [{ name: 'a', image: 'i' }] } }).object;
  assert.is(tryAdmit('Pod', { spec: { containers: [{ name: 'a', image: 'j' }] } }, pod).error, null, 'an image may change');
  assert.is(tryAdmit('Pod', { spec: { containers: [{ name: 'a', image: 'i' }], nodeName: 'n' } }, pod).error, null, 'a node may be given');
  assert.is(tryAdmit('Pod', { spec: { containers: [{ name: 'a', image: 'i' }], vpc: 'other' } }, pod).error?.fields['path'], 'spec');
});

it('has a definition with columns for every resource', () => {
  for (const name of Object.keys(Resources) as ResourceName[]) {
    const d = definitions[name];
    assert.ok(d.columns.length >= 2, name);
    for (const c of d.columns) assert.ok(['string', 'number'].includes(typeof c.value({}, 0)), `${name} ${c.name} of an empty object`);
  }
});

it('bounds what it reads', () => {
  const nested = Buffer.from(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
  for (const bytes of [nested, Buffer.from('{"a":'), Buffer.from('{"__proto__":{"x":1}}'), Buffer.from(JSON.stringify(Array.from({ length: 30_000 }, () => 0)))]) {
    assert.throws(() => decodeJson(bytes), (e: unknown) => isMeshError(e));
  }
});

run();
