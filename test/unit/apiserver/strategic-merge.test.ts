import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Json, JsonObject } from '../../../api/definition.ts';
import { definitions } from '../../../api/definitions.ts';
import { strategicMerge } from '../../../cloud/apiserver/strategic-merge.ts';
import { suite } from '../../kit/suite.ts';

const { it, skip, run } = suite('strategic merge', { timeoutMs: 60_000 });
const schema = definitions.Pod.schema;

const pod = (spec: object, meta: object = {}): JsonObject => JSON.parse(JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', ...meta }, spec })) as JsonObject;
const merge = (live: JsonObject, patch: object): JsonObject => strategicMerge(schema, live, JSON.parse(JSON.stringify(patch)) as JsonObject);

const CASES: readonly (readonly [string, JsonObject, object])[] = [
  ['merges containers by name', pod({ containers: [{ name: 'a', image: '1' }, { name: 'b', image: '1' }] }), { spec: { containers: [{ name: 'b', image: '2' }] } }],
  ['adds a container', pod({ containers: [{ name: 'a', image: '1' }] }), { spec: { containers: [{ name: 'c', image: '3' }] } }],
  ['adds in the order said', pod({ containers: [{ name: 'a', image: '1' }] }), { spec: { '$setElementOrder/containers': [{ name: 'a' }, { name: 'c' }], containers: [{ name: 'c', image: '3' }] } }],
  ['deletes a container', pod({ containers: [{ name: 'a', image: '1' }, { name: 'b', image: '1' }] }), { spec: { containers: [{ name: 'a', $patch: 'delete' }] } }],
  ['replaces a list', pod({ containers: [{ name: 'a', image: '1' }, { name: 'b', image: '1' }] }), { spec: { containers: [{ name: 'z', image: '9' }, { $patch: 'replace' }] } }],
  ['replaces an atomic list', pod({ containers: [{ name: 'a', image: '1', command: ['x', 'y'] }] }), { spec: { containers: [{ name: 'a', command: ['z'] }] } }],
  ['merges ports inside a container', pod({ containers: [{ name: 'a', image: '1', ports: [{ containerPort: 80 }, { containerPort: 81 }] }] }), { spec: { containers: [{ name: 'a', ports: [{ containerPort: 81, name: 'x' }, { containerPort: 82 }] }] } }],
  ['merges and removes labels', pod({ containers: [] }, { labels: { a: '1', b: '2' } }), { metadata: { labels: { a: null, c: '3' } } }],
  ['merges finalizers', pod({ containers: [] }, { finalizers: ['a/b', 'c/d'] }), { metadata: { finalizers: ['e/f'], '$deleteFromPrimitiveList/finalizers': ['a/b'] } }],
  ['retains keys of a volume', pod({ containers: [], volumes: [{ name: 'v', emptyDir: {} }] }), { spec: { volumes: [{ name: 'v', hostPath: { path: '/x' }, $retainKeys: ['name', 'hostPath'] }] } }],
  ['replaces a map', pod({ containers: [], nodeSelector: { a: '1' } }), { spec: { nodeSelector: { b: '2', $patch: 'replace' } } }],
  ['reorders', pod({ containers: [{ name: 'a', image: '1' }, { name: 'b', image: '1' }, { name: 'c', image: '1' }] }), { spec: { '$setElementOrder/containers': [{ name: 'c' }, { name: 'a' }], containers: [{ name: 'a', image: '2' }] } }],
  ['merges tolerations as an atomic list', pod({ containers: [], tolerations: [{ key: 'a' }] }), { spec: { tolerations: [{ key: 'b' }] } }],
];

it('never changes what it is given', () => {
  for (const [title, live, patch] of CASES) {
    const before = JSON.stringify([live, patch]);
    merge(live, patch);
    assert.is(JSON.stringify([live, patch]), before, title);
  }
});

it('merges a VM, which stock kubectl has no type for', () => {
  const out = merge(pod({ virtualMachine: { name: 'v', image: '1', userData: 'x' } }), { spec: { virtualMachine: { image: '2', userData: null } } });
  assert.equal((out['spec'] as JsonObject)['virtualMachine'], { name: 'v', image: '2' });
});

let hasKubectl = true;
try {
  execFileSync('kubectl', ['version', '--client'], { stdio: 'ignore' });
} catch {
  hasKubectl = false; // said below
}

/** What the reference makes of it: kubectl merges a local file without a server. */
function reference(dir: string, live: JsonObject, patch: object): Promise<Json> {
  writeFileSync(join(dir, 'live.json'), JSON.stringify(live));
  return new Promise((resolve, reject) => {
    execFile('kubectl', ['patch', '--local', '-f', join(dir, 'live.json'), '--type=strategic', '-p', JSON.stringify(patch), '-o', 'json'], { env: { ...process.env, HOME: dir } }, (error, out) => (error === null ? resolve(JSON.parse(out) as Json) : reject(error)));
  });
}

/** The reference prints its typed zero values. */
function plain(object: JsonObject): Json {
  const { status: _, ...rest } = object;
  return JSON.parse(JSON.stringify(rest), (key, value: unknown) => (value === null || (key === 'resources' && JSON.stringify(value) === '{}') || (key === 'creationTimestamp' && value === null) ? undefined : value)) as Json;
}

for (const [title, live, patch] of CASES) {
  if (!hasKubectl) skip(title, 'there is no kubectl to compare with');
  else {
    it(`${title}, as kubectl does`, async (t) => {
      const dir = mkdtempSync(join(tmpdir(), 'px-smp-'));
      t.after(() => rmSync(dir, { recursive: true, force: true }));
      assert.equal(plain(merge(live, patch)), plain((await reference(dir, live, patch)) as JsonObject));
    });
  }
}

run();
