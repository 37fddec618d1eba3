/** A move whose new place turns out worse than predicted, by what fronts measure, is taken back; one that keeps its promise is not. */
import assert from 'node:assert/strict';
import { MoverLab } from '../kit/mover-lab.ts';
import { suite } from '../kit/suite.ts';

const { it, run } = suite('mover undoes', { timeoutMs: 90_000 });

/** The move from west-1 to the edge begins; every front has somebody in every second of it. */
async function moving(): Promise<MoverLab> {
  const l = await new MoverLab({ policy: {}, demand: { west: 30 } }).start();
  await l.seconds(8);
  assert.deepEqual(await l.instances(), { 'west-1': 1 });
  l.watch = async () => assert.ok((await l.front('edge-a')).some((b) => b.weight > 0), 'a front without a backend');
  l.demand['west'] = 0;
  l.demand['a'] = 40;
  return l;
}

async function untilTraffic(l: MoverLab): Promise<void> {
  for (let s = 0; s < 40 && ((await l.memory()).traffic['edge-a']?.factor ?? 0) === 0; s++) await l.seconds(1);
  assert.equal((await l.memory()).traffic['edge-a']?.factor, 5);
}

it('gives the traffic back when the latency is clearly worse than predicted and than before, and avoids the site with the true reason', async () => {
  const l = await moving();
  await untilTraffic(l);
  const old = (await l.pods()).filter((p) => p.metadata.name.includes('west-1')).map((p) => p.metadata.name);
  l.handshakeMs['edge-a'] = 95;
  await l.seconds(20);
  const moves = await l.moves();
  assert.ok(moves.includes('edge-a undone'), moves.join(', '));
  const reason = (await l.placement()).status?.moves?.find((m) => m.phase === 'undone')?.reason ?? '';
  assert.match(reason, /^a move to edge-a was undone: client region a measured \d+ ms over \d+ connections; 3.0 ms were predicted, \d+ ms it was before$/);
  await l.seconds(20);
  assert.equal((await l.instances())['edge-a'], undefined, 'the new place is stopped');
  assert.ok((await l.pods()).some((p) => old.includes(p.metadata.name) && p.metadata.deletionTimestamp === undefined), 'the old instances were kept');
  assert.equal((await l.memory()).avoid[0]?.site, 'edge-a');
  l.handshakeMs['edge-a'] = 3;
  await l.seconds(60);
  assert.equal((await l.instances())['edge-a'], undefined, 'it is avoided for a while');
});

it('gives the traffic back when connections fail at the new place', async () => {
  const l = await moving();
  await untilTraffic(l);
  l.failing = 0.5;
  await l.seconds(20);
  assert.match((await l.placement()).status?.moves?.find((m) => m.phase === 'undone')?.reason ?? '', /^a move to edge-a was undone: \d+ % of \d+ connections failed there$/);
});

it('undoes nothing that is as predicted, and forgets what was promised when the old place is gone; a killed scheduler still knows', async () => {
  const l = await moving();
  await untilTraffic(l);
  assert.deepEqual((await l.memory()).trials?.['edge-a']?.promised.map((p) => [p.clientRegion, p.predictedMs]), [['a', 3]]);
  l.restart();
  await l.seconds(40);
  assert.deepEqual(await l.instances(), { 'edge-a': 1 });
  assert.equal((await l.memory()).trials, undefined);
});

run();
