import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { loadTopology, parseTopology } from '../../topologies/load.ts';
import { refusals } from '../../topologies/run.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('topology loader');
const root = join(import.meta.dirname, '..', '..');
const official = join(root, '..', 'shared', 'data', 'containerlab');
const main = join(root, 'topologies', 'two-regions-three-edges.clab.yml');

const message = (text: string): string => {
  try {
    parseTopology('t.yml', text);
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
};

if (existsSync(official)) {
  it('loads every official file with the expected number of nodes and links', () => {
    for (const row of readFileSync(join(official, 'EXPECTED.csv'), 'utf8').trim().split('\n').slice(1)) {
      const [file = '', name, nodes, links] = row.split(',');
      const t = loadTopology(join(official, file));
      assert.equal([t.name, t.nodes.length, t.links.length], [name, Number(nodes), Number(links)], file);
    }
  });
  it('ships topologies that the official schema accepts', () => {
    const schema = JSON.parse(readFileSync(join(official, 'clab.schema.json'), 'utf8')) as object;
    const validate = new Ajv({ strict: false, unicodeRegExp: true }).compile(schema);
    assert.ok(validate(parse(readFileSync(main, 'utf8'))), JSON.stringify(validate.errors));
  });
} else skip('official containerlab files', `no ${official}`);

it('inherits defaults, kinds, groups and the node itself, nearest last', () => {
  const t = parseTopology('t.yml', 'name: t\ntopology:\n  defaults: {kind: linux, env: {A: d, B: d}}\n  kinds: {linux: {env: {B: k}, exec: [one]}}\n  groups: {g: {env: {C: g}, exec: [two]}}\n  nodes: {n: {group: g, env: {A: own}, exec: [three]}}\n');
  assert.equal(t.nodes[0]?.env, { A: 'own', B: 'k', C: 'g' });
  assert.equal(t.nodes[0]?.exec, ['one', 'two', 'three']);
});

it('names file, line and field of what is wrong', () => {
  assert.match(message('name: t\ntopology:\n  nodes: {a: {kind: linux}}\n  lnks: []\n'), /^t\.yml:4: topology\.lnks: unknown key; expected one of defaults/);
  assert.match(message('name: t\ntopology:\n  nodes:\n    a: {kind: linux}\n  links:\n    - endpoints: ["a:eth1", "b:eth1"]\n'), /^t\.yml:6: topology\.links\.0\.endpoints\.1: no node "b"; there are a/);
  assert.match(message('name: t\ntopology:\n  nodes:\n    a: {kind: linux}\n    b: {kind: linux}\n  links:\n    - endpoints: ["a:eth1", "b:eth1"]\n      vars: {delay: 20}\n'), /^t\.yml:8: topology\.links\.0\.vars\.delay: expected something like "20ms", got 20/);
  assert.match(message('name: t\ntopology:\n  nodes:\n    a: {}\n'), /topology\.nodes\.a\.kind: expected a kind/);
  assert.match(message('name: [\n'), /^t\.yml:\d+: /);
});

it('refuses by name what it cannot run, at deploy and not at load', () => {
  const t = parseTopology('t.yml', 'name: t\ntopology:\n  nodes:\n    a: {kind: nokia_srlinux}\n    b: {kind: linux, cmd: ash, image: alpine}\n  links:\n    - endpoints: ["b:eth1", "host:x"]\n');
  assert.equal(refusals(t), ['node a: kind "nokia_srlinux" (linux and bridge run without Docker)', 'node b: cmd, which needs its image "alpine"', 'link b:eth1 - host:x: an end at "host"']);
  assert.equal(refusals(loadTopology(main)), []);
});

run();
