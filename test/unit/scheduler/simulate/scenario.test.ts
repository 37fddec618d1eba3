import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeScenario } from '../../../../scheduler/simulate/scenario.ts';
import { buildWorld } from '../../../../scheduler/simulate/world.ts';
import { suite } from '../../../kit/suite.ts';

const { it, run } = suite('scenario');
const SHIPPED = join(import.meta.dirname, '..', '..', '..', '..', 'scheduler', 'simulate', 'scenarios');

const GOOD = `
name: t
hours: 2
sites: { list: [{ name: a, region: r, kind: zone, location: { latitude: 1, longitude: 2 } }, { name: b, region: r, kind: edge, location: { latitude: 3, longitude: 4 } }] }
clientRegions: { list: [{ name: here, location: { latitude: 1, longitude: 2 }, millions: 1 }] }
demand: { perMillion: 10 }
applications: [{ name: web, policy: { latency: [{ percentile: 95, milliseconds: 20 }] } }]
`;
const noFiles = (): string => assert.fail('no file is named');

it('fills in what is left out', () => {
  const s = decodeScenario(GOOD, 't');
  assert.deepEqual([s.seed, s.stepSeconds, s.policies.length, s.applications[0]?.perInstance, s.applications[0]?.policy.instances.max], [1, 60, 6, 100, 10]);
  assert.ok('baseMs' in s.rtt && s.rtt.baseMs === 2);
});

it('refuses what is wrong with its path', () => {
  const wrong = (from: string | RegExp, to: string, message: RegExp): void => assert.throws(() => buildWorld(decodeScenario(GOOD.replace(from, to), 't'), noFiles), message, to);
  wrong('hours: 2', 'hours: 2\nspeed: 9', /t: speed: unknown key/);
  wrong('hours: 2', 'hours: zwei', /hours/);
  wrong('latitude: 3', 'latitude: 300', /sites/);
  wrong('percentile: 95', 'percentil: 95', /applications\.0\.policy\.latency\[0\]\.percentil/);
  wrong('latency: [{', 'instances: { min: 3, max: 2 }, latency: [{', /applications\.0\.policy\.instances\.min: 3 is more than/);
  wrong('hours: 2', 'hours: 2\npolicies: [ours, theirs]', /policies/);
  wrong('hours: 2', 'hours: 2\nwarmUpHours: 2', /warmUpHours: 2 leaves nothing/);
  wrong('hours: 2', 'hours: 2\nfailures: [{ kind: down, sites: [a], fromHour: 1, toHour: 1 }]', /failures\.0\.toHour: 1 is not after/);
  wrong('hours: 2', 'hours: 2\nfailures: [{ kind: down, fromHour: 1, toHour: 2 }]', /failures\.0: takes one of sites, region, randomPercent/);
  wrong('hours: 2', 'hours: 2\nfailures: [{ kind: down, sites: [a, c], fromHour: 1, toHour: 2 }]', /failures\.0\.sites\.1: no site "c"; there are a, b/);
  wrong('hours: 2', 'hours: 2\nfailures: [{ kind: down, region: x, fromHour: 1, toHour: 2 }]', /failures\.0\.region: no site is in region "x"/);
  wrong(/clientRegions.*/, 'clientRegions: { atSites: true }', /clientRegions\.atSites: needs sites\.file/);
  wrong('name: t', 'name: [', /not YAML/);
});

it('reads tables: holes are filled with the way back, what is not a number is refused with its place', () => {
  const text = GOOD.replace(/sites: .*/, 'sites: { file: { path: s.csv, zones: 1 } }').replace(/clientRegions.*/, 'clientRegions: { atSites: true }\nrtt: { file: rtt.csv }').replace(/demand.*/, 'demand: { file: d.csv, scale: 0.5, noisePercent: 0 }');
  const files: Record<string, string> = { 's.csv': 'site,lat,lng,population\nBig Town,1,2,3000000\nSmall,3,4,1000000\n', 'rtt.csv': 'src,Big Town,Small\nBig Town,0,\nSmall,31,0\n', 'd.csv': 'utc,Big Town,Small\n0,10,20\n1,30,40\n' };
  const world = buildWorld(decodeScenario(text, 't'), (p) => files[p] ?? '');
  assert.deepEqual(world.sites.map((s) => `${s.name} ${s.kind}`), ['big-town edge', 'big-town-zone zone', 'small edge']);
  assert.deepEqual([...world.rtt], [2, 2, 31, 31, 31, 2]);
  assert.deepEqual([world.demand(0, 0, 1, world.start), world.demand(0, 0, 1, world.start + 1_800_000), world.demand(0, 1, 2, world.start)], [5, 10, 20]);
  const broken = (name: string, content: string): (() => unknown) => () => buildWorld(decodeScenario(text, 't'), (p) => (p === name ? content : (files[p] ?? '')));
  assert.throws(broken('rtt.csv', 'src,Big Town,Small\nBig Town,0,x\nSmall,31,0\n'), /rtt\.csv: line 2, column 3: "x" is not a number/);
  assert.throws(broken('rtt.csv', 'src,Big Town,Small\nBig Town,0\n'), /line 2 has 1 values, the first line names 2/);
  assert.throws(broken('d.csv', 'utc,Small\n0,1\n'), /no column for client region "big-town"/);
  assert.throws(broken('s.csv', 'site,lat,lng,population\nX,1,2,many\n'), /s\.csv: line 2: expected site,lat,lng,population/);
});

it('ships scenarios that are right, and each says what it is', () => {
  const files = readdirSync(SHIPPED).filter((f) => f.endsWith('.yaml'));
  assert.deepEqual(files.sort(), ['day-1000-sites.yaml', 'failures.yaml', 'mornings.yaml', 'small.yaml']);
  for (const f of files) {
    const s = decodeScenario(readFileSync(join(SHIPPED, f), 'utf8'), f);
    assert.ok(s.description.length > 20 && `${s.name}.yaml` === f);
    const world = buildWorld(s, (path) => readFileSync(join(SHIPPED, path), 'utf8'));
    assert.equal(new Set(world.sites.map((x) => x.name)).size, world.sites.length);
    assert.ok(world.failures.every((x) => x.sites.size > 0));
  }
});

run();
