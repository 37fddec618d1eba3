/**
 * A real agent that is cut off stops a fenced pod by itself, in time, leaves it stopped over a restart, and starts it when its region wants it again.
 * One that was replaced meanwhile does not serve when the site returns, not even before the agent has heard the first word.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Client } from '../../api/client.ts';
import { MeshError } from '../../api/errors.ts';
import type { Pod } from '../../api/kinds/core.ts';
import type { Endpoint, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import { Resources } from '../../api/resources.ts';
import { removeNode } from '../../edge/agent/containerd.ts';
import { run as exec } from '../../edge/agent/exec.ts';
import { FENCE_AFTER, FENCE_CONDITION } from '../../edge/agent/fence.ts';
import { buildImages, WEB_IMAGE } from '../../edge/images/build.ts';
import { edgeNode } from '../kit/edge-node.ts';
import { memoryClient } from '../kit/memory-client.ts';
import { inOwnNetns } from '../kit/own-netns.ts';
import { suite } from '../kit/suite.ts';

const cache = join(process.env['PROXIMA_STATE'] ?? '/tmp/proxima-test-cache', 'images');
const refused = !existsSync('/usr/bin/containerd') ? 'no containerd on this machine' : await inOwnNetns(import.meta.filename, () => buildImages(cache));
const { it, skip, run } = suite('fence', { timeoutMs: 60_000 });
const place = { tenant: 'acme', namespace: 'default' };
const ADDRESS = '10.64.3.30';
const AFTER_MS = 2_000;
const MARGIN_MS = 5_000;

/** `mute`: the way is there again, but nothing has come over it yet. */
type Uplink = 'up' | 'cut' | 'mute';

/** The uplink of a test: while it is cut, every call fails as it would. */
function cuttable(client: Client, state: () => Uplink, isHeard: Promise<void>): Client {
  const guard = <A extends readonly unknown[], R>(f: (...a: A) => Promise<R>) => async (...a: A): Promise<R> => {
    if (state() === 'cut') throw new MeshError('unavailable', 'the uplink is cut');
    if (state() === 'mute') await isHeard;
    return f(...a);
  };
  return { ...client, get: guard(client.get.bind(client)) as Client['get'], list: guard(client.list.bind(client)) as Client['list'], create: guard(client.create.bind(client)) as Client['create'], update: guard(client.update.bind(client)) as Client['update'], updateStatus: guard(client.updateStatus.bind(client)) as Client['updateStatus'], patch: guard(client.patch.bind(client)) as Client['patch'], delete: guard(client.delete.bind(client)) as Client['delete'], watch: client.watch.bind(client) };
}

const answers = (): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: ADDRESS, port: 80, timeout: 300 });
    const end = (value: boolean): void => {
      socket.destroy();
      resolve(value);
    };
    socket.once('connect', () => end(true)).once('timeout', () => end(false)).once('error', () => end(false));
  });

async function until(what: string, is: () => Promise<boolean>, ms: number): Promise<number> {
  const from = Date.now();
  while (!(await is())) {
    if (Date.now() - from > ms) throw new Error(`${what}: not after ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return Date.now() - from;
}

if (refused !== null) skip('a real containerd', refused);
else {
  it('stops within its margin, stays stopped over a restart, runs again after a word, and never again when it was replaced while its site was cut off', async (t) => {
    const dir = mkdtempSync('/tmp/px-');
    const paths = { dir, images: ['web.tar', 'pause.tar'].map((f) => join(cache, f)), vmImageDir: join(cache, 'vm') };
    t.after(async () => {
      await removeNode(dir, 'n1');
      rmSync(dir, { recursive: true, force: true });
    });
    await exec('ip', ['link', 'set', 'lo', 'up']);
    const client = await memoryClient();
    await client.create<Vpc>(Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'shop', tenant: 'acme' }, spec: { cidr: '10.64.0.0/16', vni: 7 } });
    await client.create<Subnet>(Resources.Subnet, { apiVersion: 'mizar.com/v1', kind: 'Subnet', metadata: { name: 'shop-test', tenant: 'acme' }, spec: { vpc: 'shop', cidr: '10.64.3.0/24', site: 'test-site' } });
    const pod = await client.create<Pod>(Resources.Pod, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', ...place, annotations: { [FENCE_AFTER]: String(AFTER_MS / 1000) } }, spec: { nodeName: 'n1', vpc: 'shop', containers: [{ name: 'web', image: WEB_IMAGE }] } });
    const { uid = '', name, namespace = 'default' } = pod.metadata;
    await client.create<Endpoint>(Resources.Endpoint, { apiVersion: 'mizar.com/v1', kind: 'Endpoint', metadata: { name: `${namespace}.${name}`, tenant: 'acme' }, spec: { type: 'simple', vpc: 'shop', subnet: 'shop-test', address: ADDRESS, mac: '0a:07:0a:40:03:1e', droplet: 'n1', pod: { namespace, name, uid } } });
    await client.patch(Resources.Endpoint, { tenant: 'acme', namespace: null }, `${namespace}.${name}`, { status: { phase: 'Provisioned' } }, { subresource: 'status' });

    let uplink: Uplink = 'up';
    let hear: () => void = () => undefined;
    const isHeard = new Promise<void>((resolve) => (hear = resolve));
    const agent = (): ReturnType<typeof edgeNode> => edgeNode(paths, cuttable(client, () => uplink, isHeard));
    const first = await agent();
    await first.start(t.signal);
    await until('the pod answers', answers, 20_000);
    await until('the node says that it fences it', async () => (await client.get<Pod>(Resources.Pod, place, 'web')).status?.conditions?.some((c) => c.type === FENCE_CONDITION && c.message === String(AFTER_MS / 1000)) === true, 5_000);
    await new Promise((resolve) => setTimeout(resolve, AFTER_MS + 500));
    assert.ok(await answers(), 'a pod whose region answers runs on');
    uplink = 'cut';
    const took = await until('the pod has stopped', async () => !(await answers()), AFTER_MS + MARGIN_MS);
    assert.ok(took > AFTER_MS / 2 && took < AFTER_MS + MARGIN_MS, `${took} ms after the cut`);
    await first.stop();

    const second = await agent();
    await second.start(t.signal);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    assert.not(await answers(), 'an agent that starts cut off starts nothing that is fenced');
    uplink = 'up';
    await until('the pod answers again', answers, 15_000);

    uplink = 'cut';
    await until('the pod has stopped again', async () => !(await answers()), AFTER_MS + MARGIN_MS);
    await second.stop();
    await client.delete(Resources.Pod, place, 'web'); // its scheduler gave it up; a pod of the next epoch serves elsewhere
    uplink = 'mute';
    const third = await agent();
    t.after(async () => {
      hear();
      await third.stop();
    });
    await third.start(t.signal);
    for (const end = Date.now() + 2_500; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 50))) assert.not(await answers(), 'the site is back, its agent heard nothing yet');
    hear();
    uplink = 'up';
    const isGone = (): Promise<boolean> => client.get<Pod>(Resources.Pod, place, 'web').then(() => false, () => true);
    await until('the agent has ended what was replaced', async () => {
      assert.not(await answers(), 'nor does it serve for a moment while the agent hears what became of it');
      return isGone();
    }, 15_000);
    assert.not(await answers());
  });
}

run();
