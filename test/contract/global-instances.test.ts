/** Three global processes on one etcd, each with its own API: they deal the applications among themselves, and any of them may be killed. */
import assert from 'node:assert/strict';
import type { Client } from '../../api/client.ts';
import type { Deployment } from '../../api/kinds/core.ts';
import type { Application } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { hasEtcd } from '../kit/etcd.ts';
import { globalInstances, type Instance, PLACE, SHARDS } from '../kit/global-instances.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('global instances', { timeoutMs: 90_000 });
const NAMES = Array.from({ length: 8 }, (_, i) => `app-${i}`);

async function until(what: string, ms: number, isSo: () => Promise<boolean>): Promise<number> {
  const from = Date.now();
  while (!(await isSo())) {
    if (Date.now() - from > ms) assert.fail(`not within ${ms / 1000} s: ${what}`);
    await new Promise((r) => setTimeout(r, 100));
  }
  return Date.now() - from;
}

async function replicas(region: Client): Promise<readonly number[]> {
  const { items } = await region.list<Deployment>(Resources.Deployment, { tenant: 'all' });
  return NAMES.map((n) => items.find((d) => d.metadata.name === `${n}-west-1`)?.spec.replicas ?? 0);
}

async function ask(client: Client, min: number): Promise<void> {
  for (const name of NAMES) await client.patch(Resources.Application, PLACE, name, { spec: { policy: { instances: { min, max: 9 } } } });
}

const TITLE = 'share the applications, and take over what a killed one had, within seconds';
if (!hasEtcd) skip(TITLE, 'no etcd on this machine');
else it(TITLE, async (t) => {
  const l = await globalInstances(t);
  const [a, b, c] = await Promise.all([l.start(0), l.start(1), l.start(2)]);
  const held = async (of: readonly Instance[]): Promise<readonly number[]> => Promise.all(of.map((i) => i.metric('proxima_global_shards_held')));
  const isAll = (parts: readonly number[]): boolean => parts.reduce((x, y) => x + y, 0) === SHARDS && parts.every((p) => p >= Math.floor(SHARDS / parts.length));
  await until('shards dealt evenly', 30_000, async () => isAll(await held([a, b, c])));
  await a.client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await a.client.create(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } } as never);
  for (const [i, name] of NAMES.entries()) {
    const app: Application = { apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name, ...PLACE }, spec: { vpc: 'main', service: { port: 8000 + i }, template: { spec: { containers: [{ name: 'web', image: 'web', resources: { requests: { cpu: '1m', memory: '1Mi' } } }] } }, policy: { instances: { min: 1, max: 9 } } } };
    await a.client.create(Resources.Application, app);
  }
  await until('every application placed, whoever has it', 20_000, async () => (await replicas(l.region)).every((n) => n === 1));
  await b.kill();
  const took = await until('the shards of the killed one taken over', 15_000, async () => isAll(await held([a, c])));
  assert.ok(took < 10_000, `took ${took} ms`);
  await ask(c.client, 2); // another instance's API, the same store
  await until('what is asked after the death being done, for every application', 15_000, async () => (await replicas(l.region)).every((n) => n === 2));
  await a.kill();
  await ask(c.client, 3);
  await until('the last one doing all of it', 20_000, async () => (await replicas(l.region)).every((n) => n === 3));
  console.log(`# taken over ${(took / 1000).toFixed(1)} s after kill -9`);
});

run();
