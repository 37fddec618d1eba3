/**
 * Creating 1 KiB objects from 16 clients: a real `region start` process over HTTPS with client certificates, on LMDB with fsync (floor 3,000/s),
 * and the same bytes put into a one-member etcd by etcd3, in turn, in one run. Both acknowledge only what is on disk.
 *
 * Servers are processes of their own; all clients are this process. Ours are one TLS connection each, kept alive, with HTTP/1.1 written by hand: on
 * a small machine a heavy client would be measured in place of the server. etcd gets its usual client, over plain HTTP/2: it has the easier way in.
 * CPU is what all threads of the server process, and of this one, ran on a core per object, from /proc: of all figures the one that says least about
 * who else uses the machine. `creates/CPU-s` is how many the server would make with a core of its own. Every object is counted in both before a number
 * is printed. The floor and the comparison are judged by the median of the rounds.
 *
 *   sudo ./proxima bench api-create [--objects N] [--rounds N] [--check]     (--check: exit code 1 below the floor)
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { Etcd3 } from 'etcd3';
import { createHttpClient } from '../api/http-client.ts';
import { loadKubeconfig, type Access } from '../api/kubeconfig.ts';
import { Resources } from '../api/resources.ts';
import { daemonEnv, daemonFlags } from '../cli/daemon-command.ts';
import { hasEtcd, startEtcd } from '../test/kit/etcd.ts';
import { median, quantile } from '../test/kit/quantile.ts';

const FLOOR = 3_000;
const CLIENTS = 16;
/** Each so many times: until then V8 compiles, and once more after the first list: a create costs a third more, and a second core is busy with it. */
const WARM_UPS = 4;
const VALUE = 'x'.repeat(750); // with its metadata the stored object is about 1 KiB

interface Round {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly serverCpuUs: number;
  readonly clientCpuUs: number;
}

/** Nanoseconds on a core are the first number of each thread's schedstat. */
function cpuUs(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.reduce((us, t) => us + Number(readFileSync(`/proc/${pid}/task/${t}/schedstat`, 'utf8').split(' ')[0]) / 1_000, 0);
}

/** `CLIENTS` callers, each with one create in flight. */
async function drive(objects: number, pid: number, create: (client: number, i: number) => Promise<unknown>): Promise<Round> {
  const times: number[] = [];
  let next = 0;
  const before = [cpuUs(pid), cpuUs(process.pid)] as const;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      for (let i = next++; i < objects; i = next++) {
        const t = performance.now();
        await create(client, i);
        times.push(performance.now() - t);
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  const each = (us: number): number => Math.round(us / objects);
  const [serverCpuUs, clientCpuUs] = [each(cpuUs(pid) - before[0]), each(cpuUs(process.pid) - before[1])];
  const at = (q: number): number => Number(quantile(times, q).toFixed(2));
  return { perSecond: Math.round(objects / seconds), p50Ms: at(0.5), p99Ms: at(0.99), serverCpuUs, clientCpuUs };
}

/** One kept-alive connection with one request in flight. */
class Caller {
  readonly #socket: TLSSocket;
  readonly #host: string;
  #answer = '';
  #waiting: { resolve(): void; reject(error: Error): void } | null = null;

  private constructor(socket: TLSSocket, host: string) {
    this.#socket = socket;
    this.#host = host;
    socket.setEncoding('latin1').setNoDelay(true);
    socket.on('data', (text: string) => this.#take(text));
    socket.on('error', (error) => this.#waiting?.reject(error));
    socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')));
  }

  static async open(access: Access): Promise<Caller> {
    if (access.credential.kind !== 'certificate') throw new Error('expected a client certificate in the kubeconfig');
    const { hostname, port, host } = new URL(access.server);
    const socket = connect({ host: hostname, port: Number(port), ca: access.ca ?? '', cert: access.credential.cert, key: access.credential.key, ...(access.serverName === undefined ? {} : { servername: access.serverName, checkServerIdentity: () => undefined }) });
    await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    return new Caller(socket, host);
  }

  post(path: string, body: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(`POST ${path} HTTP/1.1\r\nhost: ${this.#host}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
    });
  }

  /** The reply is whole when its length is there; its status is looked at, its body is not parsed. */
  #take(text: string): void {
    this.#answer += text;
    const head = this.#answer.indexOf('\r\n\r\n');
    if (head < 0) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#answer)?.[1]);
    if (this.#answer.length < head + 4 + length) return;
    const line = this.#answer.slice(0, this.#answer.indexOf('\r\n'));
    const waiting = this.#waiting;
    this.#answer = '';
    this.#waiting = null;
    if (line.startsWith('HTTP/1.1 201')) waiting?.resolve();
    else waiting?.reject(new Error(`the server answered ${line}`));
  }

  close(): void {
    this.#socket.destroy();
  }
}

async function startRegion(dir: string): Promise<{ readonly pid: number; readonly access: Access; stop(): Promise<void> }> {
  const kubeconfig = join(dir, 'kubeconfig');
  const cli = join(import.meta.dirname, '..', 'cli', 'main.ts');
  const profile = process.env['PX_CPU_PROF'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env['PX_CPU_PROF']}`];
  const child = spawn(process.execPath, [...daemonFlags('region'), ...profile, cli, 'region', 'start', '--data', join(dir, 'region'), '--port', '0', '--kubeconfig', kubeconfig], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...daemonEnv(dir) } });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (d: Buffer) => {
      text += d.toString();
      if (text.includes('is Ready')) resolve();
    });
    child.on('exit', () => reject(new Error('the region ended before it was Ready')));
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await gone;
  };
  return { pid: child.pid ?? 0, access: await loadKubeconfig(kubeconfig), stop };
}

async function main(argv: readonly string[]): Promise<void> {
  const option = (name: string, otherwise: number): number => (argv.includes(name) ? Number(argv[argv.indexOf(name) + 1]) : otherwise);
  const objects = option('--objects', 10_000);
  const rounds = option('--rounds', 3);
  const dir = mkdtempSync(join(tmpdir(), 'px-create-'));
  const teardowns: (() => unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
  try {
    const region = await startRegion(dir);
    teardowns.unshift(() => region.stop());
    const callers = await Promise.all(Array.from({ length: CLIENTS }, () => Caller.open(region.access)));
    teardowns.unshift(() => callers.forEach((c) => c.close()));
    const client = createHttpClient(region.access);
    teardowns.unshift(() => client.close());
    const member = hasEtcd ? (await startEtcd({ after: (f) => void teardowns.unshift(f) }, 1))[0] : undefined;
    const etcd = member === undefined ? null : new Etcd3({ hosts: member.url });
    if (etcd === null) console.log('no baseline: there is no etcd on this machine (apt-get install etcd-server)');
    else teardowns.unshift(() => etcd.close());

    const bodyOf = (round: number, i: number): string => JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `r${round}-${i}`, labels: { round: `r${round}` } }, data: { value: VALUE } });
    const ours = async (round: number, count: number): Promise<Round> => {
      const result = await drive(count, region.pid, (c, i) => (callers[c] as Caller).post('/api/v1/namespaces/default/configmaps', bodyOf(round, i)));
      assert.equal((await client.list(Resources.ConfigMap, { labelSelector: `round=r${round}` })).items.length, count);
      return result;
    };
    for (let i = 1; i <= WARM_UPS; i++) await ours(-i, objects);
    const made = (await client.list(Resources.ConfigMap, { labelSelector: 'round=r-1' })).items[0];
    const bytes = Buffer.from(JSON.stringify(made));
    const theirs = async (round: number, count: number): Promise<Round | null> => {
      if (etcd === null) return null;
      const result = await drive(count, member?.child.pid ?? 0, (_, i) => etcd.put(`/registry/r${round}/${i}`).value(bytes).exec());
      assert.equal(await etcd.getAll().prefix(`/registry/r${round}/`).count(), count);
      return result;
    };
    for (let i = 1; i <= WARM_UPS; i++) await theirs(-i, objects);

    console.log(`${objects} objects of ${bytes.length} bytes a round, ${CLIENTS} clients, ${cpus().length} CPUs, after ${WARM_UPS} rounds that do not count`);
    const results: { readonly ours: Round; readonly etcd: Round | null }[] = [];
    for (let round = 1; round <= rounds; round++) {
      // Who goes first changes each round: the machine is shared and warms up.
      const early = round % 2 === 0 ? await theirs(round, objects) : null;
      const mine = await ours(round, objects);
      const other = early ?? (await theirs(round, objects));
      results.push({ ours: mine, etcd: other });
      const show = (name: string, r: Round): string => `${name} ${r.perSecond}/s p50 ${r.p50Ms} ms p99 ${r.p99Ms} ms, CPU us each: server ${r.serverCpuUs} (${Math.round(1e6 / r.serverCpuUs)} creates/CPU-s), client ${r.clientCpuUs}`;
      console.log(`round ${round}: ${show('API', mine)}${other === null ? '' : `; ${show('etcd', other)}; ratio ${(mine.perSecond / other.perSecond).toFixed(2)}`}`);
    }
    const perSecond = median(results.map((r) => r.ours.perSecond));
    const best = Math.max(...results.map((r) => r.ours.perSecond));
    const perCpuSecond = Math.round(1e6 / Math.min(...results.map((r) => r.ours.serverCpuUs)));
    const ratio = median(results.flatMap((r) => (r.etcd === null ? [] : [r.ours.perSecond / r.etcd.perSecond])));
    console.log(JSON.stringify({ bench: 'api-create', objects, bytes: bytes.length, clients: CLIENTS, cpus: cpus().length, node: process.version, commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', cwd: import.meta.dirname }).trim(), results, best, median: perSecond, perCpuSecond, medianRatio: Number.isNaN(ratio) ? null : Number(ratio.toFixed(2)) }));
    console.log(`${perSecond >= FLOOR ? 'ok' : 'BELOW'}: median ${perSecond}/s, best ${best}/s, floor ${FLOOR}/s; ${perCpuSecond} creates per CPU-second of the server`);
    if (perSecond < FLOOR && argv.includes('--check')) process.exitCode = 1;
  } finally {
    for (const f of teardowns) await f();
  }
}

await main(process.argv.slice(2));
