import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { GoalEntry } from '../../api/goal.ts';
import type { DataPlaneMode, Mode } from '../../dataplane/transit/modes.ts';
import { get, ip, Lab, macOf, whyNoDroplets, type Droplet } from '../kit/droplets.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('dataplane/forward', { timeoutMs: 30_000 });

const [A, B, C] = ['192.168.50.11', '192.168.50.12', '192.168.50.13'] as const;
const network = (vni: number, bouncers: readonly string[]): readonly GoalEntry[] => [
  { kind: 'vpc', vni, cidr: '10.0.0.0/16', dividers: [] },
  { kind: 'network', vni, cidr: '10.0.1.0/24', bouncers },
];
const endpoint = (vni: number, address: string, droplet: string): GoalEntry => ({ kind: 'endpoint', vni, address, mac: macOf(address), droplet });
const believed = (...addresses: readonly string[]): readonly GoalEntry[] => addresses.map((address) => ({ kind: 'droplet', address, mac: null }));

/** a and b carry pods of two tenants with the same addresses; c is the bouncer, and the only one that knows all endpoints. */
interface Site {
  readonly lab: Lab;
  readonly a: Droplet;
  readonly b: Droplet;
  readonly c: Droplet;
  /** What c believes. */
  readonly believedByC: readonly GoalEntry[];
  readonly pods: Readonly<Record<'a1' | 'b1' | 'a2' | 'b2', string>>;
}

const allEndpoints = [endpoint(100, '10.0.1.1', A), endpoint(100, '10.0.1.2', B), endpoint(200, '10.0.1.1', A), endpoint(200, '10.0.1.2', B)];
const edgeGoal = [...network(100, [C]), ...network(200, [C])];

/**
 * What the LAN is made of, and what is asked for. Pods' packets cross a veth with unfinished checksums, so that there XDP leaves most to tc; taps
 * without offloads carry frames as a wire does.
 */
const VARIANTS = [
  { lan: 'veth', asked: 'auto', mode: 'tc' },
  { lan: 'veth', asked: 'xdp', mode: 'xdp-native' },
  { lan: 'tap', asked: 'auto', mode: 'xdp-native' },
] as const satisfies readonly { readonly lan: 'veth' | 'tap'; readonly asked: DataPlaneMode; readonly mode: Mode }[];

async function site(variant: (typeof VARIANTS)[number]): Promise<Site> {
  const lab = new Lab('px-dp-f');
  const lan = lab.network('lan');
  const hosts = ([['a', A], ['b', B], ['c', C]] as const).map(([name, address]) => [lab.netns(name), address] as const);
  if (variant.lan === 'tap') await lab.plugByTaps(lan, 'eth2', hosts.map(([ns, address]) => [ns, `${address}/24`]));
  else for (const [i, [ns, address]] of hosts.entries()) {
    lab.plug(ns, lan, 'eth2', `${address}/24`);
    if (variant.asked === 'xdp') assert.is(lab.in(lan, 'ethtool', '-K', `p${i}`, 'gro', 'on').status, 0);
  }
  const [a, b, c] = (await Promise.all(hosts.map(([ns, address]) => lab.droplet(ns, { interface: 'eth2', address, tunnel: null, uplink: null, mode: variant.asked })))) as [Droplet, Droplet, Droplet];
  await a.goal([...edgeGoal, ...believed(B, C)]);
  await b.goal([...edgeGoal, ...believed(A, C)]);
  // Only who has a MAC of the LAN can be sent to without the kernel's neighbour table, as XDP does.
  const withMacs = [[A, a], [B, b]].map(([address, d]): GoalEntry => ({ kind: 'droplet', address: address as string, mac: /link\/ether (\S+)/.exec(ip('-n', (d as Droplet).netns, '-o', 'link', 'show', 'dev', 'eth2'))?.[1] ?? null }));
  await c.goal([...edgeGoal, ...allEndpoints, ...withMacs]);
  const pods = { a1: await lab.pod('a1', a, 100, '10.0.1.1'), b1: await lab.pod('b1', b, 100, '10.0.1.2'), a2: await lab.pod('a2', a, 200, '10.0.1.1'), b2: await lab.pod('b2', b, 200, '10.0.1.2') };
  return { lab, a, b, c, believedByC: withMacs, pods };
}

const reason = whyNoDroplets();
if (reason !== null) skip('carries pods\' packets', reason);
else for (const variant of VARIANTS) {
  const name = `${variant.mode} on ${variant.lan}`;
  const FAILING = ['-W', '0.2'];
  let s: Site;
  const ping = (from: string, to: string, ...args: readonly string[]): number => s.lab.in(from, 'ping', '-c', '2', '-i', '0.1', '-W', '1', ...args, to).status;

  it(`${name}: carries pings and megabytes both ways over a bouncer that alone knows the endpoints`, async () => {
    s = await site(variant);
    const { lab, pods } = s;
    const lanMode = async (d: Droplet): Promise<string> => (await d.call<{ mode: { lan: string } }>('describe')).mode.lan;
    assert.equal([await lanMode(s.c), await lanMode(s.a)], [variant.mode, variant.asked === 'xdp' ? 'xdp-native' : 'tc'], 'the bouncer, and who is none');
    assert.is(ping(pods.a1, '10.0.1.2'), 0, JSON.stringify([await s.a.drops(), await s.b.drops(), await s.c.drops()]));
    assert.is(ping(pods.b1, '10.0.1.1'), 0);
    assert.is(ping(pods.a1, '10.0.1.2', '-s', '1332', '-M', 'do'), 0, 'a full frame passes');
    assert.is(ping(pods.a1, '10.0.1.2', '-s', '3000'), 0, 'fragments pass inside a VPC');
    for (const ns of Object.values(pods)) await lab.serve(ns, 80);
    for (const [from, to, name] of [[pods.a1, '10.0.1.2', pods.b1], [pods.b1, '10.0.1.1', pods.a1]] as const) {
      const r = get(lab, from, `http://${to}/5000000`);
      assert.equal([r.status, r.bytes, r.pod], [200, 5_000_000, name]);
    }
    assert.match(lab.in(pods.a1, 'ip', 'neigh').stdout, /169\.254\.1\.1 dev eth0 lladdr 02:70:78:00:00:01/);
    for (const ns of [pods.a1, pods.b1]) assert.match(lab.in(ns, 'nstat', '-az', 'TcpInCsumErrors').stdout, /TcpInCsumErrors\s+0\s/);
  });

  it(`${name}: keeps tenants with the same addresses apart`, () => {
    assert.is(get(s.lab, s.pods.a2, 'http://10.0.1.2/1').pod, s.pods.b2);
    assert.is(get(s.lab, s.pods.a1, 'http://10.0.1.2/1').pod, s.pods.b1);
  });

  if (variant.mode !== 'tc')
    it(`${name}: the bouncer's XDP half alone carries what comes whole, and drops what is for nobody`, async () => {
      const { lab, pods, c } = s;
      const links = join(lab.dir, 'bpf', 'proxima', c.netns, readdirSync(join(lab.dir, 'bpf', 'proxima', c.netns))[0] ?? '', 'links');
      assert.equal(readdirSync(links).sort(), ['eth2', 'eth2~lan~xdp-native']);
      const slow = lab.runIn(pods.a1, 'curl', '-s', '--limit-rate', '3M', '--max-time', '10', '-o', '/dev/null', '-w', '%{size_download}', 'http://10.0.1.2/3000000');
      await new Promise((r) => setTimeout(r, 300));
      rmSync(join(links, 'eth2'));
      assert.is(ping(pods.a1, '10.0.1.2', '-s', '1200'), 0, JSON.stringify(await c.drops()));
      if (variant.lan === 'tap') assert.is((await slow).stdout, '3000000', 'a connection in progress');
      const before = (await c.drops())['no-route'] ?? 0;
      assert.is.not(ping(pods.a1, '10.0.1.99', ...FAILING), 0);
      assert.is((await c.drops())['no-route'], before + 2, 'dropped early');
      await c.crash();
      await c.start();
      await slow;
      assert.is(get(lab, pods.a1, 'http://10.0.1.2/1').status, 200, 'with both again');
    });

  if (variant.asked === 'auto') {
    it(`${name}: goes directly when the endpoint is known, and within a host`, async () => {
      await s.a.goal([...edgeGoal, ...allEndpoints, ...believed(B, C)]);
      await s.lab.pod('a3', s.a, 100, '10.0.1.3');
      ip('-n', s.c.netns, 'link', 'set', 'eth2', 'down');
      await s.b.goal([...edgeGoal, ...allEndpoints, ...believed(A, C)]);
      assert.is(ping(s.pods.a1, '10.0.1.2'), 0);
      assert.is(ping(s.pods.a1, '10.0.1.3'), 0);
      ip('-n', s.c.netns, 'link', 'set', 'eth2', 'up');
    });

    it(`${name}: reaches a network that only the divider knows over it and that network's bouncer`, async () => {
      const vpc: GoalEntry = { kind: 'vpc', vni: 100, cidr: '10.0.0.0/16', dividers: [C] };
      await s.a.goal([vpc, ...network(200, [C]), ...believed(B, C)]);
      await s.c.goal([vpc, { kind: 'network', vni: 100, cidr: '10.0.1.0/24', bouncers: [B] }, ...s.believedByC]);
      assert.is(ping(s.pods.a1, '10.0.1.2'), 0, JSON.stringify([await s.a.drops(), await s.b.drops(), await s.c.drops()]));
      assert.equal([get(s.lab, s.pods.a1, 'http://10.0.1.2/2000000').bytes, get(s.lab, s.pods.b1, 'http://10.0.1.1/2000000').bytes], [2_000_000, 2_000_000]);
      const [atDivider, atBouncer] = [(await s.c.drops())['no-route'] ?? 0, (await s.b.drops())['no-route'] ?? 0];
      assert.is.not(ping(s.pods.a1, '10.0.9.9', ...FAILING), 0);
      assert.is.not(ping(s.pods.a1, '10.0.1.99', ...FAILING), 0);
      assert.equal([(await s.c.drops())['no-route'], (await s.b.drops())['no-route']], [atDivider + 2, atBouncer + 2], 'each ends what it does not know');
      await s.c.goal([...edgeGoal, ...allEndpoints, ...s.believedByC]);
      await s.a.goal([...edgeGoal, ...allEndpoints, ...believed(B, C)]);
    });

    it(`${name}: drops and counts what it must not carry`, async () => {
      const before = await s.a.drops();
      ip('-n', s.pods.a1, 'address', 'add', '10.0.1.77/32', 'dev', 'eth0');
      assert.is.not(ping(s.pods.a1, '10.0.1.2', '-I', '10.0.1.77', ...FAILING), 0);
      assert.ok(((await s.a.drops())['spoofed'] ?? 0) >= (before['spoofed'] ?? 0) + 2, 'spoofed');
      assert.is.not(ping(s.pods.a1, '10.0.9.9', ...FAILING), 0);
      assert.is.not(ping(s.pods.a1, '8.8.8.8', ...FAILING), 0);
      assert.ok(((await s.a.drops())['no-route'] ?? 0) >= (before['no-route'] ?? 0) + 4, 'no-route');
      const unknown = (await s.c.drops())['no-route'] ?? 0;
      assert.is.not(ping(s.pods.a1, '10.0.1.200', ...FAILING), 0);
      assert.ok(((await s.c.drops())['no-route'] ?? 0) >= unknown + 2, 'the bouncer ends what it does not know');
      await s.b.goal([...edgeGoal, ...allEndpoints, ...believed(C)]);
      assert.is.not(ping(s.pods.a1, '10.0.1.2', ...FAILING), 0);
      assert.ok(((await s.b.drops())['not-believed'] ?? 0) >= 2, 'not believed');
      await s.b.goal([...edgeGoal, ...allEndpoints, ...believed(A, C)]);
      assert.is(ping(s.pods.a1, '10.0.1.2'), 0);
    });

    it(`${name}: a VNI that no goal names leads nowhere`, async () => {
      await s.a.goal([...network(200, [C]), ...believed(B, C)]);
      assert.is(ping(s.pods.a2, '10.0.1.2'), 0);
      assert.is.not(ping(s.pods.a1, '10.0.1.2', ...FAILING), 0);
      await s.a.goal([...edgeGoal, ...allEndpoints, ...believed(B, C)]);
      assert.is(ping(s.pods.a1, '10.0.1.2'), 0);
    });

    it(`${name}: a scaled endpoint is spread over pods here and elsewhere, stays with its connection and answers by its own name`, async () => {
      const scaled = (...addresses: readonly string[]): GoalEntry => ({ kind: 'scaled', vni: 100, address: '10.0.1.250', port: 8080, protocol: 'TCP', backends: addresses.map((address) => ({ address, port: 80, weight: 1 })) });
      await s.lab.serve('px-dp-f-a3', 80);
      const goal = (...addresses: readonly string[]): Promise<unknown> => s.a.goal([...edgeGoal, ...allEndpoints, ...believed(B, C), scaled(...addresses)]);
      await goal('10.0.1.1', '10.0.1.2', '10.0.1.3');
      const seen = new Set<string>();
      for (let i = 0; i < 16; i++) {
        const r = get(s.lab, s.pods.a1, 'http://10.0.1.250:8080/300000');
        assert.equal([r.status, r.bytes, r.client], [200, 300_000, '10.0.1.1']);
        seen.add(r.pod);
      }
      assert.equal([...seen].sort(), ['px-dp-f-a3', s.pods.b1].sort(), 'everybody but the caller itself');
      const slow = s.lab.runIn(s.pods.a1, 'curl', '-s', '--limit-rate', '2M', '-o', '/dev/null', '-w', '%{size_download}', 'http://10.0.1.250:8080/2000000');
      await new Promise((r) => setTimeout(r, 200));
      await goal('10.0.1.2');
      assert.is(get(s.lab, s.pods.a1, 'http://10.0.1.250:8080/1').pod, s.pods.b1);
      assert.is(get(s.lab, s.pods.a1, 'http://10.0.1.3/1').status, 200, 'directly, too');
      assert.is((await slow).stdout, '2000000');
      await goal('10.0.1.1');
      assert.is(get(s.lab, s.pods.a1, 'http://10.0.1.250:8080/1', 0.5).status, 0, 'only the caller is left');
    });

    it(`${name}: loses nothing when the daemon is killed, started again and given a goal`, async () => {
      const pinging = s.lab.runIn(s.pods.a1, 'ping', '-i', '0.01', '-c', '300', '-W', '1', '10.0.1.2');
      const streaming = s.lab.runIn(s.pods.a1, 'curl', '-s', '--limit-rate', '2M', '-o', '/dev/null', '-w', '%{http_code} %{size_download}', 'http://10.0.1.2/6000000');
      await new Promise((r) => setTimeout(r, 300));
      await Promise.all([s.a.crash(), s.b.crash()]);
      await new Promise((r) => setTimeout(r, 200));
      await Promise.all([s.a.start(), s.b.start()]);
      assert.equal((await s.a.call<{ endpoints: string[] }>('describe')).endpoints.sort(), ['100/10.0.1.1', '100/10.0.1.3', '200/10.0.1.1']);
      await s.a.goal([...edgeGoal, ...allEndpoints, ...believed(B, C)]);
      await s.b.goal([...edgeGoal, ...allEndpoints, ...believed(A, C)]);
      assert.match((await pinging).stdout, /300 received, 0% packet loss/);
      assert.is((await streaming).stdout, '200 6000000');
    });

    it(`${name}: an endpoint that moved is found at its new host as soon as the old one lets go`, async () => {
      const moved = [...edgeGoal, endpoint(100, '10.0.1.1', A), endpoint(100, '10.0.1.2', B), endpoint(100, '10.0.1.3', B), ...believed(B, C)];
      await s.lab.pod('b3', s.b, 100, '10.0.1.3');
      await s.a.goal(moved);
      assert.is(ping(s.pods.a1, '10.0.1.3'), 0, 'still here');
      await s.a.call('detachEndpoint', { vni: 100, address: '10.0.1.3' });
      assert.is(ping(s.pods.a1, '10.0.1.3'), 0, 'now there');
      assert.match(s.lab.in('px-dp-f-b3', 'nstat', '-az', 'IcmpInEchos').stdout, /IcmpInEchos\s+2\s/);
    });

    it(`${name}: takes an endpoint away, and everything when it leaves`, async () => {
      await s.b.call('detachEndpoint', { vni: 100, address: '10.0.1.2' });
      assert.is.not(ping(s.pods.a1, '10.0.1.2', ...FAILING), 0);
      await Promise.all([s.a, s.b, s.c].map((d) => d.call('remove')));
      assert.not.match(ip('-n', s.a.netns, 'link'), /px[0-9a-f]{11}/);
    });
  }

  it(`${name}: leaves nothing behind`, () => s.lab.close());
}

run();
