import assert from 'node:assert/strict';
import { judge, type Evidence, type SiteState } from '../../../../scheduler/global/failure.ts';
import { checkPolicy } from '../../../../scheduler/global/policy.ts';
import { decodeGlobalConfig } from '../../../../scheduler/global/config.ts';
import { steer } from '../../../../scheduler/global/steering.ts';
import { receive } from '../../../../scheduler/global/telemetry-feed.ts';
import { Telemetry } from '../../../../scheduler/global/telemetry.ts';
import type { TrafficSample } from '../../../../api/telemetry.ts';
import { suite } from '../../../kit/suite.ts';
import { SITES, world } from './kit.ts';

const { it, run } = suite('telemetry');
const NOW = 1_900_000_000_000;

const traffic = (sequence: number, connections: number, o: Partial<TrafficSample> = {}): TrafficSample => ({ site: 'edge-a', epoch: 'e1', sequence, at: NOW + sequence * 1000, periodMs: 1000, rows: [{ application: 'acme/default/web', clientRegion: 'a', connections, bytesIn: 0, bytesOut: 0, rttMs: 3 }], ...o });
const rps = (t: Telemetry, now: number): number => t.demand(now).get('acme/default/web')?.get('a') ?? 0;

it('finds the rate of a steady stream, and forgets it when it stops', () => {
  const t = new Telemetry({ halfLifeMs: 5_000 });
  for (let s = 0; s < 60; s++) t.traffic(traffic(s, 40), NOW + s * 1000);
  const now = NOW + 59_000;
  assert.ok(Math.abs(rps(t, now) - 40) < 4, `${rps(t, now)} req/s`);
  assert.ok(rps(t, now + 40_000) < 0.3);
  assert.equal(t.demand(now + 200_000).size, 0);
});

it('counts a sample once, whatever comes twice or out of order, and a new epoch anew', () => {
  const t = new Telemetry();
  for (const s of [1, 3, 2, 2, 1, 3]) t.traffic(traffic(s, 10), NOW + 3000);
  const once = new Telemetry();
  for (const s of [1, 2, 3]) once.traffic(traffic(s, 10), NOW + 3000);
  assert.equal(rps(t, NOW + 3000), rps(once, NOW + 3000));
  assert.equal(t.repairs.get('edge-a duplicate'), 3);
  t.traffic(traffic(1, 10, { epoch: 'e2' }), NOW + 3000);
  assert.ok(rps(t, NOW + 3000) > rps(once, NOW + 3000));
});

it('drops what is late or absurd and says how often', () => {
  const t = new Telemetry({ locationOf: (kind, name) => (kind === 'site' ? { latitude: name === 'far' ? 50 : 0, longitude: 0 } : null) });
  t.traffic(traffic(1, 10, { at: NOW - 120_000 }), NOW);
  t.traffic(traffic(2, -5), NOW);
  t.traffic(traffic(3, 1e12), NOW);
  t.traffic(traffic(4, 1, { at: NOW + 3_600_000 }), NOW);
  t.probes({ site: 'edge-a', at: NOW, rows: [{ to: 'far', kind: 'site', rttMs: 2, loss: 0 }, { to: 'near', kind: 'site', rttMs: -1, loss: 0 }, { to: 'lost', kind: 'site', rttMs: null, loss: 1 }] }, NOW);
  assert.deepEqual(Object.fromEntries(t.repairs), { 'edge-a late': 1, 'edge-a absurd': 3, 'edge-a clock-off': 1, 'edge-a below-light-speed': 1 });
  assert.ok((t.siteRtt('edge-a', 'far', NOW) ?? 0) > 55, 'a hole is filled from coordinates');
  assert.equal(t.siteRtt('edge-a', 'nowhere', NOW), 1);
});

it('prefers what was measured, each way for itself, and adds up ways over a front', () => {
  const t = new Telemetry();
  t.probes({ site: 'x', at: NOW, rows: [{ to: 'y', kind: 'site', rttMs: 40, loss: 0 }, { to: 'metro', kind: 'client-region', rttMs: 2, loss: 0 }] }, NOW);
  assert.equal(t.siteRtt('y', 'x', NOW), 40);
  t.probes({ site: 'y', at: NOW, rows: [{ to: 'x', kind: 'site', rttMs: 60, loss: 0 }] }, NOW);
  assert.deepEqual([t.siteRtt('x', 'y', NOW), t.siteRtt('y', 'x', NOW)], [40, 60]);
  assert.equal(t.clientRtt('metro', 'y', ['x'], NOW), 42);
  assert.equal(t.clientRtt('unknown', 'y', ['x'], NOW), null);
});

it('tells the mover how clients fare with a site since a moment, by the share that each front gives it', () => {
  const t = new Telemetry();
  const [app, at] = ['acme/default/web', NOW + 30_000];
  const row = (connections: number, handshakes: number, rttMs: number): TrafficSample['rows'][number] => ({ application: app, clientRegion: 'a', connections, bytesIn: 0, bytesOut: 0, rttMs, handshakes });
  for (let s = 0; s < 30; s++) t.traffic(traffic(s, 0, { rows: [row(s < 15 ? 100 : 40, s < 15 ? 100 : 30, 4)] }), NOW + s * 1000);
  for (let s = 0; s < 30; s++) t.traffic(traffic(s, 0, { site: 'zone', rows: [row(10, 10, 20)] }), NOW + s * 1000);
  t.probes({ site: 'edge-a', at, rows: [{ to: 'zone', kind: 'site', rttMs: 36, loss: 0 }] }, at);
  const all = t.observed(app, 'edge-a', 'a', NOW + 15_000, at);
  assert.ok(Math.abs((all?.connections ?? 0) - 15 * 50) < 1e-3, String(all?.connections));
  assert.ok(Math.abs((all?.failed ?? 0) - (0.25 * 40) / 50) < 1e-6, String(all?.failed));
  assert.ok(Math.abs((all?.latencyMs ?? 0) - (4 * 40 + (20 + 36) * 10) / 50) < 0.01, String(all?.latencyMs));
  const half = t.observed(app, 'zone', 'a', NOW + 15_000, at, (front) => (front === 'edge-a' ? 0.5 : 0));
  assert.ok(Math.abs((half?.connections ?? 0) - 15 * 20) < 1e-3);
  assert.ok(Math.abs((half?.latencyMs ?? 0) - 40) < 0.01);
  assert.equal(t.observed(app, 'edge-a', 'b', NOW, at), null);
  assert.equal(t.observed(app, 'edge-a', 'a', at + 60_000, at + 120_000), null, 'the last minute only');
});

it('shows traffic by client region and front, and links with their loss and bandwidth', () => {
  const t = new Telemetry({ halfLifeMs: 2_000 });
  for (let s = 0; s < 60; s++) {
    const now = NOW + s * 1000;
    t.traffic(traffic(s, 10, { rows: [{ application: 'acme/default/web', clientRegion: 'a', connections: 10, bytesIn: 1000, bytesOut: 5000, rttMs: 7 }] }), now);
    t.probes({ site: 'edge-a', at: now, rows: [{ to: 'zone', kind: 'site', rttMs: 20, loss: 0.1, ...(s === 5 ? { mbps: 94 } : {}) }, { to: 'dead', kind: 'site', rttMs: null, loss: 1 }] }, now);
  }
  const end = NOW + 59_000;
  const [row, ...others] = t.rates('acme/default/web', end);
  assert.deepEqual([row?.clientRegion, row?.site, Math.round(row?.connections ?? 0), Math.round((row?.bytesIn ?? 0) / 100), Math.round((row?.bytesOut ?? 0) / 500), row?.rttMs, others.length], ['a', 'edge-a', 10, 10, 10, 7, 0]);
  assert.deepEqual(t.rates('acme/default/other', end), []);
  assert.deepEqual(t.links('edge-a', end).map((l) => [l.to, l.rttMs, Math.round(l.loss * 100), l.mbps]), [['zone', 20, 10, 94]]);
  assert.deepEqual(t.links('edge-a', end + 700_000), [], 'ten minutes at most');
});

it('takes the site from the topic and refuses what is not a sample, with its path', () => {
  const t = new Telemetry();
  const send = (topic: string, body: unknown): void => receive(t, topic, Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), NOW);
  send('telemetry/edge-b/traffic', [traffic(0, 9)]);
  assert.equal(t.heardFrom('edge-a'), null);
  assert.equal(t.heardFrom('edge-b'), NOW);
  assert.throws(() => send('telemetry/edge-b/traffic', '{'), /not JSON/);
  assert.throws(() => send('telemetry/edge-b/traffic', [{ ...traffic(1, 1), rows: [{ application: 7 }] }]), /rows\[0\]\.application: expected a string/);
  assert.throws(() => send('telemetry/edge-b/mood', [traffic(1, 1)]), /mood/);
  assert.throws(() => send('cmd/edge-b/traffic', []), /not a telemetry topic/);
});

const healthy: Evidence = { regionAnswers: true, phase: 'Ready', gatewayConnected: true, heardAt: NOW, witnesses: [] };

it('takes a site that joins as one that was never lost', () => {
  const waiting = judge('edge-a', { ...healthy, phase: 'Pending', heardAt: null }, null, NOW);
  assert.equal(waiting.reach, 'down');
  const joined = judge('edge-a', healthy, judge('edge-a', { ...healthy, phase: 'Pending', heardAt: null }, waiting, NOW + 500), NOW + 1_000);
  assert.deepEqual({ reach: joined.reach, since: joined.since }, { reach: 'reachable', since: 0 });
});

it('asks witnesses before a site is given up, and lets it stay well for a while before it counts again', () => {
  const lost: Evidence = { ...healthy, phase: 'Unreachable', gatewayConnected: false, heardAt: NOW - 10_000 };
  let s: SiteState = judge('edge-a', healthy, null, NOW);
  assert.equal(s.reach, 'reachable');
  assert.equal(judge('edge-a', { ...lost, witnesses: ['edge-b'] }, s, NOW).reach, 'cut-off');
  s = judge('edge-a', lost, s, NOW);
  assert.equal(s.reach, 'suspect');
  assert.equal(judge('edge-a', healthy, s, NOW + 500).reach, 'reachable', 'a blip is no return');
  s = judge('edge-a', lost, s, NOW + 4_000);
  assert.equal(s.reach, 'cut-off');
  assert.equal(judge('edge-a', lost, s, NOW + 25_000).reach, 'down');
  s = judge('edge-a', healthy, s, NOW + 30_000);
  assert.equal(s.reach, 'returning');
  s = judge('edge-a', healthy, s, NOW + 35_000);
  assert.equal(s.reach, 'returning');
  assert.equal(judge('edge-a', healthy, s, NOW + 41_000).reach, 'reachable');
});

it('ages Ready by the last renewal or sample, and starts no delay again for what is learned of a lost site', () => {
  const stale: Evidence = { ...healthy, seenAt: NOW - 21_000, heardAt: NOW - 25_000 };
  const fresh: SiteState = { reach: 'reachable', since: 0, reason: '' };
  assert.equal(judge('edge-a', { ...stale, seenAt: NOW - 15_000 }, fresh, NOW).reach, 'reachable');
  assert.equal(judge('edge-a', { ...stale, heardAt: NOW - 3_000 }, fresh, NOW).reach, 'reachable', 'a sample comes through the same gateway');
  const suspect = judge('edge-a', { ...stale, witnesses: ['edge-b'] }, fresh, NOW);
  assert.equal(suspect.reach, 'suspect');
  const cut = judge('edge-a', stale, suspect, NOW + 3_000);
  assert.deepEqual([cut.reach, cut.since], ['cut-off', NOW + 3_000]);
  const down = judge('edge-a', stale, cut, NOW + 23_000);
  assert.deepEqual([down.reach, down.since], ['down', NOW + 3_000]);
  assert.equal(judge('edge-a', { ...stale, witnesses: ['edge-b'] }, down, NOW + 24_000).reach, 'cut-off');
  const dark: Evidence = { ...healthy, isWithoutNode: true };
  const first = judge('west-1', dark, null, NOW);
  const waiting = judge('west-1', dark, first, NOW + 4_000);
  assert.deepEqual([first.reach, waiting.reach], ['suspect', 'cut-off']);
  assert.deepEqual(judge('west-1', healthy, waiting, NOW + 5_000), { reach: 'reachable', since: 0, reason: 'west-1 is ready' }, 'a zone that comes up is not one that comes back');
});

it('does not take a silent region API for dead sites', () => {
  const before: SiteState = { reach: 'reachable', since: 0, reason: '' };
  assert.equal(judge('edge-a', { ...healthy, regionAnswers: false }, before, NOW).reach, 'suspect');
  assert.equal(judge('edge-a', { ...healthy, regionAnswers: false, heardAt: NOW - 60_000, witnesses: ['edge-b'] }, before, NOW).reach, 'suspect');
});

it('refuses a policy whose names or goals cannot be, with the field', () => {
  const issues = checkPolicy({ instances: { min: 3, max: 2 }, residency: ['mars'], sites: { forbidden: ['west-zone'], required: { names: ['nowhere'] } }, latency: [{ percentile: 95, milliseconds: 1, clientRegion: 'a' }, { percentile: 95, milliseconds: 9, clientRegion: 'moon' }] }, world([]), () => 5);
  assert.deepEqual(issues.map((i) => i.path), ['spec.instances.min', 'spec.residency[0]', 'spec.sites.required.names[0]', 'spec', 'spec.latency[1].clientRegion']);
  const floor = checkPolicy({ instances: { min: 1, max: 2 }, latency: [{ percentile: 95, milliseconds: 1, clientRegion: 'a' }] }, world([]), () => 5);
  assert.match(floor[0]?.message ?? '', /less than light needs/);
  assert.equal(floor[0]?.path, 'spec.latency[0].milliseconds');
});

it('steers to the nearest front that can be reached, the cut-off one last', () => {
  const sites = SITES.map((s, i) => ({ ...s, front: `192.0.2.${i}`, reach: s.name === 'west-edge-a' ? ('cut-off' as const) : s.reach }));
  const rtt: Record<string, number> = { 'west-edge-a': 3, 'west-zone': 39, 'east-zone': 45 };
  assert.deepEqual(steer(sites, 80, (s) => rtt[s] ?? null).map((f) => f.site), ['west-zone', 'east-zone', 'west-edge-b', 'west-edge-a']);
});

it('refuses an unknown key of the configuration with its path', () => {
  const config = { dataDir: '/x', api: { port: 0, cert: 'c', key: 'k', ca: 'a' }, rest: { port: 0 }, regions: [{ name: 'west', kubeconfig: 'w' }] };
  assert.equal(decodeGlobalConfig(config).mover.stepMs, 2000);
  assert.throws(() => decodeGlobalConfig({ ...config, rest: { port: 0, prot: 1 } }), /rest\.prot: unknown key/);
  assert.throws(() => decodeGlobalConfig({ ...config, regions: [config.regions[0], config.regions[0]] }), /"west" is there twice/);
});

run();
