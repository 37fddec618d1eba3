import assert from 'node:assert/strict';
import { standingOf, FENCE_MARGIN_SECONDS } from '../../../../scheduler/global/eligible.ts';
import { plan } from '../../../../scheduler/global/planner.ts';
import { random } from '../../../../scheduler/global/joint/reorder.ts';
import type { PolicySpec } from '../../../../api/kinds/mesh.ts';
import { suite } from '../../../kit/suite.ts';
import { app, placed, site, SITES, where, world, type Asked } from './kit.ts';

const { it, run } = suite('planner policies', { timeoutMs: 120_000 });
const NOW = Date.parse('2030-01-01T12:00:00Z');
const policy = (o: Partial<PolicySpec> = {}): Partial<Asked> => ({ policy: { instances: { min: 1, max: 8 }, ...o } });
const unmet = (p: ReturnType<typeof plan>, name = 'web'): string => p.applications.get(`acme/default/${name}`)?.unmet.join('; ') ?? '';
const full = SITES.map((s) => (s.kind === 'edge' ? site(s.name, { kind: 'edge', cpuMilli: 100 }) : s));

it('with overflow: false never leaves the edge sites, and names what is full; else what does not fit is served by a zone and comes back', () => {
  const kept = plan(world([app('web', { a: 120 }, policy({ overflow: false, sites: { preferred: [{ names: ['west-edge-a'], weight: 10 }] } }))], full), new Map(), NOW);
  assert.deepEqual(where(kept, 'web'), { 'west-edge-a': 1 });
  assert.match(unmet(kept), /req\/s have no place: west-edge-a has 0 of 100 mCPU free, one instance needs 100/);
  const spilled = plan(world([app('web', { a: 120 })], full), new Map(), NOW);
  assert.equal(where(spilled, 'web')['west-edge-a'], 1);
  assert.ok((where(spilled, 'web')['west-zone'] ?? 0) >= 1);
  const back = plan(world([app('web', { a: 120 })]), placed(spilled), NOW);
  assert.deepEqual(Object.keys(where(back, 'web')), ['west-edge-a']);
});

it('keeps applications apart whichever of them says so', () => {
  for (const says of ['one', 'two']) {
    const apps = ['one', 'two'].map((n) => app(n, { a: 30 }, policy(n === says ? { antiAffinity: [n === 'one' ? 'two' : 'one'] } : {})));
    const p = plan(world(apps), new Map(), NOW);
    const [one, two] = [where(p, 'one'), where(p, 'two')].map((x) => Object.keys(x));
    assert.ok(one?.every((s) => two?.includes(s) === false), `${says} says so: ${one?.join()} and ${two?.join()}`);
    assert.deepEqual(placed(plan(world(apps.toReversed()), new Map(), NOW)), placed(p));
    assert.deepEqual(plan(world(apps), placed(p), NOW).changed, []);
  }
});

it('judges a goal by its percentile of the requests of each client region', () => {
  const tight = SITES.map((s) => (s.name === 'west-edge-a' ? site(s.name, { kind: 'edge', cpuMilli: 200 }) : s));
  const goals = (percentile: number): boolean[] => plan(world([app('web', { a: 100 }, policy({ latency: [{ percentile, milliseconds: 10, clientRegion: 'a' }] }))], tight), new Map(), NOW).applications.get('acme/default/web')?.goals.map((g) => g.met) ?? [];
  assert.deepEqual([goals(80), goals(99)], [[true], [false]]);
});

it('stays below a cost ceiling, and says that it binds', () => {
  const p = plan(world([app('web', { a: 200 }, policy({ cost: { ceiling: 2 } }))]), new Map(), NOW);
  assert.ok((p.applications.get('acme/default/web')?.cost ?? 9) <= 2);
  assert.match(unmet(p), /cost\.ceiling = 2/);
});

it('says which constraint keeps it from its spread or its minimum', () => {
  assert.match(unmet(plan(world([app('web', { a: 20 }, policy({ instances: { min: 3, max: 4 }, spread: { over: 'region', min: 3 } }))]), new Map(), NOW)), /spread: 2 of 3 regions/);
  assert.match(unmet(plan(world([app('web', { a: 20 }, policy({ instances: { min: 3, max: 4 }, sites: { required: { names: ['west-edge-a'] } } }))], full), new Map(), NOW)), /1 of at least 3 instances have a place: west-edge-a has 0 of 100 mCPU free/);
});

it('replaces what is fenced only when the site has had the time to fence itself', () => {
  const cut = { ...site('west-edge-a'), reach: 'cut-off' as const, since: NOW };
  const standing = (s: number, unreachable: PolicySpec['unreachable']): string => standingOf({ instances: { min: 1, max: 1 }, ...(unreachable === undefined ? {} : { unreachable }) }, cut, NOW + s * 1000);
  const fence = { action: 'fence', afterSeconds: 10 } as const;
  assert.deepEqual([9, 10, 10 + FENCE_MARGIN_SECONDS - 1, 10 + FENCE_MARGIN_SECONDS].map((s) => standing(s, fence)), ['keep', 'keep', 'keep', 'lost']);
  assert.deepEqual([6, 12, 16].map((s) => standing(s, [{ action: 'duplicate', afterSeconds: 5 }, fence])), ['held', 'held', 'lost']);
});

it('takes room of every dimension, and what a site takes of its own', () => {
  const sites = SITES.map((s) => site(s.name, { kind: s.kind, resources: { gpu: s.name === 'west-edge-a' ? 1 : 4 } }));
  const p = plan(world([app('web', { a: 100 }, { ...policy(), resources: { gpu: 1 } })], sites), new Map(), NOW);
  assert.equal(where(p, 'web')['west-edge-a'], 1);
  const slow = plan(world([app('web', { a: 30 }, { ...policy(), sizeAt: { 'west-edge-a': { cpuMilli: 9_000, memoryMiB: 1 } } })]), new Map(), NOW);
  assert.equal(where(slow, 'web')['west-edge-a'], undefined);
});

it('plans nothing new after itself, whatever the order of the input, and never over capacity: random models', () => {
  const next = random(5);
  for (let round = 0; round < 20; round++) {
    const sites = SITES.map((s) => site(s.name, { kind: s.kind, cpuMilli: 300 + Math.floor(next() * 1500), cost: 0.5 + next() }));
    const apps = Array.from({ length: 2 + Math.floor(next() * 5) }, (_, i) =>
      app(`app-${i}`, { a: Math.floor(next() * 120), b: Math.floor(next() * 120), west: Math.floor(next() * 120) }, { cpuMilli: 50 + Math.floor(next() * 300), ...policy({ instances: { min: 1 + Math.floor(next() * 2), max: 6 }, ...(next() < 0.3 ? { spread: { over: 'site', min: 2 } } : {}), ...(next() < 0.2 ? { antiAffinity: ['app-0'] } : {}) }) }),
    );
    const model = world(apps, sites);
    const p = plan(model, new Map(), NOW);
    for (const [s, used] of model.sites.map((m, i) => [m, p.used[i * 2] as number] as const)) assert.ok(used <= s.cpuMilli + 1e-6, `${s.name} is over its capacity`);
    assert.deepEqual(placed(plan(world(apps.toReversed(), sites.toReversed()), new Map(), NOW)), placed(p));
    assert.deepEqual(plan(model, placed(p), NOW).changed, [], `round ${round}`);
  }
});

run();
