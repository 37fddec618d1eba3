/** Several schedulers over one global API: who holds what, what a death hands over and when, and that a late write is refused. */
import assert from 'node:assert/strict';
import type { Deployment, Pod } from '../../api/kinds/core.ts';
import type { Placement } from '../../api/kinds/mesh.ts';
import type { Client, ResourceId } from '../../api/client.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { FENCE_ANNOTATION } from '../../scheduler/global/fence.ts';
import { GlobalScheduler } from '../../scheduler/global/global-scheduler.ts';
import { Region } from '../../scheduler/global/region.ts';
import { type Part, shardOf, Shards } from '../../scheduler/global/shards.ts';
import { LightClient } from '../kit/memory-light.ts';
import { MemoryMesh } from '../kit/memory-mesh.ts';
import { suite, type CaseContext } from '../kit/suite.ts';

const { it, run } = suite('shards', { timeoutMs: 60_000 });
const NOW = Date.parse('2030-01-01T00:00:00Z');

class Members {
  now = NOW;
  readonly client = new LightClient();
  readonly all = new Map<string, { readonly shards: Shards; readonly offsetMs: number; isPaused: boolean }>();

  /** `offsetMs`: how wrong its clock is. */
  join(name: string, offsetMs = 0): Shards {
    const shards = new Shards(this.client, silentLogger, { identity: name, incarnation: `${name}-${this.all.size}` });
    this.all.set(name, { shards, offsetMs, isPaused: false });
    return shards;
  }

  clock(name: string): number {
    return this.now + (this.all.get(name)?.offsetMs ?? 0);
  }

  async ms(n: number): Promise<void> {
    for (let i = 0; i < n; i += 500) {
      this.now += 500;
      for (const [name, m] of this.all) {
        if (m.isPaused) continue;
        await m.shards.tick(() => this.clock(name));
        await m.shards.giveBack();
      }
      this.check();
    }
  }

  held(name: string): readonly Part[] {
    return [...(this.all.get(name)?.shards.held(this.clock(name)) ?? [])];
  }

  /** No part is held by two at one moment, whatever their clocks say. */
  check(): void {
    const holders = new Map<Part, string>();
    for (const name of this.all.keys()) {
      for (const part of this.held(name)) {
        assert.equal(holders.get(part), undefined, `${part} is held by ${holders.get(part) ?? ''} and ${name}`);
        holders.set(part, name);
      }
    }
  }

  counts(): number[] {
    return [...this.all.keys()].map((name) => this.held(name).filter((p) => p !== 'network').length);
  }
}

it('deals shards evenly, moves only what it must when somebody joins, and never has two holders of one, with clocks that are wrong', async () => {
  const m = new Members();
  m.join('a');
  await m.ms(1_000);
  assert.deepEqual(m.counts(), [16]);
  assert.ok(m.held('a').includes('network'));
  m.join('b', 3_600_000);
  await m.ms(3_000);
  assert.deepEqual(m.counts(), [8, 8]);
  const before = [m.held('a'), m.held('b')];
  m.join('c', -90_000);
  await m.ms(3_000);
  assert.deepEqual(m.counts().toSorted((x, y) => x - y), [5, 5, 6]);
  const kept = (name: string, was: readonly Part[]): number => m.held(name).filter((p) => was.includes(p)).length;
  assert.equal(kept('a', before[0] ?? []) + kept('b', before[1] ?? []) - (m.held('a').includes('network') ? 1 : 0), m.counts()[0]! + m.counts()[1]!, 'a and b kept what they have now');
});

it('hands the shards of a dead instance over within 7 s, with higher tokens, and the ones of a released at once', async () => {
  const m = new Members();
  for (const name of ['a', 'b', 'c']) m.join(name);
  await m.ms(5_000);
  const lost = m.held('b').filter((p) => p !== 'network');
  const tokens = new Map(lost.map((p) => [p, m.all.get('b')?.shards.token(p, m.now) ?? 0]));
  (m.all.get('b') as { isPaused: boolean }).isPaused = true;
  const at = m.now;
  const holderOf = (p: Part): string | undefined => ['a', 'c'].find((n) => m.held(n).includes(p));
  while (!lost.every((p) => holderOf(p) !== undefined)) {
    await m.ms(500);
    assert.ok(m.now - at <= 7_000, `after ${m.now - at} ms`);
  }
  assert.ok(m.now - at >= 5_000, 'not before its lease is over');
  for (const p of lost) assert.ok((m.all.get(holderOf(p) ?? '')?.shards.token(p, m.now) ?? 0) > (tokens.get(p) ?? 0));
  assert.deepEqual(m.held('b'), [], 'it knows so by its own clock');
  (m.all.get('b') as { isPaused: boolean }).isPaused = false;
  await m.ms(3_000);
  assert.deepEqual(m.counts().toSorted((x, y) => x - y), [5, 5, 6], 'it gets its part again');
  await m.all.get('c')?.shards.release();
  m.all.delete('c');
  await m.ms(2_000);
  assert.deepEqual(m.counts(), [8, 8]);
});

it('holds nothing while another process has its identity and is younger', async () => {
  const m = new Members();
  const first = m.join('a');
  await m.ms(1_000);
  const second = new Shards(m.client, silentLogger, { identity: 'a', incarnation: 'second' });
  await second.tick(() => m.now);
  await first.tick(() => m.now);
  assert.equal(first.held(m.now).size, 0);
  await second.tick(() => m.now);
  assert.equal(second.held(m.now).size, 17, 'a restarted process waits for nobody');
});

/** Schedulers on one mesh, stepped by turns; one can be paused or killed. */
class Three {
  readonly mesh = new MemoryMesh({ regions: 4, sites: 24, clientRegions: 12, applications: 24, seed: 11, now: NOW, policyOf: () => ({ instances: { min: 1, max: 6 }, unreachable: { action: 'duplicate', afterSeconds: 0 } }) });
  readonly all = new Map<string, { readonly scheduler: GlobalScheduler; readonly regions: readonly Region[]; isPaused: boolean }>();

  join(name: string, through: (client: LightClient) => LightClient = (c) => c, client: Client = this.mesh.global): void {
    const regions = this.mesh.regions.map((c, i) => new Region(`r${i}`, through(c)));
    const scheduler = new GlobalScheduler({ client, regions, log: silentLogger, clock: { now: () => this.mesh.now, sleep: async () => undefined } }, { identity: name, clientRegions: this.mesh.clientRegions, planning: { stopwatch: () => 0 }, mover: { stepMs: 500, drainMs: 1_000 } });
    this.mesh.listeners.add(scheduler.telemetry);
    this.all.set(name, { scheduler, regions, isPaused: false });
  }

  async ms(n: number, each: () => Promise<void> | void = () => undefined): Promise<void> {
    for (let i = 0; i < n; i += 500) {
      this.mesh.now += 500;
      await this.mesh.step();
      for (const m of this.all.values()) {
        if (m.isPaused) continue;
        for (const r of m.regions) await m.scheduler.refreshRegion(r.name);
        await m.scheduler.pass();
      }
      await new Promise((r) => setImmediate(r));
      await each();
    }
  }

  async served(): Promise<void> {
    const addresses = await this.mesh.addresses();
    for (let a = 0; a < 24; a++) assert.deepEqual(await this.mesh.unserved(a, addresses), [], `application ${a} is served`);
  }

  async placements(): Promise<readonly Placement[]> {
    return (await this.mesh.global.list<Placement>(Resources.Placement, { tenant: 'all' })).items;
  }

  async deployments(): Promise<readonly Deployment[]> {
    return (await Promise.all(this.mesh.regions.map((c) => c.list<Deployment>(Resources.Deployment, { tenant: 'all' })))).flatMap((l) => l.items);
  }
}

async function three(t: CaseContext): Promise<Three> {
  const s = new Three();
  await s.mesh.start();
  t.after(() => s.mesh.stop());
  for (const name of ['a', 'b', 'c']) s.join(name);
  await s.ms(25_000);
  return s;
}

it('plans each application once, shows all to everybody, and serves on when one is killed while sites fail', async (t) => {
  const s = await three(t);
  await s.served();
  assert.equal((await s.placements()).length, 24);
  for (const { scheduler } of s.all.values()) {
    assert.equal(scheduler.snapshot?.plan.applications.size, 24, 'own plans and those of the others');
    assert.equal(scheduler.snapshot?.model.sites[0]?.cpuMilli, 4_000, 'a site has all of its room there');
  }
  const used = s.all.get('a')?.scheduler.snapshot;
  const instances = (await s.placements()).flatMap((p) => p.spec.sites).reduce((sum, x) => sum + x.instances, 0);
  assert.equal([...(used?.plan.used ?? [])].filter((_, i) => i % 2 === 0).reduce((x, y) => x + y, 0), instances * 50);
  (s.all.get('b') as { isPaused: boolean }).isPaused = true;
  const busiest = [...new Set((await s.mesh.addresses()).values())].slice(0, 3);
  for (const site of busiest) s.mesh.kill(site);
  await s.ms(14_000);
  await s.served();
});

it('gives the last room of a site to one of two that took it at the same moment, by the Placements alone', async (t) => {
  const s = new Three();
  await s.mesh.start();
  t.after(() => s.mesh.stop());
  for (const d of ['a', 'b']) s.join(d);
  // every application wants the two sites where two instances fit each
  for (let a = 0; a < 24; a++) {
    const name = s.mesh.keyOf(a).split('/')[2] as string;
    if (a >= 8) await s.mesh.global.delete(Resources.Application, { tenant: 'acme', namespace: 'default' }, name);
    else await s.mesh.global.patch(Resources.Application, { tenant: 'acme', namespace: 'default' }, name, { spec: { template: { spec: { containers: [{ name: 'c', image: 'web', resources: { requests: { cpu: '1900m', memory: '64Mi' } } }] } }, policy: { instances: { min: 1, max: 1 }, sites: { required: { names: ['s0003', 's0004'] } } } } });
  }
  await s.ms(30_000);
  const placed = (await s.placements()).flatMap((p) => p.spec.sites.map((x) => `${p.metadata.name} ${x.site} ${x.instances}`)).sort();
  assert.equal(placed.length, 4, `room for four: ${placed.join(', ')}`);
  const byShard = new Set((await s.placements()).map((p) => shardOf(`acme/default/${p.metadata.name}`, 16)));
  assert.ok(byShard.size > 2, 'they are of several shards');
  const usedAt = new Map<string, number>();
  for (const p of await s.placements()) for (const x of p.spec.sites) usedAt.set(x.site, (usedAt.get(x.site) ?? 0) + x.instances * 1_900);
  for (const [site, used] of usedAt) assert.ok(used <= 4_000, `${site}: ${used} mCPU`);
  const runs = (await s.deployments()).map((d) => `${d.metadata.labels?.['mesh.proxima.io/application'] ?? ''} ${d.metadata.labels?.['mesh.proxima.io/site'] ?? ''} ${d.spec.replicas ?? 0}`).sort();
  assert.deepEqual(runs, placed, 'who lost the room does not run there');
});

it('takes nothing away from an application whose Placement it heard of first', async (t) => {
  const s = new Three();
  await s.mesh.start();
  t.after(() => s.mesh.stop());
  const c = s.mesh.global;
  let isBehind = false;
  const behind: Client = {
    get: (r, p, n) => c.get(r, p, n), watch: (r, o, signal) => c.watch(r, o, signal), create: (r, o, w) => c.create(r, o, w), update: (r, o, w) => c.update(r, o, w), updateStatus: (r, o, w) => c.updateStatus(r, o, w), patch: (r, p, n, b, o) => c.patch(r, p, n, b, o), delete: (r, p, n, o) => c.delete(r, p, n, o),
    list: async (r, o) => {
      const { items, ...rest } = await c.list<never>(r, o);
      return { ...rest, items: isBehind && r === Resources.Application ? items.slice(3) : items };
    },
  };
  s.join('a', (x) => x, behind);
  await s.ms(20_000);
  const runs = async (): Promise<readonly string[]> => (await s.deployments()).map((d) => `${d.metadata.name} ${d.metadata.uid ?? ''}`).sort();
  const before = await runs();
  isBehind = true;
  await s.ms(3_000);
  isBehind = false;
  await s.ms(3_000);
  assert.ok(before.length >= 24);
  assert.deepEqual(before.filter((d) => d.length > 0), (await runs()).filter((d) => before.includes(d)), 'every deployment of before is there, and the same');
});

for (const [what, resource] of [['a Placement', Resources.Placement], ['a Deployment', Resources.Deployment]] as const) {
  it(`refuses the late write of ${what} by an instance that slept past its lease in the middle of it`, async (t) => {
    const s = await three(t);
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    let caught: { readonly name: string } | null = null;
    let stale = '';
    // from now on the first write of the kind that moves something is held up before it reaches the API
    const hold = async (verb: string, r: ResourceId, name: string): Promise<void> => {
      if (caught !== null || r !== resource || verb !== 'patch') return;
      caught = { name };
      await gate;
    };
    const clients = resource === Resources.Placement ? [s.mesh.global] : s.mesh.regions;
    for (const c of clients) c.onWrite = hold;
    const victim = (await s.deployments())[0] as Deployment;
    const app = victim.metadata.labels?.['mesh.proxima.io/application'] as string;
    await s.mesh.global.patch(Resources.Application, { tenant: 'acme', namespace: 'default' }, app, { spec: { policy: { instances: { min: 4 } } } });
    const key = `acme/default/${app}`;
    for (const [name, m] of s.all) if (m.scheduler.holds(key)) stale = name;
    const holder = s.all.get(stale) as { readonly scheduler: GlobalScheduler; readonly regions: readonly Region[]; isPaused: boolean };
    holder.isPaused = true;
    s.mesh.now += 500;
    for (const r of holder.regions) await holder.scheduler.refreshRegion(r.name);
    const outcomes: unknown[] = [];
    const late = holder.scheduler.pass();
    for (let i = 0; i < 50 && caught === null; i++) await new Promise((r) => setImmediate(r));
    assert.ok(caught !== null, 'the pass hangs in its write');
    for (const c of clients) c.onWrite = () => undefined;
    await s.ms(10_000);
    assert.ok([...s.all].some(([name, m]) => name !== stale && m.scheduler.holds(key)), 'another instance has the shard');
    const now = async (): Promise<string> => JSON.stringify([(await s.placements()).find((p) => p.metadata.name === app), (await s.deployments()).filter((d) => d.metadata.labels?.['mesh.proxima.io/application'] === app)]);
    const before = await now();
    for (const c of [s.mesh.global, ...s.mesh.regions]) c.onWrite = (verb, r, name) => void outcomes.push(`${verb} ${r.plural} ${name}`);
    release();
    await late;
    assert.equal(await now(), before, 'nothing that it writes late is there');
    assert.deepEqual(outcomes, [], 'and it tries nothing after that');
    for (const c of [s.mesh.global, ...s.mesh.regions]) c.onWrite = () => undefined;
    const stamps = (await s.deployments()).filter((d) => d.metadata.labels?.['mesh.proxima.io/application'] === app).map((d) => d.metadata.annotations?.[FENCE_ANNOTATION]);
    assert.equal(new Set(stamps).size, 1, 'all carry the token of the holder of now');
    await s.ms(5_000);
    await s.served();
  });
}

it('ends at the right place when instances are killed at random moments of moves, and no application is below its minimum', async (t) => {
  const s = await three(t);
  let names = 0;
  const want = 2;
  for (let a = 0; a < 24; a++) await s.mesh.global.patch(Resources.Application, { tenant: 'acme', namespace: 'default' }, s.mesh.keyOf(a).split('/')[2] as string, { spec: { policy: { instances: { min: want } } } });
  await s.ms(12_000);
  for (let round = 0; round < 5; round++) {
    // everybody must leave the sites where most runs
    const busy = [...new Set((await s.mesh.addresses()).values())].slice(0, 2).map((i) => s.mesh.sites[i]?.name as string);
    for (let a = 0; a < 24; a++) await s.mesh.global.patch(Resources.Application, { tenant: 'acme', namespace: 'default' }, s.mesh.keyOf(a).split('/')[2] as string, { spec: { policy: { sites: { forbidden: busy } } } });
    await s.ms(500 + Math.floor(s.mesh.random() * 6) * 500);
    const killed = [...s.all.keys()][Math.floor(s.mesh.random() * s.all.size)] as string;
    s.mesh.listeners.delete((s.all.get(killed) as { scheduler: GlobalScheduler }).scheduler.telemetry);
    s.all.delete(killed);
    s.join(`n${names++}`);
    const isSettled = async (): Promise<boolean> => {
      const runs = new Set((await s.deployments()).map((d) => `${d.metadata.labels?.['mesh.proxima.io/application'] ?? ''} ${d.metadata.labels?.['mesh.proxima.io/site'] ?? ''} ${d.spec.replicas ?? 0}`));
      const wanted = new Set((await s.placements()).flatMap((p) => p.spec.sites.map((x) => `${p.metadata.name} ${x.site} ${x.instances}`)));
      return runs.symmetricDifference(wanted).size === 0;
    };
    const least = async (): Promise<void> => {
      const ready = new Map<string, number>();
      for (const c of s.mesh.regions) for (const p of (await c.list<Pod>(Resources.Pod, { tenant: 'all' })).items) if (p.status?.podIP !== undefined) ready.set(p.metadata.labels?.['mesh.proxima.io/application'] ?? '', (ready.get(p.metadata.labels?.['mesh.proxima.io/application'] ?? '') ?? 0) + 1);
      for (let a = 0; a < 24; a++) assert.ok((ready.get(s.mesh.keyOf(a).split('/')[2] as string) ?? 0) >= want, `application ${a} has ${want} Ready`);
    };
    await s.ms(15_000, least);
    for (let left = 60; left > 0 && !(await isSettled()); left--) await s.ms(1_000, least);
    assert.ok(await isSettled(), 'everything runs where it is placed, and nowhere else');
    for (const p of await s.placements()) assert.ok(!p.spec.sites.some((x) => busy.includes(x.site)), `${p.metadata.name} left`);
    await s.served();
  }
});

run();
