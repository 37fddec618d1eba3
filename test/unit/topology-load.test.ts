import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { loadTopology, parseTopology } from '../../topologies/load.ts';
import { netemArgs } from '../../topologies/netem.ts';
import { refusals } from '../../topologies/run.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('topology loader');
const root = join(import.meta.dirname, '..', '..');
const official = join(root, '..', 'shared', 'data', 'containerlab');
const shipped = ['two-regions-three-edges', 'one-region'].map((name) => join(root, 'topologies', `${name}.clab.yml`));

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
    for (const file of shipped) assert.ok(validate(parse(readFileSync(file, 'utf8'))), `${file}: ${JSON.stringify(validate.errors)}`);
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
  assert.match(message('name: t\ntopology:\n  nodes:\n    a:\n      kind: linux\n      exce: [ls]\n'), /^t\.yml:6: topology\.nodes\.a\.exce: unknown key/);
  assert.match(message('name: t\ntopology:\n  defaults:\n    group: g\n  nodes:\n    a: {kind: linux}\n'), /^t\.yml:4: topology\.defaults\.group: no group "g"; there are none/);
  assert.match(message('name: t\ntopology:\n  kinds:\n    linux:\n      exec: [1]\n  nodes:\n    a: {kind: linux}\n'), /^t\.yml:5: topology\.kinds\.linux\.exec\.0: expected a command/);
  assert.match(message('name: t\ntopology:\n  nodes:\n    a: {kind: linux}\n    b: {kind: linux}\n  links:\n    - endpoints: ["a:e", "b:e"]\n      vars: {loss: 101%}\n'), /^t\.yml:8: topology\.links\.0\.vars\.loss: expected something like "0\.1%"/);
  assert.match(message('name: t\ntopology:\n  nodes:\n    a: {kind: linux}\n  links:\n    - type: host\n      endpoint: {node: a, interface: e}\n'), /^t\.yml:6: topology\.links\.0: a link of type host needs host-interface/);
  assert.match(message('name: [\n'), /^t\.yml:\d+: /);
});

it('refuses by name what it cannot run, at deploy and not at load', () => {
  const t = parseTopology('t.yml', 'name: t\ntopology:\n  nodes:\n    a: {kind: nokia_srlinux}\n    b: {kind: linux, cmd: ash, image: alpine}\n  links:\n    - endpoints: ["b:eth1", "host:x"]\n');
  assert.equal(refusals(t), ['node a: kind "nokia_srlinux" (linux and bridge run without Docker)', 'node b: cmd, which needs its image "alpine"', 'link b:eth1 - host:x: an end at "host"']);
  for (const file of shipped) assert.equal(refusals(loadTopology(file)), []);
});

it('refuses what only a container has, and an image whose programs are not here', () => {
  const t = parseTopology('t.yml', 'name: t\ntopology:\n  nodes:\n    a: {kind: linux, image: "quay.io/frrouting/frr:10", binds: ["x:/y"]}\n    b: {kind: linux, image: "alpine@sha256:00", sysctls: {kernel.x: 1}}\n    "b|c": {kind: linux}\n    b-c: {kind: linux}\n');
  assert.equal(refusals(t), [
    'node a: image "quay.io/frrouting/frr:10", whose programs are not here (alpine, busybox, debian, ubuntu, network-multitool are stood in for by the host\'s tools)',
    'node a: binds: only a container has these',
    'node b: sysctl kernel.x, which would change the host',
    'node b-c: its namespace t-b-c is node b|c\'s',
  ]);
});

it('gives netem the file\'s figures, keeps order under jitter, and loses everything on a cut link', () => {
  const impairment = { delayUs: 20_000, jitterUs: 1_000, lossPpm: 1_000, rateKbit: 100_000 };
  assert.is(netemArgs({ impairment, up: true }).join(' '), 'limit 4096 delay 20000us 1000us loss 0.1% rate 100000kbit');
  assert.is(netemArgs({ impairment: { ...impairment, rateKbit: 0 }, up: true }).join(' '), 'limit 4096 delay 20000us 1000us loss 0.1% rate 10000000kbit');
  assert.is(netemArgs({ impairment, up: false }).join(' '), 'limit 4096 delay 20000us 1000us loss 100% rate 100000kbit');
});

run();
