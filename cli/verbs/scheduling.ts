/** plan, why, what-if, placements: what the global scheduler would do, did, and for which reason. */
import type { Command } from 'commander';
import type { Placement } from '../../api/kinds/mesh.ts';
import { askGlobal, type GlobalOptions } from '../global-rest.ts';
import { formatOf, next, print, type Format } from '../output.ts';

type Options = GlobalOptions & { readonly output?: string };
interface Change {
  readonly application: string;
  readonly site: string;
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}
interface Why {
  readonly application: string;
  readonly sites: readonly { readonly site: string; readonly instances: number; readonly reason: string }[];
  readonly refused: readonly { readonly site: string; readonly reason: string }[];
  readonly goals: readonly { readonly clientRegion: string; readonly goalMs: number; readonly predictedMs: number; readonly met: boolean; readonly servedFrom: string }[];
  readonly unmet: readonly string[];
  readonly kept: string | null;
}
interface Placed {
  readonly application: string;
  readonly spec: Placement['spec'];
  readonly status: NonNullable<Placement['status']>;
}

const CHANGE_HEAD = ['application', 'site', 'now', 'then', 'reason'] as const;
const changeRows = (changes: readonly Change[]): (string | number)[][] => changes.map((c) => [c.application, c.site, c.from, c.to, c.reason]);

function showChanges(format: Format, changes: readonly Change[], nothing: string): void {
  if (format === 'table' && changes.length === 0) console.log(nothing);
  else print(format, changes, CHANGE_HEAD, changeRows(changes));
}

async function plan(o: Options): Promise<void> {
  const format = formatOf(o.output);
  const { changes } = await askGlobal<{ readonly changes: readonly Change[] }>(o, '/v1/plan');
  showChanges(format, changes, 'nothing would move');
  next(format, changes[0] === undefined ? 'proxima placements' : `proxima why ${changes[0].application}`);
}

async function why(application: string, site: string | undefined, o: Options): Promise<void> {
  const format = formatOf(o.output);
  const key = application.split('/').length === 1 ? `system/default/${application}` : application;
  const answer = await askGlobal<Why>(o, '/v1/why', { application: key, site });
  print(format, answer, ['site', 'instances', 'reason'], [...answer.sites.map((s) => [s.site, s.instances, s.reason]), ...answer.refused.map((s) => [s.site, 0, s.reason])]);
  if (format !== 'table') return;
  for (const g of answer.goals) console.log(`goal ${g.clientRegion}: ${Math.round(g.predictedMs * 10) / 10} ms from ${g.servedFrom || 'nowhere'}, ${g.met ? 'within' : 'NOT within'} ${g.goalMs} ms`);
  for (const u of answer.unmet) console.log(`unmet: ${u}`);
  if (answer.kept !== null) console.log(`kept: ${answer.kept}`);
  const first = answer.sites[0]?.site;
  next(format, first === undefined ? 'proxima placements' : `proxima what-if --site-down ${first}`);
}

async function whatIf(o: Options & { readonly siteDown: readonly string[] }): Promise<void> {
  const format = formatOf(o.output);
  const { changes } = await askGlobal<{ readonly changes: readonly Change[] }>(o, '/v1/what-if', { siteDown: o.siteDown.join(',') });
  showChanges(format, changes, `nothing would move without ${o.siteDown.join(', ')}`);
  next(format, changes[0] === undefined ? 'proxima placements' : `proxima why ${changes[0].application} ${changes[0].site}`);
}

function placementRows(placements: readonly Placed[]): (string | number | null)[][] {
  return placements.flatMap(({ application, spec, status }) => {
    const names = new Set([...spec.sites.map((s) => s.site), ...(status.sites ?? []).map((s) => s.site)]);
    return [...names].map((site) => {
      const wanted = spec.sites.find((s) => s.site === site);
      const is = status.sites?.find((s) => s.site === site);
      return [application, site, wanted?.instances ?? 0, is?.ready ?? 0, is?.state ?? 'starting', is?.reason ?? wanted?.reason ?? null];
    });
  });
}

async function placements(o: Options & { readonly watch?: boolean }): Promise<void> {
  const format = formatOf(o.output);
  let shown = '';
  for (;;) {
    const answer = await askGlobal<{ readonly placements: readonly Placed[] }>(o, '/v1/placements');
    const text = JSON.stringify(answer);
    if (text !== shown) {
      if (shown !== '' && format === 'table') console.log('');
      print(format, answer.placements, ['application', 'site', 'wanted', 'ready', 'state', 'reason'], placementRows(answer.placements));
      shown = text;
    }
    if (o.watch !== true) {
      const first = answer.placements[0]?.application;
      next(format, first === undefined ? 'kubectl --kubeconfig GLOBAL apply -f application.yaml' : `proxima why ${first}`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

const common = (command: Command): Command =>
  command.option('--global <url>', 'of the global scheduler\'s REST face (or PROXIMA_GLOBAL)').option('--ca <file>', 'the mesh authority, for https').option('-o, --output <format>', 'table, json or yaml');

export function register(program: Command): void {
  common(program.command('plan').description('what the next plan would change')).action(plan);
  common(program.command('why <application> [site]').description('why an application (tenant/namespace/name) is where it is, and why not elsewhere')).action(why);
  common(program.command('what-if').description('what would move if sites were down; changes nothing').requiredOption('--site-down <site...>', 'sites to think away')).action(whatIf);
  common(program.command('placements').description('where every application runs').option('-w, --watch', 'print again at each change')).action(placements);
}
