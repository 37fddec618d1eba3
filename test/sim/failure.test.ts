/** Many sites fail at once: how soon everybody is served again, by the real scheduler with its defaults, and what must not be decided. */
import assert from 'node:assert/strict';
import { MemoryMesh } from '../kit/memory-mesh.ts';
import { percentile, runMesh } from '../kit/memory-run.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('many sites fail', { timeoutMs: 60_000 });
const NOW = Date.parse('2030-01-01T00:00:00Z');

it('serves every client region again in 5 s (p99) when a tenth of the sites fails at once', async (t) => {
  const mesh = new MemoryMesh({ regions: 10, sites: 200, clientRegions: 40, applications: 40, seed: 7, now: NOW, policyOf: (a) => ({ instances: { min: a % 2 === 0 ? 1 : 2, max: 8 }, ...(a % 2 === 0 ? {} : { spread: { over: 'site', min: 2 } }), unreachable: { action: 'duplicate', afterSeconds: 0 } }) });
  await mesh.start();
  const { scheduler, forMs, passMs, stop } = runMesh(mesh);
  t.after(stop);
  await forMs(25_000);
  const before = await mesh.addresses();
  for (let a = 0; a < 40; a++) assert.deepEqual(await mesh.unserved(a, before), [], `application ${a} is served before anything fails`);
  const failing = new Set<number>();
  while (failing.size < 20) failing.add(Math.floor(mesh.random() * 200));
  const runsAt = new Set(before.values());
  for (const site of runsAt.values().take(8)) failing.add(site);
  for (const site of failing) mesh.kill(site);
  const at = mesh.now;
  const restored = new Map<number, number>();
  const affected = new Set<number>();
  await forMs(12_000, async () => {
    const addresses = await mesh.addresses();
    for (let a = 0; a < 40; a++) {
      const isServed = (await mesh.unserved(a, addresses)).length === 0;
      if (!isServed) {
        affected.add(a);
        restored.delete(a);
      } else if (affected.has(a) && !restored.has(a)) restored.set(a, mesh.now - at);
    }
  });
  const took = [...affected].map((a) => restored.get(a) ?? Number.POSITIVE_INFINITY);
  console.error(`    ${failing.size} of 200 sites failed, ${affected.size} applications affected; served again after p50 ${percentile(took, 0.5)} ms, p99 ${percentile(took, 0.99)} ms; passes p50 ${percentile(passMs, 0.5).toFixed(1)} ms, p99 ${percentile(passMs, 0.99).toFixed(0)} ms`);
  assert.ok(affected.size >= 5);
  assert.ok(percentile(took, 0.99) < 5_000);
  const lost = [...scheduler.snapshot?.states ?? []].filter(([, s]) => s.reach !== 'reachable').map(([name]) => name).sort();
  assert.deepEqual(lost, [...failing].map((i) => mesh.sites[i]?.name ?? '').sort(), 'who failed is lost, and nobody else');
});

run();
