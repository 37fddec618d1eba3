import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { GATEWAY_MAC } from '../../dataplane/transit/links.ts';
import { SIZES } from '../../dataplane/transit/layout.ts';
import { Lab, ip, macOf, whyNoDroplets, type Droplet } from '../kit/droplets.ts';
import { arp, checksum, ethernet, geneve, parseIp, pcap, TCP, tcp, u16, udp } from '../kit/packets.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('dataplane/bytes', { timeoutMs: 20_000 });

const REDIRECT = 7;
const SHOT = 2;
const PASS = 0;
const VNI = 0x1234;
const [US, PEER, FAR] = ['192.168.50.11', '192.168.50.12', '192.168.50.13'] as const;
const [POD, REMOTE, BACKEND_PORT] = ['10.0.1.1', '10.0.1.2', 8080] as const;
const [CLIENT, VIP] = ['203.0.113.9', '192.0.2.1'] as const;
const podMac = macOf(POD);
const PEER_MAC = '02:dd:dd:dd:dd:02';
const wire = '02:aa:aa:aa:aa:02';
const toPeer = { src: POD, sport: 5_000, dst: REMOTE, dport: 7_001 };

const btf = spawnSync('bpftool', ['btf', 'dump', 'file', join(import.meta.dirname, '../../dataplane/bpf/transit.bpf.o')], { encoding: 'utf8' });
if (btf.status !== 0) skip('shapes are as the object has them', 'bpftool is not installed, or the object is not built');
else
  it('shapes are as the object has them', () => {
    const sizes = Object.fromEntries([...btf.stdout.matchAll(/STRUCT '(\w+)' size=(\d+)/g)].map((m) => [m[1], Number(m[2])]));
    for (const [name, size] of Object.entries(SIZES)) assert.is(sizes[name], size, name);
  });

const reason = whyNoDroplets();
if (reason !== null) skip('bytes of packets', reason);
else {
  let lab: Lab;
  let d: Droplet;
  let tap: number;
  let lan: number;
  const frames: Buffer[] = [];
  const runOn = async (program: string, packet: Buffer, ifindex: number): Promise<{ verdict: number; output: Buffer }> => {
    const r = await d.call<{ verdict: number; output: string }>('testRunHex', program, packet.toString('hex'), ifindex);
    return { verdict: r.verdict, output: Buffer.from(r.output, 'hex') };
  };
  const fromPod = (packet: Buffer, source = podMac): Promise<{ verdict: number; output: Buffer }> => runOn('from_pod', Buffer.concat([ethernet(GATEWAY_MAC, source), packet]), tap);
  const fromLan = (vni: number, from: string, inner: Buffer, o: Partial<Parameters<typeof geneve>[4]> = {}): Promise<{ verdict: number; output: Buffer }> =>
    runOn('from_lan', Buffer.concat([ethernet(wire, wire), geneve(vni, from, US, 14 + inner.length, { sourcePort: 50_000, ...o }), ethernet(podMac, '02:bb:bb:bb:bb:02'), inner]), lan);
  const dropsOf = async (reasonName: string): Promise<number> => (await d.drops())[reasonName] ?? 0;

  it('encapsulates: exact bytes', async () => {
    lab = new Lab('px-dp-b');
    const network = lab.network('lan');
    const ns = lab.netns('host');
    lab.plug(ns, network, 'eth2', `${US}/24`);
    ip('-n', ns, 'tuntap', 'add', 'vm0', 'mode', 'tap');
    d = await lab.droplet(ns, { interface: 'eth2', address: US, tunnel: null, uplink: 'eth2' });
    await d.attach({ vni: VNI, address: POD, mac: podMac, tapName: 'vm0', ifName: 'eth0', mtu: 1360, gateway: '169.254.1.1' });
    const index = (name: string): number => Number(/^(\d+):/.exec(ip('-n', ns, '-o', 'link', 'show', 'dev', name))?.[1]);
    tap = index('vm0');
    lan = index('eth2');
    await d.goal([
      { kind: 'vpc', vni: VNI, cidr: '10.0.0.0/16', dividers: [] },
      { kind: 'network', vni: VNI, cidr: '10.0.1.0/24', bouncers: [FAR] },
      { kind: 'endpoint', vni: VNI, address: REMOTE, mac: macOf(REMOTE), droplet: PEER },
      { kind: 'droplet', address: PEER, mac: PEER_MAC },
      ...(['TCP', 'UDP'] as const).map((protocol) => ({ kind: 'front' as const, address: VIP, port: 80, protocol, vni: VNI, application: 9, backends: [{ address: POD, port: BACKEND_PORT, weight: 1 }] })),
    ]);
    const inner = udp(toPeer, 'hello');
    const { verdict, output } = await fromPod(inner);
    frames.push(output);
    assert.is(verdict, REDIRECT);
    const sourcePort = output.readUInt16BE(34);
    assert.ok(sourcePort >= 0xc000, 'the hash is in the source port');
    assert.is(output.subarray(14).toString('hex'), Buffer.concat([geneve(VNI, US, PEER, 14 + inner.length, { sourcePort }), ethernet(GATEWAY_MAC, podMac), inner]).toString('hex'));
  });

  it('what only a bouncer knows goes to the bouncer', async () => {
    const { output } = await fromPod(udp({ ...toPeer, dst: '10.0.1.99' }, 'x'));
    assert.is([...output.subarray(30, 34)].join('.'), FAR);
  });

  it('decapsulates: the pod\'s MAC, the gateway\'s as sender, the packet untouched, options skipped', async () => {
    const inner = udp({ src: REMOTE, sport: 53, dst: POD, dport: 5_000 }, 'answer');
    const want = Buffer.concat([ethernet(podMac, GATEWAY_MAC), inner]).toString('hex');
    for (const options of [Buffer.alloc(0), Buffer.from('0100800100000000', 'hex'), Buffer.alloc(60)]) {
      const { verdict, output } = await fromLan(VNI, PEER, inner, { options });
      assert.equal([verdict, output.toString('hex')], [REDIRECT, want], `${options.length} bytes of options`);
    }
  });

  it('refuses strangers, critical options, other VNIs, spoofed addresses and MACs, and leaves other traffic alone', async () => {
    const inner = udp({ src: REMOTE, sport: 53, dst: POD, dport: 5_000 }, 'x');
    const counted = async (name: string, act: () => Promise<{ verdict: number }>): Promise<void> => {
      const before = await dropsOf(name);
      assert.equal([(await act()).verdict, await dropsOf(name)], [SHOT, before + 1], name);
    };
    await counted('not-believed', () => fromLan(VNI, '192.168.50.99', inner));
    await counted('unsupported', () => fromLan(VNI, PEER, inner, { flags: 0x40 }));
    await counted('no-route', () => fromLan(VNI + 1, PEER, inner));
    await counted('malformed', () => fromLan(VNI, PEER, inner.subarray(0, 22)));
    await counted('spoofed', () => fromPod(udp({ ...toPeer, src: '10.0.1.7' }, 'x')));
    await counted('spoofed', () => fromPod(udp(toPeer, 'x'), '02:00:00:00:00:99'));
    await counted('unknown-port', () => runOn('from_pod', Buffer.concat([ethernet(GATEWAY_MAC, podMac), udp(toPeer, 'x')]), lan));
    const other = Buffer.concat([ethernet(wire, wire), udp({ src: PEER, sport: 1, dst: US, dport: 53 }, 'dns')]);
    assert.equal(await runOn('from_lan', other, lan), { verdict: PASS, output: other });
  });

  it('a packet that a bouncer passes on loses one hop and keeps its bytes', async () => {
    const inner = udp({ src: POD, sport: 1, dst: REMOTE, dport: 2 }, 'through');
    const frame = (ttl: number): Buffer => Buffer.concat([ethernet(wire, wire), geneve(VNI, PEER, US, 14 + inner.length, { sourcePort: 50_000, ttl }), ethernet(podMac, wire), inner]);
    const { verdict, output } = await runOn('from_lan', frame(9), lan);
    assert.is(verdict, REDIRECT);
    assert.is(output.subarray(14).toString('hex'), Buffer.concat([geneve(VNI, US, PEER, 14 + inner.length, { sourcePort: 50_000, ttl: 8 }), frame(9).subarray(50)]).toString('hex'));
    const before = await dropsOf('ttl');
    assert.is((await runOn('from_lan', frame(1), lan)).verdict, SHOT);
    assert.is(await dropsOf('ttl'), before + 1);
  });

  it('the bouncer in XDP sends back the same bytes, and leaves to tc what it must', async () => {
    const REDIRECT_XDP = 4;
    const [DROP_XDP, PASS_XDP] = [1, 2];
    const ports = { src: POD, sport: 1, dst: REMOTE, dport: 2 };
    const frame = (inner: Buffer, from: string = PEER, ttl = 9): Buffer => Buffer.concat([ethernet(wire, '02:cc:cc:cc:cc:02'), geneve(VNI, from, US, 14 + inner.length, { sourcePort: 50_000, ttl }), ethernet(podMac, wire), inner]);
    const whole = frame(udp(ports, 'through'));
    const { verdict, output } = await runOn('from_lan_xdp', whole, 0);
    assert.is(verdict, REDIRECT_XDP);
    assert.is(output.toString('hex'), Buffer.concat([ethernet(PEER_MAC, wire), geneve(VNI, US, PEER, whole.length - 50, { sourcePort: 50_000, ttl: 8 }), whole.subarray(50)]).toString('hex'));
    frames.push(output);
    const verdictOf = async (packet: Buffer): Promise<number> => (await runOn('from_lan_xdp', packet, 0)).verdict;
    assert.is(await verdictOf(frame(tcp(ports, TCP.ack, 'data'))), REDIRECT_XDP);
    assert.is(await verdictOf(frame(udp(ports, 'x', { noChecksum: true }))), REDIRECT_XDP);
    assert.is(await verdictOf(frame(tcp(ports, TCP.syn))), PASS_XDP, 'a SYN, which may announce too much');
    for (const [protocol, packet, at] of [[6, tcp(ports, TCP.ack, 'data'), 36], [17, udp(ports, 'data'), 26]] as const) {
      const pseudo = checksum(packet.subarray(12, 20), Buffer.from([0, protocol]), u16(packet.length - 20));
      packet.writeUInt16BE(~pseudo & 0xffff, at);
      assert.is(await verdictOf(frame(packet)), PASS_XDP, 'a checksum that the sender left to the device');
    }
    assert.is(await verdictOf(frame(udp({ ...ports, dst: POD }, 'x'))), PASS_XDP, 'what ends here');
    assert.is(await verdictOf(Buffer.concat([ethernet(wire, wire), udp({ src: PEER, sport: 1, dst: US, dport: 53 }, 'dns')])), PASS_XDP, 'what is not ours');
    const counted = async (name: string, packet: Buffer): Promise<void> => {
      const before = await dropsOf(name);
      assert.equal([await verdictOf(packet), await dropsOf(name)], [DROP_XDP, before + 1], name);
    };
    await counted('not-believed', frame(udp(ports, 'x'), '192.168.50.99'));
    await counted('no-route', frame(udp({ ...ports, dst: '10.0.1.98' }, 'x')));
    await counted('ttl', frame(udp(ports, 'x'), PEER, 1));
  });

  it('answers ARP for every address but the pod\'s own', async () => {
    const ask = (target: string, sender: string = POD): Promise<{ verdict: number; output: Buffer }> =>
      runOn('from_pod', Buffer.concat([ethernet('ff:ff:ff:ff:ff:ff', podMac, 0x0806), arp(1, { mac: podMac, ip: sender }, { mac: '00:00:00:00:00:00', ip: target })]), tap);
    const { verdict, output } = await ask('169.254.1.1');
    assert.is(verdict, REDIRECT);
    assert.is(output.toString('hex'), Buffer.concat([ethernet(podMac, GATEWAY_MAC, 0x0806), arp(2, { mac: GATEWAY_MAC, ip: '169.254.1.1' }, { mac: podMac, ip: POD })]).toString('hex'));
    assert.is((await ask(POD)).verdict, SHOT, 'announcing itself');
    assert.is((await ask(POD, '0.0.0.0')).verdict, SHOT, 'probing for itself');
    assert.is((await ask('169.254.1.1', '10.0.1.7')).verdict, SHOT, 'as somebody else');
  });

  it('the front rewrites there and back with right checksums: TCP, UDP, UDP without one', async () => {
    const there = { src: CLIENT, sport: 40_000, dst: VIP, dport: 80 };
    const back = { src: POD, sport: BACKEND_PORT, dst: CLIENT, dport: 40_000 };
    for (const [request, answer] of [[tcp(there, TCP.syn), tcp(back, TCP.syn | TCP.ack)], [tcp(there, TCP.ack, 'odd'), tcp(back, TCP.ack, 'even')], [udp(there, 'question'), udp(back, 'answer')], [udp(there, 'q', { noChecksum: true }), udp(back, 'a', { noChecksum: true })]] as const) {
      const inside = await runOn('from_uplink', Buffer.concat([ethernet(wire, wire), request]), lan);
      assert.is(inside.verdict, REDIRECT);
      assert.is(inside.output.subarray(0, 14).toString('hex'), ethernet(podMac, GATEWAY_MAC).toString('hex'));
      const p = parseIp(inside.output.subarray(14));
      assert.equal([p.src, p.sport, p.dst, p.dport, p.isIpChecksumRight, p.isL4ChecksumRight], [CLIENT, 40_000, POD, BACKEND_PORT, true, true]);
      const outside = await fromPod(answer);
      assert.is(outside.verdict, REDIRECT);
      const q = parseIp(outside.output.subarray(14));
      assert.equal([q.src, q.sport, q.dst, q.dport, q.isIpChecksumRight, q.isL4ChecksumRight], [VIP, 80, CLIENT, 40_000, true, true]);
      if (parseIp(request).l4Checksum === 0) assert.equal([p.l4Checksum, q.l4Checksum], [0, 0], 'none stays none');
    }
    const rows = await d.counters();
    assert.equal(rows.map((r) => [r.application, r.connections, r.packetsIn]), [[9, 2, 4]]);
    assert.is((await runOn('from_uplink', Buffer.concat([ethernet(wire, wire), tcp({ ...there, dport: 81 }, TCP.syn)]), lan)).verdict, PASS);
  });

  if (spawnSync('tshark', ['--version']).error !== undefined) skip('tshark reads our Geneve', 'tshark is not installed');
  else
    it('tshark reads our Geneve', () => {
      const file = join(lab.dir, 'geneve.pcap');
      writeFileSync(file, pcap(frames));
      const fields = execFileSync('tshark', ['-r', file, '-o', 'ip.check_checksum:TRUE', '-T', 'fields', '-e', 'geneve.vni', '-e', 'frame.protocols', '-e', 'ip.checksum.status', '-e', '_ws.malformed'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      assert.match(fields, /^(0x0*1234\teth:ethertype:ip:udp:geneve:eth:ethertype:ip:udp:data\t1,1\t\n){2}$/);
    });

  it('leaves nothing behind', () => lab.close());
}

run();
