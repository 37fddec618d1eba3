/** A VM with state moves by snapshot and restore. The agents are played: they send when both ends are told to, and tell how it went. */
import assert from 'node:assert/strict';
import type { Pod } from '../../api/kinds/core.ts';
import { Resources } from '../../api/resources.ts';
import { MoverLab } from '../kit/mover-lab.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('mover takes state along', { timeoutMs: 90_000 });
const note = (p: Pod, key: string): string | undefined => p.metadata.annotations?.[`mesh.proxima.io/${key}`];

interface Agents {
  sends: number;
  fail: string | null;
  readonly seconds: number;
}

async function vm(agents: Agents): Promise<MoverLab> {
  const template = { metadata: { annotations: { 'mesh.proxima.io/stateful': 'true' } }, spec: { virtualMachine: { name: 'vm', image: 'alpine', publicKey: 'none' } } };
  const l = await new MoverLab({ policy: { instances: { min: 1, max: 1 } }, demand: { west: 30 }, template }).start();
  await l.seconds(8);
  l.mayStart = async (pod) => {
    const from = note(pod, 'restore-from');
    if (from === undefined) return true;
    const source = (await l.pods()).find((p) => from === `${p.metadata.labels?.['mesh.proxima.io/site'] ?? ''}/${p.metadata.uid ?? ''}`);
    if (source === undefined || note(source, 'send-to') !== pod.metadata.labels?.['mesh.proxima.io/site']) return false;
    const tell = async (m: unknown): Promise<unknown> => l.regions['west']?.patch(Resources.Pod, { tenant: 'acme', namespace: 'default' }, pod.metadata.name, { metadata: { annotations: { 'mesh.proxima.io/migration': JSON.stringify(m) } } });
    agents.sends += 1;
    const isOver = agents.fail === null && agents.sends >= agents.seconds;
    if (!isOver) {
      await tell(agents.fail === null ? { phase: 'sending', bytes: agents.sends * 1000 } : { phase: 'failed', reason: agents.fail });
      return false;
    }
    await l.regions['west']?.patch(Resources.Pod, { tenant: 'acme', namespace: 'default' }, source.metadata.name, { status: { conditions: [{ type: 'Ready', status: 'False' }] } }, { subresource: 'status' });
    await tell({ phase: 'restored', bytes: 5000, downtimeMs: 420 });
    return true;
  };
  l.demand['west'] = 0;
  l.demand['a'] = 30;
  return l;
}

it('asks both ends, waits until it is restored, gives it all of the traffic at once, and records the downtime', async () => {
  const agents: Agents = { sends: 0, fail: null, seconds: 5 };
  const l = await vm(agents);
  const uid = (await l.pods())[0]?.metadata.uid;
  for (let s = 0; s < 40 && agents.sends < 2; s++) await l.seconds(1);
  assert.equal(note((await l.pods()).find((p) => p.metadata.name.includes('edge-a')) as Pod, 'restore-from'), `west-1/${uid}`);
  assert.equal(note((await l.pods()).find((p) => p.metadata.uid === uid) as Pod, 'send-to'), 'edge-a');
  l.restart();
  await l.seconds(30);
  assert.deepEqual(await l.instances(), { 'edge-a': 1 });
  const moves = await l.moves();
  assert.deepEqual(moves.filter((m) => m.startsWith('edge-a')), ['edge-a starting', 'edge-a restored', 'edge-a serving'], moves.join(', '));
  const restored = (await l.placement()).status?.moves?.find((m) => m.phase === 'restored') as { readonly downtimeMs?: number; readonly bytes?: number };
  assert.deepEqual([restored.downtimeMs, restored.bytes], [420, 5000]);
});

it('leaves the VM where it is when the transfer fails, running, and avoids the site', async () => {
  const agents: Agents = { sends: 0, fail: 'the target has no room for 512 MiB', seconds: 5 };
  const l = await vm(agents);
  const uid = (await l.pods())[0]?.metadata.uid;
  await l.seconds(50);
  assert.deepEqual(await l.instances(), { 'west-1': 1 });
  const pod = (await l.pods()).find((p) => p.metadata.uid === uid) as Pod;
  assert.equal(note(pod, 'send-to'), undefined, 'it is not to be sent any more');
  assert.equal(pod.metadata.deletionTimestamp, undefined);
  assert.match((await l.memory()).avoid[0]?.reason ?? '', /^a move to edge-a was undone: the state of web-west-1-1 was not restored there: the target has no room for 512 MiB$/);
  assert.ok((await l.front('edge-a')).some((b) => b.weight > 0));
});

it('begins anew without a state when its site is lost: there is nobody to send it', async () => {
  const l = await vm({ sends: 0, fail: null, seconds: 5 });
  l.demand['west'] = 30;
  l.demand['a'] = 0;
  await l.policy({ unreachable: { action: 'move', afterSeconds: 3 } });
  await l.link('west-1', false);
  await l.seconds(30);
  assert.deepEqual((await l.pods()).filter((p) => p.metadata.deletionTimestamp === undefined).map((p) => note(p, 'restore-from')), [undefined]);
});

run();
