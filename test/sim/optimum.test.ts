/** The planner beside the exact optimum on instances whose optimum is quick to prove or published; all families are in `bench/optimum.ts`. */
import assert from 'node:assert/strict';
import { compare, median, totalOf } from '../../bench/exact/compare.ts';
import { hasData, heldOut, instances, euaFile } from '../../bench/exact/instances.ts';
import { neverServed, SIMPLE, variants } from '../../bench/exact/online-others.ts';
import { ONLINE, replay, replayWith } from '../../bench/exact/online.ts';
import { plan } from '../../scheduler/global/planner.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('optimum', { timeoutMs: 120_000 });

if (!hasData()) {
  console.log('optimum: skipped, there is no ../shared/data beside the project');
} else {
  const all = instances();
  it('finds the proven optimum of the generalised assignments', () => {
    for (const i of all.filter((x) => x.family === 'gap')) {
      const c = compare(i, 0);
      assert.ok(c.gap < 0.03, `${i.name}: ${c.ours}, optimum ${c.optimum}`);
    }
  });

  it('is within a hundredth of what the solver proves where many requests compete for servers', () => {
    for (const i of all.filter((x) => x.name === 'EUA-2000 from minute 900, 250 requests')) {
      const c = compare(i, 30);
      assert.ok(c.gap < 0.01, `${i.name}: ${c.ours}, bound ${c.optimum}`);
    }
  });

  it('is within the goals where applications compete for sites and the solver is quick: 1 % at the median, 3 % at worst', () => {
    const quick = new Set(['hour 3, 5 applications', 'hour 9, 6 applications', 'seed 11, 6 applications', 'seed 14, 9 applications']);
    const found = [...all, ...heldOut()].filter((i) => quick.has(i.name)).map((i) => compare(i, 20));
    assert.equal(found.length, quick.size);
    for (const c of found) assert.ok(c.gap <= 0.03, `${c.name}: ${c.ours}, bound ${c.optimum}`);
    assert.ok(median(found.map((c) => c.gap)) <= 0.01, found.map((c) => `${c.name}: ${c.gap}`).join('; '));
  });

  it('places one application that has the sites for itself within a fifth of a percent of its optimum: instances are filled', () => {
    for (const i of [...all, ...heldOut()].filter((x) => x.name === 'seed 11, 6 applications' || x.name === 'hour 106, 8 applications')) {
      for (const a of i.model.applications) {
        const c = compare({ ...i, model: { ...i.model, applications: [a] } }, 20);
        assert.ok(c.gap < 0.002, `${i.name} ${a.key}: ${c.ours}, bound ${c.optimum}`);
      }
    }
  });

  it('moves nothing when it plans again, and plans the same from the same', () => {
    for (const i of all.filter((x) => x.family !== 'eua')) {
      const first = plan(i.model, new Map(), 0);
      const placed = new Map([...first.applications].map(([k, a]) => [k, a.sites]));
      assert.deepEqual(plan(i.model, placed, 0).changed, [], `${i.family} ${i.name}`);
      assert.equal(totalOf(i.model, plan(i.model, new Map(), 0).applications), totalOf(i.model, first.applications));
    }
  });

  it('rejects fewer requests online than every published policy, at no higher cost than the one that rejects fewest', () => {
    for (const [name, rejected, cost] of [['EUA-2000', 46, 36_142.58], ['EUA-4000', 84, 62_087.81]] as const) {
      const ours = replay(euaFile(name), ONLINE);
      assert.ok(ours.rejected < rejected && ours.cost <= cost, `${name}: ${ours.rejected} at ${ours.cost}`);
    }
  });

  it('rejects no more on a trace with other users than simple rules, where no rule can do better', () => {
    const [, , users] = variants('EUA-2000', euaFile('EUA-2000'), 1);
    assert.ok(users !== undefined);
    const ours = replay(users.file, ONLINE);
    assert.equal(ours.rejected, neverServed(users.file));
    const free = replayWith(users.file, SIMPLE['most free'] as NonNullable<(typeof SIMPLE)[string]>, ONLINE.contest);
    assert.ok(ours.rejected <= free.rejected && ours.cost < 0.7 * free.cost, JSON.stringify({ ours, free }));
  });
}

run();
