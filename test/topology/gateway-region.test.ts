import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Site } from '../../api/kinds/mesh.ts';
import { createHttpClient } from '../../api/http-client.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { createAuthority, createRegionAuthority, issueToFiles, pinOf } from '../../certs/authority.ts';
import { enrol, loadIdentity } from '../../certs/enrol.ts';
import { spiffe } from '../../certs/names.ts';
import { revokeSerial } from '../../certs/revocation.ts';
import { createToken } from '../../certs/token.ts';
import { regionStart } from '../../cloud/main.ts';
import { cloudGatewayStart, edgeGatewayStart } from '../../gateway/main.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const { it, run } = suite('gateway/region', { timeoutMs: 30_000 });

it('joins a site to a real region over HTTPS, shows it there, reaches the API from the site, and cuts it off when it is revoked', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'px-gw-region-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const root = createAuthority(join(dir, 'ca'));
  const authority = createRegionAuthority(root, 'r1', join(dir, 'ca'));
  issueToFiles(authority, join(dir, 'cp'), 'region', { uri: spiffe.region('r1'), ips: ['127.0.0.1'], dns: ['localhost'] });
  issueToFiles(authority, join(dir, 'cp'), 'gateway', { uri: spiffe.cloudGateway('r1') });
  const region = await regionStart({ region: 'r1', dataDir: join(dir, 'data'), listen: { port: 0 }, identity: { dir: join(dir, 'cp') }, kubeconfig: join(dir, 'kubeconfig') }, { log: silentLogger });
  t.after(() => region.stop());
  const local = { address: '127.0.0.1', port: 0 };
  const apiPort = Number(new URL(region.url).port);
  const cloud = await cloudGatewayStart({ region: 'r1', identity: { dir: join(dir, 'cp') }, authority: { cert: join(dir, 'ca', 'region-r1.crt'), key: join(dir, 'ca', 'region-r1.key') }, mux: local, enrol: local, mqtt: local, services: { 'region-api': { host: '127.0.0.1', port: apiPort } }, api: { server: `https://127.0.0.1:${apiPort}` } }, { log: silentLogger });
  t.after(() => cloud.stop());
  const as = (name: string, server: string) => {
    const id = loadIdentity(name === 'node' ? join(dir, 's1') : join(dir, 'cp'), name);
    const client = createHttpClient({ server, ca: id.trustPem, credential: { kind: 'certificate', cert: id.chainPem, key: id.keyPem } });
    t.after(() => client.close());
    return client;
  };
  const api = as('region', `https://127.0.0.1:${apiPort}`);
  await api.create<Site>(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: 's1' }, spec: { kind: 'edge', region: 'r1' } });
  const made = createToken({ gateway: `127.0.0.1:${cloud.ports.enrol}`, site: 's1', caPin: pinOf(root.certificate), role: 'edge', lifetimeMs: 60_000 });
  await api.create(Resources.JoinToken, made.object);
  await enrol(made.token, { dir: join(dir, 's1'), node: 'n1', uses: ['gateway', 'node'] });
  const edge = await edgeGatewayStart({ site: 's1', identity: { dir: join(dir, 's1') }, stateDir: join(dir, 's1', 'state'), services: { 'region-api': local } }, { log: silentLogger });
  t.after(() => edge.stop());
  const site = (): Promise<Site> => api.get<Site>(Resources.Site, { tenant: null, namespace: null }, 's1');
  const shown = await until('the site shows as connected', async () => {
    const s = await site();
    return s.status?.gateway?.connected === true ? s : null;
  });
  assert.is(shown.status?.phase, 'Ready');
  const node = as('node', `https://127.0.0.1:${edge.gateway.portOf('@region-api')}`);
  assert.ok((await node.list(Resources.Node)).resourceVersion, 'the agent reaches the API through the site’s gateway, with its own certificate');
  await revokeSerial(api, shown.status?.gateway?.serial ?? '', 'stolen');
  await until('the site is cut off', async () => (await site()).status?.gateway?.connected === false);
  assert.is(edge.gateway.isConnected, false);
});

run();
