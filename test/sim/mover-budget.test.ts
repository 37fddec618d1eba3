/** Budgets on the whole scheduler: a move for gain waits and says why, over a kill too; a repair does not wait. */
import assert from 'node:assert/strict';
import { MoverLab } from '../kit/mover-lab.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('mover budgets', { timeoutMs: 90_000 });

async function spent(): Promise<MoverLab> {
  const l = await new MoverLab({ policy: {}, demand: { west: 30 }, scheduler: { budget: { perHour: 0 } } }).start();
  await l.seconds(10);
  assert.deepEqual(await l.instances(), { 'west-1': 1 }, 'a first placement is no move');
  return l;
}

it('lets a move for gain wait, with the reason in the Placement, while the old place serves', async () => {
  const l = await spent();
  l.demand['west'] = 0;
  l.demand['a'] = 40;
  for (const isKilled of [false, true]) {
    if (isKilled) l.restart();
    await l.seconds(30);
    assert.deepEqual(await l.instances(), { 'west-1': 1 });
    const { status } = await l.placement();
    const waits = status?.sites?.filter((s) => s.reason.startsWith('waits')).map((s) => `${s.site} ${s.reason}`);
    assert.deepEqual(waits, ['edge-a waits: 0 moves in the last hour; mover.budget.perHour is 0']);
  }
  const { resourceVersion } = (await l.placement()).metadata;
  await l.seconds(10);
  assert.equal((await l.placement()).metadata.resourceVersion, resourceVersion, 'waiting writes nothing');
  assert.match(await l.scheduler.moves.registry.metrics(), /proxima_moves_waiting\{why="budget"\} 1/);
});

it('lets no repair wait', async () => {
  const l = await spent();
  await l.link('west-1', false);
  await l.seconds(25);
  assert.ok([...l.running.values()].some((r) => r.site !== 'west-1'), JSON.stringify(await l.instances()));
});

run();
