/**
 * Allocations over two real regions and a global process of its own, that is killed -9 in the middle: whole or not at all, and nothing left behind.
 * Nodes are played; pods of the image `never` run and are never Ready.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../../api/client.ts';
import { createHttpClient } from '../../api/http-client.ts';
import { loadKubeconfig, writeKubeconfig } from '../../api/kubeconfig.ts';
import type { Pod } from '../../api/kinds/core.ts';
import type { Allocation, AllocationStatus } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { silentLogger } from '../../base/log.ts';
import { regionStart } from '../../cloud/main.ts';
import { type GlobalProcess, PLACE, spawnGlobal } from '../kit/global-instances.ts';
import { testAuthority } from '../kit/pki.ts';
import { playAgents } from '../kit/played-agent.ts';
import { suite, type CaseContext } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const { it, run } = suite('allocations in regions', { timeoutMs: 150_000 });
const until = waiter({ withinMs: 40_000, everyMs: 50 });
const SITES = { west: ['west-1', 'west-2'], east: ['east-1'] } as const;
const NEVER = 'never';

interface Lab {
  readonly regions: readonly Client[];
  client(): Client;
  restart(): Promise<void>;
  kill(): Promise<void>;
}

async function lab(t: CaseContext): Promise<Lab> {
  const dir = await mkdtemp(join(tmpdir(), 'px-alloc-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const regions = await Promise.all(Object.entries(SITES).map(async ([name, sites]) => {
    const region = await regionStart({ region: name, dataDir: join(dir, name), listen: { port: 0 } }, { log: silentLogger });
    t.after(() => region.stop());
    const client = createHttpClient(await loadKubeconfig(region.kubeconfig));
    t.after(() => client.close());
    for (const [i, site] of sites.entries()) await client.create(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: site }, spec: { kind: 'zone', region: name, front: `192.0.2.${name.length * 10 + i}`, cost: name === 'west' ? 1 : 2 } } as never);
    await playAgents(t, client, sites, { neverReady: NEVER });
    return { name, client, kubeconfig: region.kubeconfig };
  }));
  const authority = testAuthority();
  const own = authority.issue({ cn: 'api' });
  const master = authority.issue({ cn: 'admin', o: ['system:masters'] });
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  const config = {
    identity: 'global-1', dataDir: join(dir, 'global'), api: { port: 0, cert: await file('api.crt', own.cert), key: await file('api.key', own.key), ca: await file('ca.crt', authority.ca) }, rest: { port: 0 },
    regions: regions.map(({ name, kubeconfig }) => ({ name, kubeconfig })), clientRegions: [{ name: 'metro', cidrs: ['198.51.100.0/24'] }], intervalMs: 200, startGraceMs: 2_000, leaseMs: 3_000, mover: { stepMs: 200, drainMs: 400 }, logLevel: 'error',
  };
  let global: GlobalProcess;
  let client: Client;
  const start = async (): Promise<void> => {
    global = await spawnGlobal(t, config);
    await writeKubeconfig(join(dir, 'global.kubeconfig'), { server: global.url, ca: authority.ca, credential: { kind: 'certificate', ...master } });
    const made = createHttpClient(await loadKubeconfig(join(dir, 'global.kubeconfig')));
    t.after(() => made.close());
    client = made;
  };
  await start();
  return { regions: regions.map((r) => r.client), client: () => client, restart: start, kill: () => global.kill() };
}

let port = 9000;
const resource = (name: string, o: object = {}, image = 'web'): object => ({ name, service: { port: ++port }, template: { spec: { containers: [{ name: 'c', image, resources: { requests: { cpu: '50m', memory: '32Mi' } } }] } }, ...o });
const allocation = (name: string, groups: Readonly<Record<string, readonly object[]>>, spec: object = {}): Allocation =>
  ({ apiVersion: 'mesh.proxima.io/v1', kind: 'Allocation', metadata: { name, ...PLACE }, spec: { vpc: 'main', retry: 'never', resourceGroups: Object.entries(groups).map(([group, resources]) => ({ name: group, resources })), ...spec } }) as unknown as Allocation;

it('places two groups together or spread, refuses what does not fit, and takes back what is not ready, killed -9 at every stage', async (t) => {
  const l = await lab(t);
  const c = (): Client => l.client();
  await c().create(Resources.Tenant, { apiVersion: 'v1', kind: 'Tenant', metadata: { name: 'acme' } });
  await c().create(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'main', tenant: 'acme' }, spec: { cidr: '10.20.0.0/16' } } as never);
  const statusOf = async (name: string): Promise<AllocationStatus> => (await c().get<Allocation>(Resources.Allocation, PLACE, name)).status ?? {};
  const phase = (name: string, want: string): Promise<AllocationStatus> => until(`${name} is ${want}`, async () => {
    const status = await statusOf(name);
    return status.phase === want && status;
  });
  const of = (name: string) => (o: { readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> } }): boolean => o.metadata.name.startsWith(`${name}-`) || o.metadata.name.includes(`-${name}-`);
  /** `<application>@<site>` of every running pod. */
  const running = async (name: string): Promise<readonly string[]> =>
    (await Promise.all(l.regions.map((r) => r.list<Pod>(Resources.Pod, { tenant: 'all' })))).flatMap((x) => x.items).filter((p) => of(name)(p) && p.status?.phase === 'Running' && p.metadata.deletionTimestamp === undefined)
      .map((p) => `${p.metadata.labels?.['mesh.proxima.io/application'] ?? ''}@${(p.spec.nodeName ?? '').replace('node-', '')}`).sort();
  const left = async (name: string): Promise<readonly string[]> => {
    const inGlobal = await Promise.all([Resources.Application, Resources.Placement].map((r) => c().list(r, { tenant: 'acme' })));
    const inRegions = await Promise.all(l.regions.flatMap((r) => [Resources.Deployment, Resources.ReplicaSet, Resources.Pod, Resources.Endpoint].map((kind) => r.list(kind, { tenant: 'all' }))));
    return [...inGlobal, ...inRegions].flatMap((x) => x.items).filter(of(name)).map((o) => `${o.kind} ${o.metadata.name}`);
  };
  const nothingOf = (name: string): Promise<unknown> => until(`nothing of ${name} is left`, async () => (await left(name)).length === 0);

  // together: the first size of `db` has room nowhere; group by group at one site
  await c().create(Resources.Allocation, allocation('together', { shop: [resource('web'), resource('db', { flavors: [{ name: 'huge', cpu: '64', memory: '64Mi' }, { name: 'small', cpu: '100m', memory: '64Mi' }] })], batch: [resource('work')] }, { replicas: 2 }));
  assert.equal((await phase('together', 'Placing')).message, 'everything fits and is being started');
  await l.kill(); // it has just begun
  await l.restart();
  const together = await phase('together', 'Placed');
  assert.deepEqual(together.groups?.map((g) => [g.name, g.phase, g.resources.map((r) => [r.name, r.flavor, r.ready, r.wanted, r.sites])]), [
    ['shop', 'Placed', [['web', 0, 2, 2, [together.groups?.[0]?.site]], ['db', 1, 2, 2, [together.groups?.[0]?.site]]]],
    ['batch', 'Placed', [['work', 0, 2, 2, [together.groups?.[1]?.site]]]],
  ]);
  const [shop, batch] = together.groups?.map((g) => g.site ?? '') ?? [];
  assert.deepEqual(await running('together'), [`together-batch-work@${batch}`, `together-batch-work@${batch}`, `together-shop-db@${shop}`, `together-shop-db@${shop}`, `together-shop-web@${shop}`, `together-shop-web@${shop}`]);

  // spread over both regions
  await c().create(Resources.Allocation, allocation('spread', { front: [resource('web')], back: [resource('work')] }, { strategy: 'discrete', replicas: 3 }));
  // does not fit: there are three sites
  await c().create(Resources.Allocation, allocation('wide', { front: [resource('web')], back: [resource('work')] }, { strategy: 'discrete', replicas: 4 }));
  const spread = await phase('spread', 'Placed');
  assert.deepEqual(spread.groups?.flatMap((g) => g.resources.map((r) => [r.ready, [...r.sites].sort()])), [[3, ['east-1', 'west-1', 'west-2']], [3, ['east-1', 'west-1', 'west-2']]]);
  assert.deepEqual(await running('spread'), ['back-work', 'front-web'].flatMap((a) => ['east-1', 'west-1', 'west-2'].map((s) => `spread-${a}@${s}`)));
  assert.match((await phase('wide', 'Failed')).message ?? '', /^group front: front\/web: .*(3 of 4|site)/);
  assert.deepEqual(await left('wide'), [], 'nothing of it was ever there');

  // waits for a port that `spread` holds, and is placed when that goes
  const held = (spread.groups?.[0]?.resources.length === 1 && (await c().get<Allocation>(Resources.Allocation, PLACE, 'spread')).spec.resourceGroups[0]?.resources[0]?.service.port) || 0;
  await c().create(Resources.Allocation, allocation('patient', { front: [resource('web', { service: { port: held } })] }, { retry: 'always' }));
  assert.match((await phase('patient', 'Failed')).message ?? '', /is held at every front by application default\/spread-front-web/);

  // half of it never becomes ready: killed while it starts, and again while it is taken back
  await c().create(Resources.Allocation, allocation('half', { good: [resource('web')], bad: [resource('work', {}, NEVER)] }, { placeWithinSeconds: 6 }));
  await until('one half runs', async () => (await running('half')).length === 2 && (await statusOf('half')).groups?.[0]?.phase === 'Placed');
  await l.kill();
  await l.restart();
  await c().delete(Resources.Allocation, PLACE, 'spread');
  await phase('half', 'RollingBack');
  await l.kill();
  await l.restart();
  const half = await phase('half', 'Failed');
  assert.match(half.message ?? '', /^not ready in 6 s: bad\/work has 0 of 1 ready$/);
  assert.deepEqual((await left('half')).filter((o) => /^(Application|Placement)/.test(o)), [], 'Failed is said when nothing is left of it');
  await nothingOf('half');
  await nothingOf('spread');
  assert.equal((await phase('patient', 'Placed')).groups?.[0]?.resources[0]?.ready, 1);
  assert.equal((await running('together')).length, 6, 'through all of it');

  for (const name of ['together', 'patient']) await c().delete(Resources.Allocation, PLACE, name);
  for (const name of ['together', 'patient']) await nothingOf(name);
});

run();
