/** A region as its users meet it: a process, stock kubectl, and nodes that an agent registers. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { createHttpClient, type HttpClient } from '../../api/http-client.ts';
import { loadKubeconfig } from '../../api/kubeconfig.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { regionCheck } from '../../cloud/main.ts';
import { regionProcess, type RegionProcess } from '../kit/region-process.ts';
import { suite } from '../kit/suite.ts';
import { waiter } from '../kit/until.ts';

const until = waiter({ withinMs: 15_000 });
const { it, skip, run } = suite('a region process', { timeoutMs: 50_000 });
const CLUSTER = { tenant: null, namespace: null } as const;
const hasKubectl = (process.env['PATH'] ?? '').split(':').some((d) => existsSync(join(d, 'kubectl')));

const deployment = (image: string): string => JSON.stringify({
  apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' },
  spec: { replicas: 3, selector: { matchLabels: { app: 'web' } }, template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image, resources: { requests: { cpu: '100m', memory: '32Mi' } } }] } } },
});

async function registerNode(client: HttpClient, name: string): Promise<void> {
  const conditions = ['Ready', 'ContainerRuntimeReady'].map((type) => ({ type, status: 'True' }));
  await client.create(Resources.Node, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { 'mesh.proxima.io/site': 'z1' } } });
  await client.patch(Resources.Node, CLUSTER, name, { status: { allocatable: { cpu: '2', memory: '2Gi', pods: '20' }, conditions } }, { subresource: 'status' });
}

/** Says what an agent would: bound pods run, marked pods are gone. */
async function playAgent(client: HttpClient): Promise<readonly Pod[]> {
  const { items } = await client.list<Pod>(Resources.Pod, { tenant: 'all' });
  for (const p of items) {
    const place = { tenant: p.metadata.tenant ?? null, namespace: p.metadata.namespace ?? null };
    if ((p.spec.nodeName ?? '') === '') continue;
    if (p.metadata.deletionTimestamp !== undefined) await client.delete(Resources.Pod, place, p.metadata.name, { gracePeriodSeconds: 0 }).catch(() => undefined); // gone already is as good
    else if (p.status?.phase !== 'Running') await client.patch(Resources.Pod, place, p.metadata.name, { status: { phase: 'Running', conditions: [{ type: 'PodScheduled', status: 'True' }, { type: 'Ready', status: 'True' }] } }, { subresource: 'status' });
  }
  return items;
}

it('refuses an unknown key with its path, and shows the effective configuration', () => {
  assert.throws(() => regionCheck({ dataDir: '/x', listen: { prot: 1 } }), /listen\.prot: /);
  assert.equal(regionCheck({ dataDir: '/x' }).kubeconfig, '/x/admin.kubeconfig');
});

if (!hasKubectl) skip('rolls out under kubectl', 'there is no kubectl on this machine');
else {
  it('runs a deployment under stock kubectl, and goes on after kill -9', async (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'px-region-'));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const config = (port: number): unknown => ({ dataDir: dir, listen: { port }, goal: { port: 0 }, logLevel: 'warn' });
    let region: RegionProcess = await regionProcess(config(0));
    t.after(() => region.end('SIGKILL'));
    const kubeconfig = join(dir, 'admin.kubeconfig');
    const kubectl = async (...args: string[]): Promise<string> => (await promisify(execFile)('kubectl', ['--kubeconfig', kubeconfig, ...args], { timeout: 30_000, env: { ...process.env, HOME: dir } })).stdout;
    const client = createHttpClient(await loadKubeconfig(kubeconfig));
    t.after(() => client.close());
    writeFileSync(join(dir, 'web.json'), deployment('web:1'));

    await kubectl('apply', '-f', join(dir, 'web.json'));
    const waiting = await until('three pods say why they wait', async () => {
      const { items } = await client.list<Pod>(Resources.Pod, { tenant: 'all' });
      return items.length === 3 && items.every((p) => p.status?.conditions?.some((c) => c.reason === 'Unschedulable' && c.message === '0/0 nodes are available.')) ? items : null;
    });
    assert.ok(waiting.every((p) => p.status?.phase === 'Pending'));

    await registerNode(client, 'n1');
    await until('three pods run', async () => (await playAgent(client)).filter((p) => p.status?.phase === 'Running').length === 3);
    assert.match(await kubectl('rollout', 'status', 'deployment/web', '--timeout=15s'), /successfully rolled out/);

    assert.is(await region.end('SIGKILL'), null);
    region = await regionProcess(config(region.port));
    assert.match(await kubectl('get', 'deployment', 'web'), /3\/3/);
    await kubectl('set', 'image', 'deployment/web', 'web=web:2');
    const rolled = kubectl('rollout', 'status', 'deployment/web', '--timeout=25s');
    let isRolling = true;
    void rolled.finally(() => (isRolling = false)).catch(() => undefined); // awaited below
    while (isRolling) {
      const pods = await playAgent(client);
      const ready = pods.filter((p) => p.metadata.deletionTimestamp === undefined && p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'));
      assert.ok(ready.length >= 2, `${ready.length} pods were available: 25% of 3 rounds down to none unavailable`);
      await new Promise((r) => setTimeout(r, 30));
    }
    assert.match(await rolled, /successfully rolled out/);

    await kubectl('delete', 'deployment', 'web');
    await until('sets and pods are collected', async () => {
      await playAgent(client);
      return (await client.list(Resources.Pod, { tenant: 'all' })).items.length === 0 && (await client.list(Resources.ReplicaSet, { tenant: 'all' })).items.length === 0;
    });
    const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${region.child.pid}/status`, 'utf8'))?.[1]) / 1024;
    assert.ok(rss <= 250, `${Math.round(rss)} MiB resident`);
    assert.is(await region.end('SIGTERM'), 0);
  });
}

run();
