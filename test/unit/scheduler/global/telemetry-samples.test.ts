/** One property for each kind of bad sample: whatever of it is mixed into a good stream, the figures stay those of the stream, and it is said. */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import type { ProbeSample, TrafficSample } from '../../../../api/telemetry.ts';
import { type Repair, Telemetry } from '../../../../scheduler/global/telemetry.ts';
import { silentLogger } from '../../../../base/log.ts';
import { RepairLog } from '../../../../scheduler/global/telemetry-said.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('bad samples');
const NOW = 1_900_000_000_000;
const SECONDS = 60;
const RPS = 40;
const APP = 'acme/default/web';
const RUNS = { numRuns: 12, seed: 7 };

const sample = (sequence: number, at: number, o: Partial<TrafficSample> = {}, connections = RPS): TrafficSample => ({ site: 'edge-a', epoch: 'e1', sequence, at, periodMs: 1000, rows: [{ application: APP, clientRegion: 'a', connections, bytesIn: 10, bytesOut: 20, rttMs: 3 }], ...o });

/** A good stream; `mix` puts something in at each second. */
function stream(mix: (t: Telemetry, second: number, now: number) => void, o: { readonly clockMs?: number } = {}): Telemetry {
  const t = new Telemetry({ halfLifeMs: 5_000, locationOf: (_kind, name) => ({ latitude: name === 'far' ? 50 : 0, longitude: 0 }) });
  for (let s = 0; s < SECONDS; s++) {
    const now = NOW + s * 1000;
    t.traffic(sample(s, now + (o.clockMs ?? 0)), now);
    t.probes({ site: 'edge-a', at: now, rows: [{ to: 'b', kind: 'site', rttMs: 40, loss: 0 }] }, now);
    mix(t, s, now);
  }
  return t;
}

const END = NOW + (SECONDS - 1) * 1000;
const rps = (t: Telemetry): number => t.demand(END).get(APP)?.get('a') ?? 0;
const said = (t: Telemetry, repair: Repair, site = 'edge-a'): number => t.repairs.get(`${site} ${repair}`) ?? 0;

function isClean(t: Telemetry, repair: Repair): void {
  assert.ok(Math.abs(rps(t) - RPS) < RPS * 0.05, `${rps(t)} req/s`);
  const ms = t.siteRtt('edge-a', 'b', END) ?? 0;
  assert.ok(ms > 30 && ms < 60, `${ms} ms`);
  assert.ok(said(t, repair) > 0, JSON.stringify([...t.repairs]));
}

const some = fc.array(fc.record({ second: fc.integer({ min: 1, max: SECONDS - 1 }), by: fc.double({ min: 0, max: 1, noNaN: true }) }), { minLength: 1, maxLength: 20 });
type Some = readonly { readonly second: number; readonly by: number }[];
const mixed = (bad: Some, put: (t: Telemetry, by: number, now: number, second: number) => void, o: { readonly clockMs?: number } = {}): Telemetry =>
  stream((t, s, now) => bad.filter((b) => b.second === s).forEach((b) => put(t, b.by, now, s)), o);
const probe = (rttMs: number, at: number, o: Partial<ProbeSample['rows'][number]> = {}): ProbeSample => ({ site: 'edge-a', at, rows: [{ to: 'b', kind: 'site', rttMs, loss: 0, ...o }] });

it('duplicates', () => {
  fc.assert(fc.property(some, (bad) => isClean(mixed(bad, (t, by, now, s) => t.traffic(sample(Math.floor(by * s), now - 5000), now)), 'duplicate')), RUNS);
});

it('late ones', () => {
  fc.assert(fc.property(some, (bad) => isClean(mixed(bad, (t, by, now, s) => t.traffic(sample(10_000 + s, now - 61_000 - by * 1e7, { epoch: `late ${by}` }), now)), 'late')), RUNS);
});

it('absurd counts, periods and times', () => {
  const values = [-1, -1e9, 1e15, Number.NaN, Number.POSITIVE_INFINITY];
  fc.assert(
    fc.property(some, fc.constantFrom(...values), (bad, v) => {
      isClean(mixed(bad, (t, by, now) => t.traffic(sample(0, now, { epoch: `x ${by} ${now}` }, v), now)), 'absurd');
      isClean(mixed(bad, (t, by, now) => t.traffic(sample(0, now, { epoch: `x ${by} ${now}`, periodMs: v }), now)), 'absurd');
      isClean(mixed(bad, (t, _by, now) => t.probes(probe(Number.isFinite(v) && v > 0 ? 1e6 : v, now), now)), 'absurd');
      isClean(mixed(bad, (t, _by, now) => t.probes(probe(40, now, { loss: v }), now)), 'absurd');
    }),
    RUNS,
  );
});

it('round trips that light cannot make', () => {
  fc.assert(
    fc.property(some, (bad) => {
      const t = mixed(bad, (x, by, now) => x.probes(probe(0.01 + by * 40, now, { to: 'far' }), now));
      isClean(t, 'below-light-speed');
      assert.ok((t.siteRtt('edge-a', 'far', END) ?? 0) > 55, 'estimated from coordinates');
    }),
    RUNS,
  );
});

it('single round trips that are far out', () => {
  const few = fc.array(fc.record({ second: fc.integer({ min: 20, max: 40 }), by: fc.double({ min: 0, max: 1, noNaN: true }) }), { minLength: 1, maxLength: 2 });
  fc.assert(fc.property(few, (bad) => isClean(mixed(bad, (t, by, now) => t.probes(probe(400 + by * 50_000, now), now)), 'outlier')), RUNS);
});

it('ways whose reverse says something that cannot be: the shorter counts', () => {
  fc.assert(
    fc.property(some, (bad) => {
      const t = mixed(bad, (x, by, now) => x.probes({ site: 'b', at: now, rows: [{ to: 'edge-a', kind: 'site', rttMs: 200 + by * 1000, loss: 0 }] }, now));
      assert.equal(Math.round(t.siteRtt('b', 'edge-a', END) ?? 0), 40);
      assert.ok(said(t, 'asymmetric', 'b') > 0);
      assert.ok(Math.abs(rps(t) - RPS) < RPS * 0.05);
    }),
    RUNS,
  );
});

it('a clock that is off, behind or ahead: the rate is right, and it is said', () => {
  fc.assert(fc.property(fc.integer({ min: 11_000, max: 4_000_000 }), fc.boolean(), (off, isAhead) => isClean(stream(() => undefined, { clockMs: isAhead ? off : -off }), 'clock-off')), RUNS);
});

it('missing samples: the gap is counted, and a sample over the whole of it keeps the rate right', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 2, max: 15 }), (from, many) => {
      const t = new Telemetry({ halfLifeMs: 5_000 });
      for (let s = 0; s < SECONDS; s++) {
        if (s >= from && s < from + many) continue;
        const period = s === from + many ? many + 1 : 1;
        t.traffic(sample(s, NOW + s * 1000, { periodMs: period * 1000 }, RPS * period), NOW + s * 1000);
        if (s < from + many) continue;
        const is = t.demand(NOW + s * 1000).get(APP)?.get('a') ?? 0;
        assert.ok(is < RPS * 1.1 && (s < 30 || is > RPS * 0.9), `${is} req/s at second ${s}: a backlog is no burst`);
      }
      assert.equal(said(t, 'missing'), many);
    }),
    RUNS,
  );
});

it('more rows than there is room for: what is least used goes, what is busy stays', () => {
  const t = new Telemetry({ maxRows: 100, maxWays: 100 });
  for (let s = 0; s < 400; s++) {
    const now = NOW + s * 100;
    t.traffic({ ...sample(s, now), rows: [...sample(s, now).rows, { application: `noise-${s}`, clientRegion: 'a', connections: 1, bytesIn: 0, bytesOut: 0, rttMs: null }] }, now);
    t.probes({ site: `s${s}`, at: now, rows: [{ to: 'b', kind: 'site', rttMs: 40, loss: 0 }] }, now);
  }
  assert.ok(t.sizes.traffic <= 100 && t.sizes.siteWays <= 100, JSON.stringify(t.sizes));
  assert.ok((t.demand(NOW + 40_000).get(APP)?.get('a') ?? 0) > RPS);
  assert.ok((t.repairs.get('all evicted') ?? 0) > 0);
  assert.equal(t.demand(NOW + 40_000_000).size, 0);
  t.demand(NOW + 80_000_000);
  assert.equal(t.sizes.traffic + t.sizes.siteWays, 0, 'what decayed to nothing is given back');
});

it('a matrix with holes: each way is worked out from what there is, and the holes are told', () => {
  const locations: Readonly<Record<string, { readonly latitude: number; readonly longitude: number }>> = { near: { latitude: 0, longitude: 0 }, far: { latitude: 50, longitude: 0 }, metro: { latitude: 0, longitude: 1 }, town: { latitude: 0, longitude: 2 } };
  const t = new Telemetry({ locationOf: (_kind, name) => locations[name] ?? null });
  t.probes({ site: 'near', at: NOW, rows: [{ to: 'metro', kind: 'client-region', rttMs: 7, loss: 0 }, { to: 'far', kind: 'site', rttMs: 80, loss: 0 }] }, NOW);
  const told = (site: string): string => JSON.stringify(t.holes(site, ['metro', 'town', 'moon'], ['near'], NOW).map((h) => [h.clientRegion, h.takenMs === null ? null : Math.round(h.takenMs)]));
  assert.equal(told('near'), '[["town",4],["moon",null]]', 'by coordinates; what has none is not known');
  assert.equal(told('far'), '[["metro",87],["town",84],["moon",null]]', 'over the front that was measured; by coordinates');
  assert.equal(JSON.stringify(t.holes('near', ['metro'], ['near'], NOW)), '[]');
});

it('says in the log what had to be repaired and what to do, once an hour and kind, and not what a resend leaves', () => {
  const lines: Record<string, unknown>[] = [];
  const log = { ...silentLogger, warn: (event: string, fields?: Readonly<Record<string, unknown>>) => void lines.push({ event, ...fields }) };
  const said = new RepairLog(log);
  const t = stream((x, s, now) => {
    if (s % 10 === 0) x.probes(probe(1, now, { to: 'far' }), now);
    x.probes({ site: 'b', at: now, rows: [{ to: 'edge-a', kind: 'site', rttMs: 400, loss: 0 }] }, now);
    x.traffic(sample(s, now - 20_000), now);
    said.note(x.takeNews(), now);
  }, { clockMs: -20_000 });
  assert.ok((t.repairs.get('edge-a duplicate') ?? 0) > 0);
  const told = lines.map((l) => `${String(l['event'])} ${String(l['site'])} ${String(l['repair'])}`);
  assert.equal(new Set(told).size, told.length, told.join());
  for (const kind of ['asymmetric', 'below-light-speed', 'clock-off']) assert.ok(lines.some((l) => l['repair'] === kind && String(l['next']).length > 10), kind);
  assert.ok(!told.join().includes('duplicate'), told.join());
  const before = lines.length;
  said.note(new Map([['edge-a clock-off', 3]]), END + 3_600_000);
  assert.equal(lines.length, before + 1, 'again after an hour');
  assert.ok(Number(lines.at(-1)?.['times']) > 3, 'with what was not said in between');
});

run();
