import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import mqtt from 'mqtt';
import type { MqttClient } from 'mqtt';
import * as assert from 'uvu/assert';
import { spiffe } from '../../certs/names.ts';
import { gatewayPair, httpService } from '../kit/gateway-pair.ts';
import type { Credential } from '../kit/gateway-pair.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const { it, skip, run } = suite('gateway/mqtt', { timeoutMs: 30_000 });
const exec = promisify(execFile);

function client(port: number, who: Credential, options: Record<string, unknown> = {}): Promise<MqttClient> {
  return mqtt.connectAsync({ protocol: 'mqtts', host: '127.0.0.1', port, key: who.key, cert: who.cert, rejectUnauthorized: false, reconnectPeriod: 0, ...options });
}

it('loses no acknowledged message over an uplink cut and a kill -9 of the edge gateway', async (t) => {
  const pair = await gatewayPair(t);
  const global = await client(pair.ports.mqtt, pair.credential(spiffe.global()));
  t.after(() => global.endAsync(true));
  const seen = new Set<number>();
  global.on('message', (_topic, payload) => seen.add(Number(payload.toString())));
  await global.subscribeAsync('telemetry/#', { qos: 1 });
  const node = pair.credential(spiffe.node('s1', 'n1'));
  const first = await client(pair.mqttPort, node);
  for (let i = 0; i < 50; i++) await first.publishAsync('telemetry/s1/traffic', String(i), { qos: 1 });
  await until('the first messages arrive', () => seen.size === 50);
  await pair.cloud.kill('SIGSTOP'); // a cut: the connection stays up and nothing comes back
  const acked: number[] = [];
  await Promise.all(Array.from({ length: 500 }, async (_, i) => {
    await first.publishAsync('telemetry/s1/traffic', String(1000 + i), { qos: 1 });
    acked.push(1000 + i);
  }));
  await pair.edge.kill('SIGKILL');
  first.end(true);
  assert.is(acked.length, 500);
  await pair.cloud.kill('SIGCONT');
  const again = await pair.startEdge(pair.edgeConfig);
  await until('every acknowledged message arrives', () => acked.every((n) => seen.has(n)), { withinMs: 15_000 });
  assert.ok(again.mqtt > 0);
});

it('lets a certificate publish under its own site only, and says who was refused', async (t) => {
  const pair = await gatewayPair(t);
  const node = pair.credential(spiffe.node('s1', 'n1'));
  const good = await client(pair.mqttPort, node);
  t.after(() => good.endAsync(true));
  await good.publishAsync('telemetry/s1/probes', '1', { qos: 1 });
  const bad = await client(pair.mqttPort, node);
  bad.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => bad.on('close', () => resolve()));
  bad.publish('telemetry/s2/probes', '1', { qos: 1 });
  await closed;
  await assertRejects(good.subscribeAsync('telemetry/#'));
  const refusals = await until('the refusal is reported to the region', async () => {
    const found = (await pair.refusals()).filter((r) => r.code === 'rights');
    return found.length >= 2 ? found : null;
  });
  assert.match(refusals.map((r) => r.reason).join('\n'), /node\/n1 may not publish on telemetry\/s2\/probes/);
  const stranger = await client(pair.ports.mqtt, pair.credential(spiffe.tenant('acme', 'ann')));
  t.after(() => stranger.endAsync(true));
  await assertRejects(stranger.subscribeAsync('telemetry/#'));
});

it('brings commands of the region to the site', async (t) => {
  const pair = await gatewayPair(t);
  const node = await client(pair.mqttPort, pair.credential(spiffe.node('s1', 'n1')));
  const global = await client(pair.ports.mqtt, pair.credential(spiffe.global()));
  t.after(() => Promise.all([node.endAsync(true), global.endAsync(true)]));
  let got = '';
  node.on('message', (topic, payload) => (got = `${topic} ${payload.toString()}`));
  await node.subscribeAsync('cmd/s1/#', { qos: 1 });
  await until('a command arrives', async () => {
    await global.publishAsync('cmd/s1/probe', 'now', { qos: 1 });
    return got !== '';
  });
  assert.is(got, 'cmd/s1/probe now');
});

it('refuses clearly when the queue is full, and takes messages again once the region has them', async (t) => {
  const pair = await gatewayPair(t, { edge: { mqtt: { listen: [{ address: '127.0.0.1', port: 0, tls: true }], queueBytes: 65_536 } } });
  const node = pair.credential(spiffe.node('s1', 'n1'));
  await pair.cloud.kill('SIGSTOP');
  const c = await client(pair.mqttPort, node);
  c.on('error', () => undefined);
  let taken = 0;
  const closed = new Promise<void>((resolve) => c.on('close', () => resolve()));
  const fill = async (): Promise<void> => {
    for (; taken < 100; taken++) await c.publishAsync('telemetry/s1/traffic', Buffer.alloc(2_000), { qos: 1 });
  };
  await Promise.race([fill(), closed]).catch(() => undefined);
  assert.ok(taken > 20 && taken < 40, `${taken} taken`);
  await until('the reason is logged', () => pair.edge.log().includes('the message queue') && pair.edge.log().includes('is full'));
  await pair.cloud.kill('SIGCONT');
  const d = await client(pair.mqttPort, node);
  t.after(() => d.endAsync(true));
  await until('there is room again', async () => {
    try {
      const e = await client(pair.mqttPort, node);
      e.on('error', () => undefined);
      await Promise.race([e.publishAsync('telemetry/s1/traffic', Buffer.alloc(2_000), { qos: 1 }), new Promise((_, reject) => e.on('close', () => reject(new Error('closed'))))]);
      await e.endAsync(true);
      return true;
    } catch {
      return false; // still full
    }
  }, { withinMs: 10_000 });
});

const mosquitto = spawnSync('mosquitto_pub', ['--help']).error === undefined;
if (!mosquitto) skip('takes a message from mosquitto_pub', 'mosquitto_pub is not installed (apt install mosquitto-clients)');
else
  it('takes a message from mosquitto_pub', async (t) => {
    const pair = await gatewayPair(t);
    const global = await client(pair.ports.mqtt, pair.credential(spiffe.global()));
    t.after(() => global.endAsync(true));
    let got = '';
    global.on('message', (_topic, payload) => (got = payload.toString()));
    await global.subscribeAsync('telemetry/s1/#', { qos: 1 });
    const node = pair.credential(spiffe.node('s1', 'n1'));
    await exec('mosquitto_pub', ['-h', '127.0.0.1', '-p', String(pair.mqttPort), '--cafile', node.files.trustFile, '--cert', node.files.certFile, '--key', node.files.keyFile, '--insecure', '-V', 'mqttv311', '-q', '1', '-t', 'telemetry/s1/probes', '-m', 'from mosquitto']);
    await until('it arrives in the region', () => got === 'from mosquitto');
  });

it('keeps its memory small', async (t) => {
  const service = await httpService(t, (_request, response) => response.end('x'));
  const pair = await gatewayPair(t, { services: { 'region-api': { host: '127.0.0.1', port: service } } });
  await until('the bridge is up', () => pair.edge.log().includes('telemetry bridge connected'));
  await new Promise((r) => setTimeout(r, 3_500)); // its code is kept by then
  await pair.edge.kill();
  const again = await pair.startEdge(pair.edgeConfig);
  await until('the bridge is up again', () => again.process.log().includes('telemetry bridge connected'));
  const rss = (await again.process.ask({ do: 'memory' })) as number;
  console.log(`edge gateway: ${(rss / 1e6).toFixed(0)} MB resident`);
  assert.ok(rss < 115e6, `${rss} bytes`);
});

async function assertRejects(work: Promise<unknown>): Promise<void> {
  let isRejected = false;
  await work.catch(() => (isRejected = true));
  assert.ok(isRejected, 'was not refused');
}

run();
