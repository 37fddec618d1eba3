/**
 * A thousand sites and one cloud gateway that is killed: real mTLS sessions, the daemons as the command line starts them, the region's API on LMDB.
 *   storm     kill -9 the gateway, start it again, until every site has its session and its goal again, and the API says so of all
 *   baseline  as many mTLS handshakes with a bare `node:tls` server that does nothing else, from the same processes, in the same run
 * Checked before a figure is printed: each site connected once, none is Unreachable in the API, and afterwards no site's `lastSeen` gets old.
 * `dials` above 1 a site are those that came too early or were not answered in time.
 *
 *   sudo ./proxima bench reconnect [--sites N] [--rounds N] [--check]     (needs root: it runs in a network namespace of its own)
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { createHttpClient, type HttpClient } from '../api/http-client.ts';
import { loadKubeconfig } from '../api/kubeconfig.ts';
import type { Site } from '../api/kinds/mesh.ts';
import { Resources } from '../api/resources.ts';
import { type Authority, createAuthority, createRegionAuthority, issueToFiles } from '../certs/authority.ts';
import { spiffe } from '../certs/names.ts';
import { Daemons } from '../test/kit/daemons.ts';
import { inOwnNetns } from '../test/kit/own-netns.ts';
import { quantile } from '../test/kit/quantile.ts';
import { waiter } from '../test/kit/until.ts';

const PORTS = { api: 6443, goal: 50_051, mux: 7443, enrol: 7444, bare: 7445 } as const;
const PROCESSES = 2;
const GOAL_MS = 10_000;
const FRESH_MS = 15_000;
const LIMIT_MS = 60_000;

interface Said {
  readonly site: string;
  readonly did: 'connected' | 'goal';
}

class Sites {
  readonly #children: readonly ChildProcess[];
  /** Milliseconds at which each came to be so, since `mark`. */
  readonly connected = new Map<string, number>();
  readonly goals = new Map<string, number>();
  sessions = 0;
  #since = 0;

  constructor(dir: string, port: number, names: readonly string[]) {
    this.#children = Array.from({ length: PROCESSES }, (_, k) => fork(join(import.meta.dirname, '../test/kit/uplinks-process.ts'), [dir, `127.0.0.1:${port}`, ...names.filter((_n, i) => i % PROCESSES === k)]));
    for (const child of this.#children) child.on('message', (m) => this.#take(m as Said));
    this.mark();
  }

  #take({ site, did }: Said): void {
    if (did === 'connected') this.sessions += 1;
    (did === 'connected' ? this.connected : this.goals).set(site, performance.now() - this.#since);
  }

  mark(): void {
    this.connected.clear();
    this.goals.clear();
    this.sessions = 0;
    this.#since = performance.now();
  }

  async stop(): Promise<void> {
    for (const child of this.#children) child.disconnect();
    await Promise.all(this.#children.map((c) => new Promise((resolve) => (c.exitCode === null ? c.once('exit', resolve) : resolve(null)))));
  }
}

const until = waiter({ withinMs: LIMIT_MS, everyMs: 50 });

const quantiles = (times: ReadonlyMap<string, number>): string => {
  const at = (q: number): number => Math.round(quantile([...times.values()], q));
  return `p50 ${at(0.5)} p99 ${at(0.99)} last ${at(1)} ms`;
};

/** Time on a core, and the most memory it had. */
function costOf(pid: number): { readonly cpuMs: number; readonly peakMiB: number } {
  const [user = 0, system = 0] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ').slice(11, 13).map(Number) ?? [];
  return { cpuMs: (user + system) * 10, peakMiB: Math.round(Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024) };
}

const listSites = async (client: HttpClient): Promise<readonly Site[]> => (await client.list<Site>(Resources.Site)).items;
const isUp = (s: Site, since: number): boolean => s.status?.gateway?.connected === true && Date.parse(s.status.lastSeen ?? '') >= since;

/** Bare handshakes, all at once, by the same uplinks; a session is never made, so each hears nothing and is closed. */
async function bare(dir: string, names: readonly string[], authority: { readonly key: string; readonly cert: string; readonly ca: string }): Promise<{ readonly allMs: number; readonly cpuMs: number }> {
  let accepted = 0;
  const server = createServer({ ...authority, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' }, (socket) => {
    accepted += 1;
    socket.on('error', () => undefined);
  });
  const cpu = process.cpuUsage();
  const sites = new Sites(dir, PORTS.bare, names);
  try {
    await new Promise((r) => setTimeout(r, 3_000)); // all have failed to connect, as after a kill
    const began = performance.now();
    await new Promise<void>((resolve) => server.listen(PORTS.bare, '127.0.0.1', resolve));
    await until('bare handshakes', () => accepted >= names.length);
    const used = process.cpuUsage(cpu);
    return { allMs: performance.now() - began, cpuMs: (used.user + used.system) / 1000 };
  } finally {
    await sites.stop();
    server.close();
  }
}

async function main(argv: readonly string[]): Promise<void> {
  const option = (name: string, otherwise: number): number => (argv.includes(name) ? Number(argv[argv.indexOf(name) + 1]) : otherwise);
  const names = Array.from({ length: option('--sites', 1_000) }, (_, i) => `s${i}`);
  const rounds = option('--rounds', 3);
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const dir = mkdtempSync('/tmp/px-reconnect-');
  const daemons = new Daemons(dir);
  let sites: Sites | null = null;
  try {
    const authority: Authority = createRegionAuthority(createAuthority(join(dir, 'ca')), 'r1', join(dir, 'ca'));
    const cloud = { dir: join(dir, 'cloud') };
    for (const [use, uri] of [['region', spiffe.region('r1')], ['gateway', spiffe.cloudGateway('r1')]] as const) issueToFiles(authority, cloud.dir, use, { uri, dns: ['api.r1.proxima', 'localhost'], ips: ['127.0.0.1'] });
    for (const name of names) issueToFiles(authority, join(dir, name), 'gateway', { uri: spiffe.gateway(name) });
    const local = (port: number): object => ({ address: '127.0.0.1', port });
    const kubeconfig = join(dir, 'kubeconfig');
    await daemons.start('region', 'region', { region: 'r1', dataDir: join(dir, 'store'), listen: local(PORTS.api), goal: local(PORTS.goal), identity: { ...cloud, use: 'region' }, kubeconfig });
    const client = createHttpClient(await loadKubeconfig(kubeconfig));
    for (const name of names) await client.create<Site>(Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name }, spec: { kind: 'edge', region: 'r1' } });
    const startGateway = (): Promise<number> => daemons.start('cloud gateway', 'gateway', { region: 'r1', identity: { ...cloud, use: 'gateway' }, authority: { cert: join(dir, 'ca', 'region-r1.crt'), key: join(dir, 'ca', 'region-r1.key') }, mux: local(PORTS.mux), enrol: local(PORTS.enrol), api: { server: `https://127.0.0.1:${PORTS.api}`, serverName: 'api.r1.proxima' } });
    await startGateway();
    sites = new Sites(dir, PORTS.mux, names);
    await until('the first connections', () => sites?.connected.size === names.length);
    const bad: string[] = [];
    const results: object[] = [];
    for (let round = 1; round <= rounds; round++) {
      await new Promise((r) => setTimeout(r, 11_000)); // a session that lasted is dialled again at once: the hardest storm
      await daemons.kill('cloud gateway');
      sites.mark();
      const killedAt = Date.now();
      const pid = await startGateway();
      const readyAt = Date.now() - killedAt;
      await until('every site has its goal', () => sites?.goals.size === names.length);
      await until('the API says that every site is connected', async () => (await listSites(client)).every((s) => isUp(s, killedAt)));
      const shown = Date.now() - killedAt;
      const cost = costOf(pid);
      const dials = sites.sessions / names.length;
      let oldest = 0;
      for (let i = 0; i < 10; i++) {
        await new Promise((r) => setTimeout(r, 1_000));
        const now = await listSites(client);
        assert.ok(now.every((s) => s.status?.phase === 'Ready'), 'a site that is there is said to be Unreachable');
        oldest = Math.max(oldest, ...now.map((s) => Date.now() - Date.parse(s.status?.lastSeen ?? '')));
      }
      const identity = { key: readFileSync(join(cloud.dir, 'gateway.key'), 'utf8'), cert: readFileSync(join(cloud.dir, 'gateway.crt'), 'utf8'), ca: readFileSync(join(cloud.dir, 'trust.pem'), 'utf8') };
      const plain = await bare(dir, names, identity);
      const last = Math.max(...sites.goals.values());
      console.log(`round ${round}: gateway Ready ${readyAt} ms after kill -9; session ${quantiles(sites.connected)}, goal ${quantiles(sites.goals)}, the API shows all ${shown} ms after the kill; ${dials.toFixed(2)} sessions a site; gateway ${cost.cpuMs} ms CPU, ${cost.peakMiB} MiB at most; oldest lastSeen ${oldest} ms; bare TLS: all in ${Math.round(plain.allMs)} ms, ${Math.round(plain.cpuMs)} ms CPU; ratio ${((last - readyAt) / plain.allMs).toFixed(2)}`);
      results.push({ readyAt, lastGoalMs: Math.round(last), shownMs: shown, dials, ...cost, oldestMs: oldest, bareMs: Math.round(plain.allMs), bareCpuMs: Math.round(plain.cpuMs) });
      if (last > GOAL_MS) bad.push(`round ${round}: the last goal came after ${Math.round(last)} ms`);
      if (oldest > FRESH_MS) bad.push(`round ${round}: a lastSeen was ${oldest} ms old`);
    }
    console.log(JSON.stringify({ bench: 'reconnect', sites: names.length, node: process.version, commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', cwd: import.meta.dirname }).trim(), results }));
    console.log(bad.length === 0 ? `ok: every goal within ${GOAL_MS} ms of the kill, no lastSeen older than ${FRESH_MS} ms` : `BELOW: ${bad.join('; ')}`);
    if (bad.length > 0 && argv.includes('--check')) process.exitCode = 1;
    await client.close();
  } finally {
    await sites?.stop();
    await daemons.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

const refused = await inOwnNetns(import.meta.filename);
if (refused === null) await main(process.argv.slice(2));
else console.log(`cannot run here: ${refused}`);
