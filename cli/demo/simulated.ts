/** What the same planner and mover would do over eight hours of a made-up world, beside the cloud alone: figures and charts, in seconds. */
import { readdirSync } from 'node:fs';
import { type Report, seconds } from './report.ts';
import type { Stage } from './stage.ts';

interface Figures {
  readonly policies: readonly { readonly policy: string; readonly attainment: number }[];
}

/** Runs it; what is returned tells of it. */
export async function simulateDay(stage: Stage): Promise<(report: Report) => void> {
  const out = stage.mesh.path('simulation');
  const started = performance.now();
  const { policies } = JSON.parse(await stage.mesh.cli(stage.facts.global.netns, ['simulate', 'small', '--policies', 'ours,cloud-only', '--out', out, '-o', 'json'])) as Figures;
  const took = performance.now() - started;
  const of = (policy: string): number => policies.find((p) => p.policy === policy)?.attainment ?? Number.NaN;
  const charts = readdirSync(out).filter((f) => f.endsWith('.svg')).length;
  const percent = (n: number): string => `${(n * 100).toFixed(2)} %`;
  return (report) => void report.check('proxima simulate: eight hours of eight sites, with charts', `${percent(of('ours'))} of requests within their goal, ${percent(of('cloud-only'))} from the cloud alone, ${charts} charts, in ${seconds(took)}`, of('ours') > of('cloud-only') && charts > 0);
}
