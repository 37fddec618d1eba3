/**
 * HTTP through the gateway pair: requests per CPU-second of the pair, ours and an nginx pair with keep-alive mTLS between the two, in turn.
 *   sudo ./proxima bench gateway [--seconds 4] [--clients 64]
 * Each pair: caller -> edge end (plain HTTP, loopback) -> mTLS -> cloud end -> service. CPU time is read from /proc of every process of a pair.
 */
import { execFileSync, fork, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, createRegionAuthority, issueToFiles } from '../certs/authority.ts';
import { spiffe } from '../certs/names.ts';

const FLOOR = 0.75;
const BODY = 'x'.repeat(200);
const self = import.meta.filename;

interface Figures {
  readonly name: string;
  readonly requestsPerSecond: number;
  readonly perCpuSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** User and system time of a process, in seconds. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Keep-alive clients, one request at a time each; every answer is checked. */
async function load(port: number, clients: number, ms: number): Promise<{ readonly count: number; readonly latencies: number[] }> {
  const request = Buffer.from('GET /api/x HTTP/1.1\r\nhost: bench\r\n\r\n');
  const latencies: number[] = [];
  const until = performance.now() + ms;
  const one = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true });
      let count = 0;
      let sentAt = 0;
      let got = '';
      const send = (): void => {
        sentAt = performance.now();
        socket.write(request);
      };
      socket.on('connect', send);
      socket.on('error', reject);
      socket.on('data', (d: Buffer) => {
        got += d.toString('latin1');
        const head = got.indexOf('\r\n\r\n');
        if (head < 0 || got.length < head + 4 + BODY.length) return;
        if (!got.startsWith('HTTP/1.1 200') || !got.endsWith(BODY)) return reject(new Error(`not the service's answer: ${got.slice(0, 200)}`));
        got = '';
        count += 1;
        latencies.push(performance.now() - sentAt);
        if (performance.now() < until) return send();
        socket.destroy();
        resolve(count);
      });
    });
  const counts = await Promise.all(Array.from({ length: clients }, one));
  return { count: counts.reduce((a, b) => a + b, 0), latencies: latencies.sort((a, b) => a - b) };
}

async function measure(name: string, port: number, pids: readonly number[], clients: number, seconds: number): Promise<Figures> {
  await load(port, clients, 1_000); // warm
  const before = pids.map(cpuSeconds);
  const started = performance.now();
  const { count, latencies } = await load(port, clients, seconds * 1_000);
  const wall = (performance.now() - started) / 1_000;
  const cpu = pids.reduce((sum, pid, i) => sum + cpuSeconds(pid) - (before[i] ?? 0), 0);
  const at = (q: number): number => Number((latencies[Math.floor(latencies.length * q)] ?? 0).toFixed(2));
  return { name, requestsPerSecond: Math.round(count / wall), perCpuSecond: Math.round(count / cpu), p50Ms: at(0.5), p99Ms: at(0.99) };
}

// A child of this file: one end of our pair, or the service.

async function child(role: string, argument: string): Promise<void> {
  const c = JSON.parse(argument) as { readonly dir: string; readonly service: number; readonly mux: number };
  if (role === 'service') {
    const server = createHttpServer((_request, response) => response.end(BODY));
    server.keepAliveTimeout = 60_000;
    server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
    return;
  }
  const { silentLogger } = await import('../base/log.ts');
  const { Sessions } = await import('../gateway/cloud/sessions.ts');
  const { StreamServer } = await import('../gateway/presence/serve.ts');
  const { Refusals } = await import('../gateway/presence/refusals.ts');
  const { Calls } = await import('../gateway/presence/calls.ts');
  const { Uplink } = await import('../gateway/edge/uplink.ts');
  const { loadIdentity } = await import('../certs/enrol.ts');
  const id = loadIdentity(c.dir, role);
  const tls = { key: id.keyPem, cert: id.chainPem, ca: id.trustPem };
  const refusals = new Refusals({ log: silentLogger, where: 'cloud', now: Date.now });
  const caller = { uri: spiffe.node('s1', 'n1'), serial: '0A' };
  const rule = { key: 'bench/web', direction: 'edge-to-cloud', protocol: 'http', service: { host: '127.0.0.1', port: c.service, site: null }, listen: { sites: ['s1'], address: null, port: 1 }, callers: [caller.uri], allow: [{ methods: ['GET'], path: '/api/*' }], general: null } as const;
  const isRevoked = (): boolean => false;
  if (role === 'cloud') {
    const server = new StreamServer({ direction: 'edge-to-cloud', rules: () => rule, services: {}, isRevoked, refusals });
    const sessions = new Sessions({ log: silentLogger, tls, isRevoked, onRefused: () => undefined, onStream: (stream, site) => server.serve(stream, site), onMessage: () => undefined, onSite: () => undefined, goalOf: () => ({ type: 'goal', presences: [rule], revoked: [] }) });
    process.send?.(await sessions.listen('127.0.0.1', 0));
    return;
  }
  const uplink = new Uplink({ log: silentLogger, gateways: [`127.0.0.1:${c.mux}`], tls: () => tls, onOpen: (s) => s.attach({ data: (b) => s.consumed(b.length), end: () => undefined, reset: () => undefined, drain: () => undefined }), onConnected: () => process.send?.(port), onLost: () => undefined });
  const calls = new Calls({ direction: 'edge-to-cloud', ownSite: 's1', rules: () => rule, sessionOf: () => uplink.current(), isRevoked, refusals });
  // The caller's own TLS is left out on both sides: the pair is what is compared.
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => calls.connection({ key: rule.key, address: '', port: 0, plain: false, kind: 'http' }, socket, caller));
  let port = 0;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
  await uplink.start(new AbortController().signal);
}

function start(children: ChildProcess[], role: string, argument: unknown): Promise<{ readonly pid: number; readonly port: number }> {
  const process_ = fork(self, ['--child', role, JSON.stringify(argument)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  children.push(process_);
  return new Promise((resolve, reject) => {
    process_.once('message', (port) => resolve({ pid: process_.pid ?? 0, port: Number(port) }));
    process_.once('exit', (code) => reject(new Error(`${role} ended with ${code}`)));
  });
}

function nginxConfig(dir: string, name: string, server: string, upstream: string): string {
  const root = join(dir, name);
  mkdirSync(root, { recursive: true });
  const text = `worker_processes 1; daemon off; pid ${root}/pid; error_log ${root}/error.log; events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path ${root}/b; proxy_temp_path ${root}/p; fastcgi_temp_path ${root}/f; uwsgi_temp_path ${root}/u; scgi_temp_path ${root}/s;
  upstream next { server ${upstream}; keepalive 128; keepalive_requests 100000000; }
  server { ${server}
    location /api/ { limit_except GET { deny all; } proxy_pass PROTO://next; proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n`;
  const file = join(root, 'nginx.conf');
  writeFileSync(file, text);
  return file;
}

async function nginxPair(children: ChildProcess[], dir: string, service: number): Promise<{ readonly port: number; readonly pids: readonly number[] }> {
  const [front, back] = [await freePort(), await freePort()];
  const cloud = nginxConfig(dir, 'ngx-cloud', `listen 127.0.0.1:${back} ssl; ssl_protocols TLSv1.3; ssl_certificate ${dir}/cloud.crt; ssl_certificate_key ${dir}/cloud.key; ssl_client_certificate ${dir}/trust.pem; ssl_verify_client on; ssl_verify_depth 3;`, `127.0.0.1:${service}`);
  const edge = nginxConfig(dir, 'ngx-edge', `listen 127.0.0.1:${front}; proxy_ssl_certificate ${dir}/edge.crt; proxy_ssl_certificate_key ${dir}/edge.key; proxy_ssl_trusted_certificate ${dir}/trust.pem; proxy_ssl_verify on; proxy_ssl_verify_depth 3; proxy_ssl_name bench.example; proxy_ssl_session_reuse on; proxy_ssl_protocols TLSv1.3;`, `127.0.0.1:${back}`);
  for (const [file, proto] of [[cloud, 'http'], [edge, 'https']] as const) {
    writeFileSync(file, readFileSync(file, 'utf8').replace('PROTO', proto));
    children.push(spawn('nginx', ['-c', file, '-p', dir], { stdio: ['ignore', 'ignore', 'inherit'] }));
  }
  await new Promise((r) => setTimeout(r, 700));
  const masters = new Set(children.slice(-2).map((c) => c.pid));
  const workers = readdirSync('/proc').filter((p) => /^\d+$/.test(p)).map(Number).filter((pid) => {
    try {
      return masters.has(Number(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')[1]));
    } catch {
      return false; // it ended while we looked
    }
  });
  return { port: front, pids: workers };
}

async function main(args: readonly string[]): Promise<number> {
  const option = (name: string, otherwise: number): number => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : otherwise);
  const seconds = option('--seconds', 4);
  const clients = option('--clients', 64);
  const dir = mkdtempSync(join(tmpdir(), 'px-bench-gw-'));
  const children: ChildProcess[] = [];
  try {
    const region = createRegionAuthority(createAuthority(join(dir, 'ca')), 'r1', join(dir, 'ca'));
    issueToFiles(region, dir, 'cloud', { uri: spiffe.cloudGateway('r1'), dns: ['bench.example'] });
    issueToFiles(region, dir, 'edge', { uri: spiffe.gateway('s1') });
    const service = await start(children, 'service', { dir });
    const cloud = await start(children, 'cloud', { dir, service: service.port });
    const edge = await start(children, 'edge', { dir, service: service.port, mux: cloud.port });
    const rows: Figures[] = [];
    const hasNginx = spawnSync('nginx', ['-v']).error === undefined;
    const nginx = hasNginx ? await nginxPair(children, dir, service.port) : null;
    if (nginx === null) console.log('nginx is not installed: no comparison (apt install nginx-light)');
    for (let round = 0; round < 2; round++) {
      if (nginx !== null) rows.push(await measure('nginx mTLS pair', nginx.port, nginx.pids, clients, seconds));
      rows.push(await measure('proxima gateways', edge.port, [cloud.pid, edge.pid], clients, seconds));
    }
    const best = (name: string): number => Math.max(...rows.filter((r) => r.name === name).map((r) => r.perCpuSecond));
    for (const r of rows) console.log(`${r.name.padEnd(18)} ${String(r.requestsPerSecond).padStart(7)} req/s  ${String(r.perCpuSecond).padStart(7)} req/CPU-s  p50 ${r.p50Ms} ms  p99 ${r.p99Ms} ms`);
    const ratio = nginx === null ? null : best('proxima gateways') / best('nginx mTLS pair');
    const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', cwd: import.meta.dirname }).trim();
    console.log(JSON.stringify({ bench: 'gateway', commit, node: process.version, cpus: cpus().length, clients, seconds, rows, ratio, floor: FLOOR }));
    if (ratio === null) return 0;
    console.log(`${ratio >= FLOOR ? 'ok' : 'BELOW THE FLOOR'}: ${ratio.toFixed(2)} x nginx, floor ${FLOOR}`);
    return ratio >= FLOOR ? 0 : 1;
  } finally {
    for (const c of children) c.kill();
    rmSync(dir, { recursive: true, force: true });
  }
}

if (process.argv[2] === '--child') await child(process.argv[3] ?? '', process.argv[4] ?? '{}');
else process.exitCode = await main(process.argv.slice(2));
