import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { LatencyProbes } from '../../../edge/agent/latency.ts';
import { Echo, measureBandwidth } from '../../../edge/agent/train.ts';
import { silentLogger } from '../../../base/log.ts';
import { type CaseContext, suite } from '../../kit/suite.ts';

const { it, run } = suite('bandwidth');

async function echo(t: CaseContext): Promise<Echo> {
  const e = new Echo({ address: '127.0.0.1', port: 0 }, silentLogger);
  await e.start();
  t.after(() => e.stop());
  return e;
}

/** A link that lets a datagram through each so many ms. */
async function narrow(t: CaseContext, everyMs: number): Promise<number> {
  const socket = createSocket('udp4');
  let free = 0;
  socket.on('message', (m, from) => {
    const now = performance.now();
    free = Math.max(now, free) + everyMs;
    setTimeout(() => socket.send(m, from.port, from.address), free - now);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  t.after(() => socket.close());
  return socket.address().port;
}

it('tells a narrow way from one that is ten times wider', async (t) => {
  const [slow, fast] = [await measureBandwidth('127.0.0.1', await narrow(t, 100)), await measureBandwidth('127.0.0.1', await narrow(t, 10))];
  assert.ok(slow !== null && fast !== null);
  assert.ok(slow > 0.03 && slow < 0.2, `8 kbit each 100 ms: ${slow} Mbit/s`);
  assert.ok(fast > slow * 2, `${fast} and ${slow} Mbit/s`);
});

it('says nothing where nobody echoes', async (t) => {
  const deaf = createSocket('udp4');
  await new Promise<void>((resolve) => deaf.bind(0, '127.0.0.1', resolve));
  t.after(() => deaf.close());
  assert.equal(await measureBandwidth('127.0.0.1', deaf.address().port), null);
});

it('echoes what is small, as it came, and no more than so much a second', async (t) => {
  const e = await echo(t);
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  const back: number[] = [];
  socket.on('message', (m) => back.push(m.length));
  const send = (size: number): Promise<void> => new Promise((resolve, reject) => socket.send(Buffer.alloc(size), e.port, '127.0.0.1', (error) => (error === null ? resolve() : reject(error))));
  await send(1400);
  await send(7);
  for (let i = 0; i < 1500; i++) await send(1);
  const until = performance.now() + 300;
  while (performance.now() < until) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(back[0], 7, 'the large one was left out');
  assert.ok(back.length > 100 && back.length <= 1000, `${back.length} in two seconds at most`);
  const second = new Echo({ address: '127.0.0.1', port: e.port }, silentLogger);
  await assert.rejects(second.start(), /echo\.port: UDP 127\.0\.0\.1:\d+ is in use/);
  await second.stop();
});

it('is a part of the probes once a minute', async (t) => {
  const e = await echo(t);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const port = (server.address() as { readonly port: number }).port;
  const probes = new LatencyProbes([{ to: 'b', kind: 'site', address: '127.0.0.1', port, protocol: 'tcp', echoPort: e.port }, { to: 'c', kind: 'site', address: '127.0.0.1', port, protocol: 'tcp' }]);
  const [b, c] = await probes.round();
  assert.ok((b?.rttMs ?? 0) > 0 && (b?.mbps === undefined || (b.mbps ?? 0) > 1), JSON.stringify(b));
  assert.equal(c?.mbps, undefined);
  assert.equal((await probes.round())[0]?.mbps, undefined, 'not again within the minute');
});

run();
