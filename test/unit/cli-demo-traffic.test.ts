/** What the demo says of its clients: over a span, and at the best of it. */
import assert from 'node:assert/strict';
import type { ClientReport } from '../../cli/demo/client.ts';
import { Traffic } from '../../cli/demo/traffic.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite("the demo's traffic");

const row = (second: number, p50: number | null, servedBy: Readonly<Record<string, number>>): ClientReport => {
  const ok = Object.values(servedBy).reduce((a, b) => a + b, 0);
  return { at: second * 1_000, region: 'metro', application: 'web', sent: ok, ok, failed: 0, retried: 0, p50, p99: p50, servedBy, front: null, lastError: null };
};

it('takes the best seconds for the latency, and only such as one site served alone', () => {
  const t = new Traffic();
  const medians = [2, 2, 2, 90, 30, 8, 7, 9, 40, 50];
  t.reports.push(...medians.map((ms, i) => row(i + 1, ms, i < 3 ? { far: 8 } : { near: 8 })));
  assert.equal(t.bestMedian(0, 10_000, 'metro', 'web', 'near', 3_000), 8);
  assert.equal(t.bestMedian(0, 10_000, 'metro', 'web', 'far', 3_000), 2);
  assert.equal(t.span(0, 10_000, 'metro', '*').p50, 8);
  assert.equal(t.bestMedian(8_000, 10_000, 'metro', 'web', 'near', 3_000), null, 'no whole window');
  assert.equal(t.bestMedian(0, 10_000, 'metro', 'other', 'near', 3_000), null, 'nobody asked for it');
});

run();
