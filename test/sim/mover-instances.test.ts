/** Within one site too: who comes ramps up, who goes is drained at every front first, and it is exactly the one that was chosen. */
import assert from 'node:assert/strict';
import type { Client } from '../../api/client.ts';
import type { Deployment } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { MoverLab } from '../kit/mover-lab.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('mover within a site', { timeoutMs: 90_000 });
const FRONTS = ['west-1', 'east-1', 'edge-a'];
const COST = 'controller.kubernetes.io/pod-deletion-cost';

/** By pod: the weights it had at the front of its own site, second by second, and how long it had none anywhere before it was asked to end. */
class Diary {
  readonly weights = new Map<string, number[]>();
  readonly last = new Map<string, { readonly idleS: number; readonly isMarked: boolean }>();
  readonly ended = new Map<string, { readonly idleS: number; readonly isMarked: boolean }>();

  async write(l: MoverLab): Promise<void> {
    const fronts = await Promise.all(FRONTS.map((f) => l.front(f)));
    const pods = await l.pods();
    for (const p of pods) {
      const address = p.status?.podIP;
      if (address === undefined) continue;
      const { name } = p.metadata;
      const most = Math.max(...fronts.map((f) => f.find((b) => b.address === address)?.weight ?? 0));
      this.weights.set(name, [...(this.weights.get(name) ?? []), fronts[0]?.find((b) => b.address === address)?.weight ?? 0]);
      this.last.set(name, { idleS: most > 0 ? 0 : (this.last.get(name)?.idleS ?? 0) + 1, isMarked: p.metadata.annotations?.[COST] !== undefined });
    }
    for (const [name, last] of this.last) if (!pods.some((p) => p.metadata.name === name)) this.ended.set(name, last);
  }
}

async function at(l: MoverLab, count: number, seconds: number): Promise<void> {
  for (let s = 0; s < seconds && (await l.instances())['west-1'] !== count; s++) await l.seconds(1);
  assert.deepEqual(await l.instances(), { 'west-1': count });
}

it('ramps a new instance beside those that serve, and drains the one that leaves before the number is lowered, over a kill too', async () => {
  const l = await new MoverLab({ policy: { instances: { min: 1, max: 3 } }, demand: { west: 30 } }).start();
  await l.seconds(10);
  assert.deepEqual(await l.instances(), { 'west-1': 1 });
  const diary = new Diary();
  l.watch = async () => {
    await diary.write(l);
    assert.ok((await l.front('west-1')).some((b) => b.weight > 0));
  };
  l.demand['west'] = 60;
  await at(l, 2, 30);
  await l.seconds(10);
  const young = [...diary.weights].find(([name]) => !name.endsWith('-1'));
  const steps = [...new Set(young?.[1])].filter((w) => w > 0);
  assert.deepEqual(steps, [5, 50, 100], 'the second instance');
  l.demand['west'] = 10;
  let isKilled = false;
  for (let s = 0; s < 60 && (await l.instances())['west-1'] !== 1; s++) {
    const isDraining = Object.values((await l.memory()).traffic['west-1']?.instances ?? {}).some((i) => i.isLeaving === true);
    if (isDraining && !isKilled) {
      isKilled = true;
      l.restart();
    }
    await l.seconds(1);
  }
  await l.seconds(3);
  assert.ok(isKilled);
  assert.deepEqual(await l.instances(), { 'west-1': 1 });
  assert.deepEqual([...diary.ended.keys()], [young?.[0]], 'the youngest left, and nobody else');
  const end = diary.ended.get(young?.[0] ?? '');
  assert.ok(end !== undefined && end.isMarked && end.idleS >= 8, `${JSON.stringify(end)}`);
});

it('takes the one back that it drains when it is needed again', async () => {
  const l = await new MoverLab({ policy: { instances: { min: 1, max: 3 } }, demand: { west: 60 } }).start();
  await l.seconds(14);
  assert.deepEqual(await l.instances(), { 'west-1': 2 });
  const names = (await l.pods()).map((p) => p.metadata.name).sort();
  l.demand['west'] = 10;
  for (let s = 0; s < 60 && !(await l.pods()).some((p) => p.metadata.annotations?.[COST] !== undefined); s++) await l.seconds(1);
  l.demand['west'] = 80;
  await l.seconds(20);
  const pods = await l.pods();
  assert.ok(names.every((n) => pods.some((p) => p.metadata.name === n)), 'both are still there');
  assert.ok(pods.every((p) => p.metadata.annotations?.[COST] === undefined), 'nobody is marked any more');
  assert.ok((await l.front('west-1')).every((b) => b.weight === 100), JSON.stringify(await l.front('west-1')));
});

it('tells the region of a changed template once, and of nothing else', async () => {
  const l = await new MoverLab({ policy: { instances: { min: 1, max: 3 } }, demand: { west: 30 } }).start();
  await l.seconds(8);
  const deployment = async (): Promise<Deployment> => (await (l.regions['west'] as Client).get<Deployment>(Resources.Deployment, { tenant: 'acme', namespace: 'default' }, 'web-west-1'));
  await l.policy({ instances: { min: 1, max: 4 } });
  await l.seconds(3);
  const before = await deployment();
  assert.equal(before.metadata.generation, 1, 'another policy is no other template');
  await l.global.patch(Resources.Application, { tenant: 'acme', namespace: 'default' }, 'web', { spec: { template: { spec: { containers: [{ name: 'web', image: 'web:2' }] } } } });
  await l.seconds(3);
  const after = await deployment();
  assert.deepEqual([after.spec.template.spec.containers?.[0]?.image, after.spec.replicas], ['web:2', before.spec.replicas]);
  await l.seconds(5);
  assert.equal((await deployment()).metadata.resourceVersion, after.metadata.resourceVersion, 'nothing is written again');
});

run();
