import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import * as assert from 'uvu/assert';
import { createHttpClient, type HttpClient } from '../../api/http-client.ts';
import { Resources } from '../../api/resources.ts';
import { systemClock, type Clock } from '../../base/clock.ts';
import { silentLogger } from '../../base/log.ts';
import { enrol, loadIdentity, type LoadedIdentity } from '../../certs/enrol.ts';
import { Renewal } from '../../edge/agent/renewal.ts';
import { renewedClient } from '../../edge/renewed-client.ts';
import { gatewayPair } from '../kit/gateway-pair.ts';
import { suite } from '../kit/suite.ts';
import type { CaseContext } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const { it, run } = suite('edge/renewal', { timeoutMs: 30_000 });
const DAY_MS = 86_400_000;

/** An API that answers with the serial of the certificate that asks. */
async function mirror(t: CaseContext, own: LoadedIdentity): Promise<(identity: LoadedIdentity) => HttpClient> {
  const server = createServer({ key: own.keyPem, cert: own.chainPem, ca: own.trustPem, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const serial = (request.socket as TLSSocket).getPeerCertificate().serialNumber;
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: serial } }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  return (i) => createHttpClient({ server: `https://127.0.0.1:${port}`, serverName: 'gateway.site.proxima', ca: i.trustPem, credential: { kind: 'certificate', cert: i.chainPem, key: i.keyPem } });
}

it('renews when it is time at the first address that answers, and the client asks with the new certificate', async (t) => {
  const pair = await gatewayPair(t);
  const dir = mkdtempSync(join(tmpdir(), 'px-rn-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  await enrol(await pair.token('s1'), { dir, node: 'n2', uses: ['gateway', 'node'] });
  const before = loadIdentity(dir, 'node');
  const clientOf = await mirror(t, loadIdentity(dir, 'gateway'));
  const api = renewedClient(clientOf(before), systemClock);
  t.after(() => api.close());
  const asked = async (): Promise<string> => (await api.client.get(Resources.Node, { tenant: null, namespace: null }, 'x')).metadata.name;
  assert.is(await asked(), before.identity.serial);

  const renewed: LoadedIdentity[] = [];
  let ahead = 0;
  const clock: Clock = { now: () => Date.now() + ahead, sleep: (_, signal) => systemClock.sleep(50, signal) };
  const renewal = new Renewal({ dir, use: 'node', enrol: `127.0.0.1:1`, clock, log: silentLogger, onRenewed: (i) => (renewed.push(i), api.replace(clientOf(i)), (ahead = 0)) });
  writeFileSync(join(dir, 'endpoints.json'), JSON.stringify({ region: 'r1', gateways: [], enrol: `127.0.0.1:${pair.ports.enrol}` }));
  await renewal.start(t.signal);
  t.after(() => renewal.stop());
  await systemClock.sleep(200);
  assert.is(renewed.length, 0, 'not before its time');
  ahead = 25 * DAY_MS;
  await until('the certificate is renewed', () => renewed.length > 0);
  const after = loadIdentity(dir, 'node');
  assert.is.not(after.identity.serial, before.identity.serial);
  assert.is(after.identity.uri, before.identity.uri);
  assert.is(await asked(), after.identity.serial);
});

run();
