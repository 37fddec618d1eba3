import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import type { Lease } from '../../../../api/kinds/core.ts';
import { Resources } from '../../../../api/resources.ts';
import { silentLogger } from '../../../../base/log.ts';
import { Forecast } from '../../../../scheduler/global/predict.ts';
import { Prediction } from '../../../../scheduler/global/prediction.ts';
import { decodeProfile, encodeProfile } from '../../../../scheduler/global/profile-codec.ts';
import type { ConfigMap } from '../../../../scheduler/global/region-objects.ts';
import { memoryClient } from '../../../kit/memory-client.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('predict');
const DAY = 86_400_000;
const START = Math.floor(1_900_000_000_000 / DAY) * DAY;
const MINUTE = 60_000;
const APP = 'acme/default/web';

type Shape = (hour: number, day: number) => number;
/** Quiet until eight, then 100 a second within half an hour. */
const office: Shape = (h) => (h < 8 ? 10 : h < 8.5 ? 10 + (h - 8) * 180 : h < 18 ? 100 : 10);
const demandOf = (rps: number): ReadonlyMap<string, ReadonlyMap<string, number>> => new Map(rps > 0 ? [[APP, new Map([['a', rps]])]] : []);

function learned(shape: Shape, days: number, f = new Forecast()): Forecast {
  for (let t = 0; t < days * DAY; t += MINUTE) f.learn(demandOf(shape((t / 3_600_000) % 24, Math.floor(t / DAY))), START + t);
  return f;
}
const expected = (f: Forecast, measured: number, at: number): number => f.expect(demandOf(measured), at).get(APP)?.get('a') ?? 0;

it('raises before the usual rise, not earlier than the lead, and never below what is measured', () => {
  const f = learned(office, 3);
  const at = (hour: number): number => START + 3 * DAY + hour * 3_600_000;
  assert.equal(expected(f, 10, at(6)), 10);
  assert.ok(expected(f, 10, at(7.8)) > 40, String(expected(f, 10, at(7.8))));
  assert.equal(expected(f, 100, at(12)), 100);
  assert.equal(expected(f, 100, at(17.9)), 100, 'less is believed when it is measured');
  assert.equal(expected(f, 300, at(8.6)), 300);
});

it('knows nothing on the first day, and little where the days differ', () => {
  assert.equal(expected(learned(office, 1), 10, START + DAY + 1), 10);
  assert.equal(expected(new Forecast(), 10, START), 10);
  const moody = learned((h, day) => (day % 2 === 0 ? 10 : office(h, day)), 6);
  const steady = learned(office, 6);
  const at = START + 6 * DAY + 7.8 * 3_600_000;
  assert.ok(expected(moody, 10, at) < expected(steady, 10, at) / 2, `${expected(moody, 10, at)} ${expected(steady, 10, at)}`);
});

it('scales with today, within limits: a quiet holiday is not a work day', () => {
  const f = learned(office, 4);
  const at = (hour: number): number => START + 4 * DAY + hour * 3_600_000;
  const usual = expected(f, 10, at(7.8));
  const holiday = expected(f, 5, at(7.9));
  assert.ok(holiday < usual * 0.75, `${holiday} ${usual}`);
  assert.ok(expected(f, 10_000, at(7.95)) === 10_000);
});

it('leaves an application alone that may not have more', () => {
  const f = learned(office, 3);
  const at = START + 3 * DAY + 7.8 * 3_600_000;
  const measured = demandOf(10);
  assert.equal(f.expect(measured, at, () => true).get(APP)?.get('a'), 10);
  assert.ok((f.expect(measured, at, () => false).get(APP)?.get('a') ?? 0) > 40);
  assert.equal(measured.get(APP)?.get('a'), 10, 'what was measured is not written over');
});

it('does not learn from a slot of which it saw only the end', () => {
  const f = learned(office, 3);
  const g = learned(office, 3);
  for (let t = 25 * MINUTE; t < 30 * MINUTE; t += MINUTE) g.learn(demandOf(1e6), START + 3 * DAY + 20 * 3_600_000 + t);
  g.learn(demandOf(10), START + 3 * DAY + 21 * 3_600_000);
  assert.deepEqual(g.profileOf(APP)[0]?.mean[40], f.profileOf(APP)[0]?.mean[40]);
});

it('keeps to its limit: what asks for least goes first', () => {
  const f = new Forecast({ maxRows: 50 });
  f.learn(demandOf(1000), START);
  for (let i = 0; i < 300; i++) f.learn(new Map([[`noise-${i}`, new Map([['a', 1]])], [APP, new Map([['a', 1000]])]]), START + (i + 1) * 10_000);
  assert.ok(f.size <= 50);
  f.learn(demandOf(1000), START + 31 * MINUTE + 3_600_000);
  assert.equal(f.size <= 50 && f.profileOf(APP).length, 1);
});

it('is kept as text and read again, within a tenth of a percent', () => {
  const row = fc.record({ clientRegion: fc.stringMatching(/^[a-z]{1,12}$/), mean: fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 48, maxLength: 48 }), deviation: fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 48, maxLength: 48 }), days: fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 48, maxLength: 48 }) });
  fc.assert(
    fc.property(fc.uniqueArray(row, { selector: (r) => r.clientRegion, maxLength: 4 }), (rows) => {
      const back = decodeProfile(encodeProfile(rows));
      for (const [i, r] of rows.entries()) {
        assert.deepEqual([back[i]?.clientRegion, back[i]?.days], [r.clientRegion, r.days]);
        for (const [k, v] of r.mean.entries()) assert.ok(Math.abs((back[i]?.mean[k] ?? 0) - v) <= 0.001 * (v + 1));
      }
    }),
    { numRuns: 30, seed: 3 },
  );
  assert.throws(() => decodeProfile('{"a":"AAAA"}'), /demand profile: a: 3 bytes, expected 240/);
  assert.throws(() => decodeProfile('['), /not JSON/);
});

it('a new process goes on with what the store has; another application is forgotten, and nothing is written twice', async () => {
  const client = await memoryClient();
  let all = new Set([APP]);
  const make = (): Prediction => new Prediction({ client, log: silentLogger, applications: () => ({ all, owns: () => true, isFull: () => false }) });
  const first = make();
  await first.load();
  learned(office, 3, first.forecast);
  await first.save();
  const [stored] = (await client.list<ConfigMap>(Resources.ConfigMap, { tenant: 'system' })).items;
  await first.save();
  const second = make();
  await second.load();
  const at = START + 3 * DAY + 7.8 * 3_600_000;
  assert.ok(Math.abs(expected(second.forecast, 10, at) - expected(first.forecast, 10, at)) < 0.5);
  assert.equal((await client.list<ConfigMap>(Resources.ConfigMap, { tenant: 'system' })).items[0]?.metadata.resourceVersion, stored?.metadata.resourceVersion);
  all = new Set();
  await second.save();
  assert.equal((await client.list<ConfigMap>(Resources.ConfigMap, { tenant: 'system' })).items.length, 0);
  assert.equal(second.forecast.size, 0);
});

it('writes and deletes under the Lease of the shard: who slept past it changes nothing, says nothing was written, and tries no harder', async () => {
  const client = await memoryClient();
  const lease = await client.create<Lease>(Resources.Lease, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'global-shard-3', tenant: 'system', namespace: 'default' }, spec: { holderIdentity: 'a', leaseTransitions: 1 } });
  let all = new Set([APP, 'acme/default/new']);
  const refused = { a: 0, b: 0 };
  const make = (who: 'a' | 'b', epoch: number): Prediction => new Prediction({ client, log: silentLogger, fence: { stamp: () => `3:${epoch}`, lease: () => ({ lease: 'global-shard-3', epoch, holder: who }), refused: () => void (refused[who] += 1) }, applications: () => ({ all, owns: () => true, isFull: () => false }) });
  const kept = async (): Promise<readonly string[]> => (await client.list<ConfigMap>(Resources.ConfigMap, { tenant: 'system' })).items.map((c) => `${c.data?.['application'] ?? ''} ${c.metadata.resourceVersion ?? ''}`);
  const a = make('a', 1);
  learned(office, 2, a.forecast);
  await a.save();
  assert.equal((await kept()).length, 1);
  // handed on while it slept: it still takes all for its own
  await client.update<Lease>(Resources.Lease, { ...lease, spec: { holderIdentity: 'b', leaseTransitions: 2 } });
  const b = make('b', 2);
  await b.load();
  learned(office, 4, b.forecast);
  await b.save();
  const before = await kept();
  for (let t = 2 * DAY; t < 3 * DAY; t += MINUTE) a.forecast.learn(new Map([APP, 'acme/default/new'].map((key) => [key, new Map([['a', 500]])])), START + t);
  await a.save(); // a patch and a create
  all = new Set();
  await a.save(); // a delete
  assert.deepEqual(await kept(), before);
  assert.equal(refused.a, 3);
  await b.save();
  assert.deepEqual([await kept(), refused.b], [[], 0], 'the holder of now may');
});

it('when it is off, plans for what is measured', async () => {
  const client = await memoryClient();
  const p = new Prediction({ client, log: silentLogger, applications: () => ({ all: new Set(), owns: () => true, isFull: () => false }) }, { isOn: false });
  learned(office, 3, p.forecast);
  const measured = demandOf(10);
  assert.equal(p.demand(measured, START + 3 * DAY + 7.8 * 3_600_000), measured);
});

run();
