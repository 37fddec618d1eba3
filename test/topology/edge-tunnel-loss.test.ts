import { spawn, spawnSync, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { GoalEntry } from '../../api/goal.ts';
import { ensureTunnelKey } from '../../gateway/tunnel/wireguard.ts';
import { isBuilt } from '../../dataplane/transit/transit.ts';
import { suite } from '../kit/suite.ts';
import type { CaseContext } from '../kit/suite.ts';

const { it, skip, run } = suite('edge/tunnel loss', { timeoutMs: 45_000 });
const PREFIX = `px-etl-${process.pid % 10_000}`;
const ip = (...args: readonly string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

function whyNot(): string | null {
  if (process.getuid?.() !== 0) return 'needs root';
  for (const command of ['ip', 'wg', 'wireguard-go', 'nsenter', 'ping']) if (spawnSync(command, ['--version']).error !== undefined) return `${command} is not installed`;
  return isBuilt() ? null : 'dataplane/build.sh has not run';
}

interface Site {
  readonly n: number;
  readonly netns: string;
  readonly pod: string;
  readonly dir: string;
  readonly device: string;
  readonly publicKey: string;
}

const mac = (n: number): string => `0a:07:0a:40:0${n}:02`;

function site(t: CaseContext, n: number): Site {
  const [netns, pod, dir] = [`${PREFIX}-n${n}`, `${PREFIX}-p${n}`, mkdtempSync(join(tmpdir(), 'px-etl-'))];
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const ns of [netns, pod]) {
    ip('netns', 'add', ns);
    t.after(() => ip('netns', 'delete', ns));
    ip('-n', ns, 'link', 'set', 'lo', 'up');
  }
  ip('link', 'add', 'eth2', 'netns', netns, 'type', 'veth', 'peer', 'name', 'eth2p', 'netns', netns);
  ip('-n', netns, 'address', 'add', '192.168.50.1/24', 'dev', 'eth2');
  for (const end of ['eth2', 'eth2p']) ip('-n', netns, 'link', 'set', end, 'up');
  return { n, netns, pod, dir, device: `pxetl${process.pid % 10_000}.${n}`, publicKey: ensureTunnelKey(join(dir, 'relay.key')) };
}

/**
 * Only the spoke keeps alive, as `cloud/mizar/relays.ts` has it: ends that both do so every REKEY_TIMEOUT of WireGuard (5 s) and began in one millisecond cross
 * each other's handshakes for ever.
 */
const keepaliveOf = (s: Site): number => (s.n === 1 ? 10 : 0);

/** What a node that was joined and has been connected once has on disk; the kernel has nothing of it, as after a boot. */
function prepare(s: Site, other: Site): void {
  const put: GoalEntry[] = [
    { kind: 'vpc', vni: 7, cidr: '10.64.0.0/16', dividers: [] },
    { kind: 'network', vni: 7, cidr: `10.64.${s.n}.0/24`, bouncers: ['192.168.50.1'] },
    { kind: 'route', vni: 7, cidr: `10.64.${other.n}.0/24`, relay: `100.64.${other.n}.1` },
    { kind: 'droplet', address: `100.64.${other.n}.1`, mac: null },
    { kind: 'endpoint', vni: 7, address: `10.64.${s.n}.2`, mac: mac(s.n), droplet: '192.168.50.1' },
  ];
  mkdirSync(s.dir, { recursive: true });
  writeFileSync(join(s.dir, 'goal.json'), JSON.stringify({ droplet: s.netns, version: 5, base: 0, put, drop: [] }));
  writeFileSync(join(s.dir, 'relay-peers.json'), JSON.stringify([{ publicKey: other.publicKey, endpoint: `10.99.0.${other.n}:51820`, allowedIps: [`100.64.${other.n}.1/32`], keepaliveSeconds: keepaliveOf(s) }]));
}

async function startPlane(t: CaseContext, s: Site): Promise<void> {
  const config = {
    node: s.netns, site: 's', region: 'r', dir: s.dir, identity: { dir: s.dir }, api: { server: 'https://127.0.0.1:1' },
    droplet: { interface: 'eth2', address: '192.168.50.1', relay: { address: `100.64.${s.n}.1`, publicKey: s.publicKey, interface: s.device, endpoint: `10.99.0.${s.n}:51820` } },
  };
  const endpoint = { vni: 7, address: `10.64.${s.n}.2`, mac: mac(s.n), podNetns: `/run/netns/${s.pod}`, ifName: 'eth0', mtu: 1300, gateway: '169.254.1.1' };
  const child = spawn('nsenter', [`--net=/run/netns/${s.netns}`, '--', process.execPath, join(import.meta.dirname, '../kit/data-plane-process.ts'), JSON.stringify(config), JSON.stringify(endpoint)], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await gone;
    for (const pid of engines(s)) process.kill(pid, 'SIGKILL');
    rmSync(join('/sys/fs/bpf/proxima', s.netns), { recursive: true, force: true });
    rmSync(`/var/run/wireguard/${s.device}.sock`, { force: true }); // an engine that was killed leaves it
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', (code, signal) => reject(new Error(`data plane of ${s.netns} ended: ${code ?? signal}`)));
  });
}

function engines(s: Site): number[] {
  return readdirSync('/proc').filter((p) => /^\d+$/.test(p)).flatMap((p) => {
    try {
      const argv = readFileSync(`/proc/${p}/cmdline`, 'utf8').split('\0');
      return argv[0]?.endsWith('wireguard-go') === true && argv.includes(s.device) ? [Number(p)] : [];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

const ping = (from: Site, to: Site): boolean => spawnSync('nsenter', [`--net=/run/netns/${from.pod}`, '--', 'ping', '-c', '1', '-W', '1', `10.64.${to.n}.2`]).status === 0;

async function pings(from: Site, to: Site, withinMs: number): Promise<number> {
  const began = performance.now();
  while (!ping(from, to)) {
    assert.ok(performance.now() - began < withinMs, `no answer in ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return performance.now() - began;
}

const reason = whyNot();
if (reason !== null) skip('makes the tunnel anew', reason);
else
  it('has routes and peers after a boot without the region, and pods of two sites meet again after kill -9 of wireguard-go', async (t) => {
    const [a, b] = [site(t, 1), site(t, 2)];
    ip('link', 'add', 'eth1', 'netns', a.netns, 'type', 'veth', 'peer', 'name', 'eth1', 'netns', b.netns);
    for (const s of [a, b]) {
      ip('-n', s.netns, 'address', 'add', `10.99.0.${s.n}/24`, 'dev', 'eth1');
      ip('-n', s.netns, 'link', 'set', 'eth1', 'up');
    }
    prepare(a, b);
    prepare(b, a);
    await Promise.all([startPlane(t, a), startPlane(t, b)]);
    await pings(a, b, 8_000);
    const [pid] = engines(a);
    if (pid === undefined) return; // the kernel's own WireGuard: there is no process to kill
    process.kill(pid, 'SIGKILL');
    while (spawnSync('ip', ['-n', a.netns, 'link', 'show', a.device]).status === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.not.ok(ping(a, b), 'the tunnel is gone');
    await pings(a, b, 10_000);
    await pings(b, a, 2_000);
  });

run();
