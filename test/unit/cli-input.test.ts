import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { documentsIn, trafficIn } from '../../cli/input-files.ts';
import { decodeTokens } from '../../cloud/tokens.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('input files');

it('reads objects of several documents, files and lists in their order, and says what is no YAML', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'px-input-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const names = async (...files: readonly string[]): Promise<unknown> => (await documentsIn(files)).map((d) => (d as { readonly n?: number }).n);
  assert.deepEqual(await names(file('a.yaml', 'n: 1\n---\n---\nkind: List\nitems: [{n: 2}, {n: 3}]\n'), file('b.json', '{"n": 4}')), [1, 2, 3, 4]);
  await assert.rejects(names(file('c.yaml', 'a: [1')), /c\.yaml is not YAML/);
  await assert.rejects(names(file('d.yaml', '# nothing\n')), /no object is in there/);
  await assert.rejects(names(join(dir, 'none')), /cannot read .*none: ENOENT/);
  assert.deepEqual(await trafficIn(file('t.yaml', 'traffic: {web: {metro-a: x2}}')), { web: { 'metro-a': 'x2' } });
  await assert.rejects(trafficIn(file('u.yaml', 'traffic: 5')), /traffic: must be a map/);
});

it('reads static tokens, and never repeats one in an error', () => {
  const made = decodeTokens('# operators\n0123456789abcdef,root,1,"system:masters"\n\nfedcba9876543210,bob,2,tenant:acme\n', 'tokens');
  assert.deepEqual(made.map((m) => [m.identity.name, m.identity.tenant, m.identity.groups.includes('system:masters')]), [['root', 'system', true], ['bob', 'acme', false]]);
  for (const [text, message] of [['short,bob,1', /tokens:1: the token is shorter than 16/], ['0123456789abcdef', /tokens:1: expected token,user,uid/], ['0123456789abcdef,a,1\n0123456789abcdef,b,2', /tokens:2: the token is there twice/]] as const) {
    assert.throws(() => decodeTokens(text, 'tokens'), (e: Error) => message.test(e.message) && !e.message.includes('0123456789abcdef'));
  }
});

run();
