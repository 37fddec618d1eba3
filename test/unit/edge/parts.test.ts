import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { isMeshError } from '../../../api/errors.ts';
import type { Pod } from '../../../api/kinds/core.ts';
import type { Endpoint, Subnet, Vpc } from '../../../api/kinds/mizar.ts';
import { silentLogger } from '../../../base/log.ts';
import { addressFrom } from '../../../edge/agent/addresses.ts';
import { capacityOf } from '../../../edge/agent/capacity.ts';
import { bytesOf, milliCpu } from '../../../edge/agent/model.ts';
import { Records } from '../../../edge/agent/records.ts';
import { TrafficReports, trafficSince } from '../../../edge/agent/traffic.ts';
import { decodeAgentConfig } from '../../../edge/config.ts';
import { cpio, ociImage, tar } from '../../../edge/images/archive.ts';
import { suite } from '../../kit/suite.ts';

const { it, run } = suite('edge parts');
const names = { application: (id: number) => (id === 1 ? 'acme/web' : null), clientRegion: (id: number) => (id === 2 ? 'north' : null) };
const count = (connections: number, bytesIn = 0, handshakes = 0, rttMs: number | null = null) => ({ application: 1, clientRegion: 2, connections, bytesIn, bytesOut: 0, rttMs, handshakes });
const fresh = { epoch: 'e', sequence: 0, at: 0, totals: {} };

it('reports only what was counted since the last report that arrived', () => {
  const first = trafficSince(fresh, [count(5, 100)], names, 's', 1000);
  assert.equal(first.sample?.rows, [{ application: 'acme/web', clientRegion: 'north', connections: 5, bytesIn: 100, bytesOut: 0, rttMs: null, handshakes: null }]);
  const second = trafficSince(first.next, [count(7, 140)], names, 's', 2000);
  assert.is(second.sample?.rows[0]?.connections, 2);
  assert.is(second.sample?.sequence, 2);
  assert.is(trafficSince(second.next, [count(7, 140)], names, 's', 3000).sample, null);
});

it('says how long the handshakes of this period took, not those since the counters began', () => {
  const first = trafficSince(fresh, [count(10, 0, 10, 20)], names, 's', 1000);
  assert.equal([first.sample?.rows[0]?.rttMs, first.sample?.rows[0]?.handshakes], [20, 10]);
  const second = trafficSince(first.next, [count(20, 0, 15, 40)], names, 's', 2000);
  assert.equal([second.sample?.rows[0]?.rttMs, second.sample?.rows[0]?.handshakes, second.sample?.rows[0]?.connections], [80, 5, 10], '10 x 20 ms before, 15 x 40 ms now');
  const third = trafficSince(second.next, [count(25, 0, 15, 40)], names, 's', 3000);
  assert.equal([third.sample?.rows[0]?.rttMs, third.sample?.rows[0]?.handshakes], [null, 0], 'five that nobody answered');
});

it('opens a new epoch when the counters went back, and counts from zero', () => {
  const first = trafficSince(fresh, [count(50)], names, 's', 1000);
  const after = trafficSince(first.next, [count(3)], names, 's', 2000);
  assert.is.not(after.sample?.epoch, first.sample?.epoch);
  assert.is(after.sample?.rows[0]?.connections, 3);
});

it('sends an unacknowledged sample again as it was, across a restart too, and what grew meanwhile in the next', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'px-tr-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const open = (): TrafficReports => new TrafficReports(join(dir, 'telemetry.json'), { epoch: 'e', now: 0 });
  const before = open();
  const sent = before.next([count(5, 100)], names, 's', 1000);
  assert.is(sent?.rows[0]?.connections, 5);
  assert.equal(before.next([count(9, 180)], names, 's', 2000), sent);
  const after = open();
  assert.equal(after.next([count(9, 180)], names, 's', 3000), sent);
  after.acknowledged();
  const rest = open().next([count(11, 200)], names, 's', 4000);
  assert.equal([rest?.epoch, rest?.sequence, rest?.rows[0]?.connections, rest?.rows[0]?.bytesIn], ['e', 2, 6, 100]);
});

it('takes a pod address from endpoint, VPC and subnet, and none before all three are there', () => {
  const endpoint: Endpoint = { apiVersion: 'mizar.com/v1', kind: 'Endpoint', metadata: { name: 'default.p' }, spec: { type: 'simple', vpc: 'shop', subnet: 'x', address: '10.64.3.9', mac: '0a:07:0a:40:03:09', droplet: 'n', pod: { namespace: 'default', name: 'p', uid: 'u' } } };
  const vpc: Vpc = { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'shop' }, spec: { cidr: '10.64.0.0/16' }, status: { phase: 'Provisioned', vni: 9 } };
  const subnet: Subnet = { apiVersion: 'mizar.com/v1', kind: 'Subnet', metadata: { name: 'x' }, spec: { vpc: 'shop', cidr: '10.64.3.0/24', site: 's' } };
  assert.equal(addressFrom(endpoint, vpc, subnet, 1300), { vni: 9, address: '10.64.3.9', prefix: 24, gateway: '10.64.3.1', mac: '0a:07:0a:40:03:09', mtu: 1300 });
  assert.is(addressFrom(endpoint, undefined, subnet, 1300), null);
  assert.is(addressFrom(endpoint, vpc, undefined, 1300), null);
});

it('sums the requests of the site and the capacity of its ready nodes', () => {
  const node = (name: string, ready: boolean) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name }, status: { allocatable: { cpu: '2', memory: '1Gi' }, conditions: [{ type: 'Ready', status: ready ? ('True' as const) : ('False' as const) }] } });
  const pod = (nodeName: string): Pod => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec: { nodeName, containers: [{ name: 'a', image: 'i', resources: { requests: { cpu: '250m', memory: '64Mi' } } }] } });
  const sample = capacityOf('s', [node('a', true), node('b', false)], [pod('a'), pod('a'), pod('elsewhere')]);
  assert.equal(sample, { site: 's', at: 0, nodes: 2, readyNodes: 1, cpuMilli: 2000, memoryMiB: 1024, usedCpuMilli: 500, usedMemoryMiB: 128 });
  assert.equal([milliCpu('1.5'), milliCpu('20m'), bytesOf('1G'), bytesOf('2Ki'), bytesOf('x')], [1500, 20, 1e9, 2048, 0]);
});

it('keeps pods over a restart, and does not write for a status', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'px-rec-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const pod: Pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', uid: 'u/../x' }, spec: { containers: [] } };
  const records = new Records(dir, silentLogger);
  records.load();
  assert.ok(records.desire(pod));
  assert.not.ok(records.desire({ ...pod, status: { phase: 'Running' } }));
  records.change('u/../x', { starts: { a: 2 } });
  writeFileSync(join(dir, 'broken.json'), '{');
  const again = new Records(dir, silentLogger);
  again.load();
  assert.equal(again.all().map((r) => r.starts), [{ a: 2 }]);
  assert.ok(again.desire({ ...pod, metadata: { ...pod.metadata, deletionTimestamp: 'now' } }));
});

const config = { node: 'n', site: 's', region: 'r', dir: '/d', identity: { dir: '/d' }, api: { server: 'https://a:1' }, droplet: { interface: 'eth0', address: '10.0.0.1' } };
const refusedConfig: readonly [title: string, change: object, path: string][] = [
  ['an unknown key', { colour: 1 }, 'colour'],
  ['an unknown key inside', { droplet: { ...config.droplet, speed: 1 } }, 'droplet.speed'],
  ['a plain text API', { api: { server: 'http://a:1' } }, 'api.server'],
  ['a data folder too long for sockets', { dir: `/${'d'.repeat(80)}` }, 'dir'],
];
for (const [title, change, path] of refusedConfig) {
  it(`refuses ${title} in the configuration, and names it`, () => {
    const error = ((): unknown => {
      try {
        return decodeAgentConfig({ ...config, ...change }, 'agent.json');
      } catch (e) {
        return e;
      }
    })();
    assert.ok(isMeshError(error, 'invalid'), String(error));
    assert.is(isMeshError(error) ? error.fields['path'] : '', path);
  });
}

it('fills in the defaults of the configuration', () => {
  const full = decodeAgentConfig(config, 'agent.json');
  assert.equal([full.mtu, full.listen.port, full.capacity.pods, full.identity.use, full.mqtt], [1300, 10_250, 110, 'node', null]);
});

it('writes archives that the usual programs understand', async (t) => {
  const { execFileSync } = await import('node:child_process');
  const dir = mkdtempSync(join(tmpdir(), 'px-arc-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const entries = [{ path: 'bin', mode: 0o755, kind: 'dir' }, { path: 'bin/a', mode: 0o755, kind: 'file', content: Buffer.from('hello') }, { path: 'bin/b', mode: 0o777, kind: 'link', target: 'a' }] as const;
  writeFileSync(join(dir, 'x.tar'), tar(entries));
  assert.is(execFileSync('tar', ['-tf', join(dir, 'x.tar')]).toString(), 'bin/\nbin/a\nbin/b\n');
  execFileSync('tar', ['-xf', join(dir, 'x.tar'), '-C', dir]);
  assert.is(readFileSync(join(dir, 'bin', 'b'), 'utf8'), 'hello');
  assert.match(cpio(entries).toString('latin1'), /^070701.{104}bin\0/);
  assert.throws(() => ociImage(join(dir, 'x.tar')), /not an OCI archive/);
});

run();
