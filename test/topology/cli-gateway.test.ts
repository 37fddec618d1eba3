/** What an operator asks about gateways, of real ones: whom a presence refused, and a certificate renewed where it was enrolled. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { createHttpClient } from '../../api/http-client.ts';
import type { Presence } from '../../api/kinds/mesh.ts';
import { loadKubeconfig } from '../../api/kubeconfig.ts';
import { Resources } from '../../api/resources.ts';
import { issueToFiles } from '../../certs/authority.ts';
import { loadIdentity } from '../../certs/enrol.ts';
import { spiffe } from '../../certs/names.ts';
import { fetchTls, gatewayPair, httpService } from '../kit/gateway-pair.ts';
import { regionProcess } from '../kit/region-process.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
const { it, run } = suite('command line and gateways', { timeoutMs: 60_000 });

const cli = async (...args: readonly string[]): Promise<string> => (await promisify(execFile)(process.execPath, [MAIN, ...args])).stdout;

it('shows whom a presence refused and why, and renews an identity at its gateway', async (t) => {
  const service = await httpService(t, (_request, response) => response.end('reached'));
  const pair = await gatewayPair(t);
  const id = join(pair.dir, 'region');
  issueToFiles(pair.authority, id, 'region', { uri: spiffe.region('r1'), dns: ['localhost'], ips: ['127.0.0.1'] });
  const kubeconfig = join(pair.dir, 'r1.kubeconfig');
  const region = await regionProcess({ region: 'r1', dataDir: join(pair.dir, 'store'), listen: { port: 0 }, identity: { dir: id }, kubeconfig, logLevel: 'error' });
  t.after(() => region.end('SIGKILL'));
  const client = createHttpClient(await loadKubeconfig(kubeconfig));
  t.after(() => client.close());
  await client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  const metadata = { name: 'web', tenant: 'acme' };
  const spec = { direction: 'edge-to-cloud', protocol: 'http', service: { host: '127.0.0.1', port: service }, listen: { sites: ['s1'], port: 8080 }, callers: ['spiffe://proxima/tenant/acme/*'], allow: [{ methods: ['GET'], path: '/api/*' }] } as const;
  await client.create<Presence>(Resources.Presence, { apiVersion: 'mesh.proxima.io/v1', kind: 'Presence', metadata, spec });
  await pair.presence({ metadata, spec: { ...spec, listen: { ...spec.listen, port: 0 } } });
  const bob = pair.credential(spiffe.tenant('other', 'bob'));
  assert.is((await fetchTls(await pair.portOf(pair.edge, 'acme/web'), '/api/x', bob)).status, 403);
  await until('the refusal reaches the cloud', async () => (await pair.refusals()).some((r) => r.code === 'caller'));

  const at = `127.0.0.1:${pair.ports.enrol}`;
  const traced = JSON.parse(await cli('presence', 'trace', 'acme/web', '--kubeconfig', kubeconfig, '--gateway', at, '-o', 'json')) as { readonly refusals: readonly { readonly caller: string; readonly code: string; readonly site: string }[] };
  assert.equal(traced.refusals.map((r) => [r.caller, r.code, r.site]), [['spiffe://proxima/tenant/other/bob', 'caller', 's1']]);
  const table = await cli('presence', 'trace', 'acme/web', '--kubeconfig', kubeconfig, '--gateway', at);
  assert.match(table, /callers +spiffe:\/\/proxima\/tenant\/acme\/\*[\s\S]*allowed +GET \/api\/\*[\s\S]*is not a caller[\s\S]*next: /);

  const dir = join(pair.dir, 's1');
  const before = loadIdentity(dir, 'node').identity;
  const rotated = JSON.parse(await cli('certs', 'rotate', '--dir', dir, '--use', 'node', '-o', 'json')) as { readonly uri: string; readonly old: string; readonly new: string };
  assert.equal([rotated.uri, rotated.old], [before.uri, before.serial]);
  assert.is(loadIdentity(dir, 'node').identity.serial, rotated.new);
});

run();
