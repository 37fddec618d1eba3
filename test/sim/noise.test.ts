/**
 * Many applications that compete for small sites, over a day whose demand and round trips are known to within ±10 % at every look: do they stay where
 * they are? The real planner by windows of an hour; demand with the shape of a day in 12 cities, cold start excluded.
 */
import assert from 'node:assert/strict';
import type { PolicySpec } from '../../api/kinds/mesh.ts';
import { createModel, plainSite, type Model, type Placements } from '../../scheduler/global/model.ts';
import { type Plan, plan } from '../../scheduler/global/planner.ts';
import { Random } from '../../scheduler/simulate/random.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('noise', { timeoutMs: 110_000 });
const START = Date.parse('2030-01-01T00:00:00Z');
const HOUR_MS = 3_600_000;
const WINDOW_MS = HOUR_MS;
/** Millions, hours ahead of UTC, and where on the ring of 40,000 km. */
const CITIES = [[20, 9, 35], [22, 8, 33], [18, 5.5, 28], [12, 3, 24], [15, 1, 20], [9, 0, 18], [8, 1, 19], [19, -5, 9], [13, -6, 8], [12, -8, 5], [21, -3, 13], [5, 10, 39]] as const;

interface Size {
  readonly applications: number;
  /** mCPU of every third site, and of the others. */
  readonly room: readonly [large: number, small: number];
}

/** Room for about three quarters of what everybody would like at their nearest site. The small one takes an eighth of the time. */
const FULL: Size = { applications: 6, room: [2_000, 750] };
const SMALL: Size = { applications: 3, room: [1_000, 500] };

interface Look {
  readonly size: Size;
  readonly at: number;
  /** 0.1 = each number is off by up to 10 %. */
  readonly noise: number;
  readonly policy: () => PolicySpec;
  /** UTC, whose demand it is. */
  readonly hour: number;
}

/** One look at the world: true demand and ways, each off by up to `noise`. */
function look({ size, at, noise, policy, hour }: Look, random: Random): Model {
  const off = (): number => 1 + noise * (2 * random.next() - 1);
  const sites = CITIES.map((_city, c) => ({ ...plainSite, name: `city-${String(c).padStart(2, '0')}`, region: `r${c % 4}`, kind: c % 3 === 0 ? ('zone' as const) : ('edge' as const), cost: c % 3 === 0 ? 1 : 1.5, cpuMilli: size.room[c % 3 === 0 ? 0 : 1], memoryMiB: 16_384 }));
  const ways = new Map(CITIES.flatMap(([, , a], r) => CITIES.map(([, , b], s) => [`${r} ${s}`, (2 + 15 * Math.min(Math.abs(a - b), 40 - Math.abs(a - b))) * off()] as const)));
  const applications = Array.from({ length: size.applications }, (_, i) => {
    const demand = new Map(CITIES.flatMap(([millions, ahead], c) => {
      if ((c * 7 + i * 5) % 3 === 0) return [];
      const local = (hour + ahead + 24) % 24;
      const shape = 0.15 + 0.85 * Math.max(0, Math.sin(((local - 8) / 24) * 2 * Math.PI)) ** 0.7;
      return [[`metro-${String(c).padStart(2, '0')}`, millions * (1 + (i % 4)) * shape * off()] as const];
    }));
    return { key: `acme/default/app-${String(i).padStart(2, '0')}`, policy: policy(), perInstance: 40, cpuMilli: 250, memoryMiB: 256, avoid: [], movedAt: moved.get(i)?.filter((t) => at - t < HOUR_MS) ?? [], demand };
  });
  const cities = CITIES.map((_c, c) => `metro-${String(c).padStart(2, '0')}`);
  return createModel({ sites, clientRegions: cities, rtt: (r, s) => ways.get(`${Number(r.slice(6))} ${Number(s.slice(5))}`) ?? null, applications });
}

/** By application: when it was moved. */
let moved = new Map<number, number[]>();
const placed = (p: Plan): Placements => new Map([...p.applications].map(([key, a]) => [key, a.sites]));

interface Day {
  readonly moves: readonly number[];
  readonly most: number;
  readonly again: number;
  readonly isCompeting: boolean;
}

/** So many hours of looks after `warmUp` of them; `again`: changes of plans made a second time from the same input. */
function day(size: Size, policy: Look['policy'], isRising: boolean, seed: number, hours = 24): Day {
  const noise = 0.1;
  const random = new Random(seed);
  moved = new Map();
  let current: Placements = new Map();
  let [most, again, isCompeting] = [0, 0, false];
  const moves = Array.from({ length: size.applications }, () => 0);
  const warmUp = 4;
  for (let n = -warmUp; n < (hours * HOUR_MS) / WINDOW_MS; n++) {
    const at = START + n * WINDOW_MS;
    const model = look({ size, at, noise, policy, hour: isRising ? (n * WINDOW_MS) / HOUR_MS : 12 }, random);
    const p = plan(model, current, at);
    if (n % 8 === 7) again += plan(model, placed(p), at).changed.length;
    isCompeting ||= [...p.applications.values()].some((a) => a.unmet.some((u) => u.includes('mCPU free')));
    for (const [i, a] of model.applications.entries()) {
      const came = (current.get(a.key) ?? []).length === 0 ? 0 : (p.applications.get(a.key)?.changes.filter((c) => c.from === 0).length ?? 0);
      if (came > 0) moved.set(i, [...(moved.get(i) ?? []), at]);
      if (n >= 0) moves[i] = (moves[i] as number) + came;
      const inHour = (moved.get(i) ?? []).filter((t) => at - t < HOUR_MS).length;
      most = Math.max(most, inHour);
    }
    current = placed(p);
  }
  return { moves, most, again, isCompeting };
}

const plain = (): PolicySpec => ({ instances: { min: 1, max: 12 }, latency: [{ percentile: 95, milliseconds: 60 }] });
const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);

it('moves nothing that only noise asks for, though sites are full', () => {
  const { moves, again, isCompeting } = day(FULL, plain, false, 3, 12);
  console.log(`   demand of noon for 12 hours, ±10 %: ${sum(moves)} moves of ${FULL.applications} applications, at most ${Math.max(...moves)} of one`);
  assert.ok(isCompeting, 'nobody lacks room: the sites are not tight');
  assert.ok(sum(moves) / FULL.applications <= 1, `${moves.join()} moves`);
  assert.equal(again, 0, 'a second plan changes something');
});

/** What a better place must gain keeps below it already, without a budget too: that the budget itself refuses is asserted in `unit/scheduler/global`. */
const BUDGET = 1;
const budgeted = (): PolicySpec => ({ ...plain(), migration: { allowed: true, maxMovesPerHour: BUDGET } });

for (const [what, size, seeds] of [['six applications', FULL, [5]], ['three, by eight other noises', SMALL, [1, 2, 3, 4, 5, 6, 7, 8]]] as const) {
  it(`keeps to the budget of the policy over a day whose demand goes around the world, with noise on top of it: ${what}`, () => {
    const days = seeds.map((seed) => day(size, budgeted, true, seed));
    const perDay = days.flatMap((d) => d.moves);
    console.log(`   ${days.length} days with ±10 %: ${(sum(perDay) / perDay.length).toFixed(1)} moves per application and day, at most ${Math.max(...perDay)} of one; at most ${Math.max(...days.map((d) => d.most))} in an hour`);
    for (const [i, { most, moves, again, isCompeting }] of days.entries()) {
      const seed = `seed ${seeds[i] as number}`;
      assert.ok(isCompeting, `${seed}: nobody lacks room`);
      assert.ok(most <= BUDGET, `${seed}: ${most} in an hour`);
      assert.ok(Math.max(...moves) <= 24 * BUDGET && sum(moves) / size.applications <= 6, `${seed}: ${moves.join()}`);
      assert.equal(again, 0, `${seed}: a second plan changes something`);
    }
    assert.ok(sum(perDay) > 0, 'demand that goes around the world is followed');
  });
}

run();
