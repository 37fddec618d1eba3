/** A region whose API does not answer, while its sites serve: nothing is decided from an API that restarts, and something from one that stays away. */
import assert from 'node:assert/strict';
import { type Evidence, judge, type SiteState } from '../../../../scheduler/global/failure.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('a silent region');
const NOW = Date.parse('2030-01-01T00:00:00Z');

/** How a site stands at each second of an outage of its region's API. */
function seconds(evidence: (now: number) => Partial<Evidence>, until: number): readonly string[] {
  let state: SiteState = { reach: 'reachable', since: 0, reason: '' };
  return Array.from({ length: until + 1 }, (_, s) => {
    const now = NOW + s * 1000;
    state = judge('edge-a', { regionAnswers: false, phase: 'Ready', gatewayConnected: true, heardAt: NOW, witnesses: [], ...evidence(now) }, state, now);
    return state.reach;
  });
}

it('keeps a site suspect while its own samples arrive, for as long as an API takes to restart', () => {
  const seen = seconds((now) => ({ heardAt: now }), 30);
  assert.deepEqual([...new Set(seen.slice(0, 20))], ['suspect']);
  assert.equal(seen[30], 'cut-off', 'nobody can steer there any more');
});

it('does the same when only neighbours speak for it', () => {
  const seen = seconds(() => ({ witnesses: ['edge-b'] }), 30);
  assert.deepEqual([...new Set(seen.slice(0, 20))], ['suspect']);
});

it('does not wait so long for a site that nobody hears', () => {
  assert.ok(seconds(() => ({}), 8).includes('cut-off'));
});

run();
