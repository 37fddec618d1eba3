/**
 * What the global scheduler keeps in memory at full size: telemetry of 1,000 sites, 1,000 client regions and 10,000 applications (each with clients
 * in 20 regions), the model and the plan made from it. Fixed seed; asserts that everything arrived and is planned before it prints.
 *   node24 bench/scheduler-memory.ts [--sites 1000] [--client-regions 1000] [--applications 10000]
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import type { Application } from '../api/kinds/mesh.ts';
import { plainSite, type SiteModel } from '../scheduler/global/model.ts';
import { Planning } from '../scheduler/global/planning.ts';
import { Telemetry } from '../scheduler/global/telemetry.ts';
import { seeded } from '../test/kit/memory-mesh.ts';

const { values } = parseArgs({ options: { sites: { type: 'string', default: '1000' }, 'client-regions': { type: 'string', default: '1000' }, applications: { type: 'string', default: '10000' } } });
const [S, R, A, PER_APPLICATION, ROUNDS] = [Number(values.sites), Number(values['client-regions']), Number(values.applications), 20, 3];
const LIMIT_MIB = 2_048;
const random = seeded(1);
const pick = (n: number): number => Math.floor(random() * n);
const [site, region, app] = [(i: number) => `s${i}`, (i: number) => `c${String(i).padStart(4, '0')}`, (i: number) => `acme/default/a${i}`];
const rss = (): number => process.memoryUsage().rss / 2 ** 20;

const telemetry = new Telemetry();
const empty = rss();
const clients = Array.from({ length: A }, () => Array.from({ length: PER_APPLICATION }, () => pick(R)));
const frontOf = Array.from({ length: R }, () => pick(S));
const bySite = new Map<number, { application: string; clientRegion: string }[]>();
for (const [a, regions] of clients.entries()) {
  for (const r of regions) {
    const front = frontOf[r] as number;
    const rows = bySite.get(front) ?? [];
    bySite.set(front, rows);
    rows.push({ application: app(a), clientRegion: region(r) });
  }
}
let now = Date.parse('2030-01-01T00:00:00Z');
for (let round = 1; round <= ROUNDS; round++) {
  now += 1_000;
  for (let s = 0; s < S; s++) {
    const rows = (bySite.get(s) ?? []).map((r) => ({ ...r, connections: 5 + pick(20), bytesIn: 1_000, bytesOut: 9_000, rttMs: null, handshakes: null }));
    telemetry.traffic({ site: site(s), epoch: 'e', sequence: round, at: now, periodMs: 1_000, rows }, now);
    telemetry.capacity({ site: site(s), at: now, nodes: 1, readyNodes: 1, cpuMilli: 64_000, memoryMiB: 65_536, usedCpuMilli: 0, usedMemoryMiB: 0 }, now);
    telemetry.probes({ site: site(s), at: now, rows: [...Array.from({ length: R }, (_, r) => ({ to: region(r), kind: 'client-region' as const, rttMs: 2 + ((s * 7 + r * 13) % 150), loss: 0 })), ...Array.from({ length: 20 }, (_, k) => ({ to: site((s + k + 1) % S), kind: 'site' as const, rttMs: 10 + k, loss: 0 }))] }, now);
  }
}
const withTelemetry = rss();
const sites: SiteModel[] = Array.from({ length: S }, (_, i) => ({ ...plainSite, name: site(i), region: `r${i % 20}`, cpuMilli: 64_000, memoryMiB: 65_536, front: `192.0.${i >> 8}.${i & 255}` })).sort((x, y) => (x.name < y.name ? -1 : 1));
const applications = new Map(Array.from({ length: A }, (_, i): [string, Application] => [app(i), { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: `a${i}`, namespace: 'default', tenant: 'acme', uid: `u${i}`, generation: 1 }, spec: { vpc: 'main', service: { port: 80 }, template: { spec: { containers: [{ name: 'c', image: 'web' }] } }, policy: { instances: { min: 1, max: 8 } } } }]));
const planning = new Planning();
const began = performance.now();
const demand = telemetry.demand(now);
const made = planning.update({ now, sites, clientRegions: Array.from({ length: R }, (_, i) => region(i)), ways: { rtt: (r, s) => telemetry.clientRtt(r, s, [], now), measured: (r, s) => telemetry.measuredClientRtt(r, s, now) }, demand, objects: { applications, policies: new Map(), placements: new Map(), vpcs: new Map() }, own: applications, others: [], touched: new Set() });
const tookMs = performance.now() - began;
assert.equal(demand.size, A);
assert.equal([...made.plan.applications.values()].filter((p) => p.sites.length > 0).length, A, 'every application has a place');
const all = rss();
console.log(`${S} sites, ${R} client regions, ${A} applications with clients in ${PER_APPLICATION} regions each: ${JSON.stringify(telemetry.sizes)}`);
console.log(`  RSS  empty ${empty.toFixed(0)} MiB, with telemetry ${withTelemetry.toFixed(0)} MiB, with the model and the plan ${all.toFixed(0)} MiB; limit ${LIMIT_MIB} MiB; demand, model and plan took ${tookMs.toFixed(0)} ms`);
console.log(JSON.stringify({ bench: 'scheduler-memory', node: process.version, sites: S, clientRegions: R, applications: A, rssMiB: Math.round(all), telemetryMiB: Math.round(withTelemetry - empty) }));
assert.ok(all < LIMIT_MIB);
