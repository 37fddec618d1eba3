import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { GATEWAY_MAC } from '../../dataplane/transit/links.ts';
import { get, Lab, ip, macOf, whyNoDroplets, type Droplet } from '../kit/droplets.ts';
import { checksum, ethernet, geneve, parseIp, pcap, TCP, tcp, udp, type Ports } from '../kit/packets.ts';
import { suite } from '../kit/suite.ts';

const { it, skip, run } = suite('dataplane/size', { timeoutMs: 30_000 });

const [REDIRECT, SHOT] = [7, 2];
const VNI = 0x1234;
const [US, PEER] = ['192.168.50.11', '192.168.50.12'] as const;
const [POD, NEAR, FAR] = ['10.0.1.1', '10.0.1.2', '10.0.2.2'] as const;
const [CLIENT, VIP] = ['192.0.2.100', '192.0.2.1'] as const;
const podMac = macOf(POD);
const wire = '02:aa:aa:aa:aa:02';
/** A LAN of 1500 bytes less 50 of Geneve; WireGuard's 1420 less 50. */
const [LAN_ROOM, FAR_ROOM] = [1450, 1370];

const segment = (most: number): Buffer => Buffer.from([2, 4, most >> 8, most & 0xff]);
/** Of a SYN: its largest segment, wherever among the options, and whether the checksum is right. */
function announced(frame: Buffer, at: number): readonly [number, boolean] {
  const packet = frame.subarray(at);
  const options = packet.subarray(40, 20 + ((packet[32] ?? 0) >> 4) * 4);
  for (let i = 0; i < options.length; i += options[i] === 1 ? 1 : (options[i + 1] ?? 1)) if (options[i] === 2) return [options.readUInt16BE(i + 2), parseIp(packet).isL4ChecksumRight];
  return [0, parseIp(packet).isL4ChecksumRight];
}

const reason = whyNoDroplets();
if (reason !== null) skip('packets that are too large', reason);
else {
  let lab: Lab;
  let d: Droplet;
  let tap: number;
  let lan: number;
  const messages: Buffer[] = [];
  const runOn = async (program: string, packet: Buffer, ifindex: number): Promise<{ verdict: number; output: Buffer }> => {
    const r = await d.call<{ verdict: number; output: string }>('testRunHex', program, packet.toString('hex'), ifindex);
    return { verdict: r.verdict, output: Buffer.from(r.output, 'hex') };
  };
  const fromPod = (packet: Buffer): Promise<{ verdict: number; output: Buffer }> => runOn('from_pod', Buffer.concat([ethernet(GATEWAY_MAC, podMac), packet]), tap);
  const fromClient = (packet: Buffer): Promise<{ verdict: number; output: Buffer }> => runOn('from_uplink', Buffer.concat([ethernet(podMac, wire), packet]), lan);
  const fromPeer = (inner: Buffer): Promise<{ verdict: number; output: Buffer }> => runOn('from_lan', Buffer.concat([ethernet(wire, wire), geneve(VNI, PEER, US, 14 + inner.length, { sourcePort: 50_000 }), ethernet(podMac, wire), inner]), lan);
  const dropped = async (): Promise<number> => (await d.drops())['too-big'] ?? 0;

  it('a SYN announces no larger segment than the way carries, wherever its option is', async () => {
    lab = new Lab('px-dp-s');
    const ns = lab.netns('host');
    lab.plug(ns, lab.network('lan'), 'eth2', `${US}/24`);
    ip('-n', ns, 'tuntap', 'add', 'vm0', 'mode', 'tap');
    d = await lab.droplet(ns, { interface: 'eth2', address: US, tunnel: null, uplink: 'eth2' });
    await d.attach({ vni: VNI, address: POD, mac: podMac, tapName: 'vm0', ifName: 'eth0', mtu: 1500, gateway: '169.254.1.1' });
    const index = (name: string): number => Number(/^(\d+):/.exec(ip('-n', ns, '-o', 'link', 'show', 'dev', name))?.[1]);
    [tap, lan] = [index('vm0'), index('eth2')];
    await d.goal([
      { kind: 'vpc', vni: VNI, cidr: '10.0.0.0/16', dividers: [] },
      { kind: 'route', vni: VNI, cidr: '10.0.2.0/24', relay: PEER },
      { kind: 'endpoint', vni: VNI, address: NEAR, mac: macOf(NEAR), droplet: PEER },
      { kind: 'endpoint', vni: VNI, address: '10.0.1.3', mac: macOf('10.0.1.3'), droplet: '192.168.50.13' },
      { kind: 'droplet', address: PEER, mac: null },
      ...(['TCP', 'UDP'] as const).map((protocol) => ({ kind: 'front' as const, address: VIP, port: 80, protocol, vni: VNI, application: 9, backends: [{ address: NEAR, port: 8080, weight: 1 }] })),
    ]);
    const ports = { src: POD, sport: 5_000, dst: NEAR, dport: 80 };
    const nothing = Buffer.from([1]);
    for (const [options, dst, most] of [
      [segment(1460), NEAR, LAN_ROOM - 40],
      [segment(1460), FAR, FAR_ROOM - 40],
      [segment(1300), NEAR, 1300],
      [Buffer.concat([Buffer.from([3, 3, 7]), segment(9000), nothing]), NEAR, LAN_ROOM - 40],
      [Buffer.concat([nothing, nothing, Buffer.from([8, 10]), Buffer.alloc(8), segment(8961)]), FAR, FAR_ROOM - 40],
      [Buffer.from([4, 2, 1, 1]), NEAR, 0],
    ] as const) {
      for (const flags of [TCP.syn, TCP.syn | TCP.ack]) {
        const { verdict, output } = await fromPod(tcp({ ...ports, dst }, flags, '', options));
        assert.equal([verdict, announced(output, 64)], [REDIRECT, [most, true]], options.toString('hex'));
      }
    }
    assert.equal(announced((await fromPod(tcp(ports, TCP.ack, '', segment(1460)))).output, 64), [1460, true], 'only a SYN');
    assert.equal(announced((await fromClient(tcp({ src: CLIENT, sport: 4_000, dst: VIP, dport: 80 }, TCP.syn, '', segment(1460)))).output, 64), [LAN_ROOM - 40, true], 'a client\'s');
    assert.equal(announced((await fromPeer(tcp({ ...ports, src: NEAR, dst: '10.0.1.3' }, TCP.syn, '', segment(1460)))).output, 64), [LAN_ROOM - 40, true], 'one that is passed on');
  });

  it('who sent too much and forbids fragments hears how much fits, as the one that was called', async () => {
    const told = ({ verdict, output }: { verdict: number; output: Buffer }, sent: Buffer, room: number): void => {
      assert.is(verdict, REDIRECT);
      const [packet, about] = [output.subarray(14), output.subarray(42)];
      assert.is(output.length, 14 + 20 + 8 + 28);
      assert.equal([packet[9], packet[20], packet[21], packet.readUInt16BE(26)], [1, 3, 4, room], 'ICMP: fragmentation needed, and how much fits (RFC 1191)');
      assert.equal([checksum(packet.subarray(0, 20)), checksum(packet.subarray(20))], [0, 0]);
      assert.is(about.toString('hex'), sent.subarray(0, 28).toString('hex'), 'about what was sent');
      assert.equal([packet.subarray(12, 16), packet.subarray(16, 20)], [sent.subarray(16, 20), sent.subarray(12, 16)]);
      messages.push(output);
    };
    const ports = { src: POD, sport: 5_000, dst: NEAR, dport: 7_000 };
    const large = (p: Ports, bytes: number): Buffer => udp(p, Buffer.alloc(bytes - 28), { dontFragment: true });
    told(await fromPod(large(ports, LAN_ROOM + 1)), large(ports, LAN_ROOM + 1), LAN_ROOM);
    const far = large({ ...ports, dst: FAR }, FAR_ROOM + 1);
    const toFar = await fromPod(far);
    told(toFar, far, FAR_ROOM);
    assert.equal(toFar.output.subarray(0, 14), ethernet(podMac, GATEWAY_MAC));
    const client = large({ src: CLIENT, sport: 4_000, dst: VIP, dport: 80 }, 1_500);
    told(await fromClient(client), client, LAN_ROOM);
    assert.is((await fromPod(large(ports, LAN_ROOM))).output.length, 14 + 50 + LAN_ROOM, 'what just fits goes');
    assert.is((await fromPod(large({ ...ports, dst: FAR }, FAR_ROOM))).output.length, 14 + 50 + FAR_ROOM);
  });

  it('who allows fragments, and a tunnel, are told nothing: counted', async () => {
    const before = await dropped();
    assert.is((await fromPod(udp({ src: POD, sport: 5_000, dst: NEAR, dport: 7_000 }, Buffer.alloc(1_440)))).verdict, SHOT);
    assert.is((await fromPeer(udp({ src: NEAR, sport: 5_000, dst: '10.0.1.3', dport: 7_000 }, Buffer.alloc(1_440), { dontFragment: true }))).verdict, SHOT);
    assert.is(await dropped(), before + 2);
  });

  if (spawnSync('tshark', ['--version']).error !== undefined) skip('tshark reads the messages', 'tshark is not installed');
  else
    it('tshark reads the messages', () => {
      const file = join(lab.dir, 'messages.pcap');
      writeFileSync(file, pcap(messages));
      const fields = execFileSync('tshark', ['-r', file, '-o', 'ip.check_checksum:TRUE', '-T', 'fields', '-e', 'icmp.type', '-e', 'icmp.code', '-e', 'icmp.mtu', '-e', 'icmp.checksum.status', '-e', 'udp.dstport', '-e', '_ws.malformed', '-e', '_ws.expert.message'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      assert.equal(fields.split('\n').slice(0, -1), [`3\t4\t${LAN_ROOM}\t1\t7000\t\t`, `3\t4\t${FAR_ROOM}\t1\t7000\t\t`, `3\t4\t${LAN_ROOM}\t1\t80\t\t`]);
    });

  it('leaves nothing behind', () => lab.close());

  it('clients and pods with MTUs of a whole wire get through: TCP both ways, datagrams once told', async () => {
    lab = new Lab('px-dp-t');
    const [lanNet, wanNet] = [lab.network('lan'), lab.network('wan')];
    const [h1, h2, client] = [lab.netns('h1'), lab.netns('h2'), lab.netns('client')];
    lab.plug(h1, lanNet, 'eth2', `${US}/24`);
    lab.plug(h2, lanNet, 'eth2', `${PEER}/24`);
    lab.plug(h1, wanNet, 'eth1', `${VIP}/24`);
    lab.plug(client, wanNet, 'eth1', `${CLIENT}/24`);
    const [a, b] = [await lab.droplet(h1, { interface: 'eth2', address: US, tunnel: null, uplink: 'eth1' }), await lab.droplet(h2, { interface: 'eth2', address: PEER, tunnel: null, uplink: null })];
    d = a;
    const goal = [
      { kind: 'vpc', vni: VNI, cidr: '10.0.0.0/16', dividers: [] },
      { kind: 'endpoint', vni: VNI, address: POD, mac: macOf(POD), droplet: US },
      { kind: 'endpoint', vni: VNI, address: NEAR, mac: macOf(NEAR), droplet: PEER },
    ] as const;
    await a.goal([...goal, { kind: 'droplet', address: PEER, mac: null }, ...(['TCP', 'UDP'] as const).map((protocol) => ({ kind: 'front' as const, address: VIP, port: 80, protocol, vni: VNI, application: 9, backends: [{ address: NEAR, port: 80, weight: 1 }] }))]);
    await b.goal([...goal, { kind: 'droplet', address: US, mac: null }]);
    const [p1, p2] = [await lab.pod('p1', a, VNI, POD, 1_500), await lab.pod('p2', b, VNI, NEAR, 1_500)];
    await lab.serve(p1, 80);
    await lab.serve(p2, 80);
    for (const [from, to] of [[p1, NEAR], [p2, POD], [client, VIP]] as const) assert.is(get(lab, from, `http://${to}/500000`).bytes, 500_000, from);
    const up = lab.in(client, 'sh', '-c', `head -c 500000 /dev/zero | curl -s --max-time 8 -o /dev/null -w '%{http_code} %{size_upload}' --data-binary @- http://${VIP}/1`);
    assert.is(up.stdout, '200 500000');
    const send = `import { createSocket } from 'node:dgram'; const s = createSocket('udp4'); s.send(Buffer.alloc(1472), Number(process.argv[2]), process.argv[1], () => setTimeout(() => s.close(), 100));`;
    for (const [from, to, port] of [[p1, NEAR, '7000'], [client, VIP, '80']] as const) {
      assert.is(lab.in(from, process.execPath, '--input-type=module', '-e', send, to, port).status, 0);
      assert.match(lab.in(from, 'ip', 'route', 'get', to).stdout, new RegExp(`mtu ${LAN_ROOM}`), from);
    }
    assert.is(lab.in(p1, 'ping', '-c', '1', '-W', '1', '-M', 'do', '-s', String(LAN_ROOM - 28), NEAR).status, 0);
  });

  it('leaves nothing behind, again', () => lab.close());
}

run();
