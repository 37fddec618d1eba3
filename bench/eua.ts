/**
 * Edge user allocation in Melbourne, online: 2,000 and 4,000 requests over a day at 125 servers with three dimensions of capacity. Rejections and
 * cost of our online policy beside the six published ones and the proven minimum of rejections; then variants of both, by seed, that no number of
 * the policy was chosen on, beside simple rules. Needs ../shared/data.
 *
 *   sudo ./proxima bench eua
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DATA, euaFile, hasData } from './exact/instances.ts';
import { ONLINE, replay, replayWith } from './exact/online.ts';
import { neverServed, SIMPLE, variants } from './exact/online-others.ts';

/** Of rejections, by the data's publisher. */
const MINIMUM: Readonly<Record<string, number>> = { 'EUA-2000': 45, 'EUA-4000': 83 };

interface Row {
  readonly policy: string;
  readonly rejected: number;
  readonly cost: number;
}

/** Seeds of the variants; no number of the rule was chosen on them. */
const SEEDS = [1, 2, 3];

interface HeldOut {
  readonly name: string;
  /** No rule rejects fewer. */
  readonly bound: number;
  readonly ours: { readonly rejected: number; readonly cost: number };
  readonly simple: Readonly<Record<string, { readonly rejected: number; readonly cost: number }>>;
}

function compareHeldOut(): readonly HeldOut[] {
  console.log(`the numbers of our rule (steepness ${ONLINE.steepness}, money ${ONLINE.money}, contest ${ONLINE.contest}) were chosen on the two instances above; on variants of them, rejected / cost:`);
  const rows = ['EUA-2000', 'EUA-4000'].flatMap((base) => SEEDS.flatMap((seed) => variants(base, euaFile(base), seed))).map(({ name, file }): HeldOut => {
    const simple = Object.fromEntries(Object.entries(SIMPLE).map(([rule, valueOf]) => [rule, replayWith(file, valueOf, ONLINE.contest)]));
    return { name, bound: neverServed(file), ours: replay(file, ONLINE), simple };
  });
  const show = (x: { readonly rejected: number; readonly cost: number }): string => `${x.rejected} / ${x.cost.toFixed(0)}`;
  for (const r of rows) console.log(`  ${r.name.padEnd(20)} at least ${String(r.bound).padStart(2)}  ours ${show(r.ours)}  ${Object.entries(r.simple).map(([rule, x]) => `${rule} ${show(x)}`).join('  ')}`);
  const fewest = (r: HeldOut): number => Math.min(...Object.values(r.simple).map((x) => x.rejected));
  const worse = rows.filter((r) => r.ours.rejected > fewest(r));
  console.log(`  ours rejects no more than the best of these rules in ${rows.length - worse.length} of ${rows.length}${worse.map((r) => `; ${r.name}: ${r.ours.rejected} to ${fewest(r)}`).join('')}`);
  return rows;
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
  const heldOut = compareHeldOut();
  console.log(JSON.stringify({ bench: 'eua', node: process.version, results, heldOut }));
  console.log('repeat: sudo ./proxima bench eua');
}
