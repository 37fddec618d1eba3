/** The client processes of all client regions, and what they saw, per second and over a span. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { ClientReport } from './client.ts';

export interface ClientHost {
  readonly region: string;
  readonly netns: string;
}

export interface Span {
  readonly sent: number;
  readonly ok: number;
  readonly failed: number;
  readonly retried: number;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly servedBy: Readonly<Record<string, number>>;
  readonly lastError: string | null;
}

type Child = ChildProcessByStdio<Writable, Readable, null>;

export class Traffic {
  readonly #children = new Map<string, Child>();
  readonly reports: ClientReport[] = [];
  onReport: ((report: ClientReport) => void) | null = null;

  start(hosts: readonly ClientHost[], options: { readonly steering: string; readonly applications: readonly string[]; readonly rate: number }): void {
    for (const host of hosts) {
      const argument = JSON.stringify({ region: host.region, ...options });
      const child = spawn('nsenter', [`--net=/run/netns/${host.netns}`, '--', process.execPath, join(import.meta.dirname, 'client.ts'), argument], { stdio: ['pipe', 'pipe', 'inherit'] });
      this.#children.set(host.region, child);
      createInterface({ input: child.stdout }).on('line', (line) => {
        const report = JSON.parse(line) as ClientReport;
        this.reports.push(report);
        this.onReport?.(report);
      });
    }
  }

  setRate(region: string, rate: number): void {
    this.#children.get(region)?.stdin.write(`${JSON.stringify({ rate })}\n`);
  }

  /** Everything seen in [from, to) for one region and application ('*' = all). */
  span(from: number, to: number, region: string, application: string): Span {
    const rows = this.reports.filter((r) => r.at > from && r.at <= to && (region === '*' || r.region === region) && (application === '*' || r.application === application));
    const add = (f: (r: ClientReport) => number): number => rows.reduce((n, r) => n + f(r), 0);
    const servedBy: Record<string, number> = {};
    for (const r of rows) for (const [site, n] of Object.entries(r.servedBy)) servedBy[site] = (servedBy[site] ?? 0) + n;
    const weighted = (f: (r: ClientReport) => number | null): number | null => {
      const seen = rows.filter((r) => f(r) !== null).sort((a, b) => (f(a) ?? 0) - (f(b) ?? 0));
      const half = seen.reduce((n, r) => n + r.ok, 0) / 2;
      let n = 0;
      for (const r of seen) {
        n += r.ok;
        if (n >= half) return f(r);
      }
      return null;
    };
    const p99s = rows.map((r) => r.p99).filter((v) => v !== null);
    return {
      sent: add((r) => r.sent),
      ok: add((r) => r.ok),
      failed: add((r) => r.failed),
      retried: add((r) => r.retried),
      p50: weighted((r) => r.p50),
      p99: p99s.length === 0 ? null : Math.max(...p99s),
      servedBy,
      lastError: rows.findLast((r) => r.lastError !== null)?.lastError ?? null,
    };
  }

  /** The lowest median of any `windowMs` in [from, to) whose answers all came from `site`: in the others the machine did something else besides. */
  bestMedian(from: number, to: number, region: string, application: string, site: string, windowMs: number): number | null {
    let best: number | null = null;
    for (let end = from + windowMs; end <= to; end += 500) {
      const { ok, p50, servedBy } = this.span(end - windowMs, end, region, application);
      if (p50 !== null && servedBy[site] === ok) best = Math.min(best ?? p50, p50);
    }
    return best;
  }

  async stop(): Promise<void> {
    await Promise.all(
      [...this.#children.values()].map(async (child) => {
        const gone = new Promise((r) => child.once('exit', r));
        child.stdin.end();
        const timer = setTimeout(() => child.kill('SIGKILL'), 2_000);
        await gone;
        clearTimeout(timer);
      }),
    );
    this.#children.clear();
  }
}
