/** Real etcd servers as children of the test, on free ports of the loopback. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CaseContext } from './suite.ts';

export const hasEtcd = (process.env['PATH'] ?? '').split(':').some((d) => existsSync(join(d, 'etcd')));

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise<ReturnType<typeof createServer>>((resolve) => {
    const s = createServer().listen(0, '127.0.0.1', () => resolve(s));
  })));
  const ports = servers.map((s) => (s.address() as { port: number }).port);
  await Promise.all(servers.map((s) => new Promise((r) => s.close(r))));
  return ports;
}

export interface EtcdMember {
  readonly url: string;
  readonly child: ChildProcess;
}

export async function startEtcd(t: Pick<CaseContext, 'after'>, members: number): Promise<readonly EtcdMember[]> {
  const dir = mkdtempSync(join(tmpdir(), 'px-etcd-'));
  const ports = await freePorts(members * 2);
  const peer = (i: number): string => `http://127.0.0.1:${ports[i * 2 + 1]}`;
  const cluster = Array.from({ length: members }, (_, i) => `m${i}=${peer(i)}`).join(',');
  const started = Array.from({ length: members }, (_, i): EtcdMember => {
    const url = `http://127.0.0.1:${ports[i * 2]}`;
    const args = ['--name', `m${i}`, '--data-dir', join(dir, `m${i}`), '--listen-client-urls', url, '--advertise-client-urls', url, '--listen-peer-urls', peer(i), '--initial-advertise-peer-urls', peer(i), '--initial-cluster', cluster, '--logger', 'zap', '--log-level', 'error'];
    return { url, child: spawn('etcd', args, { stdio: 'ignore' }) };
  });
  t.after(async () => {
    for (const m of started) {
      if (m.child.exitCode !== null || m.child.signalCode !== null) continue;
      const gone = new Promise((r) => m.child.once('exit', r));
      m.child.kill('SIGKILL');
      await gone;
    }
    rmSync(dir, { recursive: true, force: true });
  });
  for (const m of started) await healthy(m.url);
  return started;
}

async function healthy(url: string): Promise<void> {
  for (const end = Date.now() + 15_000; ; await new Promise((r) => setTimeout(r, 100))) {
    const answer = await fetch(`${url}/health`).then((r) => r.text(), () => ''); // not listening yet
    if (answer.includes('"true"')) return;
    if (Date.now() > end) throw new Error(`etcd at ${url} is not healthy: ${answer}`);
  }
}

/** Which member leads, by what the members say of themselves. */
export async function leaderOf(members: readonly EtcdMember[]): Promise<EtcdMember> {
  for (const m of members) {
    const metrics = await (await fetch(`${m.url}/metrics`)).text();
    if (/^etcd_server_is_leader 1$/m.test(metrics)) return m;
  }
  throw new Error('no member leads');
}
