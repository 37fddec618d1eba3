/** The report of a simulation: Markdown for people, JSON for programs, charts as SVG and PNG. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../api/errors.ts';
import { barChart, lineChart, scatterChart, type Series } from './charts.ts';
import type { PolicyFigures } from './figures.ts';
import type { Results } from './main.ts';

const HOUR_MS = 3_600_000;
/** Runs up to so many hours are drawn by the quarter of an hour. */
const SHORT_HOURS = 12;
const WORST_REGIONS = 20;

const percent = (part: number, whole: number, digits = 2): string => (whole === 0 ? '-' : `${((part / whole) * 100).toFixed(digits)} %`);
const ms = (v: number | null): string => (v === null ? '-' : v < 10 ? v.toFixed(1) : v.toFixed(0));

export const HEAD = ['policy', 'within goal', 'late', 'failed', 'answered in time', 'wait ms', 'p50 ms', 'p99 ms', 'cost', 'moves/app/day', 'unmet hours'] as const;

export function rowOf(p: PolicyFigures): (string | number)[] {
  return [p.policy, percent(p.within, p.requests), percent(p.late, p.requests), percent(p.failed, p.requests, 3), percent(p.answered, p.requests), ms(p.meanWaitMs), ms(p.p50Ms), ms(p.p99Ms), Math.round(p.cost), p.movesPerApplicationPerDay.toFixed(1), p.unmetHours.toFixed(1)];
}

/** File name without its ending, to SVG. */
export function charts(results: Results): ReadonlyMap<string, string> {
  const { policies } = results;
  const begin = policies[0]?.points[0]?.at ?? 0;
  const slotHours = results.days * 24 <= SHORT_HOURS ? 0.25 : 1;
  const hourly = (value: (p: { readonly requests: number; readonly within: number; readonly cost: number; readonly instanceHours: number; hours: number }) => number): Series[] =>
    policies.map((p) => {
      const slots = new Map<number, { requests: number; within: number; cost: number; instanceHours: number; hours: number }>();
      for (const x of p.points) {
        const h = Math.floor((x.at - begin) / HOUR_MS / slotHours) * slotHours;
        const s = slots.get(h) ?? { requests: 0, within: 0, cost: 0, instanceHours: 0, hours: 0 };
        slots.set(h, { requests: s.requests + x.requests, within: s.within + x.within, cost: s.cost + x.cost, instanceHours: s.instanceHours + x.instanceHours, hours: s.hours + 0.25 });
      }
      return { name: p.policy, points: [...slots].map(([h, s]) => [h, value(s)] as const) };
    });
  const names = policies.map((p) => p.policy);
  return new Map([
    ['attainment', lineChart({ title: 'Requests served within their goal', x: 'hours since the start', y: 'percent of the requests' }, hourly((s) => (s.requests === 0 ? 100 : (100 * s.within) / s.requests)), { high: 100.5 })],
    ['cost-over-time', lineChart({ title: 'What the instances cost', x: 'hours since the start', y: 'cost per hour' }, hourly((s) => s.cost / Math.max(0.25, s.hours)), { from0: true })],
    ['cost-attainment', scatterChart({ title: 'Cost against goals met', x: 'cost, whole run', y: 'percent of the requests within their goal' }, policies.map((p) => ({ name: p.policy, x: p.cost, y: p.attainment * 100 })), { high: 101 })],
    ['latency', barChart({ title: 'From the client until an instance works on it', x: '', y: 'ms' }, names, [{ name: 'median', values: policies.map((p) => p.p50Ms ?? 0) }, { name: '99th percentile', values: policies.map((p) => p.p99Ms ?? 0) }])],
    ['moves', barChart({ title: 'Moves per application and day', x: '', y: 'moves' }, names, [{ name: 'moves', values: policies.map((p) => p.movesPerApplicationPerDay) }])],
  ]);
}

export function markdown(results: Results, images: readonly string[]): string {
  const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  const head = (cells: readonly string[]): string[] => [row(cells), row(cells.map(() => '---'))];
  const out = [
    `# Simulation: ${results.scenario}`, '', results.description, '',
    `${results.sites} sites, ${results.clientRegions} client regions, ${results.applications} applications, ${results.days.toFixed(2)} days counted, seed ${results.seed}.`, '',
    ...head(HEAD), ...results.policies.map((p) => row(rowOf(p))), '',
    'Within, late, failed: shares of all requests; together 100 %; the goal is one for the round trip. Answered in time: the round trip and the wait at the instance together within the goal. Wait: mean; p50 and p99 are of round trip and wait together. Cost: instance-hours times the cost of the site, instances that start or drain included. A move: an application at a site where it was not before. Unmet hours: application x client region x hours with fewer than 95 % of the requests within the goal.', '',
    ...images.map((name) => `![${name}](${name}.svg)\n`),
    `## By client region`, '',
  ];
  const busiest = (results.policies[0]?.regions ?? []).map((r, i) => ({ i, requests: r.requests })).sort((a, b) => b.requests - a.requests).slice(0, WORST_REGIONS);
  out.push(`p50 / p99 in ms, and the share within the goal; the ${busiest.length} busiest of ${results.clientRegions}. report.json has all.`, '', ...head(['client region', ...results.policies.map((p) => p.policy)]));
  for (const { i } of busiest) out.push(row([results.policies[0]?.regions[i]?.region ?? '', ...results.policies.map((p) => `${ms(p.regions[i]?.p50Ms ?? null)} / ${ms(p.regions[i]?.p99Ms ?? null)}, ${percent(p.regions[i]?.within ?? 0, p.regions[i]?.requests ?? 0, 1)}`)]));
  return `${out.join('\n')}\n`;
}

/** Returns the names of the files. PNG text needs a font of the system; the SVG does not. */
export async function writeReport(results: Results, dir: string): Promise<readonly string[]> {
  const drawn = charts(results);
  const files: string[] = [];
  const write = (name: string, content: string | Uint8Array): void => {
    writeFileSync(join(dir, name), content);
    files.push(name);
  };
  try {
    mkdirSync(dir, { recursive: true });
    write('report.md', markdown(results, [...drawn.keys()]));
    write('report.json', `${JSON.stringify(results, null, 1)}\n`);
    const { Resvg } = await import('@resvg/resvg-js');
    for (const [name, svg] of drawn) {
      write(`${name}.svg`, svg);
      write(`${name}.png`, new Resvg(svg, { fitTo: { mode: 'width', value: 1440 }, font: { loadSystemFonts: true } }).render().asPng());
    }
  } catch (error) {
    throw new MeshError('unavailable', `cannot write the report to ${dir}: ${(error as Error).message}`, { cause: error, next: 'choose another folder with --out' });
  }
  return files;
}
