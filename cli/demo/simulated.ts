/**
 * What the same planner and mover would do in made-up worlds, on a virtual clock: eight hours beside the cloud alone, with charts; and a morning that
 * prediction knows from the days before, beside one that it does not. Both take seconds.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PolicyFigures } from '../../scheduler/simulate/figures.ts';
import { type Report, seconds } from './report.ts';
import type { Stage } from './stage.ts';

interface Run {
  readonly out: string;
  readonly tookMs: number;
  readonly of: (policy: string) => PolicyFigures;
}

async function simulate(stage: Stage, scenario: string, policies: readonly string[]): Promise<Run> {
  const out = stage.mesh.path('simulations', scenario);
  const started = performance.now();
  await stage.mesh.cli(stage.facts.global.netns, ['simulate', scenario, '--policies', policies.join(','), '--out', out, '-o', 'json']);
  const results = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as { readonly policies: readonly PolicyFigures[] };
  const of = (policy: string): PolicyFigures => {
    const found = results.policies.find((p) => p.policy === policy);
    if (found === undefined) throw new Error(`proxima simulate ${scenario} has no figures of ${policy}`);
    return found;
  };
  return { out, tookMs: performance.now() - started, of };
}

const percent = (n: number): string => `${(n * 100).toFixed(2)} %`;
const missed = (p: PolicyFigures): number => p.requests - p.answered;

/** Runs both; what is returned tells of them. */
export async function simulateDays(stage: Stage): Promise<(report: Report) => void> {
  const day = await simulate(stage, 'small', ['ours', 'cloud-only']);
  const morning = await simulate(stage, 'mornings', ['ours', 'ours-predicting']);
  return (report) => {
    const [ours, cloud] = [day.of('ours').attainment, day.of('cloud-only').attainment];
    const charts = readdirSync(day.out).filter((f) => f.endsWith('.svg')).length;
    report.check('proxima simulate: eight hours of eight sites, with charts', `${percent(ours)} of requests within their goal, ${percent(cloud)} from the cloud alone, ${charts} charts, in ${seconds(day.tookMs)}`, ours > cloud && charts > 0);
    predictedStart(report, morning);
  };
}

/** The quarter of an hour before the first one that is busier than the night by half: who starts then does not react, it expects. */
function beforeRise(p: PolicyFigures): number {
  const night = p.points[0]?.requests ?? Number.NaN;
  return p.points.findIndex((x) => x.requests > night * 1.5) - 1;
}

function predictedStart(report: Report, morning: Run): void {
  const [react, predict] = [morning.of('ours'), morning.of('ours-predicting')];
  const i = beforeRise(react);
  const runningAt = (p: PolicyFigures): number => (p.points[i]?.instanceHours ?? Number.NaN) * 4; // a point is a quarter of an hour
  const [few, more] = [runningAt(react), runningAt(predict)];
  const clock = new Date(react.points[i]?.at ?? 0).toISOString().slice(11, 16);
  const spared = missed(react) - missed(predict);
  const isSame = i > 0 && beforeRise(predict) === i && Math.abs(react.requests - predict.requests) < 1;
  report.check(
    'prediction of the day: instances started before the rise (simulated, one day learned)',
    `from ${clock} on, before any of it is measured, ${more.toFixed(1)} run instead of ${few.toFixed(1)}; then ${percent(missed(predict) / predict.requests)} of requests late or failed instead of ${percent(missed(react) / react.requests)} (${Math.round(spared / 1000)} thousand spared), moves ${react.moves} -> ${predict.moves}, cost ${react.cost.toFixed(0)} -> ${predict.cost.toFixed(0)}`,
    isSame && more >= few + 1 && spared > 0 && missed(predict) < missed(react) / 2 && predict.moves <= react.moves,
  );
}
