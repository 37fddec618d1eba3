import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import * as assert from 'uvu/assert';
import { createHttpClient } from '../../api/http-client.ts';
import { loadKubeconfig } from '../../api/kubeconfig.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { createAuthority, createRegionAuthority, issueToFiles } from '../../certs/authority.ts';
import { spiffe } from '../../certs/names.ts';
import { regionStart } from '../../cloud/main.ts';
import { suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const until = waiter({ withinMs: 12_000 });
const { it, run } = suite('a region’s certificate', { timeoutMs: 30_000 });
const PLACE = { tenant: 'system', namespace: 'default' } as const;

it('is another one for new handshakes as soon as its files are, and an open watch goes on', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'px-served-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const authority = createRegionAuthority(createAuthority(join(dir, 'ca')), 'r1', join(dir, 'ca'));
  const id = join(dir, 'id');
  const issue = (): string => issueToFiles(authority, id, 'region', { uri: spiffe.region('r1'), dns: ['localhost'], ips: ['127.0.0.1'] }).serial;
  const first = issue();
  const admin = issueToFiles(authority, join(dir, 'admin'), 'admin', { uri: spiffe.admin('a') });
  const pem = (path: string): string => readFileSync(path, 'utf8');
  const client = { key: pem(admin.keyFile), cert: pem(admin.certFile), ca: pem(admin.trustFile) };
  const region = await regionStart({ region: 'r1', dataDir: join(dir, 'data'), listen: { port: 0 }, goal: { port: 0 }, identity: { dir: id }, kubeconfig: join(dir, 'kubeconfig') }, { log: silentLogger });
  t.after(() => region.stop());
  const shownAt = (port: number): Promise<string> => new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ...client, ALPNProtocols: ['h2', 'http/1.1'], checkServerIdentity: () => undefined }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on('error', reject);
  });
  const apiPort = Number(new URL(region.url).port);
  assert.equal([await shownAt(apiPort), await shownAt(region.goalPort)], [first, first]);

  const api = createHttpClient({ server: region.url, ca: client.ca, credential: { kind: 'certificate', cert: client.cert, key: client.key } });
  t.after(() => api.close());
  const seen: string[] = [];
  const gone = new AbortController();
  let ended = false;
  const { resourceVersion } = await api.list(Resources.ConfigMap, PLACE);
  const watching = (async () => {
    for await (const e of api.watch<KubeObject>(Resources.ConfigMap, { ...PLACE, resourceVersion }, gone.signal)) if (e.type === 'ADDED') seen.push(e.object.metadata.name);
  })().catch(() => undefined).finally(() => (ended = true));
  t.after(async () => {
    gone.abort(new Error('over'));
    await watching;
  });

  // Half a rotation is no rotation: a key that does not fit the certificate is not shown.
  const [key, cert] = [pem(join(id, 'region.key')), pem(join(id, 'region.crt'))];
  const second = issue();
  const whole = { key: pem(join(id, 'region.key')), cert: pem(join(id, 'region.crt')) };
  writeFileSync(join(id, 'region.crt'), cert);
  await new Promise((r) => setTimeout(r, 2_500));
  assert.is(await shownAt(apiPort), first);
  assert.not.equal(key, whole.key);
  writeFileSync(join(id, 'region.crt'), whole.cert);
  await until('the API shows the new certificate', async () => (await shownAt(apiPort)) === second);
  await until('the goal state server shows it', async () => (await shownAt(region.goalPort)) === second);
  const access = await loadKubeconfig(join(dir, 'kubeconfig'));
  assert.is(access.credential.kind === 'certificate' && new X509Certificate(access.credential.cert).serialNumber, second, 'and so does the kubeconfig that the region keeps');

  await region.api.localClient().create(Resources.ConfigMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'after', ...PLACE } });
  await until('the old watch hears of what came after', () => seen.includes('after'));
  assert.not(ended);
});

run();
