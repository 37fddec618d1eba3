/** Who answers: datagrams through a front, and calls of a scaled endpoint by a pod of another host, over a bouncer. */
import * as assert from 'uvu/assert';
import type { GoalBackend, GoalEntry } from '../../api/goal.ts';
import { get, Lab, macOf, whyNoDroplets, type Droplet } from '../kit/droplets.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('dataplane/balance', { timeoutMs: 40_000 });

const VNI = 400;
const [A, B, C, F] = ['192.168.50.11', '192.168.50.12', '192.168.50.13', '192.168.50.14'] as const;
const [VIP, CLIENT] = ['192.0.2.1', '192.0.2.100'] as const;
const [ON_A, ON_B, ON_B2] = ['10.0.1.1', '10.0.1.2', '10.0.1.3'] as const;
const SERVICE = '10.0.1.250';

const endpoint = (address: string, droplet: string): GoalEntry => ({ kind: 'endpoint', vni: VNI, address, mac: macOf(address), droplet });
const believed = (...addresses: readonly string[]): readonly GoalEntry[] => addresses.map((address) => ({ kind: 'droplet', address, mac: null }));
const backend = (address: string, weight: number): GoalBackend => ({ address, port: 80, weight });
const edge: readonly GoalEntry[] = [{ kind: 'vpc', vni: VNI, cidr: '10.0.0.0/16', dividers: [] }, { kind: 'network', vni: VNI, cidr: '10.0.1.0/24', bouncers: [C] }];
const everybody = [endpoint(ON_A, A), endpoint(ON_B, B), endpoint(ON_B2, B)];

/** a calls, b has two pods, c bounces and alone knows the endpoints, f is the front. */
interface Site {
  readonly lab: Lab;
  readonly client: string;
  readonly a: Droplet;
  readonly f: Droplet;
  readonly pods: Readonly<Record<'a' | 'b' | 'b2', string>>;
}

/** An echo of datagrams that says who it is and whom it heard. */
async function echo(lab: Lab, netns: string): Promise<void> {
  const code = `import { createSocket } from 'node:dgram'; const s = createSocket('udp4'); s.on('message', (m, from) => s.send(${JSON.stringify(netns)} + ' ' + from.address, from.port, from.address)); s.bind(80, () => console.log('ready'));`;
  const child = lab.spawnIn(netns, process.execPath, '--input-type=module', '-e', code);
  await new Promise((resolve) => child.stdout?.once('data', resolve));
}

/** Datagrams from each port in turn, and who answered; '' = nobody. */
function ask(lab: Lab, netns: string, to: string, port: number, from: readonly number[]): readonly string[] {
  const code = `import { createSocket } from 'node:dgram';
const [to, port, ...from] = process.argv.slice(1);
for (const p of from) await new Promise((done) => {
  const s = createSocket('udp4');
  const timer = setTimeout(() => { console.log(''); s.close(done); }, 500);
  s.on('message', (m) => { clearTimeout(timer); console.log(m.toString()); s.close(done); });
  s.bind(Number(p), () => s.send('x', Number(port), to));
});`;
  const r = lab.in(netns, process.execPath, '--input-type=module', '-e', code, to, String(port), ...from.map(String));
  return r.stdout.split('\n').slice(0, from.length);
}

async function site(): Promise<Site> {
  const lab = new Lab('px-dp-u');
  const [lan, wan] = [lab.network('lan'), lab.network('wan')];
  const hosts = ['a', 'b', 'c', 'f'].map((n) => lab.netns(n)) as [string, string, string, string];
  for (const [i, address] of [A, B, C, F].entries()) lab.plug(hosts[i] ?? '', lan, 'eth2', `${address}/24`);
  const client = lab.netns('client');
  lab.plug(hosts[3], wan, 'eth1', `${VIP}/24`);
  lab.plug(client, wan, 'eth1', `${CLIENT}/24`);
  const droplet = (i: number, address: string, uplink: string | null): Promise<Droplet> => lab.droplet(hosts[i] ?? '', { interface: 'eth2', address, tunnel: null, uplink });
  const [a, b, c, f] = (await Promise.all([droplet(0, A, null), droplet(1, B, null), droplet(2, C, null), droplet(3, F, 'eth1')])) as [Droplet, Droplet, Droplet, Droplet];
  await b.goal([...edge, ...believed(A, C, F)]);
  await c.goal([...edge, ...everybody, ...believed(A, B, F)]);
  const pods = { a: await lab.pod('pa', a, VNI, ON_A), b: await lab.pod('pb', b, VNI, ON_B), b2: await lab.pod('pb2', b, VNI, ON_B2) };
  for (const ns of [pods.b, pods.b2]) {
    await echo(lab, ns);
    await lab.serve(ns, 80);
  }
  return { lab, client, a, f, pods };
}

const reason = whyNoDroplets();
if (reason !== null) skip('balances', reason);
else {
  let s: Site;
  const times = <T>(n: number, f: (i: number) => T): readonly T[] => Array.from({ length: n }, (_, i) => f(i));
  const ports = times(24, (i) => 20_000 + 7 * i);
  const share = (answers: readonly string[], pod: string): number => answers.filter((x) => x.startsWith(`${pod} `) || x === pod).length / answers.length;
  const front = (...backends: readonly GoalBackend[]): Promise<unknown> => s.f.goal([...edge, ...everybody, ...believed(A, B, C), { kind: 'front', address: VIP, port: 8053, protocol: 'UDP', vni: VNI, application: 5, backends }]);
  const service = (...backends: readonly GoalBackend[]): Promise<unknown> =>
    s.a.goal([...edge, ...believed(B, C), ...(['TCP', 'UDP'] as const).map((protocol) => ({ kind: 'scaled' as const, vni: VNI, address: SERVICE, port: 8053, protocol, backends }))]);

  it('datagrams through a front: each client port stays with its pod, which sees the client', async () => {
    s = await site();
    await front(backend(ON_B, 1), backend(ON_B2, 1));
    const first = ask(s.lab, s.client, VIP, 8053, ports);
    assert.ok(first.every((x) => x === `${s.pods.b} ${CLIENT}` || x === `${s.pods.b2} ${CLIENT}`), JSON.stringify([first, await s.f.drops()]));
    assert.equal(new Set(first).size, 2, 'both are asked');
    assert.equal(ask(s.lab, s.client, VIP, 8053, ports), first);
    const rows = await s.f.counters();
    assert.equal(rows.map((r) => [r.application, r.connections, r.packetsIn]), [[5, ports.length, 2 * ports.length]]);
  });

  it('a flow stays with a backend that is drained, and is chosen anew at once when it is gone', async () => {
    await front(backend(ON_B, 1), backend(ON_B2, 0));
    const drained = ask(s.lab, s.client, VIP, 8053, ports);
    assert.ok(share(drained, s.pods.b2) > 0.1, 'flows end in peace');
    assert.equal(share(ask(s.lab, s.client, VIP, 8053, ports.map((p) => p + 1)), s.pods.b), 1, 'new ones go elsewhere');
    await front(backend(ON_B, 1));
    assert.equal(share(ask(s.lab, s.client, VIP, 8053, ports), s.pods.b), 1, 'nothing is lost once it is gone');
    const isKept = ask(s.lab, s.client, VIP, 8053, ports.slice(0, 3));
    await s.f.crash();
    await s.f.start();
    await front(backend(ON_B2, 1));
    assert.equal([share(isKept, s.pods.b), share(ask(s.lab, s.client, VIP, 8053, ports.slice(0, 3)), s.pods.b2)], [1, 1], 'also by a daemon that did not see it go');
  });

  it('a pod calls a scaled endpoint over a bouncer: by weight, and a flow stays with its backend', async () => {
    await service(backend(ON_B, 3), backend(ON_B2, 1));
    const answers = times(2, () => ask(s.lab, s.pods.a, SERVICE, 8053, ports.concat(ports.map((p) => p + 3))));
    assert.ok(answers[0]?.every((x) => x.endsWith(` ${ON_A}`)), JSON.stringify([answers[0], await s.a.drops()]));
    assert.equal(answers[1], answers[0]);
    const toFirst = share(answers[0] ?? [], s.pods.b);
    assert.ok(toFirst > 0.55 && toFirst < 0.95, `3 of 4 would be 0.75: ${toFirst}`);
    const tcp = times(40, () => get(s.lab, s.pods.a, `http://${SERVICE}:8053/1`).pod);
    const byTcp = share(tcp, s.pods.b);
    assert.ok(byTcp > 0.45 && byTcp < 0.97 && tcp.every((x) => x === s.pods.b || x === s.pods.b2), JSON.stringify(tcp));
  });

  it('a flow to a scaled endpoint is chosen anew when its backend is gone, a connection in progress is not', async () => {
    await service(backend(ON_B2, 1));
    const slow = s.lab.runIn(s.pods.a, 'curl', '-s', '--limit-rate', '2M', '-D', '-', '-o', '/dev/null', '-w', '%{size_download}', `http://${SERVICE}:8053/1500000`);
    await new Promise((r) => setTimeout(r, 200));
    await service(backend(ON_B, 1));
    assert.equal(share(ask(s.lab, s.pods.a, SERVICE, 8053, ports), s.pods.b), 1);
    assert.is(get(s.lab, s.pods.a, `http://${SERVICE}:8053/1`).pod, s.pods.b);
    const { stdout } = await slow;
    assert.ok(stdout.includes(`x-pod: ${s.pods.b2}`) && stdout.endsWith('1500000'), stdout);
  });

  it('leaves nothing behind', () => s.lab.close());
}

run();
