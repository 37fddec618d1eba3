/**
 * Diurnal demand of 40 cities over real round trips, shortened: few applications, plans each quarter of an hour. `bench flapping` has the whole.
 * That prediction never costs a move is tried over all seven days.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { PolicyFigures } from '../../scheduler/simulate/figures.ts';
import { expectedOf } from '../../scheduler/simulate/main.ts';
import { policyNamed } from '../../scheduler/simulate/policies.ts';
import { decodeScenario } from '../../scheduler/simulate/scenario.ts';
import { simulate } from '../../scheduler/simulate/simulation.ts';
import { buildWorld, type SimWorld } from '../../scheduler/simulate/world.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('flapping', { timeoutMs: 110_000 });
const DATA = resolve(import.meta.dirname, '..', '..', '..', 'shared', 'data', 'dev-40');

function world(o: { readonly seed?: number; readonly hours: number; readonly warmUp: number; readonly applications: string; readonly scale: number }): SimWorld {
  const text = `
name: t
start: 2024-03-04T00:00:00Z
hours: ${o.hours}
warmUpHours: ${o.warmUp}
stepSeconds: 900
seed: ${o.seed ?? 1}
sites: { file: { path: sites.csv, zones: 4, instances: 200 } }
clientRegions: { atSites: true }
rtt: { file: rtt_avg_ms.csv }
demand: { file: demand_rps_hourly_7d.csv, scale: ${o.scale}, noisePercent: 10 }
applications: ${o.applications}
`;
  return buildWorld(decodeScenario(text, 't'), (path) => readFileSync(join(DATA, path), 'utf8'));
}

const runs = (w: SimWorld, ...names: string[]): PolicyFigures[] => names.map((n) => simulate(w, policyNamed(n, expectedOf(w), w.seed)));
const show = (list: readonly PolicyFigures[]): string => list.map((p) => `${p.policy}: ${(p.attainment * 100).toFixed(3)} % within, ${p.failed.toFixed(0)} failed, cost ${p.cost.toFixed(0)}, ${p.moves} moves`).join('; ');

if (!existsSync(DATA)) skip('follows the day', '../shared/data/dev-40 is not there');
else {
  it('follows the day with few moves: in time more often than whoever costs no more, cheaper than whoever is as good', () => {
    const w = world({ hours: 30, warmUp: 6, scale: 0.05, applications: '[{ name: game, perInstance: 50, startSeconds: 20, policy: { latency: [{ percentile: 95, milliseconds: 60 }], instances: { min: 1, max: 60 } } }]' });
    const list = runs(w, 'ours', 'nearest-site', 'cloud-only', 'static-proportional', 'random-match');
    const [ours, ...others] = list;
    assert.ok(ours !== undefined && ours.movesPerApplicationPerDay <= 20, show(list));
    for (const p of others) assert.ok(ours.attainment > p.attainment || ours.cost < p.cost, `${p.policy} is both: ${show(list)}`);
    const good = others.filter((p) => p.attainment > ours.attainment - 0.002);
    for (const p of good) assert.ok(p.cost > ours.cost, show(list));
  });

  it('with prediction: no more moves than without, fewer requests late or failed, and fewer minutes without room, over seven days of four noises', () => {
    let [without, during] = [0, 0];
    for (const seed of [1, 2, 3, 5]) {
      const w = world({ seed, hours: 168, warmUp: 48, scale: 0.1, applications: '[{ name: desk, count: 2, regionsPercent: 12, perInstance: 20, startSeconds: 300, policy: { latency: [{ percentile: 95, milliseconds: 40 }], instances: { min: 1, max: 60 } } }]' });
      const [react, predict] = runs(w, 'ours', 'ours-predicting');
      assert.ok(react !== undefined && predict !== undefined);
      const says = `seed ${seed}: ${show([react, predict])}`;
      const missed = (p: PolicyFigures): number => p.late + p.failed;
      const short = (p: PolicyFigures): number => p.points.filter((x) => x.failed > 0.001 * x.requests).length;
      assert.ok(predict.moves <= react.moves, says);
      assert.ok(missed(react) > 0 && missed(predict) < missed(react), `${says}: missed ${missed(react)} and ${missed(predict)}`);
      assert.ok(react.failed > 0 && predict.failed < react.failed / 2, `${says}: what starts earlier is there when it is asked`);
      assert.ok(predict.cost < react.cost * 1.05, says);
      without += short(react);
      during += short(predict);
    }
    console.log(`   steps in which more than 0.1 % of the requests had no instance: ${without} without prediction, ${during} with it`);
    assert.ok(without > 0 && during < without, `${during} and ${without}`);
  });
}

run();
