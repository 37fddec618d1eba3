/** What a latency goal is worth against money: an instance is never saved at its expense, unless the policy's own numbers say so. */
import assert from 'node:assert/strict';
import { objectiveOf } from '../../../../scheduler/global/objective.ts';
import { plan, Replanner } from '../../../../scheduler/global/planner.ts';
import { suite } from '../../../kit/suite.ts';
import { app, placed, site, SITES, where, world } from './kit.ts';

const { it, run } = suite('planner goals');
const NOW = Date.parse('2030-01-01T12:00:00Z');
const goal = { latency: [{ percentile: 95, milliseconds: 10 }] };
const limits = { instances: { min: 1, max: 40 } };

/** Two dear sites, as near as can be to few clients each. */
const DEAR = SITES.map((s) => (s.name.startsWith('west-edge') ? site(s.name, { kind: 'edge', cost: 3 }) : s));

it('gives a client region within reach of a goal an instance of its own, however large the others are', () => {
  for (const many of [30, 300, 1_000]) {
    const p = plan(world([app('web', { west: many, a: many / 50, b: many / 100 }, { policy: { ...limits, ...goal } })], DEAR), new Map(), NOW);
    assert.ok(p.applications.get('acme/default/web')?.goals.every((g) => g.met), JSON.stringify([many, where(p, 'web'), p.applications.get('acme/default/web')?.goals]));
  }
});

it('fills no instance with requests that would be late there', () => {
  // each site's last instance is filled by a few requests: at one site they would share it
  const model = world([app('web', { west: 37, a: 36.5, b: 36.5 }, { policy: { ...limits, ...goal } })]);
  const p = plan(model, new Map(), NOW);
  assert.deepEqual(p.applications.get('acme/default/web')?.serves.map((s) => [s.clientRegion, s.rttMs]).sort(), [['a', 3], ['b', 3], ['west', 3]]);
  assert.deepEqual(where(p, 'web'), { 'west-zone': 2, 'west-edge-a': 2, 'west-edge-b': 2 });
});

it('saves the instance where the policy says that money counts more, where a ceiling or a maximum binds, and where hardly anybody is', () => {
  const wheres = [
    { policy: { ...limits, ...goal, cost: { weights: { latency: 1, money: 100 } } } },
    { policy: { ...limits, ...goal, cost: { ceiling: 2 } } },
    { policy: { ...goal, instances: { min: 1, max: 1 } } },
  ].map((o) => Object.keys(where(plan(world([app('web', { west: 30, a: 1 }, o)]), new Map(), NOW), 'web')));
  assert.deepEqual(wheres, [['west-zone'], ['west-edge-a', 'west-zone'], ['west-zone']], 'a ceiling of 2 pays for both, a dear one does not');
  assert.deepEqual(Object.keys(where(plan(world([app('web', { west: 30, a: 1 }, { policy: { ...limits, ...goal, cost: { ceiling: 2 } } })], DEAR), new Map(), NOW), 'web')), ['west-zone']);
  assert.deepEqual(Object.keys(where(plan(world([app('web', { west: 300, a: 0.01 }, { policy: { ...limits, ...goal } })], DEAR), new Map(), NOW), 'web')), ['west-zone']);
});

it('counts a missed client region ten points for each instance that it fills, one at least, and two thousand times its share at most', () => {
  const points = (demand: Readonly<Record<string, number>>): number => {
    const model = world([app('web', demand, { policy: { ...limits, ...goal } })]);
    const serves = Object.entries(demand).map(([clientRegion, rps]) => ({ clientRegion, site: 'west-zone', rps, rttMs: clientRegion === 'west' ? 3 : 10.001 }));
    return objectiveOf(model, model.applications[0] as (typeof model.applications)[number], { sites: [], serves }).goals;
  };
  const about = (actual: number, expected: number): void => assert.ok(Math.abs(actual - expected) < 0.01 * expected, `${actual} ${expected}`);
  about(points({ west: 950, a: 50 }), (10 * 50) / 35);
  about(points({ west: 990, a: 10 }), 10);
  about(points({ west: 999, a: 1 }), 2);
  about(points({ west: 10, a: 10 }), 25);
});

it('gives what runs above 80 % help where a goal waits for it, above 90 % else, and only into room that nobody has', () => {
  const at = (rps: number, o: Parameters<typeof app>[2] = {}, cpuMilli = 10_000): number | undefined => {
    const sites = [site('west-zone', { cpuMilli })];
    const before = new Map([['acme/default/web', [{ site: 'west-zone', instances: 2 }]]]);
    const model = world([app('web', { west: rps }, o)], sites);
    const p = plan(model, before, NOW);
    assert.deepEqual(plan(model, placed(p), NOW).changed, []);
    const again = new Replanner(world([app('web', { west: 60 }, o)], sites), plan(world([app('web', { west: 60 }, o)], sites), before, NOW));
    const asked = model.applications[0];
    assert.ok(asked !== undefined);
    assert.equal(again.replan(asked, NOW).sites[0]?.instances, where(p, 'web')['west-zone'], 'one application planned again as all');
    return where(p, 'web')['west-zone'];
  };
  const none = { policy: { instances: { min: 1, max: 8 } } };
  assert.deepEqual([at(78), at(82), at(88, none), at(92, none)], [2, 3, 2, 3]);
  assert.equal(at(82, {}, 200), 2, 'the site is full');
  assert.equal(at(82, { policy: { ...goal, instances: { min: 1, max: 2 } } }), 2);
  assert.equal(at(82, { policy: { ...goal, instances: { min: 1, max: 8 }, cost: { ceiling: 2.5 } } }), 2);
});

run();
