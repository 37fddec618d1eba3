import * as assert from 'uvu/assert';
import type { Node } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { revokedEntries, revokeSerial, REVOCATIONS_NAME, REVOCATIONS_PLACE } from '../../certs/revocation.ts';
import type { RevocationMap } from '../../certs/revocation.ts';
import { ApiTokenPort } from '../../certs/token-store.ts';
import { createToken, decodeToken, hashSecret } from '../../certs/token.ts';
import { memoryClient } from '../kit/memory-client.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('contract/token port');
const by = { site: 's1', node: 'n1', address: '192.0.2.1' };

it('lets exactly one of many racing users through, and tells the others when and by whom', async () => {
  const client = await memoryClient();
  const made = createToken({ gateway: 'h:1', site: 's1', caPin: 'a'.repeat(64), role: 'edge', lifetimeMs: 60_000 });
  await client.create(Resources.JoinToken, made.object);
  const hash = hashSecret(decodeToken(made.token).secret);
  assert.not.ok(JSON.stringify(made.object).includes(decodeToken(made.token).secret), 'the secret is not stored');
  const port = new ApiTokenPort(client, { now: Date.now });
  const results = await Promise.allSettled(Array.from({ length: 16 }, () => port.consume(hash, by, () => undefined)));
  const won = results.filter((r) => r.status === 'fulfilled');
  assert.is(won.length, 1);
  for (const r of results) if (r.status === 'rejected') assert.match((r.reason as Error).message, /token was already used at 20.* by n1 \(192\.0\.2\.1\)/);
});

it('refuses an unknown, an expired and another site’s token', async () => {
  const client = await memoryClient();
  const made = createToken({ gateway: 'h:1', site: 's1', caPin: 'a'.repeat(64), role: 'node', lifetimeMs: 1_000 });
  await client.create(Resources.JoinToken, made.object);
  const hash = hashSecret(decodeToken(made.token).secret);
  const refusal = async (at: number, h: string, who: typeof by, admit = (): void => undefined): Promise<string> => new ApiTokenPort(client, { now: () => at }).consume(h, who, admit).then(() => 'taken', (e: Error) => e.message);
  assert.match(await refusal(Date.now(), 'f'.repeat(64), by), /not known/);
  assert.match(await refusal(Date.now() + 5_000, hash, by), /expired at/);
  assert.match(await refusal(Date.now(), hash, { ...by, site: 's2' }), /for site s1, not s2/);
  const nobody = (): void => {
    throw new Error('not admitted');
  };
  assert.match(await refusal(Date.now(), hash, by, nobody), /not admitted/);
  await client.create<Node>(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n9', labels: { 'mesh.proxima.io/site': 's2' } } });
  assert.match(await refusal(Date.now(), hash, { ...by, node: 'n9' }), /node n9 is a node of site s2 already/);
  assert.is(await refusal(Date.now(), hash, by), 'taken', 'a refusal spends nothing');
});

it('keeps every revocation when two operators revoke at once', async () => {
  const client = await memoryClient();
  await Promise.all(['AA', 'bb:cc'].map((s) => revokeSerial(client, s, 'lost')));
  const map = await client.get<RevocationMap>(Resources.ConfigMap, REVOCATIONS_PLACE, REVOCATIONS_NAME);
  assert.equal(revokedEntries(map).map((r) => r.serial).sort(), ['AA', 'BBCC']);
});

run();
