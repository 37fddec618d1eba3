import * as assert from 'uvu/assert';
import { Resources } from '../../api/resources.ts';
import { createHttpClient } from '../../api/http-client.ts';
import { isMeshError } from '../../api/errors.ts';
import type { KubeObject } from '../../api/object.ts';
import { parsePath } from '../../cloud/apiserver/request.ts';
import { testApiServer } from '../kit/api-server.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('url forms', { timeoutMs: 20_000 });

const at = (path: string): string => {
  const p = parsePath(path);
  if (p.kind === 'other') return p.path;
  const { group, version, tenant, namespace, plural, name, subresource } = p.at;
  return [group === '' ? version : `${group}/${version}`, tenant ?? '-', namespace ?? '-', plural, name, subresource].join(' ').trimEnd();
};

it('reads three spellings of one place, and the containers themselves', () => {
  assert.is(at('/api/v1/tenants/acme/namespaces/dev/pods/p/log'), 'v1 acme dev pods p log');
  assert.is(at('/tenants/acme/api/v1/namespaces/dev/pods/p'), 'v1 acme dev pods p');
  assert.is(at('/api/v1/namespaces/dev/pods'), 'v1 - dev pods');
  assert.is(at('/api/v1/tenants'), 'v1 - - tenants');
  assert.is(at('/api/v1/tenants/acme'), 'v1 - - tenants acme');
  assert.is(at('/api/v1/tenants/acme/status'), 'v1 - - tenants acme status');
  assert.is(at('/api/v1/tenants/acme/namespaces'), 'v1 acme - namespaces');
  assert.is(at('/api/v1/tenants/acme/namespaces/dev/status'), 'v1 acme - namespaces dev status');
  assert.is(at('/apis/mizar.com/v1/tenants/all/vpcs'), 'mizar.com/v1 all - vpcs');
  assert.is(at('/tenants/acme/apis/apps/v1/deployments'), 'apps/v1 acme - deployments');
  assert.is(at('/tenants/acme/openapi/v3'), '/openapi/v3');
});

it('refuses a path that hides another', () => {
  for (const path of ['/api/v1/namespaces/a%2Fb/pods', '/api/v1/namespaces/../pods', '/api/v1/pods/%zz']) assert.throws(() => parsePath(path), (e: unknown) => isMeshError(e, 'invalid'));
});

it('takes the tenant from the certificate, and lets a node do its work and nothing else', async (t) => {
  const { server, client } = await testApiServer(t);
  await server.localClient().create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  const user = client('bob', ['tenant:acme']);
  const object: KubeObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', namespace: 'default' } };
  assert.is((await user.create(Resources.ConfigMap, object)).metadata.tenant, 'acme');
  const kindOf = async (what: Promise<unknown>): Promise<string> => what.then(() => 'allowed', (e: unknown) => (isMeshError(e) ? e.kind : String(e)));
  assert.is(await kindOf(user.list(Resources.ConfigMap, { tenant: 'system' })), 'forbidden');
  assert.is(await kindOf(user.list(Resources.ConfigMap, { tenant: 'all' })), 'forbidden');
  assert.is(await kindOf(user.list(Resources.Node)), 'forbidden');
  const node = client('system:node:n1', ['system:nodes']);
  assert.is(await kindOf(node.create(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } })), 'allowed');
  assert.is(await kindOf(node.list(Resources.Pod, { tenant: 'all', fieldSelector: 'spec.nodeName=n1' })), 'allowed');
  assert.is(await kindOf(node.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'x' } })), 'forbidden');
  assert.is(await kindOf(node.create(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'default', tenant: 'acme' } })), 'forbidden');
  assert.is(await kindOf(client('mallory', ['system:nodes']).list(Resources.Node)), 'forbidden', 'the group without the name is nobody');
  assert.is(await kindOf(client('admin', ['system:masters']).list(Resources.ConfigMap, { tenant: 'nobody' })), 'not-found');
});

it('believes tokens it knows, refuses others, strangers, and revoked certificates', async (t) => {
  const revoked = new Set<string>();
  const { server, authority } = await testApiServer(t, { auth: { tokens: [{ token: 'good', identity: { name: 'ops', groups: ['system:masters'], tenant: 'system' } }], isRevoked: (s) => revoked.has(s) } });
  const ask = async (credential: Parameters<typeof createHttpClient>[0]['credential']): Promise<string> => {
    const client = createHttpClient({ server: server.url, ca: authority.ca, credential });
    t.after(() => client.close());
    return client.list(Resources.Tenant).then(() => 'allowed', (e: unknown) => (isMeshError(e) ? e.kind : String(e)));
  };
  assert.is(await ask({ kind: 'token', token: 'good' }), 'allowed');
  assert.is(await ask({ kind: 'token', token: 'bad' }), 'unauthenticated');
  assert.is(await ask({ kind: 'none' }), 'unauthenticated');
  const leaf = authority.issue({ cn: 'admin', o: ['system:masters'] });
  assert.is(await ask({ kind: 'certificate', ...leaf }), 'allowed');
  revoked.add(leaf.serial);
  assert.is(await ask({ kind: 'certificate', ...leaf }), 'unauthenticated');
});

it('empties a deleted namespace and a deleted tenant, then removes them', async (t) => {
  const { server } = await testApiServer(t);
  const client = server.localClient();
  await client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await client.create(Resources.ConfigMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', namespace: 'default', tenant: 'acme' } });
  await client.delete(Resources.Tenant, { tenant: null, namespace: null }, 'acme');
  const left = async (): Promise<number> => (await client.list(Resources.Tenant)).items.filter((i) => i.metadata.name === 'acme').length;
  while ((await left()) > 0) await new Promise((r) => setTimeout(r, 50));
  assert.is((await client.list(Resources.ConfigMap, { tenant: 'all' })).items.length, 0);
});

it('begins a streamed list with the state, marks its end, and answers 410 for a position that is gone', async (t) => {
  const { server, store, access } = await testApiServer(t);
  const a = access('admin', ['system:masters']);
  if (a.credential.kind !== 'certificate') throw new Error('expected a certificate');
  const { Agent, request } = await import('undici');
  const agent = new Agent({ connect: { ca: a.ca ?? '', cert: a.credential.cert, key: a.credential.key } });
  t.after(() => agent.destroy());
  const lines = async (query: string): Promise<{ type: string; object: { metadata: { annotations?: Record<string, string> }; code?: number } }[]> => {
    const r = await request(`${server.url}/api/v1/tenants/system/namespaces?watch=1&timeoutSeconds=1&${query}`, { dispatcher: agent });
    return (await r.body.text()).trim().split('\n').map((l) => JSON.parse(l) as never);
  };
  const streamed = await lines('sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan');
  assert.equal(streamed.slice(0, 4).map((e) => e.type), ['ADDED', 'ADDED', 'ADDED', 'BOOKMARK']);
  assert.is(streamed[3]?.object.metadata.annotations?.['k8s.io/initial-events-end'], 'true');
  await store.compact(await store.revision());
  const expired = await lines('resourceVersion=1');
  assert.is(expired[0]?.type, 'ERROR');
  assert.is(expired[0]?.object.code, 410);
});

run();
