/** The controllers' decisions against a world that does at once what they ask, one pass at a time. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { Deployment, Node, Pod, ReplicaSet } from '../../../api/kinds/core.ts';
import type { KubeObject } from '../../../api/object.ts';
import { Resources } from '../../../api/resources.ts';
import { decideDeployment } from '../../../cloud/arktos/deployment.ts';
import { decideDependent, decideFinalizers } from '../../../cloud/arktos/garbage.ts';
import type { Step } from '../../../cloud/arktos/model.ts';
import { decideLost, decideNode, EVICT_MS, SILENT_MS } from '../../../cloud/arktos/nodes.ts';
import { decideReplicaSet } from '../../../cloud/arktos/replicaset.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('controllers decide');
const NOW = Date.parse('2026-01-01T00:00:00Z');
type Strategy = NonNullable<Deployment['spec']['strategy']>;
const deployment = (replicas: number, image: string, strategy: Strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }): Deployment => ({
  apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', uid: 'd', generation: 1, tenant: 'acme', namespace: 'default' },
  spec: { replicas, strategy, selector: { matchLabels: { app: 'web' } }, template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image }] } } },
});
const short = (steps: readonly Step[]): string[] => steps.map((s) => `${s.kind} ${s.resource.kind}`);

/** A deployment's sets as the API would keep them; pods of a set become available one at a time, by `luck`. */
class Bench {
  sets: ReplicaSet[] = [];
  deployment: Deployment;
  constructor(d: Deployment) {
    this.deployment = d;
  }
  pass(): number {
    const { steps } = decideDeployment(this.deployment, this.sets, NOW);
    for (const s of steps) this.#do(s);
    return steps.length;
  }
  #do(s: Step): void {
    const edit = (of: KubeObject, change: (rs: ReplicaSet) => ReplicaSet): void => void (this.sets = this.sets.map((rs) => (rs.metadata.uid === of.metadata.uid ? change(rs) : rs)));
    if (s.kind === 'create') this.sets.push({ ...(s.object as ReplicaSet), metadata: { ...s.object.metadata, uid: s.object.metadata.name } });
    if (s.kind === 'delete') this.sets = this.sets.filter((rs) => rs.metadata.uid !== s.of.metadata.uid);
    if (s.kind === 'status') this.deployment = { ...this.deployment, status: s.status as NonNullable<Deployment['status']> };
    if (s.kind !== 'patch') return;
    const { spec, metadata } = s.patch as { spec?: object; metadata?: object };
    if (s.resource === Resources.Deployment) this.deployment = { ...this.deployment, metadata: { ...this.deployment.metadata, ...metadata } };
    else edit(s.of, (rs) => ({ ...rs, metadata: { ...rs.metadata, ...metadata }, spec: { ...rs.spec, ...spec } }));
  }
  /** The replica set controller and agents: counts follow, and at most one more pod gets available. */
  settle(luck: number): void {
    this.sets = this.sets.map((rs, i) => {
      const replicas = rs.spec.replicas ?? 0;
      const before = Math.min(rs.status?.availableReplicas ?? 0, replicas);
      const available = luck % (i + 2) === 0 ? Math.min(replicas, before + 1) : before;
      return { ...rs, status: { replicas, readyReplicas: available, availableReplicas: available } };
    });
  }
  get available(): number {
    return this.sets.reduce((n, rs) => n + (rs.status?.availableReplicas ?? 0), 0);
  }
  get total(): number {
    return this.sets.reduce((n, rs) => n + (rs.spec.replicas ?? 0), 0);
  }
  condition(type: string): string {
    const c = this.deployment.status?.conditions?.find((x) => x.type === type);
    return `${c?.status} ${c?.reason}`;
  }
}

function converge(b: Bench, check: () => void, luck: (i: number) => number = () => 0): void {
  for (let i = 0, quiet = 0; quiet < 3; i++) {
    if (i > 400) throw new Error('it does not converge');
    const n = b.pass();
    check();
    const before = JSON.stringify(b.sets);
    b.settle(luck(i));
    check();
    quiet = n === 0 && before === JSON.stringify(b.sets) && luck(i) === 0 ? quiet + 1 : 0;
  }
}

it('rolls out without ever having less or more than the strategy allows, whatever the order in which pods get ready', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 }), fc.array(fc.nat(30), { maxLength: 60 }), (replicas, maxSurge, maxUnavailable, luck) => {
      const b = new Bench(deployment(replicas, 'v1', { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } }));
      converge(b, () => undefined);
      assert.is(b.available, replicas);
      b.deployment = { ...b.deployment, metadata: { ...b.deployment.metadata, generation: 2 }, spec: { ...b.deployment.spec, template: deployment(1, 'v2').spec.template } };
      const lowest = replicas - (maxSurge === 0 && maxUnavailable === 0 ? 1 : Math.min(replicas, maxUnavailable));
      converge(b, () => {
        assert.ok(b.available >= lowest, `${b.available} available of at least ${lowest}`);
        assert.ok(b.total <= replicas + maxSurge, `${b.total} pods of at most ${replicas + maxSurge}`);
      }, (i) => luck[i] ?? 0);
      assert.equal(b.sets.map((rs) => rs.spec.replicas), [0, replicas]);
      assert.is(b.condition('Progressing'), 'True NewReplicaSetAvailable');
      assert.is(b.deployment.status?.updatedReplicas, replicas);
    }),
    { numRuns: 150, seed: 11 },
  );
});

it('recreates: nothing new before everything old is gone', () => {
  const b = new Bench(deployment(3, 'v1', { type: 'Recreate' }));
  converge(b, () => undefined);
  b.deployment = { ...b.deployment, spec: { ...b.deployment.spec, template: deployment(1, 'v2').spec.template } };
  converge(b, () => assert.ok(b.sets.filter((rs) => (rs.spec.replicas ?? 0) > 0).length <= 1));
  assert.equal(b.sets.map((rs) => rs.spec.replicas), [0, 3]);
});

it('takes an old set up again on a rollback, under a new revision', () => {
  const b = new Bench(deployment(2, 'v1'));
  const to = (image: string): void => {
    b.deployment = { ...b.deployment, spec: { ...b.deployment.spec, template: deployment(1, image).spec.template } };
    converge(b, () => undefined);
  };
  converge(b, () => undefined);
  to('v2');
  to('v1');
  assert.equal(b.sets.map((rs) => [rs.spec.replicas, rs.metadata.annotations?.['deployment.kubernetes.io/revision']]), [[2, '3'], [0, '2']]);
  assert.is(b.deployment.metadata.annotations?.['deployment.kubernetes.io/revision'], '3');
});

it('leaves a paused deployment as it is, but scales it', () => {
  const b = new Bench(deployment(2, 'v1'));
  converge(b, () => undefined);
  b.deployment = { ...b.deployment, spec: { ...deployment(4, 'v2').spec, paused: true } };
  converge(b, () => undefined);
  assert.equal(b.sets.map((rs) => rs.spec.replicas), [4]);
});

it('says when a rollout does not progress in time', () => {
  const d = deployment(1, 'v1');
  const b = new Bench(d);
  b.pass();
  b.settle(1);
  b.pass();
  const later = decideDeployment(b.deployment, b.sets, NOW + 601_000).steps.find((s) => s.kind === 'status');
  assert.match(JSON.stringify(later), /ProgressDeadlineExceeded/);
});

const rs = (replicas: number): ReplicaSet => ({ apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata: { name: 'web-1', uid: 'rs', tenant: 'acme', namespace: 'default' }, spec: { replicas, selector: { matchLabels: { app: 'web' } }, template: { metadata: { labels: { app: 'web' } }, spec: { containers: [] } } } });
const pod = (name: string, status: Pod['status'] = {}, more: Partial<Pod['metadata']> = {}, spec: Pod['spec'] = {}): Pod => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name, uid: name, labels: { app: 'web' }, ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-1', uid: 'rs', controller: true }], ...more }, spec, status });
const ready: Pod['status'] = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: new Date(NOW).toISOString() }] };
const deleted = (steps: readonly Step[]): string[] => steps.filter((s) => s.kind === 'delete').map((s) => s.of.metadata.name);

it('makes the pods that are missing, and counts neither the leaving nor the ended', () => {
  const { steps } = decideReplicaSet(rs(3), [pod('a', ready), pod('b', ready, { deletionTimestamp: 'x' }), pod('c', { phase: 'Failed' })], NOW);
  assert.equal(short(steps), ['create Pod', 'create Pod', 'delete Pod', 'status ReplicaSet']);
  assert.equal(deleted(steps), ['c']);
});

it('deletes what is worth least: no node, not ready, youngest', () => {
  const on = { nodeName: 'n' };
  const pods = [pod('old', ready, { creationTimestamp: '2025-01-01T00:00:00Z' }, on), pod('young', ready, { creationTimestamp: '2025-06-01T00:00:00Z' }, on), pod('unready', { phase: 'Running' }, {}, on), pod('unplaced')];
  for (const [n, gone] of [[3, ['unplaced']], [2, ['unplaced', 'unready']], [1, ['unplaced', 'unready', 'young']]] as const) assert.equal(deleted(decideReplicaSet(rs(n), pods, NOW).steps), [...gone]);
});

it('loses of equally ready pods the one with the lowest deletion cost, and a pod that is not ready before it', () => {
  const cost = (name: string, value: string): Pod => pod(name, ready, { annotations: { 'controller.kubernetes.io/pod-deletion-cost': value }, creationTimestamp: '2020-01-01T00:00:00Z' }, { nodeName: 'n' });
  const pods = [cost('old', '-100'), cost('dear', '5'), pod('young', ready, { creationTimestamp: '2025-01-01T00:00:00Z' }, { nodeName: 'n' }), cost('odd', 'much')];
  assert.equal(deleted(decideReplicaSet(rs(3), pods, NOW).steps), ['old']);
  assert.equal(deleted(decideReplicaSet(rs(1), pods, NOW).steps), ['old', 'young', 'odd']);
  assert.equal(deleted(decideReplicaSet(rs(4), [...pods, pod('unready', { phase: 'Running' }, {}, { nodeName: 'n' })], NOW).steps), ['unready']);
});

it('adopts a matching pod without an owner', () => {
  assert.equal(short(decideReplicaSet(rs(1), [pod('a', ready, { ownerReferences: [] })], NOW).steps), ['patch Pod', 'status ReplicaSet']);
});

it('counts a pod as available only after it was ready long enough', () => {
  const set = { ...rs(1), spec: { ...rs(1).spec, minReadySeconds: 10 } };
  assert.is(decideReplicaSet(set, [pod('a', ready)], NOW + 4_000).againMs, 6_000);
});

const node: Node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' }, status: { conditions: [{ type: 'Ready', status: 'True' }] } };

it('takes a silent node of a zone for dead, and one of an edge site only for unreachable', () => {
  const view = (site: 'zone' | 'edge' | null, silent: number): string[] => short(decideNode({ node, pods: [pod('a', ready)], heardAt: NOW - silent, site }, NOW).steps);
  assert.equal(view('zone', SILENT_MS - 1), []);
  assert.equal(view('zone', SILENT_MS), ['status Node', 'status Pod']);
  assert.equal(view('zone', EVICT_MS), ['status Node', 'status Pod', 'delete Pod']);
  for (const site of ['edge', null] as const) assert.equal(view(site, 100 * EVICT_MS), ['status Node']);
});

it('ends the pods of a node that was taken out', () => {
  const { steps, againMs } = decideLost([pod('a', {}, { creationTimestamp: new Date(NOW - EVICT_MS).toISOString() }), pod('b', {}, { creationTimestamp: new Date(NOW).toISOString() })], NOW);
  assert.equal([deleted(steps), againMs], [['a'], EVICT_MS]);
});

it('collects dependents in the background, in the foreground, or sets them free', () => {
  const of = (o: KubeObject): { resource: typeof Resources.Pod; object: KubeObject } => ({ resource: Resources.Pod, object: o });
  assert.equal(short(decideDependent(of(pod('a')), new Set(['rs']))), ['delete Pod']);
  assert.equal(decideDependent(of(pod('a')), new Set(['other'])), []);
  const owner = (finalizer: string) => ({ resource: Resources.ReplicaSet, object: { ...rs(1), metadata: { ...rs(1).metadata, deletionTimestamp: 'x', finalizers: [finalizer] } } });
  const blocking = pod('a', {}, { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-1', uid: 'rs', blockOwnerDeletion: true }] });
  assert.equal(short(decideFinalizers(owner('foregroundDeletion'), [of(blocking)])), ['delete Pod']);
  assert.equal(short(decideFinalizers(owner('foregroundDeletion'), [])), ['patch ReplicaSet']);
  assert.equal(short(decideFinalizers(owner('orphan'), [of(blocking)])), ['patch Pod', 'patch ReplicaSet']);
});

run();
