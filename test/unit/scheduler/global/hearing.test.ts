/** Silence is not the absence of clients: what a front counted stands while nobody hears it. */
import assert from 'node:assert/strict';
import type { TrafficSample } from '../../../../api/telemetry.ts';
import { Hearing } from '../../../../scheduler/global/hearing.ts';
import { Telemetry } from '../../../../scheduler/global/telemetry.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('hearing');
const NOW = Date.parse('2030-01-01T00:00:00Z');
const APP = 'acme/default/web';
const RPS = 100;

const sample = (site: string, sequence: number, at: number, periodMs = 1_000): TrafficSample => ({ site, epoch: 'e', sequence, at, periodMs, rows: [{ application: APP, clientRegion: 'a', connections: (RPS * periodMs) / 1000, bytesIn: 0, bytesOut: 0, rttMs: null }] });
const probes = (site: string, at: number): Parameters<Telemetry['probes']>[0] => ({ site, at, rows: [{ to: 'x', kind: 'site', rttMs: 10, loss: 0 }] });
const rps = (t: Telemetry, now: number): number => t.demand(now).get(APP)?.get('a') ?? 0;

function spoken(isLost: (site: string) => boolean): Telemetry {
  const t = new Telemetry({ isLost });
  for (let s = 1; s <= 120; s++) t.traffic(sample('f', s, NOW + s * 1000), NOW + s * 1000);
  return t;
}
const SILENT = NOW + 120_000;

it('keeps the demand of a front that fell silent, until it is given up', () => {
  let isLost = false;
  const t = spoken(() => isLost);
  const before = rps(t, SILENT);
  for (const s of [1, 10, 60, 300]) assert.equal(rps(t, SILENT + s * 1000), before, `${s} s of silence`);
  isLost = true;
  assert.ok(Math.abs(rps(t, SILENT + 10_000) / before - 0.5) < 0.01, 'as if it had faded all the while: what its clients ask elsewhere adds up to one');
});

it('lets demand fade at a front that is heard and counts nothing', () => {
  const t = spoken(() => false);
  const before = rps(t, SILENT);
  for (let s = 1; s <= 10; s++) t.probes(probes('f', SILENT + s * 1000), SILENT + s * 1000);
  assert.ok(Math.abs(rps(t, SILENT + 10_000) / before - 0.5) < 0.01);
});

it('has no dip between the first word of a site that is back and what it counted meanwhile', () => {
  const t = spoken(() => false);
  const before = rps(t, SILENT);
  let [sequence, began] = [120, SILENT];
  for (const silentMs of [2_000, 5_000, 12_000]) {
    const back = began + silentMs;
    t.probes(probes('f', back), back);
    assert.ok(Math.abs(rps(t, back + 100) / before - 1) < 0.05);
    t.traffic(sample('f', ++sequence, back + 200, silentMs + 200), back + 200);
    for (const ms of [200, 900]) assert.ok(Math.abs(rps(t, back + ms) / before - 1) < 0.05, `${rps(t, back + ms)} req/s ${ms} ms after it came back`);
    for (let s = 1; s <= 8; s++) {
      began = back + 200 + s * 1000;
      t.traffic(sample('f', ++sequence, began), began);
      assert.ok(Math.abs(rps(t, began) / before - 1) < 0.05);
    }
  }
});

it('counts nothing of the silence when what was counted does not come', () => {
  const t = spoken(() => false);
  const before = rps(t, SILENT);
  for (let ms = 12_000; ms <= 16_000; ms += 1_000) t.probes(probes('f', SILENT + ms), SILENT + ms);
  assert.ok(rps(t, SILENT + 16_000) < before * 0.4, 'it is heard, and nobody asks there');
});

it('believes nothing for ever: after ten minutes it fades, and its rows are given back', () => {
  const t = spoken(() => false);
  assert.ok(rps(t, SILENT + 590_000) > 0);
  assert.equal(t.sizes.traffic, 1);
  assert.equal(t.demand(SILENT + 900_000).size, 0);
  t.demand(SILENT + 1_000_000);
  assert.equal(t.sizes.traffic, 0);
});

it('is never far behind a site that is heard only now and then', () => {
  const h = new Hearing(() => false);
  for (let ms = 0; ms <= 50_000; ms += 100) {
    if (ms % 5_000 === 0) h.hear('f', NOW + ms);
    assert.ok(ms - (h.knownAt('f', NOW + ms) - NOW) <= 8_000);
  }
  assert.equal(h.knownAt('g', NOW), NOW, 'a site that never spoke');
  assert.equal(h.at('g'), null);
});

run();
