import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { isMeshError } from '../../../api/errors.ts';
import { createAuthority, createRegionAuthority, issueLeaf, pinOf } from '../../../certs/authority.ts';
import { enrol, loadIdentity, renewIfDue } from '../../../certs/enrol.ts';
import { Enrolment } from '../../../certs/enrolment.ts';
import { spiffe } from '../../../certs/names.ts';
import { createToken, decodeToken, encodeToken } from '../../../certs/token.ts';
import { generateKey, keyPem } from '../../../certs/x509.ts';
import { MeshError } from '../../../api/errors.ts';
import { suite } from '../../kit/suite.ts';
import type { CaseContext } from '../../kit/suite.ts';

const { it, run } = suite('certs/enrolment');

interface World {
  readonly dir: string;
  readonly address: string;
  readonly pin: string;
  readonly revoked: Set<string>;
  now: number;
  role: 'edge' | 'node';
}

/** A real HTTPS server over the real Enrolment; tokens in memory. */
async function world(t: CaseContext): Promise<World> {
  const dir = mkdtempSync(join(tmpdir(), 'px-enrol-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const root = createAuthority(join(dir, 'ca'));
  const region = createRegionAuthority(root, 'r1', join(dir, 'ca'));
  const key = generateKey();
  const leaf = issueLeaf(region, { publicKey: key.publicKey, uri: spiffe.cloudGateway('r1') });
  const spent = new Set<string>();
  const w: World = { dir, address: '', pin: pinOf(root.certificate), revoked: new Set(), now: Date.now(), role: 'edge' };
  const enrolment = new Enrolment({
    authority: region,
    endpoints: () => ({ region: 'r1', gateways: ['127.0.0.1:1'], enrol: '127.0.0.1:2' }),
    isRevoked: (s) => w.revoked.has(s),
    now: () => w.now,
    tokens: {
      consume: async (hash, by, admit) => {
        if (spent.has(hash)) throw new MeshError('unauthenticated', 'token was already used at noon');
        const granted = { site: by.site, role: w.role };
        admit(granted);
        spent.add(hash);
        return granted;
      },
    },
  });
  const server = createServer({ key: keyPem(key.privateKey), cert: leaf.chainPem, minVersion: 'TLSv1.3' }, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (d: Buffer) => parts.push(d));
    request.on('end', () => {
      const body: unknown = parts.length === 0 ? null : JSON.parse(Buffer.concat(parts).toString());
      const run = async (): Promise<unknown> => (request.url === '/trust' ? enrolment.trust() : request.url === '/enrol' ? enrolment.enrol(body, 'here') : enrolment.renew(body));
      run().then(
        (answer) => response.end(JSON.stringify(answer)),
        (error: Error) => {
          response.statusCode = 403;
          response.end(JSON.stringify({ kind: isMeshError(error) ? error.kind : 'internal', message: error.message }));
        },
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return Object.assign(w, { address: `127.0.0.1:${(server.address() as AddressInfo).port}` });
}

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as Error).message;
  }
  return 'was not refused';
}

it('joins once with a token and not twice', async (t) => {
  const w = await world(t);
  const { token } = createToken({ gateway: w.address, site: 's1', caPin: w.pin, role: 'edge', lifetimeMs: 60_000 });
  const done = await enrol(token, { dir: join(w.dir, 'a'), node: 'n1', uses: ['gateway', 'node'] });
  assert.equal(done.identities.map((i) => i.uri), ['spiffe://proxima/site/s1/gateway', 'spiffe://proxima/site/s1/node/n1']);
  assert.is(loadIdentity(join(w.dir, 'a'), 'node').identity.node, 'n1');
  assert.match(await refusal(enrol(token, { dir: join(w.dir, 'b'), node: 'n2', uses: ['node'] })), /already used/);
  assert.match(await refusal(enrol(token, { dir: join(w.dir, 'a'), node: 'n1', uses: ['node'] })), /joined already/);
});

it('never shows the secret to a gateway whose authority is not the pinned one', async (t) => {
  const w = await world(t);
  const { token } = createToken({ gateway: w.address, site: 's1', caPin: 'f'.repeat(64), role: 'edge', lifetimeMs: 60_000 });
  assert.match(await refusal(enrol(token, { dir: join(w.dir, 'a'), node: 'n1', uses: ['node'] })), /not the one that the token names/);
});

it('refuses an expired or damaged token before it dials', async () => {
  const ticket = { gateway: '127.0.0.1:1', site: 's', secret: 'x', caPin: 'a'.repeat(64), exp: 1 };
  assert.equal(decodeToken(encodeToken(ticket)), ticket);
  assert.match(await refusal(enrol(encodeToken(ticket), { dir: '/nowhere', node: 'n', uses: ['node'] })), /expired at 1970/);
  for (const text of ['', 'px2.abc', 'px1.', `${encodeToken(ticket).slice(0, 40)}`, encodeToken({ ...ticket, gateway: 'nohost' })]) assert.throws(() => decodeToken(text), /join token: /);
});

it('renews at two thirds, and a certificate that expired long ago, but not a revoked one', async (t) => {
  const w = await world(t);
  const { token } = createToken({ gateway: w.address, site: 's1', caPin: w.pin, role: 'edge', lifetimeMs: 60_000 });
  const dir = join(w.dir, 'a');
  await enrol(token, { dir, node: 'n1', uses: ['gateway'] });
  const first = loadIdentity(dir, 'gateway');
  const day = 86_400_000;
  assert.is(await renewIfDue({ dir, use: 'gateway', gateway: w.address, now: w.now + 19 * day }), false);
  assert.is(await renewIfDue({ dir, use: 'gateway', gateway: w.address, now: w.now + 21 * day }), true);
  const second = loadIdentity(dir, 'gateway');
  assert.is.not(second.identity.serial, first.identity.serial);
  assert.is(second.certificate.subject, first.certificate.subject);
  assert.is(second.certificate.subjectAltName, first.certificate.subjectAltName);
  w.now += 200 * day; // the region's clock; the certificate is long over
  assert.is(await renewIfDue({ dir, use: 'gateway', gateway: w.address, now: w.now }), true);
  const third = loadIdentity(dir, 'gateway');
  assert.ok(third.identity.notAfter > w.now);
  w.revoked.add(third.identity.serial);
  assert.match(await refusal(renewIfDue({ dir, use: 'gateway', gateway: w.address, now: w.now, force: true })), /is revoked/);
});

it('does not spend a further node’s token on a gateway, so that the right command works with it', async (t) => {
  const w = await world(t);
  w.role = 'node';
  const { token } = createToken({ gateway: w.address, site: 's1', caPin: w.pin, role: 'node', lifetimeMs: 60_000 });
  assert.match(await refusal(enrol(token, { dir: join(w.dir, 'a'), node: 'n2', uses: ['gateway', 'node'] })), /lets a node join site s1, not a gateway/);
  const done = await enrol(token, { dir: join(w.dir, 'a'), node: 'n2', uses: ['node'] });
  assert.is(done.identities[0]?.node, 'n2');
});

it('says which port to open when nothing answers', async () => {
  const { token } = createToken({ gateway: '127.0.0.1:1', site: 's1', caPin: 'f'.repeat(64), role: 'edge', lifetimeMs: 60_000 });
  try {
    await enrol(token, { dir: '/nowhere', node: 'n1', uses: ['node'] });
    assert.unreachable();
  } catch (error) {
    assert.ok(isMeshError(error, 'unavailable'));
    assert.match(error.next ?? '', /TCP port 1 of 127\.0\.0\.1/);
  }
});

run();
