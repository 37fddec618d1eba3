/** plan, why, what-if, placements: what the global scheduler would do, did, and for which reason. They change nothing. */
import type { Command } from 'commander';
import type { DryRun, Placed, UnderWay, Why } from '../../api/scheduling.ts';
import { askGlobal, type GlobalOptions } from '../global-rest.ts';
import { documentsIn, trafficIn } from '../input-files.ts';
import { formatOf, next, print, table, type Format } from '../output.ts';

type Options = GlobalOptions & { readonly output?: string };
type Row = readonly (string | number | null)[];

type ShownRun = DryRun & { readonly underWay?: readonly UnderWay[] };

const MOVES_SHOWN = 5;
const ms = (value: number | null): string => (value === null ? '-' : `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`);

function showDryRun(format: Format, run: ShownRun, nothing: string): void {
  if (format !== 'table') return print(format, run, [], []);
  const { changes, summary } = run;
  if (changes.length === 0) console.log(nothing);
  else console.log(table(['application', 'site', 'now', 'then', 'reason'], changes.map((c): Row => [c.application, c.site, c.from, c.to, c.reason])));
  if (run.underWay !== undefined && run.underWay.length > 0) {
    console.log('\nunder way:');
    console.log(table(['application', 'site', 'state', 'ready', 'wanted'], run.underWay.map((u): Row => [u.application, u.site, u.state, u.ready, u.instances])));
  }
  if (changes.length > 0) {
    console.log('');
    if (summary.latencyMs.length > 0) console.log(table(['client region', 'req/s', 'now', 'then'], summary.latencyMs.map((l): Row => [l.clientRegion, l.rps, ms(l.before), ms(l.after)])));
    console.log(`cost per hour: ${summary.costPerHour.before ?? 0} -> ${summary.costPerHour.after ?? 0}; goals met: ${summary.goalsMet.before} -> ${summary.goalsMet.after}`);
    console.log(`moves: ${summary.instancesStarted} instance(s) start, ${summary.instancesStopped} stop, in ${summary.applicationsChanged} application(s)`);
  }
  for (const r of run.refused) console.log(`refused: ${r.application}: ${r.reason}`);
  for (const u of run.unmet) for (const reason of u.reasons) console.log(`unmet: ${u.application}: ${reason}`);
}

async function plan(o: Options & { readonly filename?: readonly string[] }): Promise<void> {
  const format = formatOf(o.output);
  const files = o.filename ?? [];
  const objects = files.length === 0 ? null : await documentsIn(files);
  const run = await askGlobal<ShownRun>(o, objects === null ? { path: '/v1/plan' } : { path: '/v1/plan', body: { objects } });
  showDryRun(format, run, 'nothing would move');
  const first = run.changes[0];
  next(format, objects !== null ? `kubectl apply ${files.map((f) => `-f ${f}`).join(' ')}` : first === undefined ? 'proxima placements' : `proxima why ${first.application} ${first.site}`);
}

async function why(application: string, site: string | undefined, o: Options): Promise<void> {
  const format = formatOf(o.output);
  const answer = await askGlobal<Why>(o, { path: '/v1/why', query: { application, site } });
  print(format, answer, ['site', 'instances', 'reason'], [...answer.sites.map((s) => [s.site, s.instances, s.reason]), ...answer.refused.map((s) => [s.site, 0, s.reason])]);
  if (format !== 'table') return;
  console.log(`\n${answer.application}: ${ms(answer.latencyMs)} mean round trip, costs ${answer.cost} per hour`);
  for (const g of answer.goals) console.log(`goal ${g.clientRegion}: ${ms(g.predictedMs)} from ${g.servedFrom || 'nowhere'}, ${g.met ? 'within' : 'NOT within'} ${g.goalMs} ms`);
  for (const u of answer.unmet) console.log(`unmet: ${u}`);
  if (answer.kept !== null) console.log(`kept: ${answer.kept}`);
  for (const m of answer.moves.slice(-MOVES_SHOWN)) console.log(`moved ${m.at}: ${m.from === undefined ? '' : `from ${m.from} `}${m.to === undefined ? '' : `to ${m.to} `}(${m.phase}): ${m.reason}`);
  const first = answer.sites[0]?.site;
  next(format, first === undefined ? 'proxima placements' : `proxima what-if --site-down ${first}`);
}

async function whatIf(o: Options & { readonly siteDown?: readonly string[]; readonly traffic?: string; readonly filename?: readonly string[] }): Promise<void> {
  const format = formatOf(o.output);
  const siteDown = (o.siteDown ?? []).flatMap((s) => s.split(',')).filter((s) => s !== '');
  const { MeshError } = await import('../../api/errors.ts');
  if (siteDown.length === 0 && o.traffic === undefined) throw new MeshError('invalid', 'expected --site-down SITE, --traffic FILE or both', { fields: { path: '--site-down' }, next: 'proxima what-if --help' });
  const traffic = o.traffic === undefined ? undefined : await trafficIn(o.traffic);
  const objects = o.filename === undefined ? undefined : await documentsIn(o.filename);
  const run = await askGlobal<ShownRun>(o, { path: '/v1/what-if', body: { ...(siteDown.length === 0 ? {} : { siteDown }), ...(traffic === undefined ? {} : { traffic }), ...(objects === undefined ? {} : { objects }) } });
  showDryRun(format, run, `nothing would move ${siteDown.length === 0 ? 'with that traffic' : `without ${siteDown.join(', ')}`}`);
  const first = run.changes[0];
  next(format, first === undefined ? 'proxima placements' : `proxima why ${first.application} ${first.site}`);
}

function placementRows(placements: readonly Placed[]): Row[] {
  return placements.flatMap(({ application, spec, status }) => {
    const names = new Set([...spec.sites.map((s) => s.site), ...(status.sites ?? []).map((s) => s.site)]);
    const goals = status.goals ?? [];
    const met = goals.length === 0 ? '-' : `${goals.filter((g) => g.met).length}/${goals.length}`;
    if (names.size === 0) return [[application, null, 0, 0, 'nowhere', met, status.message ?? null]];
    return [...names].map((site) => {
      const wanted = spec.sites.find((s) => s.site === site);
      const is = status.sites?.find((s) => s.site === site);
      return [application, site, wanted?.instances ?? 0, is?.ready ?? 0, is?.state ?? 'starting', met, is?.reason ?? wanted?.reason ?? null];
    });
  });
}

async function placements(o: Options & { readonly watch?: boolean }): Promise<void> {
  const format = formatOf(o.output);
  let shown = '';
  for (;;) {
    const answer = await askGlobal<{ readonly placements: readonly Placed[] }>(o, { path: '/v1/placements' });
    const text = JSON.stringify(answer);
    if (text !== shown) {
      if (shown !== '' && format === 'table') console.log('');
      if (format === 'table' && answer.placements.length === 0) console.log('nothing is placed');
      else print(format, answer.placements, ['application', 'site', 'wanted', 'ready', 'state', 'goals', 'reason'], placementRows(answer.placements));
      shown = text;
    }
    if (o.watch !== true) {
      const first = answer.placements[0]?.application;
      next(format, first === undefined ? 'kubectl apply -f application.yaml' : `proxima why ${first}`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

const common = (command: Command): Command =>
  command
    .option('--kubeconfig <file>', 'of the global API (or KUBECONFIG)')
    .option('--global <url>', 'of the REST listener, when not the global API is to be asked (or PROXIMA_GLOBAL)')
    .option('--ca <file>', 'the mesh authority, when the kubeconfig does not name it')
    .option('-o, --output <format>', 'table, json or yaml');

export function register(program: Command): void {
  common(program.command('plan').description('what the next plan would change; with -f, what would change if these objects were applied').option('-f, --filename <file...>', 'Applications and PlacementPolicies in YAML or JSON; - reads standard input')).action(plan);
  common(program.command('why <application> [site]').description('why an application (tenant/namespace/name, or the end of it) is where it is, and why not elsewhere')).action(why);
  common(
    program
      .command('what-if')
      .description('what would move if sites were down or traffic were another; changes nothing')
      .option('--site-down <site...>', 'sites to think away')
      .option('--traffic <file>', 'requests per second, or factors such as x2, by application and client region')
      .option('-f, --filename <file...>', 'and if these objects were applied'),
  ).action(whatIf);
  common(program.command('placements').description('where every application runs').option('-w, --watch', 'print again at each change')).action(placements);
}
