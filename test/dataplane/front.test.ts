import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { FrontMode } from '../../dataplane/transit/uplink.ts';
import type { GoalBackend, GoalEntry } from '../../api/goal.ts';
import { get, Lab, macOf, whyNoDroplets, type Droplet } from '../kit/droplets.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('dataplane/front', { timeoutMs: 40_000 });

const VNI = 300;
const [H1, H2, G2] = ['192.168.50.11', '192.168.50.12', '192.168.50.12'] as const;
const G1 = '192.168.50.11';
const [R1, R2] = ['100.64.1.1', '100.64.2.1'] as const;
const VIP = '192.0.2.1';

const entries = (site: 1 | 2, relay: string): readonly GoalEntry[] => [
  { kind: 'vpc', vni: VNI, cidr: '10.0.0.0/16', dividers: [] },
  { kind: 'network', vni: VNI, cidr: `10.0.${site}.0/24`, bouncers: ['192.168.50.11'] },
  { kind: 'route', vni: VNI, cidr: `10.0.${3 - site}.0/24`, relay },
];
const endpoint = (address: string, droplet: string): GoalEntry => ({ kind: 'endpoint', vni: VNI, address, mac: macOf(address), droplet });
const believed = (...addresses: readonly string[]): readonly GoalEntry[] => addresses.map((address) => ({ kind: 'droplet', address, mac: null }));
const backend = (address: string, weight = 1): GoalBackend => ({ address, port: 80, weight });
const front = (port: number, application: number, ...backends: readonly GoalBackend[]): GoalEntry => ({ kind: 'front', address: VIP, port, protocol: 'TCP', vni: VNI, application, backends });

/** WireGuard between the two relays, by the gateway's own module; each end in its host's namespace. */
function tunnel(lab: Lab): readonly [string, string] {
  const suffix = randomBytes(3).toString('hex');
  const names = [`pxdpa${suffix}`, `pxdpb${suffix}`] as const;
  const module = JSON.stringify(join(import.meta.dirname, '../../gateway/tunnel/wireguard.ts'));
  const log = JSON.stringify(join(import.meta.dirname, '../../base/log.ts'));
  const inside = (ns: string, code: string): string =>
    execFileSync('nsenter', [`--net=/run/netns/${ns}`, '--', process.execPath, '--input-type=module', '-e', `import { ensureTunnel, ensureTunnelKey } from ${module}; import { silentLogger as log } from ${log}; ${code}`], { encoding: 'utf8' }).trim();
  const keys = ['a', 'b'].map((k) => inside('px-dp-r-h1', `console.log(ensureTunnelKey(${JSON.stringify(join(lab.dir, k))}))`));
  for (const [i, ns] of (['px-dp-r-h1', 'px-dp-r-g1'] as const).entries()) {
    const spec = { interface: names[i], address: `${[R1, R2][i]}/32`, privateKeyFile: join(lab.dir, 'ab'[i] ?? ''), listenPort: 51_820, mtu: 1_420, peers: [{ publicKey: keys[1 - i], endpoint: `192.0.2.${2 - i}:51820`, allowedIps: [`${[R2, R1][i]}/32`], keepalive: 25 }] };
    inside(ns, `await ensureTunnel(${JSON.stringify(spec)}, log)`);
  }
  return names;
}

/** Site 1: h1 (front, relay), h2. Site 2: g1 (relay), g2. Both sites use the same LAN addresses. A client on the wide network. */
/** By what the client's packets come in: a veth is tc's, a tap without offloads is as good as a wire, and so is a veth whose senders finish their checksums. */
const VARIANTS = [
  { uplink: 'veth', asked: 'auto', mode: 'tc' },
  { uplink: 'tap', asked: 'auto', mode: 'xdp-native' },
  { uplink: 'finished veth', asked: 'xdp-generic', mode: 'xdp-generic' },
] as const satisfies readonly { readonly uplink: string; readonly asked: FrontMode | 'auto'; readonly mode: FrontMode }[];

async function world(variant: (typeof VARIANTS)[number]): Promise<{ lab: Lab; client: string; h1: Droplet; h2: Droplet; g1: Droplet; g2: Droplet; tunnels: readonly (readonly [string, string])[] }> {
  const lab = new Lab('px-dp-r');
  const [lan1, lan2, wan] = ['lan1', 'lan2', 'wan'].map((n) => lab.network(n)) as [string, string, string];
  const ns = Object.fromEntries(['h1', 'h2', 'g1', 'g2', 'client'].map((n) => [n, lab.netns(n)])) as Record<'h1' | 'h2' | 'g1' | 'g2' | 'client', string>;
  for (const [host, lan, address] of [[ns.h1, lan1, H1], [ns.h2, lan1, H2], [ns.g1, lan2, G1], [ns.g2, lan2, G2]] as const) lab.plug(host, lan, 'eth2', `${address}/24`);
  const uplinks = [[ns.h1, VIP], [ns.g1, '192.0.2.2'], [ns.client, '192.0.2.100']].map(([host = '', address = '']) => [host, `${address}/24`] as const);
  if (variant.uplink === 'tap') await lab.plugByTaps(wan, 'eth1', uplinks);
  else for (const [host, address] of uplinks) lab.plug(host, wan, 'eth1', address);
  if (variant.uplink === 'finished veth') for (const host of [ns.g1, ns.client]) assert.is(lab.in(host, 'ethtool', '-K', 'eth1', 'tx', 'off').status, 0);
  const [wa, wb] = tunnel(lab);
  const [h1, h2, g1, g2] = (await Promise.all([
    lab.droplet(ns.h1, { interface: 'eth2', address: H1, tunnel: { interface: wa, address: R1 }, uplink: 'eth1', frontMode: variant.asked }),
    lab.droplet(ns.h2, { interface: 'eth2', address: H2, tunnel: null, uplink: null }),
    lab.droplet(ns.g1, { interface: 'eth2', address: G1, tunnel: { interface: wb, address: R2 }, uplink: null }),
    lab.droplet(ns.g2, { interface: 'eth2', address: G2, tunnel: null, uplink: null }),
  ])) as [Droplet, Droplet, Droplet, Droplet];
  return { lab, client: ns.client, h1, h2, g1, g2, tunnels: [[ns.h1, wa], [ns.g1, wb]] };
}

const reason = whyNoDroplets();
if (reason !== null) skip('clients reach pods', reason);
else for (const variant of VARIANTS) {
  const { mode } = variant;
  let w: Awaited<ReturnType<typeof world>>;
  let pods: Readonly<Record<'h1' | 'h2' | 'g2', string>>;
  const h1Goal = (...fronts: readonly GoalEntry[]): readonly GoalEntry[] => [...entries(1, R2), endpoint('10.0.1.1', H1), endpoint('10.0.1.2', H2), ...believed(H2, R2), { kind: 'client-region', cidr: '192.0.2.0/25', id: 7 }, ...fronts];
  const allFronts = [front(8001, 1, backend('10.0.1.1')), front(8002, 2, backend('10.0.1.2')), front(8003, 3, backend('10.0.2.2'))];

  it(`${mode}: pods of two sites reach each other through both relays`, async () => {
    w = await world(variant);
    const { lab, h1, h2, g1, g2 } = w;
    pods = { h1: await lab.pod('ph1', h1, VNI, '10.0.1.1'), h2: await lab.pod('ph2', h2, VNI, '10.0.1.2'), g2: await lab.pod('pg2', g2, VNI, '10.0.2.2') };
    await h1.goal(h1Goal(...allFronts));
    await h2.goal([...entries(1, H1), ...believed(H1)]);
    await g1.goal([...entries(2, R1), endpoint('10.0.2.2', G2), ...believed(G2, R1)]);
    await g2.goal([...entries(2, G1), ...believed(G1)]);
    assert.is((await h1.call<{ mode: { front: string } }>('describe')).mode.front, mode);
    for (const ns of Object.values(pods)) await lab.serve(ns, 80);
    for (const [from, to] of [[pods.h2, '10.0.2.2'], [pods.h1, '10.0.2.2'], [pods.g2, '10.0.1.2'], [pods.g2, '10.0.1.1']] as const) {
      const p = lab.in(from, 'ping', '-c', '2', '-i', '0.1', '-W', '2', '-s', '1332', '-M', 'do', to);
      assert.is(p.status, 0, `${from} -> ${to}: ${JSON.stringify([await h1.drops(), await h2.drops(), await g1.drops(), await g2.drops()])}`);
      const r = get(lab, from, `http://${to}/1000000`);
      assert.equal([r.status, r.bytes], [200, 1_000_000], `${from} -> ${to}`);
    }
  });

  it(`${mode}: a client reaches a pod on the front's host, on another host of the site, and behind the tunnel`, async () => {
    for (const [port, pod] of [[8001, pods.h1], [8002, pods.h2], [8003, pods.g2]] as const) {
      for (let i = 0; i < 5; i++) {
        const r = get(w.lab, w.client, `http://${VIP}:${port}/1000000`);
        assert.equal([r.status, r.bytes, r.pod, r.client], [200, 1_000_000, pod, '192.0.2.100'], `port ${port}: ${JSON.stringify([await w.h1.drops(), await w.h2.drops(), await w.g1.drops(), await w.g2.drops()])}`);
      }
    }
    const up = w.lab.in(w.client, 'sh', '-c', `head -c 1000000 /dev/zero | curl -s --max-time 8 -o /dev/null -w '%{http_code} %{size_upload}' --data-binary @- http://${VIP}:8003/1`);
    assert.is(up.stdout, '200 1000000', 'uploads too');
    for (const ns of [w.client, ...Object.values(pods)]) assert.match(w.lab.in(ns, 'nstat', '-az', 'TcpInCsumErrors').stdout, /TcpInCsumErrors\s+0\s/);
  });

  it(`${mode}: counts connections, bytes and round trips by application and client region`, async () => {
    const rows = await w.h1.counters();
    for (const application of [1, 2, 3]) {
      const r = rows.find((x) => x.application === application);
      assert.ok(r, `application ${application}`);
      assert.is(r?.clientRegion, 7);
      assert.is(r?.connections, application === 3 ? 6 : 5);
      assert.ok((r?.bytesOut ?? 0) > 5_000_000 && (r?.bytesIn ?? 0) > 1_000, JSON.stringify(r));
      assert.ok((r?.rttMs ?? 0) > 0 && (r?.rttMs ?? 0) < 1_000, JSON.stringify(r));
    }
  });

  it(`${mode}: what is no front passes to the host`, () => {
    assert.is(w.lab.in(w.client, 'ping', '-c', '1', '-W', '2', VIP).status, 0);
    assert.is(get(w.lab, w.client, `http://${VIP}:9999/`).status, 0);
  });

  it(`${mode}: spreads by weight, and a drained backend keeps its connections and gets no new ones`, async () => {
    await w.h1.goal(h1Goal(front(8004, 4, backend('10.0.1.1'), backend('10.0.1.2'))));
    const seen = new Set<string>();
    for (let i = 0; i < 16; i++) seen.add(get(w.lab, w.client, `http://${VIP}:8004/1`).pod);
    assert.equal([...seen].sort(), [pods.h1, pods.h2].sort());
    await w.h1.goal(h1Goal(front(8004, 4, backend('10.0.1.1'))));
    const slow = w.lab.runIn(w.client, 'curl', '-s', '--limit-rate', '3M', '--max-time', '10', '-D', '-', '-o', '/dev/null', '-w', '%{size_download}', `http://${VIP}:8004/6000000`);
    await new Promise((r) => setTimeout(r, 400));
    await w.h1.goal(h1Goal(front(8004, 4, backend('10.0.1.1', 0), backend('10.0.1.2'))));
    for (let i = 0; i < 8; i++) assert.is(get(w.lab, w.client, `http://${VIP}:8004/1`).pod, pods.h2);
    const done = (await slow).stdout;
    assert.match(done, new RegExp(`x-pod: ${pods.h1}`));
    assert.ok(done.endsWith('6000000'), done);
    await w.h1.goal(h1Goal(front(8004, 4, backend('10.0.1.1', 0))));
    assert.is(get(w.lab, w.client, `http://${VIP}:8004/1`, 0.5).status, 0, 'no backend');
    assert.ok(((await w.h1.drops())['no-backend'] ?? 0) > 0);
  }, { timeoutMs: 60_000 });

  it(`${mode}: leaves nothing behind`, async () => {
    // wireguard-go ends, with its socket, when its interface goes; with the namespace it would only lose it.
    for (const [ns, name] of w.tunnels) w.lab.in(ns, 'ip', 'link', 'delete', name);
    await w.lab.close();
  });
}

run();
