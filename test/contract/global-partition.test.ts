/**
 * Two global processes on one etcd, of which one is cut off from it: it stops by its own clock and says so, the other takes over, what the first
 * still had on its way is refused, and when the cut is over both share again without an application moving.
 */
import assert from 'node:assert/strict';
import type { Deployment, Lease } from '../../api/kinds/core.ts';
import type { Application } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { FENCE_ANNOTATION } from '../../scheduler/global/fence.ts';
import { shardOf } from '../../scheduler/global/shards.ts';
import { cuttableWay } from '../kit/cuttable.ts';
import { hasEtcd } from '../kit/etcd.ts';
import { globalInstances, type Instance, type Instances, PLACE, SHARDS, sumOf } from '../kit/global-instances.ts';
import { suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';
import { writeGate } from '../kit/write-gate.ts';

const { it, skip, run } = suite('global partition', { timeoutMs: 120_000 });
const until = waiter({ withinMs: 30_000, everyMs: 50 });
const NAMES = Array.from({ length: 8 }, (_, i) => `app-${i}`);

const app = (name: string, port: number): Application => ({
  apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name, ...PLACE },
  spec: { vpc: 'main', service: { port }, template: { spec: { containers: [{ name: 'web', image: 'web', resources: { requests: { cpu: '1m', memory: '1Mi' } } }] } }, policy: { instances: { min: 1, max: 9 } } },
});

interface History {
  /** Of each Deployment its numbers of replicas, in order; `gone` when it was deleted. */
  readonly replicas: Map<string, string[]>;
  /** Writes that carry an earlier epoch than the one before. */
  readonly late: string[];
}

function history(l: Instances, signal: AbortSignal): History {
  const seen: History = { replicas: new Map(), late: [] };
  const epochs = new Map<string, number>();
  const follow = async (): Promise<void> => {
    for await (const e of l.region.watch<Deployment>(Resources.Deployment, { tenant: 'all', resourceVersion: '0' }, signal)) {
      if (e.type === 'BOOKMARK') continue;
      const { name, annotations } = e.object.metadata;
      const says = e.type === 'DELETED' ? 'gone' : String(e.object.spec.replicas ?? 0);
      const before = seen.replicas.get(name) ?? [];
      if (before.at(-1) !== says) seen.replicas.set(name, [...before, says]);
      const epoch = Number(annotations?.[FENCE_ANNOTATION]?.split(':')[1] ?? 0);
      if (epoch < (epochs.get(name) ?? 0)) seen.late.push(`${name}: ${epoch} after ${epochs.get(name)}`);
      epochs.set(name, epoch);
    }
  };
  follow().catch((error: unknown) => void (signal.aborted || seen.late.push(`the watch ended: ${String(error)}`)));
  return seen;
}

const held = (i: Instance): Promise<number> => i.metric('proxima_global_shards_held');
const ask = async (i: Instance, names: readonly string[], min: number): Promise<void> => {
  for (const name of names) await i.client.patch(Resources.Application, PLACE, name, { spec: { policy: { instances: { min, max: 9 } } } });
};

const TITLE = 'who is cut off from the store stops by its own clock, is refused what it still sends, and takes its share again without a move';
if (!hasEtcd) skip(TITLE, 'no etcd on this machine');
else it(TITLE, async (t) => {
  const l = await globalInstances(t);
  const over = new AbortController();
  t.after(() => over.abort());
  const way = await cuttableWay(t, { host: '127.0.0.1', port: Number(new URL(l.etcd).port) });
  let isHolding = false;
  const gate = await writeGate(t, l.server, (what) => isHolding && /^POST .*\/deployments$/.test(what));
  const a = await l.start(1, { west: gate.access, etcd: `http://127.0.0.1:${way.port}`, log: 'info' });
  const b = await l.start(2);
  await until('shards are dealt evenly', async () => (await held(a)) === SHARDS / 2 && (await held(b)) === SHARDS / 2);
  await b.client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await b.client.create(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } } as never);
  for (const [i, name] of NAMES.entries()) await b.client.create(Resources.Application, app(name, 8000 + i));
  const replicas = async (): Promise<ReadonlyMap<string, number>> => new Map((await l.region.list<Deployment>(Resources.Deployment, { tenant: 'all' })).items.map((d) => [d.metadata.name.replace(/-west-1$/, ''), d.spec.replicas ?? 0]));
  const areAll = async (names: readonly string[], n: number): Promise<boolean> => {
    const now = await replicas();
    return now.size === names.length && names.every((name) => now.get(name) === n);
  };
  await until('every application is placed', () => areAll(NAMES, 1));
  const seen = history(l, over.signal);

  // one write of the first is on its way while it is cut off
  const leases = (await b.client.list<Lease>(Resources.Lease, { tenant: 'system', namespace: 'default' })).items;
  const isOf = (name: string, who: string): boolean => leases.some((x) => x.metadata.name === `global-shard-${shardOf(`acme/default/${name}`, SHARDS)}` && x.spec.holderIdentity?.startsWith(who) === true);
  const gone = NAMES.find((n) => isOf(n, 'global-1/')) as string;
  const late = Array.from({ length: 100 }, (_, i) => `late-${i}`).find((n) => isOf(n, 'global-1/')) as string;
  assert.ok(gone !== undefined, 'the first has an application');
  isHolding = true;
  await b.client.create(Resources.Application, app(late, 8300));
  await until('a create of the first is on its way', () => gate.held.length === 1);
  isHolding = false;
  const refused = async (): Promise<number> => sumOf(await l.scrape(l.server.server.url), 'apiserver_fenced_writes_total');
  const [before, lapses] = [await refused(), await a.metric('proxima_global_lease_lapses_total')];
  way.cut();
  const cutAt = performance.now();
  const since = (): number => performance.now() - cutAt;

  const stopped = await until('the first stops by its own clock', async () => (await held(a)) === 0 && since());
  assert.ok((await held(b)) < SHARDS, 'before the other takes over');
  const took = await until('the second has all', async () => (await held(b)) === SHARDS && since());
  assert.ok(took < 10_000, `taken over after ${took} ms`);
  const refusal = a.client.create(Resources.Application, app('lost', 8100)).then(() => null, (error: unknown) => error);

  const rest = NAMES.filter((n) => n !== gone);
  for (const name of [gone, late]) await b.client.delete(Resources.Application, PLACE, name);
  await b.client.create(Resources.Application, app('made', 8200));
  const all = [...rest, 'made'];
  await ask(b, all, 5);
  await until('the second does what is asked', () => areAll(all, 5));
  gate.open();
  await until('what the first had on its way is answered', () => gate.held.every((h) => h.status !== null));
  for (const h of gate.held) assert.match(`${h.status} ${h.answer}`, /^409 .*fenced off/, h.what);
  assert.ok((await refused()) > before, 'and it is counted');
  const ready = await a.ready();
  assert.equal(ready.status, 503);
  assert.match(ready.text, /^the store of the global API has not answered for [\d.]+ s: the lease ran out$/);
  assert.ok((await a.metric('proxima_global_lease_lapses_total')) > lapses);
  assert.ok((await a.metric('proxima_global_lease_age_seconds')) > 2);
  assert.match(a.logged(), /"msg":"lease ran out: /);
  assert.ok((await refusal) !== null, 'what is asked of it is not accepted');
  assert.equal(await held(a), 0);

  way.heal();
  const healedAt = performance.now();
  await until('both have their half again', async () => (await held(a)) === SHARDS / 2 && (await held(b)) === SHARDS / 2);
  const fair = performance.now() - healedAt;
  await until('the first says so', async () => (await a.ready()).status === 200);
  await ask(b, all, 6); // the other's API: what the first knows comes by its watches again
  await until('each does its part', () => areAll(all, 6));
  // nothing went back to what it was, whoever had it
  for (const name of rest) assert.deepEqual(seen.replicas.get(`${name}-west-1`), ['1', '5', '6'], name);
  for (const name of [gone, late]) assert.equal(seen.replicas.get(`${name}-west-1`)?.at(-1) ?? 'gone', 'gone', name);
  assert.deepEqual([seen.replicas.get('made-west-1')?.at(-1), seen.late], ['6', []]);
  console.log(`# stopped ${(stopped / 1000).toFixed(1)} s after the cut, taken over after ${(took / 1000).toFixed(1)} s; shared again ${(fair / 1000).toFixed(1)} s after it was over`);
});

run();
