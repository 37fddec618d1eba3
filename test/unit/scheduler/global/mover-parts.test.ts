import assert from 'node:assert/strict';
import type { Placement } from '../../../../api/kinds/mesh.ts';
import { Budget } from '../../../../scheduler/global/budget.ts';
import { backendsOf, frontShares, type Instances } from '../../../../scheduler/global/fronts.ts';
import { decideInstances, type InstancesInput, type ObservedInstance } from '../../../../scheduler/global/instances.ts';
import { MEMORY_ANNOTATION, type Memory } from '../../../../scheduler/global/memory.ts';
import { MoveMetrics } from '../../../../scheduler/global/move-metrics.ts';
import { decideMoves, type MoveInput, type ObservedSite, type Traffic } from '../../../../scheduler/global/mover.ts';
import { failedOf, judgeTrial, type Measured, type Trial } from '../../../../scheduler/global/undo.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('parts of the mover');
const NOW = 10_000_000;
const pod = (name: string, o: Partial<ObservedInstance> = {}): ObservedInstance => ({ name, uid: name, isReady: true, isLeaving: false, createdAt: 0, weight: 100, isMarked: false, sendTo: null, migration: null, ...o });
const site = (name: string, instances: readonly ObservedInstance[], o: Partial<ObservedSite> = {}): ObservedSite => ({ site: name, region: 'west', reach: 'reachable', canAct: true, replicas: instances.length, instances, ...o });
const full: Traffic = { state: 'serving', factor: 100, since: 0 };
const input = (o: Partial<MoveInput>): MoveInput => ({ wanted: [], observed: [], traffic: {}, min: 1, now: NOW, ...o });
const want = (name: string, instances = 1): MoveInput['wanted'][number] => ({ site: name, instances, isHeld: false, reason: 'near' });

const trial: Trial = { since: NOW - 10_000, failedBefore: 0, promised: [{ clientRegion: 'a', predictedMs: 10, beforeMs: 40 }, { clientRegion: 'b', predictedMs: 20, beforeMs: null }] };
const fared = (clientRegion: string, connections: number, latencyMs: number | null, failed: number | null = 0): Measured => ({ clientRegion, connections, latencyMs, failed });

it('judges a move by what was promised and by what was before, and only by enough of it', () => {
  const verdict = (...m: readonly Measured[]): string | null => judgeTrial('edge', trial, m);
  assert.equal(verdict(fared('a', 100, 12)), null, 'a little above what was predicted');
  assert.equal(verdict(fared('a', 100, 30)), null, 'worse than predicted, better than before');
  assert.equal(verdict(fared('a', 19, 90)), null, 'too few');
  assert.equal(verdict(fared('a', 100, 90)), 'a move to edge was undone: client region a measured 90 ms over 100 connections; 10 ms were predicted, 40 ms it was before');
  assert.equal(verdict(fared('a', 300, 10), fared('b', 30, 60)), null, 'what most clients have counts most');
  assert.match(verdict(fared('a', 30, 70), fared('b', 300, 60)) ?? '', /2 client regions, most of all b measured/);
  assert.match(verdict(fared('a', 100, 10, 0.3)) ?? '', /30 % of 100 connections failed there/);
  assert.match(verdict(fared('a', 100, 90, 0.3)) ?? '', /measured 90 ms over 100 connections/, 'handshakes that are under way at a slow place are no failures');
  assert.equal(judgeTrial('edge', { ...trial, since: null }, [fared('a', 100, 90)]), null, 'before it has traffic');
  assert.deepEqual([failedOf(0.05, 0, 0.05), failedOf(0.02, 0.02, 0.5), failedOf(null, 0, 1), failedOf(0.5, 0, 0)], [1, 0, null, null]);
});

const placed = (memory: Partial<Memory>): Placement => ({ apiVersion: 'mesh.proxima.io/v1', kind: 'Placement', metadata: { name: 'web', annotations: { [MEMORY_ANNOTATION]: JSON.stringify(memory) } }, spec: { application: 'web', sites: [] } });

it('counts what is in motion from the Placements, says why a move waits, and lets it go when there is room', () => {
  const b = new Budget({ perSite: 2, perHour: 3 });
  const moving: Traffic = { state: 'starting', factor: 5, since: NOW };
  b.learn('one', placed({ traffic: { edge: moving }, movedAt: [NOW - 3_000_000] }));
  b.learn('two', placed({ traffic: { edge: { ...moving, state: 'draining' }, far: full }, movedAt: [NOW - 1_000] }));
  assert.equal(b.refusal('three', 'edge', 'into', NOW), 'waits: 2 applications are on their way into or out of edge; mover.budget.perSite is 2');
  assert.equal(b.refusal('two', 'edge', 'out of', NOW), null, 'who is in motion already is not in its own way');
  assert.equal(b.refusal('three', 'far', 'into', NOW), null, 'who serves there is not in motion');
  b.note('three', { sites: ['far'], movedAt: [NOW] });
  assert.equal(b.refusal('four', 'other', 'into', NOW), 'waits: 3 moves in the last hour; mover.budget.perHour is 3');
  assert.equal(b.freeAt(), NOW + 600_000);
  assert.equal(b.refusal('four', 'other', 'into', NOW + 600_001), null);
  b.learn('one', undefined);
  assert.equal(b.refusal('three', 'edge', 'into', NOW + 600_001), null);
  const again = new Budget({ perSite: 2, perHour: 1 });
  const same = placed({ traffic: { edge: moving }, movedAt: [NOW] });
  for (let i = 0; i < 3; i++) again.learn('one', same);
  assert.equal(again.refusal('one', 'x', 'into', NOW), 'waits: 1 moves in the last hour; mover.budget.perHour is 1', 'nothing is counted twice');
});

it('holds back what is done for gain, with the reason, and nothing that repairs', () => {
  const observed = [site('a', [pod('a-0')]), site('b', [], { replicas: null })];
  const refusal = (): string => 'waits: the budget';
  const gain = decideMoves(input({ wanted: [want('b')], observed, traffic: { a: full }, refusal }));
  assert.deepEqual([gain.steps, gain.waiting], [[], [{ site: 'b', reason: 'waits: the budget', why: 'budget' }]]);
  const unserved = decideMoves(input({ wanted: [want('b')], observed: [site('a', [pod('a-0', { isReady: false })]), observed[1] as ObservedSite], traffic: { a: full }, refusal }));
  assert.deepEqual(unserved.steps.map((s) => s.kind), ['scale']);
});

it('does not begin to count a drain before the fronts have let go', () => {
  const drained = (weight: number, idleSince?: number): ReturnType<typeof decideMoves> =>
    decideMoves(input({ wanted: [want('b')], observed: [site('a', [pod('a-0', { weight })]), site('b', [pod('b-0')])], traffic: { a: { state: 'draining', factor: 0, since: NOW - 60_000, ...(idleSince === undefined ? {} : { idleSince }) }, b: { ...full, instances: { 'b-0': { factor: 100, since: 0 } } } } }), { drainMs: 8_000 });
  const held = drained(5);
  assert.deepEqual([held.steps, held.traffic['a']?.idleSince, held.nextAt], [[], undefined, null], 'as after a crash between the decision and the fronts');
  assert.equal(drained(0).traffic['a']?.idleSince, NOW);
  assert.equal(drained(5, NOW - 9_000).traffic['a']?.idleSince, undefined, 'it counts anew');
  assert.deepEqual(drained(0, NOW - 7_000).nextAt, NOW + 1_000);
  assert.deepEqual(drained(0, NOW - 8_000).steps.map((s) => `${s.kind} ${s.site}`), ['stop a']);
});

it('remembers a place whose deployment is gone until its pods are, so that fronts list them to the end', () => {
  const gone = (instances: readonly ObservedInstance[]): unknown => decideMoves(input({ wanted: [want('b')], observed: [site('a', instances, { replicas: null }), site('b', [pod('b-0')])], traffic: { a: { state: 'draining', factor: 0, since: 0 }, b: full } })).traffic['a'];
  assert.deepEqual(gone([pod('a-0', { isLeaving: true, isReady: false })]), { state: 'draining', factor: 0, since: 0 });
  assert.equal(gone([]), undefined);
});

it('chooses who leaves: nobody of use first, then who was chosen before, then the youngest', () => {
  const choose = (o: Partial<InstancesInput>): readonly string[] => decideInstances({ observed: [], before: {}, surplus: 1, now: NOW, stepMs: 2_000, drainMs: 8_000, unreadyMs: 5_000, ...o }).mark;
  const serving = { factor: 100, since: 0 } as const;
  const three = [pod('old', { createdAt: 1 }), pod('mid', { createdAt: 2 }), pod('new', { createdAt: 3 })];
  const all = { old: serving, mid: serving, new: serving };
  assert.deepEqual(choose({ observed: three, before: all }), ['new']);
  assert.deepEqual(choose({ observed: three, before: { ...all, mid: { factor: 0, since: 0, isLeaving: true } } }), ['mid']);
  assert.deepEqual(choose({ observed: three.map((p) => (p.name === 'old' ? { ...p, isReady: false } : p)), before: all }), ['old']);
  assert.deepEqual(choose({ observed: [...three, pod('gone', { isLeaving: true })], before: all, surplus: 0 }), []);
});

it('lets a site have no more than those of its instances that are there, while others still serve', () => {
  const i = (name: string, factors: readonly number[], o: Partial<Instances> = {}): Instances => ({ site: name, addresses: factors.map((factor, n) => ({ address: `${name}${n}`, factor })), leaving: [], factor: 100, isPlanned: true, isReachable: true, ...o });
  const weights = (instances: readonly Instances[], to: readonly string[]): Record<string, number> => {
    const shares = frontShares({ front: 'x', instances, serves: to.map((s) => ({ clientRegion: s, site: s, rps: 1, rttMs: 1 })), frontOf: () => 'x', rtt: () => 1 });
    return Object.fromEntries(backendsOf(shares, instances, 80).map((b) => [b.address, b.weight]));
  };
  assert.deepEqual(weights([i('a', [100], { wanted: 2 }), i('b', [100], { isPlanned: false })], ['a']), { a0: 100, b0: 100 });
  assert.deepEqual(weights([i('a', [100, 5], { wanted: 2 })], ['a']), { a0: 100, a1: 5 }, 'within the site');
  assert.deepEqual(weights([i('a', [100], { wanted: 1 }), i('b', [100], { isPlanned: false })], ['a', 'c']), { a0: 100, b0: 100 }, 'what is planned for a site that is not there yet stays with who serves');
  assert.deepEqual(weights([i('a', [0, 0])], ['a']), { a0: 100, a1: 100 }, 'somebody rather than nobody');
});

it('counts moves by why', async () => {
  const m = new MoveMetrics();
  const d = decideMoves(input({ wanted: [want('b')], observed: [site('a', [pod('a-0')]), site('b', [], { replicas: null })], traffic: { a: full } }));
  m.moved('k', d, 'gain', 1);
  m.moved('w', { ...d, events: [], waiting: [{ site: 'b', reason: 'waits', why: 'budget' }] }, 'gain', 0);
  const text = await m.registry.metrics();
  for (const line of ['proxima_moves_started_total{why="gain"} 1', 'proxima_moves_epochs_raised_total 1', 'proxima_moves_waiting{why="budget"} 1', 'proxima_moves_waiting{why="fence"} 0']) assert.ok(text.includes(line), line);
});

run();
