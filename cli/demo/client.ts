/**
 * A client region's traffic, as a process of its own inside a client host: real TCP connections, real HTTP requests, one connection each.
 * It asks the global scheduler which fronts serve an application, nearest first, tries the next one when a front does not answer in time,
 * and counts a request as failed only when nobody answered it.
 *
 *   node client.ts '{"region":"west","steering":"http://192.0.2.10:8080","applications":["acme/default/web"],"rate":10}'
 *   standard input: one JSON object a line, `{"rate": 40}`; standard output: one JSON report a second.
 */
import net from 'node:net';
import { createInterface } from 'node:readline';

interface Options {
  readonly region: string;
  readonly steering: string;
  readonly applications: readonly string[];
  readonly rate: number;
}

export interface ClientReport {
  readonly at: number;
  readonly region: string;
  readonly application: string;
  readonly sent: number;
  readonly ok: number;
  readonly failed: number;
  /** Answered, but only by a later front than the first that was tried. */
  readonly retried: number;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly servedBy: Readonly<Record<string, number>>;
  readonly front: string | null;
  readonly lastError: string | null;
}

interface Front {
  readonly host: string;
  readonly port: number;
}

const CONNECT_TIMEOUT_MS = 700;
const ANSWER_TIMEOUT_MS = 4_000;

const options = JSON.parse(process.argv[2] ?? '{}') as Options;
let rate = options.rate;
/** Fronts per application, nearest first, and until when a front that failed is tried last. */
const fronts = new Map<string, readonly Front[]>();
const avoidUntil = new Map<string, number>();

class Window {
  sent = 0;
  ok = 0;
  failed = 0;
  retried = 0;
  latencies: number[] = [];
  servedBy: Record<string, number> = {};
  front: string | null = null;
  lastError: string | null = null;
}
const windows = new Map(options.applications.map((a) => [a, new Window()]));

function ask(front: Front): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: front.host, port: front.port, noDelay: true });
    let body = '';
    const fail = (why: string): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new Error(`${front.host}:${front.port} ${why}`));
    };
    let timer = setTimeout(() => fail(`did not connect in ${CONNECT_TIMEOUT_MS} ms`), CONNECT_TIMEOUT_MS);
    socket.on('connect', () => {
      clearTimeout(timer);
      timer = setTimeout(() => fail(`did not answer in ${ANSWER_TIMEOUT_MS} ms`), ANSWER_TIMEOUT_MS);
      socket.write(`GET / HTTP/1.0\r\nHost: ${front.host}\r\nConnection: close\r\n\r\n`);
    });
    socket.on('data', (d: Buffer) => (body += d.toString('latin1')));
    socket.on('error', (e) => fail(e.message));
    socket.on('close', () => {
      clearTimeout(timer);
      if (/^HTTP\/1\.[01] 200 /.test(body) && body.includes('\r\n\r\n')) resolve(body.slice(body.indexOf('\r\n\r\n') + 4));
      else reject(new Error(`${front.host}:${front.port} answered ${body === '' ? 'nothing' : JSON.stringify(body.slice(0, 40))}`));
    });
  });
}

/** What is counted belongs to the second in which it happens: a request that outlasts its second is answered, or fails, in a later one. */
function current(application: string): Window {
  const window = windows.get(application);
  if (window === undefined) throw new Error(`no application "${application}"`);
  return window;
}

async function request(application: string): Promise<void> {
  const now = Date.now();
  const list = fronts.get(application) ?? [];
  const key = (f: Front): string => `${f.host}:${f.port}`;
  const order = [...list.filter((f) => (avoidUntil.get(key(f)) ?? 0) <= now), ...list.filter((f) => (avoidUntil.get(key(f)) ?? 0) > now)];
  if (order.length === 0) return; // nothing is promised yet
  current(application).sent += 1;
  const started = performance.now();
  for (const [i, front] of order.slice(0, 3).entries()) {
    try {
      const body = await ask(front);
      const window = current(application);
      window.ok += 1;
      if (i > 0) window.retried += 1;
      window.latencies.push(performance.now() - started);
      const site = /"site"\s*:\s*"([^"]+)"/.exec(body)?.[1] ?? 'unknown';
      window.servedBy[site] = (window.servedBy[site] ?? 0) + 1;
      window.front = key(front);
      return;
    } catch (error) {
      avoidUntil.set(key(front), Date.now() + 2_000);
      current(application).lastError = (error as Error).message;
    }
  }
  current(application).failed += 1;
}

async function steer(): Promise<void> {
  for (const application of options.applications) {
    try {
      const url = `${options.steering}/v1/steering?application=${encodeURIComponent(application)}&clientRegion=${encodeURIComponent(options.region)}`;
      const answer = await fetch(url, { signal: AbortSignal.timeout(3_000) });
      if (!answer.ok) continue;
      const { fronts: list } = (await answer.json()) as { fronts: readonly { address: string; port: number }[] };
      if (list.length > 0) fronts.set(application, list.map((f) => ({ host: f.address, port: f.port })));
    } catch (error) {
      current(application).lastError = `steering: ${(error as Error).message}`; // keep the last known fronts
    }
  }
}

function quantile(sorted: readonly number[], q: number): number | null {
  const v = sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  return v === undefined ? null : Math.round(v * 10) / 10;
}

function report(): void {
  for (const application of options.applications) {
    const w = current(application);
    windows.set(application, new Window());
    const sorted = w.latencies.sort((a, b) => a - b);
    const line: ClientReport = { at: Date.now(), region: options.region, application, sent: w.sent, ok: w.ok, failed: w.failed, retried: w.retried, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), servedBy: w.servedBy, front: w.front, lastError: w.lastError };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}

let next: NodeJS.Timeout | undefined;
function pace(): void {
  for (const application of options.applications) void request(application);
  next = setTimeout(pace, (1000 / Math.max(0.05, rate)) * (0.8 + 0.4 * Math.random()));
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    rate = (JSON.parse(line) as { rate: number }).rate;
    clearTimeout(next); // a slow pace must not outlast itself
    pace();
  })
  .on('close', () => process.exit(0));
setInterval(() => void steer(), 1_000);
setInterval(report, 1_000);
await steer();
if (next === undefined) pace(); // a change of rate may have begun already
