/** simulate: the scheduler's own decisions on a virtual clock, beside other ways to place. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { MeshError } from '../../api/errors.ts';
import { formatOf, next, print } from '../output.ts';

interface Options {
  readonly out: string;
  readonly output?: string;
  readonly policies?: string;
}

/** One line on the terminal that is written over; nothing where nobody looks. */
function progressLine(): { readonly show: (policy: string, part: number) => void; readonly end: () => void } {
  if (!process.stderr.isTTY) return { show: () => undefined, end: () => undefined };
  let shown = '';
  const write = (text: string): void => {
    if (text !== shown) process.stderr.write(`\r\u001B[K${text}`);
    shown = text;
  };
  return { show: (policy, part) => write(`simulating ${policy}: ${Math.floor(part * 100)} %`), end: () => write('') };
}

async function simulate(scenario: string, o: Options): Promise<void> {
  const format = formatOf(o.output);
  const { loadScenario, runScenario, POLICIES } = await import('../../scheduler/simulate/main.ts');
  const { HEAD, rowOf, writeReport } = await import('../../scheduler/simulate/report.ts');
  const policies = o.policies?.split(',');
  const unknown = policies?.find((p) => !POLICIES.includes(p));
  if (unknown !== undefined) throw new MeshError('invalid', `--policies: no policy "${unknown}"; there are ${POLICIES.join(', ')}`, { fields: { path: '--policies' } });
  const loaded = loadScenario(scenario);
  const line = progressLine();
  const results = runScenario(loaded, { ...(policies === undefined ? {} : { policies }), onProgress: line.show });
  line.end();
  const files = await writeReport(results, o.out);
  const summary = { ...results, policies: results.policies.map(({ regions: _r, points: _p, ...figures }) => figures), out: o.out, files };
  print(format, summary, HEAD, results.policies.map(rowOf));
  if (format === 'table') console.log(`report: ${join(o.out, 'report.md')}`);
  next(format, `less ${join(o.out, 'report.md')}`);
}

export function register(program: Command): void {
  program
    .command('simulate <scenario>')
    .description('what the scheduler would do over hours or days, beside other policies: a file, or small, failures, mornings, day-1000-sites')
    .option('--out <dir>', 'where the report and its charts go', 'simulation')
    .option('--policies <list>', 'instead of those of the scenario, separated by commas')
    .option('-o, --output <format>', 'table, json or yaml')
    .action(simulate);
}
