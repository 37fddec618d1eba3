import assert from 'node:assert/strict';
import fc from 'fast-check';
import { refusedByPolicy } from '../../../../scheduler/global/eligible.ts';
import { plan, Replanner } from '../../../../scheduler/global/planner.ts';
import { refusals } from '../../../../scheduler/global/refusals.ts';
import { suite } from '../../../kit/suite.ts';
import { app, placed, site, SITES, where, world, type Asked } from './kit.ts';

const { it, run } = suite('planner');
const NOW = Date.parse('2030-01-01T12:00:00Z');
const policy = { instances: { min: 1, max: 8 } };

it('starts at the edge site whose clients send the traffic, and says so with the numbers', () => {
  const p = plan(world([app('web', { a: 42, west: 0.2 })]), new Map(), NOW);
  assert.ok((where(p, 'web')['west-edge-a'] ?? 0) >= 1);
  const reason = p.applications.get('acme/default/web')?.sites.find((s) => s.site === 'west-edge-a')?.reason;
  assert.match(reason ?? '', /client region a sends 42\.0 req\/s; from west-edge-a 3\.0 ms, from .* 39 ms; goal 10 ms/);
});

it('follows the traffic and drains the place that is not needed any more', () => {
  const before = plan(world([app('web', { west: 40 })]), new Map(), NOW);
  assert.deepEqual(where(before, 'web'), { 'west-zone': 2 });
  const after = plan(world([app('web', { a: 40 })]), placed(before), NOW);
  assert.deepEqual(where(after, 'web'), { 'west-edge-a': 2 });
  assert.match(after.applications.get('acme/default/web')?.changes.find((c) => c.site === 'west-zone')?.reason ?? '', /not needed any more/);
});

it('plans nothing new when nothing changed, and nothing at all under ±10 % noise', () => {
  const demands = [{ west: 40, a: 12 }, { b: 90 }, { west: 5, a: 5, b: 5 }, { a: 33 }];
  const first = plan(world(demands.map((d, i) => app(`app-${i}`, d))), new Map(), NOW);
  assert.deepEqual(plan(world(demands.map((d, i) => app(`app-${i}`, d))), placed(first), NOW).changed, []);
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.9, max: 1.1, noNaN: true }), { minLength: 12, maxLength: 12 }), (noise) => {
      let n = 0;
      const noisy = demands.map((d, i) => app(`app-${i}`, Object.fromEntries(Object.entries(d).map(([r, v]) => [r, v * (noise[n++] ?? 1)]))));
      assert.deepEqual(plan(world(noisy), placed(first), NOW).changed, []);
    }),
    { numRuns: 100 },
  );
});

const cases: readonly (readonly [string, Partial<Asked>, Record<string, number>, RegExp])[] = [
  ['an edge site when edgeAllowed is false', { policy: { ...policy, edgeAllowed: false } }, { 'west-zone': 2 }, /edgeAllowed: false/],
  ['a site outside of the residency', { policy: { ...policy, residency: ['east'] } }, { 'east-zone': 2 }, /residency allows east/],
  ['a forbidden site', { policy: { ...policy, sites: { forbidden: ['west-edge-a', 'east-zone', 'west-edge-b'] } } }, { 'west-zone': 2 }, /sites\.forbidden/],
  ['a site that is not required', { policy: { ...policy, sites: { required: { names: ['west-edge-b'] } } } }, { 'west-edge-b': 2 }, /sites\.required/],
  ['a site of too little trust', { policy: { ...policy, minTrust: 2 } }, {}, /has trust 1/],
];
for (const [what, o, expected, reason] of cases) {
  it(`never uses ${what}, and says why`, () => {
    const model = world([app('web', { a: 70 }, o)]);
    const p = plan(model, new Map(), NOW);
    assert.deepEqual(where(p, 'web'), expected);
    const [asked, planned] = [model.applications[0], p.applications.get('acme/default/web')];
    assert.ok(asked !== undefined && planned !== undefined);
    assert.ok(refusals(model, asked, p).some((r) => reason.test(r.reason)));
    if (Object.keys(expected).length === 0) assert.match(planned.unmet.join(), /no site is allowed/);
  });
}

it('spreads over regions, keeps at least min, and shows demand beyond max as unmet', () => {
  const p = plan(world([app('web', { west: 40 }, { policy: { instances: { min: 3, max: 4 }, spread: { over: 'region', min: 2 } } }), app('big', { west: 900 })]), new Map(), NOW);
  const sites = where(p, 'web');
  assert.ok((sites['east-zone'] ?? 0) >= 1);
  assert.equal(Object.values(sites).reduce((a, b) => a + b, 0), 3);
  assert.match(p.applications.get('acme/default/big')?.unmet.join() ?? '', /instances\.max = 8/);
});

it('names the binding constraint of a goal that no allowed site can meet', () => {
  const p = plan(world([app('web', { a: 40 }, { policy: { ...policy, edgeAllowed: false, latency: [{ percentile: 95, milliseconds: 10 }] } })]), new Map(), NOW);
  assert.match(p.applications.get('acme/default/web')?.unmet.join() ?? '', /client region a: 39 ms from west-zone, goal 10 ms: west-edge-a \(3\.0 ms\) is an edge site; the policy says edgeAllowed: false/);
});

it('keeps applications apart that must not share a site, and together that should', () => {
  const p = plan(world([app('one', { a: 40 }), app('two', { a: 30 }, { policy: { ...policy, antiAffinity: ['one'] } }), app('three', { west: 1 }, { policy: { ...policy, affinity: ['one'] }, perInstance: 1000 })]), new Map(), NOW);
  assert.equal(where(p, 'two')['west-edge-a'], undefined);
  assert.ok((where(p, 'one')['west-edge-a'] ?? 0) > 0);
});

it('does not move what may not be moved, or has been moved too often, and says why', () => {
  const before = placed(plan(world([app('web', { west: 40 })]), new Map(), NOW));
  const still = plan(world([app('web', { a: 40 }, { policy: { ...policy, migration: { allowed: false } } })]), before, NOW);
  assert.deepEqual(still.changed, []);
  assert.match(still.applications.get('acme/default/web')?.kept ?? '', /migration\.allowed is false/);
  const often = plan(world([app('web', { a: 40 }, { policy: { ...policy, migration: { allowed: true, maxMovesPerHour: 1 } }, movedAt: [NOW - 1000] })]), before, NOW);
  assert.deepEqual(often.changed, []);
  assert.match(often.applications.get('acme/default/web')?.kept ?? '', /maxMovesPerHour is 1/);
});

it('holds, moves or keeps the instances of a site out of reach, as the policy says and not before its delay', () => {
  const before = placed(plan(world([app('web', { a: 40 })]), new Map(), NOW));
  const cut = (sinceMs: number, action: 'stay' | 'duplicate' | 'move'): Record<string, number> => {
    const sites = SITES.map((s) => (s.name === 'west-edge-a' ? { ...s, reach: 'cut-off' as const, since: NOW - sinceMs } : s));
    return where(plan(world([app('web', { a: 40 }, { policy: { ...policy, unreachable: { action, afterSeconds: 5 } } })], sites), before, NOW), 'web');
  };
  assert.deepEqual(cut(1_000, 'duplicate'), { 'west-edge-a': 2 });
  assert.deepEqual(cut(6_000, 'stay'), { 'west-edge-a': 2 });
  assert.deepEqual(cut(6_000, 'duplicate'), { 'west-edge-a': 2, 'west-zone': 2 });
  assert.deepEqual(cut(6_000, 'move'), { 'west-zone': 2 });
});

it('re-plans one application as a whole plan would', () => {
  const model = world([app('web', { west: 40 }), app('api', { b: 20 })]);
  const first = plan(model, new Map(), NOW);
  const settled = plan(model, placed(first), NOW);
  const changed = world([app('web', { a: 40 }), app('api', { b: 20 })]);
  const one = changed.applications.find((a) => a.key.endsWith('web'));
  assert.ok(one !== undefined);
  assert.deepEqual(new Replanner(model, settled).replan(one, NOW).sites, plan(changed, placed(settled), NOW).applications.get('acme/default/web')?.sites);
});

it('is never over capacity, never against a policy, deterministic and independent of order', () => {
  const one = fc.record({ a: fc.integer({ min: 0, max: 200 }), b: fc.integer({ min: 0, max: 200 }), west: fc.integer({ min: 0, max: 200 }), cpu: fc.integer({ min: 50, max: 900 }), max: fc.integer({ min: 1, max: 9 }), edgeAllowed: fc.boolean(), spread: fc.integer({ min: 1, max: 3 }) });
  fc.assert(
    fc.property(fc.array(one, { minLength: 1, maxLength: 8 }), fc.array(fc.integer({ min: 200, max: 3000 }), { minLength: 4, maxLength: 4 }), (asked, cpu) => {
      const sites = SITES.map((s, i) => site(s.name, { ...s, cpuMilli: cpu[i] ?? 500 }));
      const apps = asked.map((x, i) => app(`app-${i}`, { a: x.a, b: x.b, west: x.west }, { cpuMilli: x.cpu, policy: { instances: { min: 1, max: Math.max(x.max, x.spread) }, edgeAllowed: x.edgeAllowed, spread: { over: 'site', min: x.spread } } }));
      const model = world(apps, sites);
      const p = plan(model, new Map(), NOW);
      const used = new Map<string, number>();
      for (const a of model.applications) {
        const planned = p.applications.get(a.key);
        assert.ok(planned !== undefined);
        assert.ok(planned.sites.reduce((n, s) => n + s.instances, 0) <= a.policy.instances.max, `${a.key} has more than max`);
        for (const s of planned.sites) {
          assert.ok(s.reason.length > 10);
          assert.equal(refusedByPolicy(a.policy, model.sites.find((m) => m.name === s.site) ?? site('none')), null);
          used.set(s.site, (used.get(s.site) ?? 0) + s.instances * a.cpuMilli);
        }
      }
      for (const s of model.sites) assert.ok((used.get(s.name) ?? 0) <= s.cpuMilli, `${s.name} is over its capacity`);
      const again = plan(world(apps.toReversed(), sites.toReversed()), new Map(), NOW);
      assert.deepEqual(placed(again), placed(p));
    }),
    { numRuns: 50 },
  );
});

run();
