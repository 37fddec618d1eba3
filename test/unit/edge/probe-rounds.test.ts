/** When the next round of probes begins: a neighbour that does not answer must not be found out later because rounds wait for it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProbeSample } from '../../../api/telemetry.ts';
import type { Clock } from '../../../base/clock.ts';
import { silentLogger } from '../../../base/log.ts';
import { LatencyProbes } from '../../../edge/agent/latency.ts';
import { Telemetry } from '../../../edge/agent/telemetry.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('probe rounds');

it('begins them a period apart, however long one waits for an answer, with a pause at least', async (t) => {
  let now = 1_000_000;
  const began: number[] = [];
  const takes = [60, 900, 900, 1_500, 60, 60];
  const enough = Promise.withResolvers<void>();
  const clock: Clock = {
    now: () => now,
    sleep: async (ms, signal) => {
      if (began.length >= takes.length) {
        enough.resolve();
        return new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true }));
      }
      now += ms;
    },
  };
  class Rounds extends LatencyProbes {
    override async round(): Promise<ProbeSample['rows']> {
      began.push(now);
      now += takes[began.length - 1] ?? 0;
      return [];
    }
  }
  const dir = mkdtempSync(join(tmpdir(), 'px-rounds-'));
  const telemetry = new Telemetry({
    site: 'a', node: 'n', dir, broker: { url: 'mqtt://127.0.0.1:1', key: '', cert: '', ca: '' }, counters: null, names: { applications: new Map(), clientRegions: new Map() } as never,
    latency: new Rounds([{ to: 'b', kind: 'site', address: '127.0.0.1', port: 1, protocol: 'tcp' }]), probePeriodMs: 1_000, capacity: null, clock, log: silentLogger,
  });
  t.after(async () => {
    await telemetry.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  await telemetry.start(new AbortController().signal);
  await enough.promise;
  assert.deepEqual(began.slice(1).map((at, i) => at - (began[i] as number)), [1_000, 1_000, 1_000, 1_550, 1_000]);
});

run();
