/** The planner beside the exact optimum on instances whose optimum is quick to prove or published; all families are in `bench/optimum.ts`. */
import assert from 'node:assert/strict';
import { compare, totalOf } from '../../bench/exact/compare.ts';
import { hasData, instances, euaFile } from '../../bench/exact/instances.ts';
import { ONLINE, replay } from '../../bench/exact/online.ts';
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
}

run();
