/** A real cloud gateway and real edge gateways, each in a process of its own, with an authority, a service or two and callers. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { createServer as createHttpServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Presence } from '../../api/kinds/mesh.ts';
import { Resources } from '../../api/resources.ts';
import { createAuthority, createRegionAuthority, issueToFiles, pinOf } from '../../certs/authority.ts';
import type { Authority } from '../../certs/authority.ts';
import { enrol } from '../../certs/enrol.ts';
import { spiffe } from '../../certs/names.ts';
import { createToken } from '../../certs/token.ts';
import type { CaseContext } from './suite.ts';
import type { GatewayCommand } from './gateway-process.ts';
import { until } from './until.ts';

/** Code that was stripped once is not stripped again: the daemons run so too, and it is a fifth of their memory. */
const NODE_COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/compile');

export class GatewayProcess {
  readonly child: ChildProcess;
  readonly logFile: string;
  #id = 0;
  readonly #waiting = new Map<number, { resolve: (v: unknown) => void; reject: (e: Error) => void }>();

  constructor(logFile: string) {
    this.logFile = logFile;
    const log = openSync(logFile, 'a');
    this.child = fork(join(import.meta.dirname, 'gateway-process.ts'), { stdio: ['ignore', log, log, 'ipc'], env: { ...process.env, NODE_COMPILE_CACHE } });
    closeSync(log);
    this.child.on('message', (m) => {
      const { id, result, error } = m as { id: number; result?: unknown; error?: string };
      const w = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) w?.resolve(result);
      else w?.reject(new Error(error));
    });
    this.child.on('exit', () => {
      for (const w of this.#waiting.values()) w.reject(new Error(`the gateway process ended; its log:\n${this.log()}`));
      this.#waiting.clear();
    });
  }

  ask(command: Omit<GatewayCommand, 'id'>): Promise<unknown> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.child.send({ id, ...command });
    });
  }

  log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  async kill(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' = 'SIGKILL'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill(signal);
    if (signal === 'SIGKILL') await gone;
  }
}

export interface Credential {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
  readonly serial: string;
  readonly files: { readonly keyFile: string; readonly certFile: string; readonly trustFile: string };
}

export interface Pair {
  readonly dir: string;
  readonly authority: Authority;
  readonly cloud: GatewayProcess;
  readonly ports: { readonly mux: number; readonly enrol: number; readonly mqtt: number };
  readonly edge: GatewayProcess;
  readonly edgeConfig: Record<string, unknown>;
  readonly mqttPort: number;
  token(site: string): Promise<string>;
  credential(uri: string): Credential;
  presence(object: Omit<Presence, 'apiVersion' | 'kind'>): Promise<void>;
  portOf(where: GatewayProcess, key: string): Promise<number>;
  startEdge(config: Record<string, unknown>): Promise<{ readonly process: GatewayProcess; readonly mqtt: number }>;
  refusals(): Promise<readonly { readonly code: string; readonly reason: string; readonly site: string | null; readonly where: string }[]>;
}

export interface PairOptions {
  readonly services?: Readonly<Record<string, { readonly host: string; readonly port: number }>>;
  readonly edge?: Record<string, unknown>;
}

export async function gatewayPair(t: CaseContext, options: PairOptions = {}): Promise<Pair> {
  const dir = mkdtempSync(join(tmpdir(), 'px-gw-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const root = createAuthority(join(dir, 'ca'));
  const authority = createRegionAuthority(root, 'r1', join(dir, 'ca'));
  issueToFiles(authority, join(dir, 'cloud'), 'gateway', { uri: spiffe.cloudGateway('r1') });
  const processes: GatewayProcess[] = [];
  const spawn = (name: string): GatewayProcess => {
    const p = new GatewayProcess(join(dir, `${name}.log`));
    processes.push(p);
    return p;
  };
  t.after(() => Promise.all(processes.map((p) => p.kill())));
  const local = { address: '127.0.0.1', port: 0 };
  const cloud = spawn('cloud');
  const ports = (await cloud.ask({ do: 'cloud', config: { region: 'r1', identity: { dir: join(dir, 'cloud') }, authority: { cert: join(dir, 'ca', 'region-r1.crt'), key: join(dir, 'ca', 'region-r1.key') }, mux: local, enrol: local, mqtt: local, services: options.services ?? {}, api: { server: 'https://127.0.0.1:1' } } })) as Pair['ports'];
  const credential = (uri: string): Credential => {
    const name = `c-${Math.random().toString(36).slice(2)}`;
    const files = issueToFiles(authority, join(dir, 'callers'), name, { uri });
    const read = (path: string): string => readFileSync(path, 'utf8');
    return { key: read(files.keyFile), cert: read(files.certFile), ca: read(files.trustFile), serial: files.serial, files };
  };
  const token = async (site: string): Promise<string> => {
    const made = createToken({ gateway: `127.0.0.1:${ports.enrol}`, site, caPin: pinOf(root.certificate), role: 'edge', lifetimeMs: 60_000 });
    await cloud.ask({ do: 'create', resource: Resources.JoinToken, object: made.object });
    return made.token;
  };
  const startEdge = async (config: Record<string, unknown>): Promise<{ process: GatewayProcess; mqtt: number }> => {
    const process = spawn(`edge-${processes.length}`);
    const { mqtt } = (await process.ask({ do: 'edge', config })) as { mqtt: number };
    return { process, mqtt };
  };
  await cloud.ask({ do: 'create', resource: Resources.Site, object: { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: 's1' }, spec: { kind: 'edge', region: 'r1' } } as never });
  await enrol(await token('s1'), { dir: join(dir, 's1'), node: 'n1', uses: ['gateway', 'node'] });
  const edgeConfig = { site: 's1', identity: { dir: join(dir, 's1') }, stateDir: join(dir, 's1', 'state'), entry: local, mqtt: { listen: [{ ...local, tls: true }] }, services: Object.fromEntries(Object.keys(options.services ?? {}).map((k) => [k, local])), ...options.edge };
  const edge = await startEdge(edgeConfig);
  const admin = credential(spiffe.admin('tester'));
  await until('the edge gateway connects', () => edge.process.log().includes('uplink connected'));
  return {
    dir,
    authority,
    cloud,
    ports,
    edge: edge.process,
    edgeConfig,
    mqttPort: edge.mqtt,
    token,
    credential,
    startEdge,
    presence: async ({ metadata, spec }) => {
      const object = { metadata, spec: { ...spec, listen: { ...spec.listen, port: spec.listen.port === 0 ? await freePort() : spec.listen.port } } };
      await cloud.ask({ do: 'create', resource: Resources.Presence, object: { apiVersion: 'mesh.proxima.io/v1', kind: 'Presence', ...object } as never });
    },
    portOf: (where, key) => until(`${key} listens`, async () => ((await where.ask({ do: 'ports', keys: [key] })) as Record<string, number | null>)[key]),
    refusals: async () => (JSON.parse((await fetchTls(ports.enrol, '/refusals', admin)).body) as { refusals: [] }).refusals,
  };
}

/** The API takes no port 0; between here and the gateway's own listen another process could take it, which the test would show. */
async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

export function fetchTls(port: number, path: string, who: Credential | null, options: { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: Buffer; readonly ca?: string } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, path, method: options.method ?? 'GET', headers: options.headers ?? {}, agent: false, rejectUnauthorized: false, ...(who === null ? {} : { key: who.key, cert: who.cert }) }, (res) => {
      const parts: Buffer[] = [];
      res.on('data', (d: Buffer) => parts.push(d));
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(parts).toString() }));
      res.on('error', reject);
    });
    req.on('error', reject);
    req.end(options.body);
  });
}

async function listen(t: CaseContext, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (s: Socket) => {
    sockets.add(s);
    s.on('close', () => sockets.delete(s));
    s.on('error', () => undefined); // a test that ends mid-way
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const s of sockets) s.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

export function httpService(t: CaseContext, handler: RequestListener): Promise<number> {
  return listen(t, createHttpServer(handler));
}

export function tcpService(t: CaseContext, handler: (socket: Socket) => void): Promise<number> {
  return listen(t, createTcpServer({ allowHalfOpen: true }, handler));
}
