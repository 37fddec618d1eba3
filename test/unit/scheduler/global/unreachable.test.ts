import assert from 'node:assert/strict';
import { standingOf } from '../../../../scheduler/global/eligible.ts';
import { plainSite } from '../../../../scheduler/global/model.ts';
import { nextUnreachable, unreachableAt, unreachableSteps } from '../../../../scheduler/global/unreachable.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('unreachable');
const escalation = { unreachable: [{ action: 'move', afterSeconds: 600 }, { action: 'duplicate', afterSeconds: 5 }] } as const;

it('stays until the first delay is over, then does the last step whose delay is', () => {
  const seen = [0, 4.9, 5, 599, 600, 86_400].map((s) => unreachableAt(escalation, s));
  assert.deepEqual(seen, ['stay', 'stay', 'duplicate', 'duplicate', 'move', 'move']);
  assert.deepEqual([0, 5, 600].map((s) => nextUnreachable(escalation, s)), [5, 595, null]);
});

it('takes a single step as a list of one, and duplicates after 1 s when nothing is said', () => {
  assert.deepEqual(unreachableSteps({ unreachable: { action: 'fence', afterSeconds: 1 } }), [{ action: 'fence', afterSeconds: 1 }]);
  assert.deepEqual([unreachableAt({}, 0.9), unreachableAt({}, 1)], ['stay', 'duplicate']);
  assert.equal(unreachableAt({ unreachable: [] }, 1e6), 'stay');
});

it('decides how a site stands, step by step', () => {
  const policy = { instances: { min: 1, max: 2 }, ...escalation };
  const down = { ...plainSite, name: 'x', region: 'r', reach: 'down', since: 1_000_000 } as const;
  assert.deepEqual([1, 5, 600].map((s) => standingOf(policy, down, 1_000_000 + s * 1000)), ['keep', 'held', 'lost']);
});

run();
