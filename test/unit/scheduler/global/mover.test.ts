import assert from 'node:assert/strict';
import type { ObservedInstance } from '../../../../scheduler/global/instances.ts';
import { decideMoves, type MoveDecision, type ObservedSite, type Traffic } from '../../../../scheduler/global/mover.ts';
import type { PlannedSite } from '../../../../scheduler/global/planner.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('mover');
const NOW = 1_000_000;
const wanted = (site: string): PlannedSite => ({ site, instances: 1, reason: 'near', isHeld: false });
const pod = (name: string, isReady: boolean, o: Partial<ObservedInstance> = {}): ObservedInstance => ({ name, uid: name, isReady, isLeaving: false, createdAt: 0, weight: isReady ? 100 : 0, isMarked: false, sendTo: null, migration: null, ...o });
const seen = (site: string, ready: number): ObservedSite => ({ site, region: 'west', reach: 'reachable', canAct: true, replicas: 1, instances: [pod(`${site}-0`, ready > 0)] });
const full: Traffic = { state: 'serving', factor: 100, since: NOW };
const bare = (traffic: MoveDecision['traffic']): MoveDecision['traffic'] => Object.fromEntries(Object.entries(traffic).map(([site, { instances: _i, ...t }]) => [site, t]));

it('tells of a start that it gave up, with the reason', () => {
  const traffic = { a: { ...full, since: 0 }, b: { state: 'starting', factor: 0, since: NOW - 60_000 } } as const;
  const d = decideMoves({ wanted: [wanted('a'), wanted('b')], observed: [seen('a', 1), seen('b', 0)], traffic, min: 1, now: NOW }, { startTimeoutMs: 30_000 });
  assert.deepEqual(d.undone.map((u) => u.site), ['b']);
  assert.deepEqual(d.events, [{ site: 'b', phase: 'undone', reason: 'a move to b was undone: no instance became Ready in 30 s' }]);
});

it('leaves the share of a site whose only instance fails a probe, and begins anew when it stays away', () => {
  let traffic: MoveDecision['traffic'] = { a: full };
  const at = (ms: number, ready: number): MoveDecision => {
    const d = decideMoves({ wanted: [wanted('a')], observed: [seen('a', ready)], traffic, min: 1, now: NOW + ms });
    traffic = d.traffic;
    return d;
  };
  assert.deepEqual([at(1_000, 0).events, at(4_000, 0).events, at(5_500, 1).events], [[], [], []]);
  assert.deepEqual(bare(traffic), { a: full }, 'nothing of the blip is left');
  assert.deepEqual([at(8_000, 0).events, at(12_000, 0).events], [[], []], 'a second blip is counted from its own begin');
  assert.deepEqual(at(13_000, 0).events.map((e) => e.phase), ['starting']);
  assert.deepEqual(bare(traffic), { a: { state: 'starting', factor: 0, since: NOW + 13_000 } });
});

it('writes the deployment again when its application was changed, as it is in number', () => {
  const steps = (o: Partial<ObservedSite>): MoveDecision['steps'] => decideMoves({ wanted: [wanted('a')], observed: [{ ...seen('a', 1), ...o }], traffic: { a: full }, min: 1, now: NOW }).steps;
  assert.deepEqual(steps({}), []);
  assert.deepEqual(steps({ isOutdated: true }), [{ kind: 'scale', site: 'a', region: 'west', replicas: 1, reason: 'the application was changed' }]);
  assert.deepEqual(steps({ isOutdated: true, canAct: false }), []);
});

run();
