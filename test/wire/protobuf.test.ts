import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Json } from '../../api/definition.ts';
import { isMeshError } from '../../api/errors.ts';
import { decodeProtobuf } from '../../api/protobuf.ts';
import { fieldsOf } from '../../api/kubernetes-types.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('protobuf');

/** A Namespace `demo`: magic, { typeMeta { "v1", "Namespace" }, raw { metadata { name }, spec {}, status {} }, "", "" }. */
const NAMESPACE = Buffer.from('6b387300' + '0a0f0a02763112094e616d657370616365' + '120c0a060a0464656d6f12001a00' + '1a002200', 'hex');

const fixtures = process.env['PROXIMA_KUBERNETES_TESTDATA'] ?? join(import.meta.dirname, '../../../shared/data/kubernetes/testdata');

it('decodes a golden Namespace', () => {
  assert.equal(decodeProtobuf(NAMESPACE), { kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'demo' }, spec: {}, status: {} });
});

it('refuses what is not protobuf, and every truncation, without crashing', () => {
  for (const bytes of [Buffer.from('{}'), Buffer.from('k8s\0\x0a\xff\xff'), Buffer.from('k8s\0\x07')]) {
    assert.throws(() => decodeProtobuf(bytes), (e: unknown) => isMeshError(e));
  }
  for (let n = 0; n < NAMESPACE.length; n++) {
    try {
      decodeProtobuf(NAMESPACE.subarray(0, n));
    } catch (error) {
      assert.ok(isMeshError(error), String(error));
    }
  }
});

if (!existsSync(fixtures)) {
  skip('decodes the official objects to their JSON', `no test objects at ${fixtures}; set PROXIMA_KUBERNETES_TESTDATA to kubernetes/api testdata/HEAD`);
} else {
  const names = readdirSync(fixtures).filter((f) => f.endsWith('.pb')).map((f) => f.slice(0, -3));
  const ours = names.filter((n) => {
    const [, group = '', kind = ''] = /^([\w.]+)\.v1\.(\w+)$/.exec(n) ?? [];
    return fieldsOf(`${group.split('.')[0]}.v1.${kind}`) !== null;
  });
  it('has test objects of the kinds that matter', () => assert.ok(ours.length >= 10, ours.join(' ')));
  for (const name of ours) {
    it(`decodes ${name} to its official JSON`, () => {
      const expected = JSON.parse(readFileSync(join(fixtures, `${name}.json`), 'utf8')) as Json;
      assert.equal(decodeProtobuf(readFileSync(join(fixtures, `${name}.pb`))), expected);
    });
  }
}

run();
