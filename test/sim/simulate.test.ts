/** The simulator as a whole, on the scenarios that are shipped: the same twice, no request lost or made, and ours ahead of the others. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PolicyFigures } from '../../scheduler/simulate/figures.ts';
import { loadScenario, POLICIES, type Results, runScenario } from '../../scheduler/simulate/main.ts';
import { writeReport } from '../../scheduler/simulate/report.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('simulate', { timeoutMs: 120_000 });

/** The morning of it is enough. */
function shortened(): ReturnType<typeof loadScenario> {
  const loaded = loadScenario('small');
  return { ...loaded, world: { ...loaded.world, end: loaded.world.start + 4 * 3_600_000 } };
}

let small: Results | null = null;
const smallResults = (): Results => (small ??= runScenario(shortened()));
const named = (r: Results, policy: string): PolicyFigures => r.policies.find((p) => p.policy === policy) ?? assert.fail(policy);
const near = (a: number, b: number, message: string): void => assert.ok(Math.abs(a - b) <= 1e-6 * Math.max(1, Math.abs(b)), `${message}: ${a} and ${b}`);

it('gives the same figures twice', () => {
  const again = runScenario(shortened(), { policies: ['ours', 'random-match'] });
  for (const p of again.policies) assert.deepEqual(p, named(smallResults(), p.policy));
});

it('asks every policy the same requests, and each of them is within its goal, late or failed', () => {
  const r = smallResults();
  assert.deepEqual(r.policies.map((p) => p.policy), POLICIES);
  for (const p of r.policies) {
    near(p.requests, r.policies[0]?.requests ?? 0, `${p.policy}: requests`);
    near(p.within + p.late + p.failed, p.requests, `${p.policy}: parts`);
    for (const k of ['requests', 'within', 'failed'] as const) near(p.regions.reduce((sum, x) => sum + x[k], 0), p[k], `${p.policy}: ${k} by region`);
    for (const k of ['requests', 'within', 'failed', 'cost', 'instanceHours'] as const) near(p.points.reduce((sum, x) => sum + x[k], 0), p[k], `${p.policy}: ${k} over time`);
    assert.ok(p.within > 0 && p.cost > 0 && p.failed >= 0);
    assert.ok(p.answered > 0 && p.answered <= p.within && (p.meanWaitMs ?? 0) > 0, `${p.policy}: who waits is not earlier`);
  }
});

it('finds ours within its goals more often than whoever costs no more, and for less than whoever is as good', () => {
  const r = smallResults();
  const ours = named(r, 'ours');
  for (const p of r.policies) {
    if (p.policy.startsWith('ours')) continue;
    const isWorse = p.attainment < ours.attainment - 0.001;
    assert.ok(isWorse || p.cost > ours.cost * 1.1, `${p.policy}: ${p.attainment} for ${p.cost}; ours ${ours.attainment} for ${ours.cost}`);
  }
});

it('loses requests only until a dead site is noticed, none while only its gateway is away, and comes back by itself', () => {
  const ours = named(runScenario(loadScenario('failures'), { policies: ['ours'] }), 'ours');
  const start = Date.parse('2026-03-02T10:00:00Z');
  const during = (from: number, to: number): { readonly failed: number; readonly requests: number } => {
    const points = ours.points.filter((p) => p.at >= start + from * 3_600_000 && p.at < start + to * 3_600_000);
    return { failed: points.reduce((s, p) => s + p.failed, 0), requests: points.reduce((s, p) => s + p.requests, 0) };
  };
  // Clients behind a cut uplink have what runs at their site, and that may have been counted on to send some of them elsewhere.
  const cut = during(1, 1.75);
  assert.ok(cut.failed < 0.05 * cut.requests, JSON.stringify(cut));
  assert.ok((ours.failed - cut.failed) / ours.requests < 0.002, `${ours.failed - cut.failed} of ${ours.requests}`);
  assert.ok(during(3.5, 3.75).failed > 0, 'the data centre that died had clients');
  assert.ok(during(3.75, 4.5).failed < 1e-4 * during(3.75, 4.5).requests, JSON.stringify(during(3.75, 4.5)));
  assert.ok(during(2.75, 3).failed < 1e-6, `a gateway is no site: ${during(2.75, 3).failed}`);
  const last = ours.points.at(-1);
  assert.ok(last !== undefined && last.within > 0.99 * last.requests);
});

it('writes a report with charts, as PNG too', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'px-sim-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const files = await writeReport(smallResults(), join(dir, 'report'));
  for (const f of files) assert.ok(existsSync(join(dir, 'report', f)), f);
  const text = readFileSync(join(dir, 'report', 'report.md'), 'utf8');
  for (const p of POLICIES) assert.ok(text.includes(`| ${p} |`), p);
  for (const [, image] of text.matchAll(/!\[\w.*\]\((.*)\)/g)) assert.ok(files.includes(image ?? ''), image);
  assert.equal((JSON.parse(readFileSync(join(dir, 'report', 'report.json'), 'utf8')) as Results).policies.length, POLICIES.length);
  assert.deepEqual([...readFileSync(join(dir, 'report', 'latency.png')).subarray(1, 4)], [...Buffer.from('PNG')]);
  await assert.rejects(writeReport(smallResults(), join(dir, 'report', 'report.md', 'x')), /cannot write the report to .*report\.md\/x: ENOTDIR/);
});

it('refuses a scenario that is not there, and a goal that light cannot reach', () => {
  assert.throws(() => loadScenario('nowhere'), /no scenario "nowhere"/);
});

it('starts instances before a rise that the days before had, where prediction is on: fewer requests are late or failed, and nothing moves more', () => {
  const r = runScenario(loadScenario('mornings'), { policies: ['ours', 'ours-predicting'] });
  const [react, predict] = [named(r, 'ours'), named(r, 'ours-predicting')];
  const rise = react.points.findIndex((p) => p.requests > 1.5 * (react.points[0]?.requests ?? 0));
  const before = (p: PolicyFigures): number => (p.points[rise - 1]?.instanceHours ?? 0) * 4;
  assert.ok(rise > 1 && before(predict) >= before(react) + 2, `${before(predict)} and ${before(react)} instances before the rise`);
  const missed = (p: PolicyFigures): number => (p.requests - p.answered) / p.requests;
  assert.ok(missed(predict) < missed(react) / 3, `${missed(predict)} and ${missed(react)} late or failed`);
  assert.ok(predict.moves <= react.moves && predict.cost < react.cost * 1.25);
});

run();
