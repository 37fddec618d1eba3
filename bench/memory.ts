/**
 * Resident memory of idle daemons: a region, its cloud gateway, a site's edge gateway and agent (containerd, MQTT and the data plane on), started as
 * the command line starts them, connected to each other, twenty seconds after they are Ready. Floors: region 250 MiB; edge gateway and agent together 220 MiB.
 *
 *   sudo ./proxima bench memory [--seconds N] [--check]     (needs root: it runs in a network namespace of its own)
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createHttpClient } from '../api/http-client.ts';
import { loadKubeconfig } from '../api/kubeconfig.ts';
import type { Site } from '../api/kinds/mesh.ts';
import { Resources } from '../api/resources.ts';
import { createAuthority, createRegionAuthority, issueToFiles } from '../certs/authority.ts';
import { spiffe } from '../certs/names.ts';
import { removeNode } from '../edge/agent/containerd.ts';
import { Daemons } from '../test/kit/daemons.ts';
import { inOwnNetns } from '../test/kit/own-netns.ts';

const LAN = '10.77.0.1';
const PORTS = { api: 6443, goal: 50_051, mux: 7443, enrol: 7444, mqtt: 8883, siteApi: 6444, siteGoal: 50_052, siteMqtt: 8884 } as const;
const FLOORS: readonly { readonly names: readonly string[]; readonly mib: number }[] = [
  { names: ['region'], mib: 250 },
  { names: ['edge gateway', 'agent'], mib: 220 },
];

interface Memory {
  readonly rss: number;
  /** What only this process has: heap, stacks, code that was compiled. The rest is mapped files, most of it node itself, shared by all daemons. */
  readonly own: number;
}

function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mib = (field: string): number => Math.round(Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1]) / 1024);
  return { rss: mib('VmRSS'), own: mib('RssAnon') };
}

async function startAll(dir: string, daemons: Daemons): Promise<void> {
  const authority = createRegionAuthority(createAuthority(join(dir, 'ca')), 'r1', join(dir, 'ca'));
  const identity = (who: string, use: string, uri: string): { readonly dir: string; readonly use: string } => {
    issueToFiles(authority, join(dir, who), use, { uri, dns: ['api.r1.proxima', 'localhost'], ips: ['127.0.0.1', LAN] });
    return { dir: join(dir, who), use };
  };
  const local = (port: number): object => ({ address: '127.0.0.1', port });
  const kubeconfig = join(dir, 'kubeconfig');
  await daemons.start('region', 'region', { region: 'r1', dataDir: join(dir, 'store'), listen: local(PORTS.api), goal: local(PORTS.goal), identity: identity('cloud', 'region', spiffe.region('r1')), kubeconfig });
  const client = createHttpClient(await loadKubeconfig(kubeconfig));
  await client.create<Site>(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: 's1' }, spec: { kind: 'edge', region: 'r1' } });
  await client.close();
  await daemons.start('cloud gateway', 'gateway', {
    region: 'r1', identity: identity('cloud', 'gateway', spiffe.cloudGateway('r1')), authority: { cert: join(dir, 'ca', 'region-r1.crt'), key: join(dir, 'ca', 'region-r1.key') },
    mux: local(PORTS.mux), enrol: local(PORTS.enrol), mqtt: local(PORTS.mqtt), api: { server: `https://127.0.0.1:${PORTS.api}`, serverName: 'api.r1.proxima' },
    services: { 'region-api': { host: '127.0.0.1', port: PORTS.api }, 'goal-grpc': { host: '127.0.0.1', port: PORTS.goal }, enrol: { host: '127.0.0.1', port: PORTS.enrol } },
  });
  await daemons.start('edge gateway', 'gateway', {
    site: 's1', identity: identity('site', 'gateway', spiffe.gateway('s1')), stateDir: join(dir, 'site', 'gateway'), gateways: [`127.0.0.1:${PORTS.mux}`], enrol: `127.0.0.1:${PORTS.enrol}`, lanAddress: LAN,
    services: { 'region-api': { address: LAN, port: PORTS.siteApi }, 'goal-grpc': { address: LAN, port: PORTS.siteGoal } }, mqtt: { listen: [{ address: LAN, port: PORTS.siteMqtt, tls: true }] },
  });
  await daemons.start('agent', 'agent', {
    node: 'n1', site: 's1', region: 'r1', dir: join(dir, 'n'), identity: identity('site', 'node', spiffe.node('s1', 'n1')),
    api: { server: `https://${LAN}:${PORTS.siteApi}`, serverName: 'api.r1.proxima' }, goal: { server: `${LAN}:${PORTS.siteGoal}`, serverName: 'api.r1.proxima' }, mqtt: { server: `mqtts://${LAN}:${PORTS.siteMqtt}` },
    droplet: { interface: 'px0', address: LAN }, listen: { address: '127.0.0.1', port: 10_250 },
  });
}

/** A data plane outlives its agent on purpose; this one's namespace ends with the benchmark. */
function forgetPrograms(node: string): void {
  const pinned = join('/sys/fs/bpf/proxima', node);
  rmSync(join(pinned, String(statSync('/proc/self/ns/net').ino)), { recursive: true, force: true });
  if (existsSync(pinned) && readdirSync(pinned).length === 0) rmdirSync(pinned);
}

async function main(argv: readonly string[]): Promise<void> {
  const seconds = argv.includes('--seconds') ? Number(argv[argv.indexOf('--seconds') + 1]) : 20;
  const ip = (...args: readonly string[]): unknown => execFileSync('ip', args);
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'px0', 'type', 'veth', 'peer', 'name', 'px1');
  for (const name of ['px0', 'px1']) ip('link', 'set', name, 'up');
  ip('address', 'add', `${LAN}/24`, 'dev', 'px0');
  const dir = mkdtempSync('/tmp/px-mem-');
  mkdirSync(join(dir, 'n'));
  const run = async (name: string, work: (daemons: Daemons) => Promise<void>): Promise<void> => {
    const inside = join(dir, name);
    mkdirSync(inside, { recursive: true });
    const daemons = new Daemons(dir);
    try {
      await startAll(inside, daemons);
      await work(daemons);
    } finally {
      await daemons.stop();
      await removeNode(join(inside, 'n'), 'n1');
      forgetPrograms('n1');
    }
  };
  try {
    // The first start compiles; what is measured is every start after it.
    await run('1', () => new Promise((r) => setTimeout(r, 5_000)));
    await run('2', async (daemons) => {
      await new Promise((r) => setTimeout(r, seconds * 1000));
      report(new Map([...daemons.pids].map(([name, pid]) => [name, memoryOf(pid)])), argv.includes('--check'));
    });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function report(memory: ReadonlyMap<string, Memory>, isCheck: boolean): void {
  for (const [name, m] of memory) console.log(`${name.padEnd(14)} ${m.rss} MiB resident, ${m.own} of its own`);
  for (const { names, mib } of FLOORS) {
    const sum = names.reduce((total, name) => total + (memory.get(name)?.rss ?? Number.NaN), 0);
    const holds = sum <= mib;
    console.log(`${holds ? 'ok' : 'ABOVE'}: ${names.join(' + ')} ${sum} MiB, floor ${mib} MiB`);
    if (!holds && isCheck) process.exitCode = 1;
  }
  console.log(JSON.stringify({ bench: 'memory', node: process.version, commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', cwd: import.meta.dirname }).trim(), mib: Object.fromEntries(memory) }));
}

const refused = await inOwnNetns(import.meta.filename);
if (refused === null) await main(process.argv.slice(2));
else console.log(`cannot run here: ${refused}`);
