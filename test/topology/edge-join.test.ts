import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import * as assert from 'uvu/assert';
import { isMeshError, type ErrorKind } from '../../api/errors.ts';
import { pinOf } from '../../certs/authority.ts';
import { createToken } from '../../certs/token.ts';
import { doctor } from '../../edge/bootstrap/doctor.ts';
import { join, type JoinOptions } from '../../edge/bootstrap/join.ts';
import { ensureTunnelKey } from '../../gateway/tunnel/wireguard.ts';
import { decodeAgentConfig } from '../../edge/config.ts';
import { gatewayPair } from '../kit/gateway-pair.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('join kit', { timeoutMs: 40_000 });
const lan = { interface: 'lo', address: '127.0.0.1' };

async function refusal(work: Promise<unknown>): Promise<{ kind: ErrorKind; message: string; next: string | null }> {
  const error = await work.then(() => assert.unreachable('it was accepted'), (e: unknown) => e);
  assert.ok(isMeshError(error), String(error));
  return error as { kind: ErrorKind; message: string; next: string | null } & Error;
}

it('joins with a token once: keys, certificates, configuration; and says why not the second time', async (t) => {
  const pair = await gatewayPair(t);
  const base = mkdtempSync(path(tmpdir(), 'px-j-'));
  t.after(() => rmSync(base, { recursive: true, force: true }));
  const token = await pair.token('s1');
  const options = (dir: string): JoinOptions => ({ token, dir: path(base, dir), node: 'n2', lan, skipPreflight: true });
  const joined = await join(options('a'));
  assert.equal([joined.site, joined.region], ['s1', 'r1']);
  assert.equal(joined.identities, ['spiffe://proxima/site/s1/gateway', 'spiffe://proxima/site/s1/node/n2']);
  const config = decodeAgentConfig(JSON.parse(readFileSync(joined.files.agent, 'utf8')), joined.files.agent);
  assert.equal([config.site, config.node, config.api.server], ['s1', 'n2', 'https://127.0.0.1:6443']);
  assert.is(statSync(path(base, 'a', 'node.key')).mode & 0o777, 0o600);
  assert.match(joined.next[0] ?? '', /^proxima gateway start --config .*gateway\.json$/);

  const second = await refusal(join(options('b')));
  assert.is(second.kind, 'unauthenticated');
  assert.not.ok(existsSync(path(base, 'b', 'agent.json')));
  const again = await refusal(join(options('a')));
  assert.is(again.kind, 'already-exists');
});

it('writes all that a site needs: relay and its key, probes, entry, and where the next node enrols', async (t) => {
  const pair = await gatewayPair(t);
  const dir = mkdtempSync(path(tmpdir(), 'px-j-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const token = await pair.token('s1');
  const options: JoinOptions = { token, dir, node: 'a-node-with-a-long-name', lan, skipPreflight: true, relay: { address: '100.64.3.1' }, probes: [{ to: 's2', kind: 'site', address: '172.20.4.2', port: 9, protocol: 'tcp' }] };
  // What the daemons would refuse is refused before the token is spent.
  assert.match((await refusal(join({ ...options, relay: { address: '10.0.0.1' } }))).message, /relay: expected an address of 100\.64/);
  assert.is((await refusal(join({ ...options, dataDir: `/${'x'.repeat(80)}` }))).kind, 'invalid');
  assert.is((await refusal(join({ ...options, gatewayLan: '192.168.50.1' }))).kind, 'invalid');
  const { files } = await join(options);
  const agent = decodeAgentConfig(JSON.parse(readFileSync(files.agent, 'utf8')), files.agent);
  assert.is(agent.droplet.relay?.address, '100.64.3.1');
  assert.match(agent.droplet.relay?.interface ?? '', /^pxwg-[0-9a-f]{10}$/);
  assert.is(agent.droplet.relay?.publicKey, ensureTunnelKey(path(dir, 'relay.key')));
  assert.equal(agent.probes.map((p) => p.to), ['s2']);
  const gateway = JSON.parse(readFileSync(files.gateway ?? '', 'utf8')) as { services: Record<string, unknown>; entry: unknown };
  assert.equal(gateway.services['enrol'], { address: '127.0.0.1', port: 7444 });
  assert.equal([gateway.entry, agent.enrol], [{ address: '127.0.0.1', port: 8443 }, '127.0.0.1:7444']);
});

it('refuses a damaged token, an expired one, a foreign authority and a port that is blocked, each by name', async (t) => {
  const pair = await gatewayPair(t);
  const dir = mkdtempSync(path(tmpdir(), 'px-j-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
  const { port } = closed.address() as AddressInfo;
  await new Promise((resolve) => closed.close(resolve));
  const make = (gateway: string, lifetimeMs: number, caPin = pinOf(pair.authority.root)): string => createToken({ gateway, site: 's1', caPin, role: 'edge', lifetimeMs }).token;
  const at = `127.0.0.1:${pair.ports.enrol}`;
  const cases: readonly [token: string, kind: ErrorKind, message: RegExp][] = [
    ['px1.@@', 'invalid', /token/],
    [make(at, -1000), 'expired', /expired/],
    [make(at, 60_000, 'ab'.repeat(32)), 'unauthenticated', /not the one that the token names/],
    [make(at, 60_000), 'unauthenticated', /./],
    [make(`127.0.0.1:${port}`, 60_000), 'unavailable', new RegExp(String(port))],
  ];
  for (const [token, kind, message] of cases) {
    const error = await refusal(join({ token, dir, node: 'n1', lan, skipPreflight: true }));
    assert.is(error.kind, kind, error.message);
    assert.match(error.message, message);
    assert.not.ok(existsSync(path(dir, 'node.key')), 'nothing is written before all is well');
  }
});

it('finds a port in use, a gateway that is not there, and says what to do', async (t) => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, resolve));
  t.after(() => taken.close());
  const { port } = taken.address() as AddressInfo;
  const rows = await doctor({ dir: tmpdir(), gateways: ['127.0.0.1:1'], tcpPorts: [port] });
  const busy = rows.find((r) => r.check === `TCP port ${port}`);
  assert.equal([busy?.ok, busy?.detail, busy?.kind], [false, 'in use', 'port-in-use']);
  assert.match(busy?.fix ?? '', /ss -ltnp/);
  const far = rows.find((r) => r.check === 'gateway 127.0.0.1:1');
  assert.is(far?.ok, false);
  assert.match(far?.fix ?? '', /TCP port 1 of 127\.0\.0\.1/);
  assert.ok(rows.every((r) => r.ok === (r.fix === '')));
});

run();
