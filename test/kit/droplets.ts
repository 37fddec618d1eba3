/** Hosts, networks and pods as network namespaces, with a transit daemon on every host. All names begin with one prefix, so that files do not meet. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { GoalAck, GoalEntry } from '../../api/goal.ts';
import type { WanProcess } from '../../topologies/lab.ts';
import { startWan, stopWan } from '../../topologies/wan.ts';
import type { CountRow } from '../../dataplane/transit/layout.ts';
import type { EndpointAttachment, TransitOptions } from '../../dataplane/transit/transit.ts';

export const ip = (...args: readonly string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const netnsPath = (name: string): string => `/run/netns/${name}`;

export function whyNoDroplets(): string | null {
  if (process.getuid?.() !== 0) return 'needs root';
  for (const command of ['ip', 'nsenter', 'ping', 'curl', 'ethtool']) if (spawnSync(command, ['--version']).error !== undefined) return `${command} is not installed`;
  if (!existsSync(join(import.meta.dirname, '../../dataplane/bpf/transit.bpf.o')) || !existsSync(join(import.meta.dirname, '../../dataplane/native/proxima.node'))) return 'dataplane/build.sh has not run';
  return null;
}

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Droplet {
  readonly netns: string;
  readonly #options: Omit<TransitOptions, 'log'>;
  #process: ChildProcess | null = null;
  readonly #waiting = new Map<number, { readonly resolve: (v: unknown) => void; readonly reject: (e: Error) => void }>();
  #next = 1;
  #version = 0;

  constructor(netns: string, options: Omit<TransitOptions, 'log'>) {
    this.netns = netns;
    this.#options = options;
  }

  async start(): Promise<void> {
    const child = spawn('nsenter', [`--net=${netnsPath(this.netns)}`, '--', process.execPath, join(import.meta.dirname, 'droplet-process.ts'), JSON.stringify(this.#options)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process = child;
    const up = new Promise((resolve, reject) => this.#waiting.set(0, { resolve, reject }));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { id, result, error } = JSON.parse(line) as { id: number; result?: unknown; error?: string };
      const w = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) w?.resolve(result);
      else w?.reject(new Error(error));
    });
    child.once('exit', (code, signal) => {
      for (const w of this.#waiting.values()) w.reject(new Error(`droplet ${this.netns} ended: ${code ?? signal}`));
      this.#waiting.clear();
    });
    await up;
  }

  /** kill -9, as a crash would. */
  async crash(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (v: unknown) => void, reject });
      this.#process?.stdin?.write(`${JSON.stringify({ id, method, args })}\n`);
    });
  }

  /** A full goal state. */
  async goal(put: readonly GoalEntry[]): Promise<GoalAck> {
    const ack = await this.call<GoalAck>('apply', { droplet: this.#options.droplet, version: ++this.#version, base: 0, put, drop: [] });
    if (!ack.ok) throw new Error(ack.message);
    return ack;
  }

  attach = (e: EndpointAttachment): Promise<void> => this.call('attachEndpoint', e);
  counters = (): Promise<readonly CountRow[]> => this.call('counters');
  drops = (): Promise<Readonly<Record<string, number>>> => this.call('drops');
}

export const macOf = (address: string): string => `02:${address.split('.').map((n) => Number(n).toString(16).padStart(2, '0')).join(':')}:05`.slice(0, 17);

export class Lab {
  readonly #prefix: string;
  readonly dir: string;
  readonly #netns: string[] = [];
  readonly #droplets: Droplet[] = [];
  readonly #children: ChildProcess[] = [];

  constructor(prefix: string) {
    this.#prefix = prefix;
    this.dir = mkdtempSync(join(tmpdir(), `${prefix}-`));
  }

  netns(name: string): string {
    const full = `${this.#prefix}-${name}`;
    spawnSync('ip', ['netns', 'delete', full]);
    ip('netns', 'add', full);
    this.#netns.push(full);
    ip('-n', full, 'link', 'set', 'lo', 'up');
    return full;
  }

  /** A bridge in a namespace of its own. */
  network(name: string): string {
    const ns = this.netns(name);
    ip('-n', ns, 'link', 'add', 'br0', 'type', 'bridge');
    ip('-n', ns, 'link', 'set', 'br0', 'mtu', '1500', 'up');
    return ns;
  }

  /** Joins a host to a network. */
  plug(host: string, network: string, device: string, address: string): void {
    const port = `p${this.#plugs++}`;
    ip('link', 'add', device, 'netns', host, 'type', 'veth', 'peer', 'name', port, 'netns', network);
    this.#join(host, network, device, port, address);
  }

  /** Joins hosts to a network by the WAN emulator's taps, whose frames have whole checksums, as a wire's have. */
  async plugByTaps(network: string, device: string, hosts: readonly (readonly [host: string, address: string])[]): Promise<void> {
    const ends = hosts.map(([host, address]) => ({ host, address, port: `p${this.#plugs++}` }));
    const impairment = { delayUs: 0, jitterUs: 0, lossPpm: 0, rateKbit: 0 };
    this.#wans.push(await startWan(this.dir, 'wan', ends.map((e) => ({ id: e.port, ends: [{ netns: e.host, interface: device }, { netns: network, interface: e.port }], impairment, up: true }))));
    for (const e of ends) this.#join(e.host, network, device, e.port, e.address);
  }

  #join(host: string, network: string, device: string, port: string, address: string): void {
    ip('-n', network, 'link', 'set', port, 'master', 'br0', 'up');
    ip('-n', host, 'address', 'add', address, 'dev', device);
    ip('-n', host, 'link', 'set', device, 'up');
  }
  #plugs = 0;
  readonly #wans: WanProcess[] = [];

  async droplet(netns: string, options: Omit<TransitOptions, 'log' | 'bpffs' | 'droplet'>): Promise<Droplet> {
    const bpffs = join(this.dir, 'bpf');
    if (!existsSync(bpffs)) {
      mkdirSync(bpffs);
      execFileSync('mount', ['-t', 'bpf', 'bpf', bpffs]);
    }
    const d = new Droplet(netns, { ...options, droplet: netns, bpffs });
    this.#droplets.push(d);
    await d.start();
    return d;
  }

  /** A pod's namespace, attached to a droplet. */
  async pod(name: string, droplet: Droplet, vni: number, address: string, mtu = 1360): Promise<string> {
    const ns = this.netns(name);
    await droplet.attach({ vni, address, mac: macOf(address), podNetns: netnsPath(ns), ifName: 'eth0', mtu, gateway: '169.254.1.1' });
    return ns;
  }

  in(netns: string, command: string, ...args: readonly string[]): Ran {
    const r = spawnSync('nsenter', [`--net=${netnsPath(netns)}`, '--', command, ...args], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
    return { status: r.status ?? -1, stdout: r.stdout, stderr: r.stderr };
  }

  /** Without waiting; ended with the lab. */
  spawnIn(netns: string, command: string, ...args: readonly string[]): ChildProcess {
    const child = spawn('nsenter', [`--net=${netnsPath(netns)}`, '--', command, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#children.push(child);
    return child;
  }

  runIn(netns: string, command: string, ...args: readonly string[]): Promise<Ran> {
    const child = this.spawnIn(netns, command, ...args);
    let stdout = '';
    child.stdout?.on('data', (d: Buffer) => (stdout += d.toString()));
    return new Promise((resolve) => child.once('close', (code) => resolve({ status: code ?? -1, stdout, stderr: '' })));
  }

  /** An HTTP server that says its name and the client's address in headers and sends as many bytes as the path says; ready when it returns. */
  async serve(netns: string, port: number): Promise<void> {
    const code = `import { createServer } from 'node:http';
const block = Buffer.alloc(65536, 'proxima ');
createServer((req, res) => {
  let n = Number(req.url.slice(1)) || 0;
  res.writeHead(200, { 'content-length': n, 'x-pod': ${JSON.stringify(netns)}, 'x-client': req.socket.remoteAddress });
  const more = () => { while (n > 0) { const part = block.subarray(0, Math.min(n, block.length)); n -= part.length; if (!res.write(part)) return void res.once('drain', more); } res.end(); };
  more();
}).listen(${port}, '0.0.0.0', () => console.log('ready'));`;
    const child = this.spawnIn(netns, process.execPath, '--input-type=module', '-e', code);
    await new Promise((resolve, reject) => {
      child.stdout?.once('data', resolve);
      child.once('exit', (c) => reject(new Error(`server in ${netns} ended: ${c}`)));
    });
  }

  async close(): Promise<void> {
    for (const c of this.#children) c.kill('SIGKILL');
    for (const d of this.#droplets) await d.crash();
    for (const wan of this.#wans) await stopWan(wan);
    for (const ns of this.#netns.reverse()) spawnSync('ip', ['netns', 'delete', ns]);
    spawnSync('umount', [join(this.dir, 'bpf')]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export interface Reply {
  readonly status: number;
  readonly pod: string;
  readonly client: string;
  readonly bytes: number;
  readonly seconds: number;
}

export function get(lab: Lab, netns: string, url: string, maxSeconds = 8): Reply {
  const r = lab.in(netns, 'curl', '-s', '--max-time', String(maxSeconds), '-D', '-', '-o', '/dev/null', '-w', '%{http_code} %{size_download} %{time_total}\n', url);
  const header = (name: string): string => new RegExp(`^${name}: (.*?)\\r?$`, 'mi').exec(r.stdout)?.[1] ?? '';
  const [status = '0', bytes = '0', seconds = '0'] = r.stdout.trimEnd().split('\n').at(-1)?.split(' ') ?? [];
  return { status: Number(status), pod: header('x-pod'), client: header('x-client'), bytes: Number(bytes), seconds: Number(seconds) };
}
