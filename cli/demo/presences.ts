/** Single services across the gateways: an edge application reaches two services of its region, and everything that was not promised is refused. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { execa } from 'execa';
import { issueToFiles } from '../../certs/authority.ts';
import { spiffe } from '../../certs/names.ts';
import type { Call, CallResult } from './caller.ts';
import type { SiteFacts } from './facts.ts';
import { type Report, until } from './report.ts';
import type { Stage } from './stage.ts';

const HTTP_PORT = 8_090;
const TCP_PORT = 8_091;
const ENTRY_PORT = 8_443;
const SERVICE_HTTP = 9_090;
const SERVICE_TCP = 9_091;

/** What stands in the region: plain services that know nothing of gateways. */
const SERVICES = `
require('node:http').createServer((q, s) => s.end(JSON.stringify({ service: 'catalog', method: q.method, path: q.url, caller: q.headers['x-proxima-caller'] }) + '\\n')).listen(${SERVICE_HTTP});
require('node:net').createServer((c) => { c.on('error', () => c.destroy()); c.on('data', (d) => c.write('ledger:' + d)); }).listen(${SERVICE_TCP});
`;

function manifest(site: string, host: string): string {
  const presence = (name: string, spec: object): object => ({ apiVersion: 'mesh.proxima.io/v1', kind: 'Presence', metadata: { name, tenant: 'acme' }, spec });
  const callers = [spiffe.tenant('acme', 'till'), spiffe.tenant('acme', 'till-revoked')];
  return JSON.stringify({
    apiVersion: 'v1', kind: 'List', items: [
      presence('catalog', { direction: 'edge-to-cloud', protocol: 'http', service: { host, port: SERVICE_HTTP }, listen: { sites: [site], port: HTTP_PORT }, callers, allow: [{ methods: ['GET'], path: '/items*' }] }),
      presence('ledger', { direction: 'edge-to-cloud', protocol: 'tcp', service: { host, port: SERVICE_TCP }, listen: { sites: [site], port: TCP_PORT }, callers }),
    ],
  });
}

async function ask(site: SiteFacts, call: Call): Promise<CallResult> {
  // From the site's further node where it has one: across the site's network.
  const from = site.others[0] ?? site.gateway;
  const { stdout } = await execa('nsenter', [`--net=/run/netns/${from.netns}`, '--', process.execPath, join(import.meta.dirname, 'caller.ts'), JSON.stringify(call)]);
  return JSON.parse(stdout) as CallResult;
}

const reasonOf = (r: CallResult): string => {
  try {
    const body = JSON.parse(r.text) as { code?: string; reason?: string };
    return `${r.status ?? 'closed'} ${body.code ?? ''}: ${body.reason ?? ''}`;
  } catch {
    return `${r.status ?? 'closed'}: ${r.text}`; // not every refusal can be put in words: a TLS handshake ends
  }
};

export async function showPresences(stage: Stage, report: Report, site: SiteFacts, usedToken: string): Promise<void> {
  const { mesh, processes } = stage;
  const control = stage.facts.regions.find((r) => r.name === site.region)?.control;
  if (control === undefined) throw new Error(`no region ${site.region}`);
  processes.start({ name: 'services', netns: control.netns, argv: [process.execPath, '-e', SERVICES] });
  const dir = mesh.path('callers');
  for (const who of ['till', 'stranger', 'till-revoked']) issueToFiles(mesh.authority(site.region), dir, who, { uri: spiffe.tenant('acme', who), usage: ['client'] });
  const file = mesh.path('presences.json');
  writeFileSync(file, manifest(site.name, '127.0.0.1'));
  report.say(`kubectl apply: presences catalog (HTTP, GET /items* only) and ledger (TCP) at ${site.name}, for ${spiffe.tenant('acme', 'till')}`);
  await mesh.kubectl(site.region, ['apply', '-f', file]);
  const base = { host: site.gateway.lan, serverName: `gateway.${site.name}.site.proxima`, dir };
  const http = (use: string, method: string, path: string): Promise<CallResult> => ask(site, { ...base, kind: 'http', port: HTTP_PORT, use, method, path });
  const good = await until('the presence answering', 20_000, async () => {
    const r = await http('till', 'GET', '/items/1');
    if (!r.ok) throw new Error(reasonOf(r));
    return r;
  }, 500);
  report.check('HTTP presence of a region\'s service, called at the edge', good.text, good.text.includes('"service":"catalog"') && good.text.includes(spiffe.tenant('acme', 'till')));
  const ledger = await ask(site, { ...base, kind: 'tcp', port: TCP_PORT, use: 'till', payload: 'entry 7\n' });
  report.check('TCP presence of a region\'s service, called at the edge', ledger.text, ledger.text === 'ledger:entry 7');
  await showRefusals(stage, report, site, usedToken, http, { ...base, kind: 'http', port: ENTRY_PORT, use: 'till', method: 'GET', path: '/' });
}

async function showRefusals(stage: Stage, report: Report, site: SiteFacts, usedToken: string, http: (use: string, method: string, path: string) => Promise<CallResult>, entry: Call): Promise<void> {
  const refused = (what: string, r: CallResult, code: string): void => void report.check(`refused: ${what}`, reasonOf(r), !r.ok && (r.text.includes(`"${code}"`) || r.status === null));
  refused('a service that is not exposed', await ask(site, { ...entry, hostHeader: 'payroll.acme' }), 'notExposed');
  refused('a caller that is not named', await http('stranger', 'GET', '/items/1'), 'caller');
  refused('a method that is not allowed', await http('till', 'POST', '/items/1'), 'method');
  const before = await http('till-revoked', 'GET', '/items/1');
  const serial = new X509Certificate(readFileSync(join(entry.dir, 'till-revoked.crt'))).serialNumber;
  await revoke(stage, site.region, serial);
  const after = await until('the revocation reaching the gateways', 20_000, async () => {
    const r = await http('till-revoked', 'GET', '/items/1');
    return r.ok ? null : r;
  }, 250);
  report.check('refused: a revoked certificate, which worked before', reasonOf(after), before.ok && !after.ok);
  const again = await joinAgain(stage, site, usedToken);
  report.check('refused: the second use of a join token', again, /already used/.test(again));
}

async function revoke(stage: Stage, region: string, serial: string): Promise<void> {
  const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'proxima-revocations', namespace: 'default' }, data: { [serial]: `${new Date().toISOString()} shown in the demo` } };
  const file = stage.mesh.path('revocations.json');
  writeFileSync(file, JSON.stringify(map));
  await stage.mesh.kubectl(region, ['apply', '-f', file]);
}

async function joinAgain(stage: Stage, site: SiteFacts, token: string): Promise<string> {
  try {
    await stage.mesh.cli(site.gateway.netns, ['join', token, '--dir', stage.mesh.path('again'), '--node', 'again', '--lan', `eth2=${site.gateway.lan}`, '--gateway-lan', site.gateway.lan, '--no-preflight']);
    return 'it was accepted';
  } catch (error) {
    return (error as Error).message.split(' next:')[0] ?? '';
  }
}
