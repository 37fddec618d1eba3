import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createAuthority, createRegionAuthority, issueCrl, issueLeaf, issueToFiles, loadAuthority, loadRoot, pemOf, verifyChain } from '../../../certs/authority.ts';
import { identityOf, matchesPattern, parseSpiffe, spiffe } from '../../../certs/names.ts';
import { createCsr, generateKey, verifyCsr } from '../../../certs/x509.ts';
import { suite } from '../../kit/suite.ts';
import type { CaseContext } from '../../kit/suite.ts';

const { it, run } = suite('certs/authority');

function folder(t: CaseContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'px-certs-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

it('makes a chain that openssl verifies, with private keys that only the owner reads', (t) => {
  const dir = folder(t);
  const root = createAuthority(dir);
  const region = createRegionAuthority(root, 'r1', dir);
  assert.is(statSync(join(dir, 'root.key')).mode & 0o777, 0o600);
  const leaf = issueToFiles(region, dir, 'leaf', { uri: spiffe.cloudGateway('r1'), dns: ['gw.example'], ips: ['192.0.2.1', '2001:db8::1'] });
  writeFileSync(join(dir, 'only-root.pem'), pemOf(root.certificate));
  const out = execFileSync('openssl', ['verify', '-x509_strict', '-CAfile', join(dir, 'only-root.pem'), '-untrusted', join(dir, 'region-r1.crt'), '-verify_ip', '2001:db8::1', leaf.certFile], { encoding: 'utf8' });
  assert.match(out, /: OK/);
  assert.is(loadRoot(dir).certificate.fingerprint256, root.certificate.fingerprint256);
  assert.is(loadAuthority(join(dir, 'region-r1.crt'), join(dir, 'region-r1.key')).root.fingerprint256, root.certificate.fingerprint256);
  assert.throws(() => createAuthority(dir), /this folder has an authority/);
});

it('lets openssl see a revoked leaf through our CRL', (t) => {
  const dir = folder(t);
  const root = createAuthority(dir);
  const region = createRegionAuthority(root, 'r1', dir);
  const good = issueToFiles(region, dir, 'good', { uri: spiffe.gateway('s1') });
  const bad = issueToFiles(region, dir, 'bad', { uri: spiffe.gateway('s2') });
  writeFileSync(join(dir, 'crl.pem'), issueCrl(region, [{ serial: bad.serial, at: new Date() }], { number: 7 }));
  const check = (file: string): string => {
    const r = spawnSync('openssl', ['verify', '-crl_check', '-CAfile', join(dir, 'region-r1.crt'), '-partial_chain', '-CRLfile', join(dir, 'crl.pem'), file], { encoding: 'utf8' });
    return r.stdout + r.stderr;
  };
  assert.match(check(good.certFile), /: OK/);
  assert.match(check(bad.certFile), /certificate revoked/);
});

it('writes requests that openssl verifies and refuses one whose signature is another key’s', (t) => {
  const dir = folder(t);
  const key = generateKey();
  const csr = createCsr({ commonName: 'x' }, key);
  writeFileSync(join(dir, 'csr.pem'), csr);
  const r = spawnSync('openssl', ['req', '-verify', '-noout', '-in', join(dir, 'csr.pem')], { encoding: 'utf8' });
  assert.match(r.stdout + r.stderr, /verify OK/);
  assert.ok(verifyCsr(csr).equals(key.publicKey));
  const other = createCsr({ commonName: 'x' }, { publicKey: generateKey().publicKey, privateKey: key.privateKey });
  assert.throws(() => verifyCsr(other), /signature does not match/);
  assert.throws(() => verifyCsr('nonsense'), /expected one PEM/);
});

it('takes a request made by openssl', (t) => {
  const dir = folder(t);
  execFileSync('openssl', ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', join(dir, 'k'), '-out', join(dir, 'c'), '-subj', '/CN=a', '-addext', 'subjectAltName=DNS:evil.example'], { stdio: 'ignore' });
  const csr = execFileSync('cat', [join(dir, 'c')], { encoding: 'utf8' });
  const key = createPrivateKey(execFileSync('cat', [join(dir, 'k')]));
  const region = createAuthority(join(dir, 'ca'));
  const issued = issueLeaf(region, { publicKey: verifyCsr(csr), uri: spiffe.node('s1', 'n1') });
  assert.ok(issued.certificate.checkPrivateKey(key));
  assert.not.ok((issued.certificate.subjectAltName ?? '').includes('evil'), 'names asked for are not given');
});

it('gives Kubernetes its user and groups', (t) => {
  const root = createAuthority(folder(t));
  const of = (uri: string): X509Certificate => issueLeaf(root, { publicKey: generateKey().publicKey, uri }).certificate;
  assert.is(of(spiffe.node('s1', 'n1')).subject, 'O=system:nodes\nCN=system:node:n1');
  assert.is(of(spiffe.tenant('acme', 'ann')).subject, 'O=tenant:acme\nCN=ann');
  assert.is(of(spiffe.global()).subject, 'O=system:masters\nCN=global');
});

it('reads an identity from one of our URIs and from nothing else', (t) => {
  const root = createAuthority(folder(t));
  const id = identityOf(issueLeaf(root, { publicKey: generateKey().publicKey, uri: spiffe.node('s1', 'n1') }).certificate);
  assert.is(id.kind, 'node');
  assert.is(id.site, 's1');
  assert.is(id.node, 'n1');
  assert.throws(() => identityOf(root.certificate), /names no mesh identity/);
  for (const uri of ['spiffe://other/global', 'spiffe://proxima/site/a', 'spiffe://proxima/site/../gateway', 'spiffe://proxima/site/a/gateway/x', 'spiffe://proxima/tenant//x']) assert.is(parseSpiffe(uri), null, uri);
  assert.throws(() => spiffe.gateway('A b'), /site: expected/);
});

it('matches a pattern only as a whole or as a prefix with a star', () => {
  assert.ok(matchesPattern('spiffe://proxima/site/a/*', 'spiffe://proxima/site/a/node/x'));
  assert.not.ok(matchesPattern('spiffe://proxima/site/a', 'spiffe://proxima/site/ab'));
  assert.not.ok(matchesPattern('*', 'spiffe://proxima/global'), 'a bare star names nobody');
});

it('tells why a chain is not accepted', (t) => {
  const dir = folder(t);
  const root = createAuthority(dir);
  const region = createRegionAuthority(root, 'r1', dir);
  const stranger = createAuthority(join(dir, 'other'));
  const leaf = issueLeaf(region, { publicKey: generateKey().publicKey, uri: spiffe.gateway('s1'), lifetimeMs: 1000 }).certificate;
  const chain = [leaf, region.certificate];
  const reason = (v: ReturnType<typeof verifyChain>): string => (v.ok ? 'ok' : v.reason);
  assert.is(reason(verifyChain(chain, [root.certificate], Date.now())), 'ok');
  assert.match(reason(verifyChain(chain, [root.certificate], Date.now() + 5000)), /expired/);
  assert.is(reason(verifyChain(chain, [root.certificate], null)), 'ok');
  assert.match(reason(verifyChain(chain, [stranger.certificate], Date.now())), /not issued by this mesh/);
  assert.match(reason(verifyChain([leaf], [root.certificate], Date.now())), /not issued by this mesh/);
});

run();
