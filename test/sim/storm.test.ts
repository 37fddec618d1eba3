/** Everything vanishes from view and comes back within seconds: nothing may be decided from that; and who really was lost comes back at a rate. */
import assert from 'node:assert/strict';
import { Resources } from '../../api/resources.ts';
import type { Deployment } from '../../api/kinds/core.ts';
import { MemoryMesh } from '../kit/memory-mesh.ts';
import { percentile, runMesh } from '../kit/memory-run.ts';
import { reconnectStorm, settle } from '../kit/storm.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('storms', { timeoutMs: 100_000 });
const NOW = Date.parse('2030-01-01T00:00:00Z');

it('absorbs every site that vanish and return in any order, with late, repeated and reordered samples', async (t) => {
  const mesh = new MemoryMesh({ regions: 20, sites: 200, clientRegions: 20, applications: 30, seed: 3, now: NOW });
  await mesh.start();
  const mine = runMesh(mesh, { stepMs: 500 });
  t.after(mine.stop);
  await settle(mesh, mine, { leastMs: 90_000, quietMs: 15_000, mostMs: 200_000 });
  await reconnectStorm(mesh, mine);
  await settle(mesh, mine, { leastMs: 0, quietMs: 5_000, mostMs: 60_000 });
  const { passMs } = await reconnectStorm(mesh, mine, { dead: [7, 70, 170] });
  console.error(`    a pass in the storm: p50 ${percentile(passMs, 0.5).toFixed(0)} ms, p99 ${percentile(passMs, 0.99).toFixed(0)} ms of processor time`);
  assert.ok(percentile(passMs, 0.5) < 500);
});

it('brings instances back to a hundred sites that return no faster than the policy says', async (t) => {
  const mesh = new MemoryMesh({ regions: 4, sites: 120, clientRegions: 12, applications: 5, seed: 5, now: NOW, policyOf: () => ({ instances: { min: 2, max: 8 }, unreachable: { action: 'move', afterSeconds: 0 }, failback: { automatic: true, stabilisationSeconds: 5, maxPerMinute: 2 }, sites: { preferred: [{ weight: 60, names: ['s0000', 's0001', 's0002'] }] } }) });
  await mesh.start();
  const { scheduler, forMs, stop } = runMesh(mesh, { stepMs: 1_000, scheduler: { mover: { stepMs: 500, drainMs: 1_000 } } });
  t.after(stop);
  await forMs(30_000);
  const first = await mesh.addresses();
  const running = new Set(first.values());
  const failing = [...running, ...mesh.sites.map((_, i) => i).filter((i) => !running.has(i))].slice(0, 100);
  for (const i of failing) mesh.kill(i);
  await forMs(30_000);
  const isIn = (name: string): boolean => failing.some((i) => mesh.sites[i]?.name === name);
  const placesThere = async (): Promise<[string, number][]> => (await Promise.all(mesh.regions.map((c) => c.list<Deployment>(Resources.Deployment, { tenant: 'all' })))).flatMap((l) => l.items).flatMap((d): [string, number][] => (isIn(d.metadata.labels?.['mesh.proxima.io/site'] ?? '') ? [[d.metadata.name, d.spec.replicas ?? 0]] : []));
  const wantedThere = async (): Promise<number> => (await placesThere()).reduce((sum, [, replicas]) => sum + replicas, 0);
  assert.equal([...scheduler.states.values()].filter((s) => s.reach !== 'reachable').length, 100);
  for (let a = 0; a < 5; a++) assert.deepEqual(await mesh.unserved(a, await mesh.addresses()), [], 'served from elsewhere');
  for (const i of failing) mesh.revive(i);
  const perMinute: number[] = [];
  const [revivedAt, stabilisationMs, maxPerMinute] = [mesh.now, 5_000, 2];
  let most = 0;
  for (let minute = 0; minute < 3; minute++) {
    await forMs(60_000, async () => {
      const allowed = 1 + Math.floor((Math.max(0, mesh.now - revivedAt - stabilisationMs) / 60_000) * maxPerMinute);
      for (const [place, replicas] of await placesThere()) {
        most = Math.max(most, replicas);
        assert.ok(replicas <= allowed, `${place}: ${replicas} instances ${(mesh.now - revivedAt) / 1000} s after it came back, ${allowed} may be`);
      }
    });
    perMinute.push(await wantedThere());
    for (let a = 0; a < 5; a++) assert.deepEqual(await mesh.unserved(a, await mesh.addresses()), [], 'served all the time');
  }
  assert.equal([...scheduler.states.values()].filter((s) => s.reach !== 'reachable').length, 0, 'all are back');
  assert.ok((perMinute[2] ?? 0) > 0, `instances come back by themselves: ${perMinute.join(', ')}`);
  assert.ok(most > 1, `the rate is put to the test: ${most}`);
});

run();
