import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { Node, Pod } from '../../../api/kinds/core.ts';
import { quantity, requestOf } from '../../../scheduler/regional/amounts.ts';
import { schedule } from '../../../scheduler/regional/schedule.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('regional scheduler');

interface NodeParts { readonly labels?: Record<string, string>; readonly cpu?: string; readonly memory?: string; readonly pods?: string; readonly ready?: readonly string[]; readonly spec?: NonNullable<Node['spec']> }
const node = (name: string, p: NodeParts = {}): Node => ({
  apiVersion: 'v1', kind: 'Node', metadata: { name, labels: p.labels ?? {} }, spec: p.spec ?? {},
  status: { allocatable: { cpu: p.cpu ?? '2', memory: p.memory ?? '2Gi', pods: p.pods ?? '10' }, conditions: (p.ready ?? ['Ready', 'ContainerRuntimeReady']).map((type) => ({ type, status: 'True' as const })) },
});
const pod = (name: string, cpu = '100m', spec: Partial<Pod['spec']> = {}, owner = ''): Pod => ({
  apiVersion: 'v1', kind: 'Pod',
  metadata: { name, uid: name, tenant: 'acme', namespace: 'default', ...(owner === '' ? {} : { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: owner, uid: owner, controller: true }] }) },
  spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu } } }], ...spec },
});
const answer = (pods: readonly Pod[], nodes: readonly Node[]): string[] => schedule(pods, nodes).map((v) => `${v.pod.metadata.name}: ${v.kind === 'bind' ? v.node : v.message}`);

it('reads quantities as Kubernetes writes them', () => {
  assert.equal(['500m', '2', '1.5', '64Mi', '1G', '1e3', 'x', undefined].map(quantity), [0.5, 2, 1.5, 64 * 2 ** 20, 1e9, 1000, 0, 0]);
});

it('says for each kind of refusal how many nodes it holds for', () => {
  const nodes = [
    node('a', { labels: { zone: 'x' }, cpu: '50m' }),
    node('b'),
    node('c', { labels: { zone: 'x' }, ready: ['ContainerRuntimeReady'] }),
    node('d', { labels: { zone: 'x' }, spec: { taints: [{ key: 'gpu', effect: 'NoSchedule' }] } }),
    node('e', { labels: { zone: 'x' }, spec: { unschedulable: true } }),
    node('f', { labels: { zone: 'x' }, ready: ['Ready', 'VmRuntimeReady'] }),
  ];
  assert.equal(answer([pod('p', '100m', { nodeSelector: { zone: 'x' } })], nodes), [
    "p: 0/6 nodes are available: 1 didn't match the pod's nodeSelector, 1 had insufficient cpu, 1 had no container runtime, 1 had the taint {gpu: } that the pod didn't tolerate, 1 were not ready, 1 were unschedulable.",
  ]);
});

it('gives VM pods to nodes that run VMs, and counts what the VM asks for', () => {
  const vm: Pod = { ...pod('vm'), spec: { virtualMachine: { name: 'v', image: 'i', resources: { requests: { cpu: '1', memory: '256Mi' } } } } };
  assert.equal(answer([vm], [node('c'), node('v', { ready: ['Ready', 'VmRuntimeReady'] })]), ['vm: v']);
  assert.equal(requestOf(vm), { cpuMilli: 1000, memoryBytes: 256 * 2 ** 20, pods: 1 });
});

it('spreads pods of one controller, then fills the emptier node', () => {
  const pods = [pod('x', '1', { nodeName: 'a' }), pod('w1', '100m', {}, 'rs'), pod('w2', '100m', {}, 'rs'), pod('w3', '100m', {}, 'rs')];
  assert.equal(answer(pods, [node('a'), node('b')]), ['w1: b', 'w2: a', 'w3: b']);
});

it('keeps the skew that a pod allows, and refuses rather than exceed it', () => {
  const spread = { topologySpreadConstraints: [{ topologyKey: 'zone', maxSkew: 1 }] };
  const nodes = [node('a', { labels: { zone: 'x' } }), node('b', { labels: { zone: 'y' }, cpu: '100m' })];
  const pods = ['w1', 'w2', 'w3', 'w4'].map((n) => pod(n, '100m', spread, 'rs'));
  assert.equal(answer(pods, nodes).map((l) => l.slice(0, 5)), ['w1: a', 'w2: b', 'w3: a', 'w4: 0']);
});

it('tolerates what a pod tolerates', () => {
  const tainted = [node('a', { spec: { taints: [{ key: 'k', value: 'v', effect: 'NoSchedule' }] } })];
  const with_ = (tolerations: readonly unknown[]): string => answer([pod('p', '1m', { tolerations })], tainted)[0] ?? '';
  assert.is(with_([{ key: 'k', operator: 'Exists' }]), 'p: a');
  assert.is(with_([{ key: 'k', value: 'v' }]), 'p: a');
  assert.is(with_([{ operator: 'Exists' }]), 'p: a');
  assert.match(with_([{ key: 'k', value: 'other' }]), /taint/);
});

const anyNodes = fc.uniqueArray(fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), cpu: fc.integer({ min: 0, max: 3000 }), pods: fc.integer({ min: 0, max: 4 }), zone: fc.constantFrom('x', 'y') }), { selector: (n) => n.name });
const anyPods = fc.array(fc.record({ cpu: fc.integer({ min: 0, max: 1500 }), owner: fc.constantFrom('', 'r', 's'), at: fc.constantFrom('', '', 'a'), zone: fc.constantFrom('', 'x') }), { maxLength: 12 });

it('never gives more than a node has, gives every waiting pod a verdict, and is the same in any order', () => {
  fc.assert(
    fc.property(anyNodes, anyPods, fc.integer(), (ns, ps, seed) => {
      const nodes = ns.map((n) => node(n.name, { cpu: `${n.cpu}m`, pods: String(n.pods), labels: { zone: n.zone } }));
      const pods = ps.map((p, i) => pod(`p${i}`, `${p.cpu}m`, { ...(p.at === '' ? {} : { nodeName: p.at }), nodeSelector: p.zone === '' ? {} : { zone: p.zone } }, p.owner));
      const verdicts = schedule(pods, nodes);
      assert.is(verdicts.length, pods.filter((p) => p.spec.nodeName === undefined).length);
      for (const n of nodes) {
        const mine = verdicts.filter((v) => v.kind === 'bind' && v.node === n.metadata.name).map((v) => v.pod);
        const there = pods.filter((p) => p.spec.nodeName === n.metadata.name);
        const cpu = [...mine, ...there].reduce((sum, p) => sum + requestOf(p).cpuMilli, 0);
        if (mine.length > 0) assert.ok(cpu <= quantity(n.status?.allocatable?.['cpu']) * 1000 + 1e-6 && mine.length + there.length <= Number(n.status?.allocatable?.['pods']));
        assert.ok(mine.every((p) => p.spec.nodeSelector?.['zone'] === undefined || p.spec.nodeSelector['zone'] === n.metadata.labels?.['zone']));
      }
      const mixed = [...pods].sort((a, b) => ((seed ^ a.metadata.name.charCodeAt(1)) % 7) - ((seed ^ b.metadata.name.charCodeAt(1)) % 7));
      assert.equal(answer(mixed, [...nodes].reverse()), answer(pods, nodes));
    }),
    { numRuns: 300, seed: 7 },
  );
});

run();
