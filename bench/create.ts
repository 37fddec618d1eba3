/**
 * Creating 1 KiB objects from 16 clients: our API server over HTTPS on LMDB with fsync (floor 3,000/s), and the same bytes put into a one-member
 * etcd by etcd3, in turn. Asserts that every object is there before it prints a number.
 *
 *   node24 bench/create.ts [--objects N] [--rounds N]
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd3 } from 'etcd3';
import { definitions } from '../api/definitions.ts';
import { createHttpClient } from '../api/http-client.ts';
import type { Access } from '../api/kubeconfig.ts';
import { Resources } from '../api/resources.ts';
import { silentLogger } from '../base/log.ts';
import { createApiServer } from '../cloud/apiserver/server.ts';
import { openLmdbStore } from '../cloud/store/lmdb.ts';
import { testAuthority } from '../test/kit/pki.ts';

const CLIENTS = 16;
const PAYLOAD = 'x'.repeat(800); // with its metadata the stored object is 1 KiB

interface Round {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** `CLIENTS` callers, each with one create in flight. */
async function drive(objects: number, create: (i: number) => Promise<void>): Promise<Round> {
  const times: number[] = [];
  let next = 0;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      while (next < objects) {
        const i = next++;
        const t = performance.now();
        await create(i);
        times.push(performance.now() - t);
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  times.sort((a, b) => a - b);
  const at = (q: number): number => Number((times[Math.floor(q * (times.length - 1))] ?? Number.NaN).toFixed(2));
  return { perSecond: Math.round(objects / seconds), p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** The server half, in a process of its own: prints how to reach it. */
async function serve(dir: string): Promise<void> {
  const authority = testAuthority();
  const leaf = authority.issue({ cn: 'api' });
  const admin = authority.issue({ cn: 'admin', o: ['system:masters'] });
  const store = await openLmdbStore({ path: join(dir, 'store.mdb'), log: silentLogger });
  const server = createApiServer({ store, kinds: Object.values(definitions), listen: { host: '127.0.0.1', port: 0 }, tls: { key: leaf.key, cert: leaf.cert, ca: authority.ca }, auth: {}, log: silentLogger });
  await server.start(new AbortController().signal);
  const access: Access = { server: server.url, ca: authority.ca, credential: { kind: 'certificate', cert: admin.cert, key: admin.key } };
  process.stdout.write(`${JSON.stringify(access)}\n`);
}

async function startServer(dir: string): Promise<{ readonly child: ChildProcess; readonly access: Access }> {
  const child = spawn(process.execPath, [import.meta.filename, '--serve', dir], { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (d: Buffer) => {
      text += d.toString();
      if (text.includes('\n')) resolve(text);
    });
    child.on('exit', () => reject(new Error('the server ended')));
  });
  return { child, access: JSON.parse(line) as Access };
}

function post(agent: Agent, origin: URL, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = request({ agent, host: origin.hostname, port: origin.port, method: 'POST', path: '/api/v1/namespaces/default/configmaps', headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } }, (answer) => {
      answer.resume().on('end', () => (answer.statusCode === 201 ? resolve() : reject(new Error(`the server answered ${answer.statusCode}`))));
    });
    call.on('error', reject).end(body);
  });
}

async function ours(access: Access, objects: number, round: number): Promise<Round> {
  if (access.credential.kind !== 'certificate') throw new Error('expected a certificate');
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS, ca: access.ca ?? '', cert: access.credential.cert, key: access.credential.key });
  const origin = new URL(access.server);
  const result = await drive(objects, (i) => post(agent, origin, JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `r${round}-${i}`, labels: { round: `r${round}` } }, data: { k: PAYLOAD } })));
  agent.destroy();
  const client = createHttpClient(access);
  const made = await client.list(Resources.ConfigMap, { labelSelector: `round=r${round}` });
  assert.equal(made.items.length, objects);
  await client.close();
  return result;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((r) => server.once('listening', r));
  const address = server.address();
  await new Promise((r) => server.close(r));
  return address !== null && typeof address === 'object' ? address.port : 0;
}

async function startEtcd(dir: string): Promise<{ readonly child: ChildProcess; readonly client: Etcd3 } | null> {
  try {
    execFileSync('etcd', ['--version'], { stdio: 'ignore' });
  } catch {
    console.error('no baseline: there is no etcd on this machine (apt-get install etcd-server)');
    return null;
  }
  const [port, peer] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const child = spawn('etcd', ['--data-dir', dir, '--listen-client-urls', url, '--advertise-client-urls', url, '--listen-peer-urls', `http://127.0.0.1:${peer}`, '--log-level', 'error'], { stdio: 'ignore' });
  const client = new Etcd3({ hosts: url });
  for (let tries = 0; ; tries++) {
    try {
      await client.maintenance.status();
      return { child, client };
    } catch (error) {
      if (tries > 100) throw error;
      await new Promise((r) => setTimeout(r, 100));
    }
  }
}

async function etcd(client: Etcd3, objects: number, round: number): Promise<Round> {
  const value = 'x'.repeat(1024);
  const result = await drive(objects, (i) => client.put(`/registry/r${round}/${i}`).value(value).exec().then(() => undefined));
  assert.equal(await client.getAll().prefix(`/registry/r${round}/`).count(), objects);
  return result;
}

async function main(argv: readonly string[]): Promise<void> {
  if (argv[0] === '--serve') return serve(argv[1] ?? '');
  const option = (name: string, otherwise: number): number => (argv.includes(name) ? Number(argv[argv.indexOf(name) + 1]) : otherwise);
  const objects = option('--objects', 10_000);
  const rounds = option('--rounds', 3);
  const dir = mkdtempSync(join(tmpdir(), 'px-create-'));
  const server = await startServer(dir);
  const baseline = await startEtcd(join(dir, 'etcd'));
  try {
    await ours(server.access, 2000, -1); // both engines are measured warm
    if (baseline !== null) await etcd(baseline.client, 2000, -1);
    const results: { readonly round: number; readonly etcd: Round | null; readonly ours: Round }[] = [];
    for (let round = 0; round < rounds; round++) {
      const before = baseline === null ? null : await etcd(baseline.client, objects, round);
      const now = await ours(server.access, objects, round);
      results.push({ round, etcd: before, ours: now });
      console.log(`round ${round}: etcd ${before === null ? '-' : `${before.perSecond}/s p50 ${before.p50Ms} p99 ${before.p99Ms} ms`}; ours ${now.perSecond}/s p50 ${now.p50Ms} p99 ${now.p99Ms} ms`);
    }
    console.log(JSON.stringify({ bench: 'create', objects, clients: CLIENTS, bytes: 1024, node: process.version, commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(), results }));
    console.log('again: node24 bench/create.ts');
  } finally {
    server.child.kill();
    baseline?.client.close();
    baseline?.child.kill();
    await new Promise((r) => setTimeout(r, 300));
    rmSync(dir, { recursive: true, force: true });
  }
}

await main(process.argv.slice(2));
