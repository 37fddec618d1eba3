/** Fencing tokens and fences: what was replaced while it was out of reach never serves again as what it was. */
import assert from 'node:assert/strict';
import { MoverLab } from '../kit/mover-lab.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('mover fences', { timeoutMs: 90_000 });
const AFTER = 10;
const FENCE = { instances: { min: 1, max: 1 }, unreachable: { action: 'fence', afterSeconds: AFTER } } as const;
const on = (l: MoverLab): readonly string[] => [...l.running.values()].filter((r) => r.isOn).map((r) => `${r.name}@${r.site}`);

async function atEdge(policy: ConstructorParameters<typeof MoverLab>[0]['policy'], rate = 1): Promise<MoverLab> {
  const l = await new MoverLab({ policy, demand: { a: 30 }, rate: { 'edge-a': rate } }).start();
  await l.seconds(14);
  assert.deepEqual(await l.instances(), { 'edge-a': 1 });
  return l;
}

for (const rate of [0.75, 1.2]) {
  it(`never lets two instances of a fenced application serve, with the site's clock running at ${rate}`, async () => {
    const l = await atEdge(FENCE, rate);
    await l.link('edge-a', false);
    const at = l.now;
    let replacedAt = 0;
    l.watch = () => {
      assert.ok(on(l).length <= 1, `${(l.now - at) / 1000} s after the cut: ${on(l).join(', ')}`);
      if (replacedAt === 0 && on(l).some((r) => !r.endsWith('@edge-a'))) replacedAt = l.now;
    };
    await l.seconds(40);
    assert.ok(replacedAt - at >= (AFTER + 5) * 1000 && replacedAt - at <= (AFTER + 12) * 1000, `replaced after ${(replacedAt - at) / 1000} s`);
    assert.equal((await l.memory()).epochs?.['edge-a'], 1);
    assert.ok((await l.moves()).includes('edge-a replaced'));
    await l.link('edge-a', true);
    await l.seconds(4);
    assert.ok(on(l).every((r) => !r.endsWith('@edge-a')), 'what was replaced does not begin again');
    l.watch = () => undefined; // a planned move back starts before it stops
    await l.seconds(60);
    assert.deepEqual(await l.instances(), { 'edge-a': 1 });
    assert.deepEqual([...l.running.values()].map((r) => `${r.site} ${r.epoch}`), ['edge-a 1'], 'back with a new instance of the next epoch');
  });
}

it('never lets two serve when the site returns at any second around its fence', async () => {
  for (const back of [9, 12, 15, 16, 18]) {
    const l = await atEdge(FENCE);
    l.watch = () => assert.ok(on(l).length <= 1, `back after ${back} s: ${on(l).join(', ')}`);
    await l.link('edge-a', false);
    await l.seconds(back);
    await l.link('edge-a', true);
    await l.seconds(8);
    assert.equal(on(l).length, 1, `back after ${back} s: somebody serves`);
  }
});

it('replaces nobody whose node has not said that it fences it, nor while the region does not answer', async () => {
  const l = await atEdge({ ...FENCE, unreachable: { action: 'stay', afterSeconds: 0 } });
  await l.link('edge-a', false);
  await l.seconds(2);
  await l.policy({ unreachable: { action: 'fence', afterSeconds: AFTER } });
  await l.seconds(60);
  assert.deepEqual(on(l).map((r) => r.split('@')[1]), ['edge-a'], 'the node never heard of the fence');
  assert.match((await l.placement()).status?.sites?.find((s) => s.site !== 'edge-a')?.reason ?? '', /^waits until it is certain that nothing serves at edge-a/);
  const m = await atEdge(FENCE);
  m.silent.add('west');
  await m.link('edge-a', false);
  m.watch = () => assert.ok(on(m).length <= 1);
  await m.seconds(60);
  assert.deepEqual(on(m), [], 'it is fenced, but nobody can be sure');
  m.silent.delete('west');
  await m.seconds(10);
  assert.equal(on(m).length, 1);
});

it('tells running pods of a fence that the policy begins to ask for, without replacing them', async () => {
  const l = await atEdge({ instances: { min: 1, max: 1 } });
  const before = (await l.pods()).map((p) => p.metadata.name);
  await l.policy({ unreachable: { action: 'fence', afterSeconds: 20 } });
  await l.seconds(5);
  const after = await l.pods();
  assert.deepEqual(after.map((p) => p.metadata.name), before);
  assert.equal(after[0]?.metadata.annotations?.['mesh.proxima.io/fence-after-seconds'], '20');
  await l.policy({ unreachable: { action: 'stay', afterSeconds: 0 } });
  await l.seconds(5);
  assert.equal((await l.pods())[0]?.metadata.annotations?.['mesh.proxima.io/fence-after-seconds'], undefined);
});

it('does not adopt what was replaced behind a silent region: it is drained and stopped, and the site begins anew', async () => {
  const l = await atEdge({ instances: { min: 1, max: 2 }, unreachable: { action: 'move', afterSeconds: 3 } });
  const old = on(l);
  l.silent.add('west');
  l.cut.add('edge-a');
  l.cut.add('west-1');
  await l.seconds(40);
  assert.equal(on(l).filter((r) => r.endsWith('@east-1')).length, 1, on(l).join(', '));
  assert.ok(old.every((r) => on(l).includes(r)), 'out of reach it runs on');
  const address = (await l.pods()).find((p) => `${p.metadata.name}@edge-a` === old[0])?.status?.podIP ?? '';
  l.silent.delete('west');
  l.cut.clear();
  l.watch = async () => assert.ok(!(await l.front('edge-a')).some((b) => b.address === address && b.weight > 0), 'a front uses what is of an earlier epoch');
  await l.seconds(60);
  assert.ok(old.every((r) => !on(l).includes(r)));
  assert.deepEqual([...l.running.values()].map((r) => `${r.site} ${r.epoch}`), ['edge-a 1']);
  assert.deepEqual((await l.memory()).epochs, { 'edge-a': 1 });
});

run();
