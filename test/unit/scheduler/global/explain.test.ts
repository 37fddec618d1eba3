/** What `proxima why` says of one snapshot: it knows of the other applications that share the sites. */
import assert from 'node:assert/strict';
import { why } from '../../../../scheduler/global/explain.ts';
import type { Snapshot } from '../../../../scheduler/global/global-scheduler.ts';
import { plan } from '../../../../scheduler/global/planner.ts';
import { suite } from '../../../kit/suite.ts';
import { app, site, SITES, world, type Asked } from './kit.ts';

const { it, run } = suite('why');
const NOW = Date.parse('2030-01-01T12:00:00Z');
const policy = { instances: { min: 1, max: 8 } };

function snapshot(applications: readonly Asked[], sites = SITES): Snapshot {
  const model = world(applications, sites);
  return { at: NOW, model, plan: plan(model, new Map(), NOW), objects: { applications: new Map(), policies: new Map(), placements: new Map(), vpcs: new Map() }, states: new Map() };
}
const compare = (a: string, b: string): number => (a < b ? -1 : 1);
const refused = (s: Snapshot, name: string): Record<string, string> => Object.fromEntries(why(s, `acme/default/${name}`).refused.map((r) => [r.site, r.reason]));

it('names the application that is kept apart, whichever of the two says so', () => {
  const of = (says: string, named: string): readonly Asked[] => ['one', 'two'].map((n) => app(n, { a: n === 'one' ? 40 : 20 }, { policy: n === says ? { ...policy, antiAffinity: [named] } : policy }));
  assert.equal(refused(snapshot(of('two', 'one')), 'two')['west-edge-a'], 'has acme/default/one; antiAffinity names it');
  assert.equal(refused(snapshot(of('one', 'two')), 'two')['west-edge-a'], 'has acme/default/one; its antiAffinity names this application');
});

it('counts what the other applications take of a site', () => {
  const small = SITES.map((s) => (s.name === 'west-edge-a' ? site(s.name, { kind: 'edge', cpuMilli: 150 }) : s));
  const s = snapshot([app('big', { a: 30 }, { policy }), app('late', { a: 10 }, { policy })], small);
  // one of them has it, and the other is told that there is no room for one more
  assert.deepEqual(['big', 'late'].map((n) => refused(s, n)['west-edge-a'] ?? 'is there').sort(compare), ['has 50 of 150 mCPU free, one instance needs 100', 'is there']);
});

it('says what would be gained by a better site, and which limit is in the way', () => {
  const dear = SITES.map((s) => (s.name === 'west-edge-a' ? site(s.name, { kind: 'edge', cost: 60 }) : s));
  const s = snapshot([app('web', { a: 30 }, { policy: { instances: { min: 1, max: 1 } } })], dear);
  const out = refused(s, 'web');
  assert.equal(out['west-edge-a'], 'is 3.0 ms from client region a, west-zone serves it from 39.0 ms: instances.max is 1, and moving one there does not pay');
});

run();
