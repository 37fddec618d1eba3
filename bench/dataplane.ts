/**
 * What a packet costs in the data plane's programs, and what pods of two hosts get through it beside the kernel's own vxlan and bridge.
 *
 *   sudo ./proxima bench dataplane [rounds]        needs iperf3; about 90 s
 *
 * Programs: BPF_PROG_TEST_RUN, one packet a run (a second run would meet the packet that the first one changed), in turns of 300 runs of each
 * program after those of the measure: an empty program that finds one entry in a table of the same kind and shape as `endpoints`
 * (`bpf/floor.bpf.c`). A turn's figure is the mean without the slowest tenth; its ratio is to the measure of the same turn, and what is
 * printed is the median and the 99th percentile of 40 turns a round. Throughput: iperf3 TCP between pods of two hosts on a veth wire, both
 * ways in turn, medians. Then pods' packets over a bouncer on a third host in either mode, in turn: `dataPlane.mode: auto` goes by these figures.
 */
import { spawnSync } from 'node:child_process';
import type { GoalEntry } from '../api/goal.ts';
import { Lab, ip, macOf, whyNoDroplets, type Droplet } from '../test/kit/droplets.ts';
import { ethernet, geneve, udp } from '../test/kit/packets.ts';
import { median, quantile } from '../test/kit/quantile.ts';
import { GATEWAY_MAC } from '../dataplane/transit/links.ts';

const rounds = Number(process.argv[2] ?? 5);
const VNI = 77;
const [A, B, C] = ['192.168.50.11', '192.168.50.12', '192.168.50.13'] as const;
const POD_MTU = 1450;

const why = whyNoDroplets() ?? (spawnSync('iperf3', ['--version']).error === undefined ? null : 'iperf3 is not installed');
if (why !== null) {
  console.error(`bench/dataplane: ${why}`);
  process.exit(2);
}

interface Hosts {
  readonly lab: Lab;
  readonly a: Droplet;
  readonly b: Droplet;
}

async function hosts(): Promise<Hosts> {
  const lab = new Lab('px-dp-n');
  const [na, nb] = [lab.netns('a'), lab.netns('b')];
  ip('link', 'add', 'eth2', 'netns', na, 'type', 'veth', 'peer', 'name', 'eth2', 'netns', nb);
  for (const [ns, address] of [[na, A], [nb, B]] as const) {
    ip('-n', ns, 'address', 'add', `${address}/24`, 'dev', 'eth2');
    ip('-n', ns, 'link', 'set', 'eth2', 'up');
  }
  const droplet = (ns: string, address: string): Promise<Droplet> => lab.droplet(ns, { interface: 'eth2', address, tunnel: null, uplink: null });
  const [a, b] = [await droplet(na, A), await droplet(nb, B)];
  for (const [d, other] of [[a, B], [b, A]] as const) {
    await d.goal([
      { kind: 'vpc', vni: VNI, cidr: '10.0.0.0/16', dividers: [] },
      { kind: 'endpoint', vni: VNI, address: '10.0.1.1', mac: macOf('10.0.1.1'), droplet: A },
      { kind: 'endpoint', vni: VNI, address: '10.0.1.2', mac: macOf('10.0.1.2'), droplet: B },
      { kind: 'endpoint', vni: VNI, address: '10.0.1.3', mac: macOf('10.0.1.3'), droplet: C },
      { kind: 'droplet', address: other, mac: null },
      { kind: 'droplet', address: C, mac: '02:aa:aa:aa:aa:03' },
    ]);
  }
  return { lab, a, b };
}

/** The same hosts and wire with vxlan and a bridge on each. */
function vxlanPod(lab: Lab, host: string, self: string, peer: string, name: string, address: string): string {
  const ns = lab.netns(name);
  ip('-n', host, 'link', 'add', 'vx0', 'type', 'vxlan', 'id', '7', 'local', self, 'remote', peer, 'dstport', '4789', 'dev', 'eth2');
  ip('-n', host, 'link', 'add', 'br0', 'type', 'bridge');
  ip('-n', host, 'link', 'add', 'vxpod', 'mtu', String(POD_MTU), 'type', 'veth', 'peer', 'name', 'eth0', 'mtu', String(POD_MTU), 'netns', ns);
  for (const port of ['vx0', 'vxpod']) ip('-n', host, 'link', 'set', port, 'master', 'br0', 'up');
  ip('-n', host, 'link', 'set', 'br0', 'up');
  ip('-n', ns, 'address', 'add', `${address}/24`, 'dev', 'eth0');
  ip('-n', ns, 'link', 'set', 'eth0', 'up');
  return ns;
}

function gigabits(lab: Lab, from: string, to: string): number {
  const r = lab.in(from, 'iperf3', '-c', to, '-t', '2', '-J');
  const out = JSON.parse(r.stdout) as { readonly end?: { readonly sum_received?: { readonly bits_per_second: number } }; readonly error?: string };
  if (out.end?.sum_received === undefined) throw new Error(`iperf3 in ${from}: ${out.error ?? r.stdout}`);
  return out.end.sum_received.bits_per_second / 1e9;
}

async function throughput({ lab, a, b }: Hosts): Promise<void> {
  const ours = [await lab.pod('p1', a, VNI, '10.0.1.1', POD_MTU), await lab.pod('p2', b, VNI, '10.0.1.2', POD_MTU)] as const;
  const theirs = [vxlanPod(lab, a.netns, A, B, 'v1', '10.9.0.1'), vxlanPod(lab, b.netns, B, A, 'v2', '10.9.0.2')] as const;
  for (const ns of [...ours, ...theirs]) lab.spawnIn(ns, 'iperf3', '-s');
  await new Promise((r) => setTimeout(r, 500));
  const seen = { ours: [] as number[], vxlan: [] as number[] };
  for (let i = 0; i < rounds; i++) {
    const forth = i % 2 === 0;
    const measure = { ours: () => seen.ours.push(gigabits(lab, ours[forth ? 0 : 1], forth ? '10.0.1.2' : '10.0.1.1')), vxlan: () => seen.vxlan.push(gigabits(lab, theirs[forth ? 0 : 1], forth ? '10.9.0.2' : '10.9.0.1')) };
    for (const which of i % 4 < 2 ? (['ours', 'vxlan'] as const) : (['vxlan', 'ours'] as const)) measure[which]();
  }
  const ratios = seen.ours.map((x, i) => x / (seen.vxlan[i] ?? 1));
  const all = (values: readonly number[]): string => values.map((v) => v.toFixed(1)).join(' ');
  console.log(`pod to pod, TCP, Gbit/s: ours ${median(seen.ours).toFixed(2)} [${all(seen.ours)}], vxlan and bridge ${median(seen.vxlan).toFixed(2)} [${all(seen.vxlan)}], ratio of a round ${median(ratios).toFixed(2)} (floor 0.9)`);
}

async function programs({ lab, a }: Hosts): Promise<void> {
  await lab.pod('p3', a, VNI, '10.0.1.4', POD_MTU);
  const links = ip('-n', a.netns, '-o', 'link');
  const pod = Number(/^(\d+): px[0-9a-f]{11}[@:]/m.exec(links)?.[1]);
  const lan = Number(/^(\d+): eth2[@:]/m.exec(links)?.[1]);
  const source = macOf('10.0.1.4');
  const wire = '02:aa:aa:aa:aa:02';
  const inner = (src: string, dst: string): Buffer => Buffer.concat([ethernet(GATEWAY_MAC, source), udp({ src, sport: 4_000, dst, dport: 4_001 }, Buffer.alloc(64))]);
  const tunnelled = (frame: Buffer): Buffer => Buffer.concat([ethernet(wire, wire), geneve(VNI, B, A, frame.length, { sourcePort: 50_000 }), frame]);
  const cases: readonly (readonly [string, string, Buffer, number])[] = [
    ['encapsulate', 'from_pod', inner('10.0.1.4', '10.0.1.2'), pod],
    ['decapsulate', 'from_lan', tunnelled(inner('10.0.1.2', '10.0.1.4')), lan],
    ['bounce', 'from_lan', tunnelled(inner('10.0.1.2', '10.0.1.3')), lan],
    ['bounce in XDP', 'from_lan_xdp', tunnelled(inner('10.0.1.2', '10.0.1.3')), 0],
  ];
  const turns = await a.call<readonly (readonly number[])[]>('inTurn', cases.map(([, program, packet, ifindex]) => [program, packet.toString('hex'), ifindex]), 40 * rounds, 300);
  const of = (i: number): readonly number[] => turns.map((t) => t[i] ?? 0);
  console.log(`programs, ns a packet: the measure (an empty program with one lookup) ${median(of(0)).toFixed(0)}`);
  for (const [i, [name]] of cases.entries()) {
    const ratios = turns.map((t) => (t[i + 1] ?? 0) / (t[0] ?? 1));
    console.log(`  ${name} ${median(of(i + 1)).toFixed(0)}: ${median(ratios).toFixed(2)} times, p99 ${quantile(ratios, 0.99).toFixed(2)} (floor 3)`);
  }
}

const MODES = ['tcx', 'xdp'] as const;
type BouncerMode = (typeof MODES)[number];

interface Bounced {
  readonly lab: Lab;
  readonly pods: readonly [string, string];
}

/** Pods of two hosts whose packets all go over a third, the bouncer, which has one interface. */
async function overBouncer(mode: BouncerMode): Promise<Bounced> {
  const lab = new Lab(`px-dp-n${mode[0]}`);
  const lan = lab.network('lan');
  const names = ['a', 'b', 'c'].map((n) => lab.netns(n));
  for (const [i, ns] of names.entries()) {
    lab.plug(ns, lan, 'eth2', `${[A, B, C][i]}/24`);
    lab.in(lan, 'ethtool', '-K', `p${i}`, 'gro', 'on'); // else it takes nothing from XDP
  }
  const droplet = (i: number, asked: BouncerMode): Promise<Droplet> => lab.droplet(names[i] ?? '', { interface: 'eth2', address: [A, B, C][i] ?? '', tunnel: null, uplink: null, mode: asked });
  const [a, b, c] = [await droplet(0, 'tcx'), await droplet(1, 'tcx'), await droplet(2, mode)];
  const edge: readonly GoalEntry[] = [{ kind: 'vpc', vni: VNI, cidr: '10.0.0.0/16', dividers: [] }, { kind: 'network', vni: VNI, cidr: '10.0.1.0/24', bouncers: [C] }];
  const believed = (...which: readonly number[]): readonly GoalEntry[] => which.map((i) => ({ kind: 'droplet', address: [A, B, C][i] ?? '', mac: /link\/ether (\S+)/.exec(ip('-n', names[i] ?? '', '-o', 'link', 'show', 'dev', 'eth2'))?.[1] ?? null }));
  const endpoints: readonly GoalEntry[] = [A, B].map((at, i) => ({ kind: 'endpoint', vni: VNI, address: `10.0.1.${i + 1}`, mac: macOf(`10.0.1.${i + 1}`), droplet: at }));
  await a.goal([...edge, ...believed(1, 2)]);
  await b.goal([...edge, ...believed(0, 2)]);
  await c.goal([...edge, ...endpoints, ...believed(0, 1)]);
  const pods = [await lab.pod('p1', a, VNI, '10.0.1.1', POD_MTU), await lab.pod('p2', b, VNI, '10.0.1.2', POD_MTU)] as const;
  for (const ns of pods) lab.spawnIn(ns, 'iperf3', '-s');
  await new Promise((r) => setTimeout(r, 500));
  return { lab, pods };
}

/** Thousands of 64-byte datagrams a second that arrive. Their checksums are whole, as on a wire: others XDP leaves to tc. */
function datagrams({ lab, pods }: Bounced): number {
  lab.in(pods[0], 'ethtool', '-K', 'eth0', 'tx', 'off');
  const r = lab.in(pods[0], 'iperf3', '-c', '10.0.1.2', '-u', '-b', '0', '-l', '64', '-t', '2', '-J');
  lab.in(pods[0], 'ethtool', '-K', 'eth0', 'tx', 'on');
  const sum = (JSON.parse(r.stdout) as { readonly end?: { readonly sum?: { readonly packets: number; readonly lost_packets: number; readonly seconds: number } } }).end?.sum;
  if (sum === undefined) throw new Error(`iperf3 in ${pods[0]}: ${r.stdout}`);
  return (sum.packets - sum.lost_packets) / sum.seconds / 1e3;
}

async function bouncer(): Promise<void> {
  const labs: Partial<Record<BouncerMode, Bounced>> = {};
  try {
    for (const mode of MODES) labs[mode] = await overBouncer(mode);
    const seen = { tcx: { tcp: [] as number[], udp: [] as number[] }, xdp: { tcp: [] as number[], udp: [] as number[] } };
    for (let i = 0; i < rounds; i++) {
      for (const mode of i % 2 === 0 ? MODES : MODES.toReversed()) {
        const at = labs[mode] as Bounced;
        seen[mode].tcp.push(gigabits(at.lab, at.pods[0], '10.0.1.2'));
        seen[mode].udp.push(datagrams(at));
      }
    }
    for (const [what, kind] of [['TCP, Gbit/s', 'tcp'], ['datagrams of 64 bytes, thousand/s', 'udp']] as const) {
      const [tcx, xdp] = [seen.tcx[kind], seen.xdp[kind]];
      console.log(`over a bouncer on veth, ${what}: tcx ${median(tcx).toFixed(2)}, XDP ${median(xdp).toFixed(2)}, ratio of a round ${median(xdp.map((x, i) => x / (tcx[i] ?? 1))).toFixed(2)}`);
    }
  } finally {
    for (const l of Object.values(labs)) await l.lab.close();
  }
}

const h = await hosts();
try {
  await programs(h);
  await throughput(h);
} finally {
  await h.lab.close();
}
await bouncer();
