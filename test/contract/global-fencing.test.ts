/** Two global processes on one etcd: what the first sent before it was stopped, and what arrives after the second took over, is refused by the region. */
import assert from 'node:assert/strict';
import type { Deployment, Lease } from '../../api/kinds/core.ts';
import type { Application } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { hasEtcd } from '../kit/etcd.ts';
import { globalInstances, PLACE, SHARDS, sumOf } from '../kit/global-instances.ts';
import { suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';
import { writeGate } from '../kit/write-gate.ts';

const { it, skip, run } = suite('global fencing', { timeoutMs: 120_000 });
const until = waiter({ withinMs: 40_000, everyMs: 50 });

const app = (name: string, port: number): Application => ({
  apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name, ...PLACE },
  spec: { vpc: 'main', service: { port }, template: { spec: { containers: [{ name: 'web', image: 'web', resources: { requests: { cpu: '1m', memory: '1Mi' } } }] } }, policy: { instances: { min: 1, max: 3 } } },
});

const TITLE = 'a late create, a late delete and a late front of a scheduler that was stopped past its lease are refused by the region, and counted';
if (!hasEtcd) skip(TITLE, 'no etcd on this machine');
else it(TITLE, async (t) => {
  const l = await globalInstances(t);
  let isClosed = false;
  let stopper = '';
  const late = [/^POST .*\/deployments$/, /^POST .*\/endpoints$/, /^DELETE .*\/deployments\/taken-west-1$/] as const;
  const isLate = (what: string, body: string): boolean => (stopper !== '' && late[0].test(what) && body.includes(stopper)) || (isClosed && ((late[0].test(what) && body.includes('"made-west-1"')) || (late[1].test(what) && body.includes('"front-default-shown-west-1"')) || late[2].test(what)));
  const gate = await writeGate(t, l.server, isLate);
  const first = await l.start(1, { west: gate.access });
  await first.client.create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await first.client.create(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } } as never);
  await first.client.create(Resources.Application, app('taken', 8001));
  const deployments = async (): Promise<readonly Deployment[]> => (await l.region.list<Deployment>(Resources.Deployment, { tenant: 'all' })).items;
  const fronts = async (): Promise<readonly string[]> => (await l.region.list(Resources.Endpoint, { tenant: 'all' })).items.map((e) => e.metadata.name).sort();
  const taken = await until('the first scheduler places an application', async () => (await deployments()).find((d) => d.metadata.name === 'taken-west-1'));

  // while one write hangs nothing else is looked at: what is asked meanwhile is carried out in one pass
  stopper = '"stopper-west-1"';
  await first.client.create(Resources.Application, app('stopper', 8004));
  await until('the pass hangs', () => gate.held.length === 1);
  await first.client.create(Resources.Application, app('made', 8002));
  await first.client.create(Resources.Application, app('shown', 8003));
  await first.client.delete(Resources.Application, PLACE, 'taken');
  await first.client.delete(Resources.Application, PLACE, 'stopper');
  stopper = '';
  isClosed = true;
  gate.open();
  await until('the three writes are on their way', () => gate.held.length === 4);
  const held = gate.held.slice(1);
  first.child.kill('SIGSTOP');

  const second = await l.start(2);
  // what it finds when it takes over: nothing to make, nothing to show, and an application that is wanted again
  for (const name of ['made', 'shown']) await second.client.delete(Resources.Application, PLACE, name);
  await second.client.create(Resources.Application, app('taken', 8001));
  await until('the second has every shard', async () => (await second.metric('proxima_global_shards_held')) === SHARDS);
  const leases = async (): Promise<readonly Lease[]> => (await l.region.list<Lease>(Resources.Lease, { tenant: 'system', namespace: 'default' })).items.filter((x) => x.metadata.name.startsWith('global-'));
  await until('it claims them in the region', async () => {
    const found = await leases();
    return found.length === SHARDS + 1 && found.every((x) => x.spec.holderIdentity?.startsWith('global-2/') === true);
  });
  await until('it does what is wanted now', async () => {
    const names = (await deployments()).map((d) => d.metadata.name);
    return names.length === 1 && names[0] === 'taken-west-1' && (await fronts()).join() === 'front-default-taken-west-1';
  });

  gate.open();
  first.child.kill('SIGCONT');
  await until('each late write is answered', () => held.every((h) => h.status !== null));
  for (const h of held) {
    assert.equal(h.status, 409, `${h.what}: ${h.answer}`);
    assert.match(h.answer, /fenced off: lease global-shard-\d+ is at epoch 2, held by global-2\/[^;]+; this write carries epoch 1/, h.what);
  }
  assert.deepEqual((await deployments()).map((d) => [d.metadata.name, d.metadata.uid, d.metadata.deletionTimestamp]), [['taken-west-1', taken.metadata.uid, undefined]], 'nothing made, nothing deleted');
  assert.deepEqual(await fronts(), ['front-default-taken-west-1']);
  assert.equal(sumOf(await l.scrape(l.server.server.url), 'apiserver_fenced_writes_total'), 3);
  assert.equal(await until('the first counts what was refused', () => first.metric('proxima_global_fenced_total', 'by="api"').then((n) => n >= 3 && n)), 3);
});

run();
