/**
 * Edge user allocation in Melbourne, online: 2,000 and 4,000 requests over a day at 125 servers with three dimensions of capacity. Rejections and
 * cost of our online policy beside the six published ones and the proven minimum of rejections. Needs ../shared/data.
 *
 *   sudo ./proxima bench eua
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DATA, euaFile, hasData } from './exact/instances.ts';
import { ONLINE, replay } from './exact/online.ts';

/** Of rejections, by the data's publisher. */
const MINIMUM: Readonly<Record<string, number>> = { 'EUA-2000': 45, 'EUA-4000': 83 };

interface Row {
  readonly policy: string;
  readonly rejected: number;
  readonly cost: number;
}

if (!hasData()) {
  console.log('bench eua: no ../shared/data beside the project; nothing was measured');
} else {
  const published = readFileSync(join(DATA, 'eua', 'published_results.csv'), 'utf8').trim().split('\n').slice(1).map((l) => l.split(','));
  const results: Record<string, unknown> = {};
  for (const name of ['EUA-2000', 'EUA-4000']) {
    const file = euaFile(name);
    const ours = replay(file, ONLINE);
    const rows = published.filter((p) => p[0] === name).map(([, policy, rejected, cost]): Row => ({ policy: policy ?? '', rejected: Number(rejected), cost: Number(cost) }));
    const best = rows.toSorted((a, b) => a.rejected - b.rejected || a.cost - b.cost)[0] as Row;
    console.log(`${name}: proven minimum ${MINIMUM[name] ?? 0} rejections`);
    for (const r of [{ policy: 'ours', ...ours }, ...rows.toSorted((a, b) => a.rejected - b.rejected || a.cost - b.cost)]) console.log(`  ${r.policy.padEnd(10)} ${String(r.rejected).padStart(4)} rejected  cost ${r.cost.toFixed(1).padStart(8)}`);
    const others = [0.5, 1, 2].flatMap((a) => [0.5, 1, 2].map((b) => replay(file, { steepness: ONLINE.steepness * a, money: ONLINE.money * b, contest: ONLINE.contest })));
    const span = (values: readonly number[]): string => `${Math.round(Math.min(...values))} to ${Math.round(Math.max(...values))}`;
    console.log(`  ours with steepness and money halved and doubled: ${span(others.map((x) => x.rejected))} rejected, cost ${span(others.map((x) => x.cost))}`);
    results[name] = { ours, best, minimum: MINIMUM[name] };
    if (ours.rejected >= best.rejected || ours.cost > best.cost) {
      console.error(`goal missed: ${best.policy} rejects ${best.rejected} at cost ${best.cost}`);
      process.exitCode = 1;
    }
  }
  console.log(JSON.stringify({ bench: 'eua', node: process.version, results }));
  console.log('repeat: sudo ./proxima bench eua');
}
