/** Round-trip times to other sites and to client regions: the time of a TCP connect (a refusal is an answer too) or of a UDP echo. Bandwidth, once a minute. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { ProbeSample } from '../../api/telemetry.ts';
import { measureBandwidth } from './train.ts';

export interface LatencyTarget {
  readonly to: string;
  readonly kind: 'site' | 'client-region';
  readonly address: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  /** UDP port that echoes, for its bandwidth. */
  readonly echoPort?: number;
}

const TIMEOUT_MS = 900;
/** Loss is the share of the last so many probes. */
const WINDOW = 10;
const BANDWIDTH_EVERY_MS = 60_000;

export class LatencyProbes {
  readonly #targets: readonly LatencyTarget[];
  readonly #history = new Map<string, boolean[]>();
  readonly #measuredAt = new Map<string, number>();

  constructor(targets: readonly LatencyTarget[]) {
    this.#targets = targets;
  }

  get isEmpty(): boolean {
    return this.#targets.length === 0;
  }

  /** One probe to each target, all at once. */
  async round(): Promise<ProbeSample['rows']> {
    return Promise.all(
      this.#targets.map(async (t) => {
        const rttMs = await (t.protocol === 'tcp' ? tcpTime(t) : udpTime(t));
        const history = [...(this.#history.get(t.to) ?? []), rttMs !== null].slice(-WINDOW);
        this.#history.set(t.to, history);
        const mbps = rttMs === null ? null : await this.#bandwidth(t);
        return { to: t.to, kind: t.kind, rttMs, loss: history.filter((ok) => !ok).length / history.length, ...(mbps === null ? {} : { mbps }) };
      }),
    );
  }

  async #bandwidth(t: LatencyTarget): Promise<number | null> {
    const port = t.echoPort ?? (t.protocol === 'udp' ? t.port : null);
    const now = performance.now();
    if (port === null || now - (this.#measuredAt.get(t.to) ?? Number.NEGATIVE_INFINITY) < BANDWIDTH_EVERY_MS) return null;
    this.#measuredAt.set(t.to, now);
    return measureBandwidth(t.address, port);
  }
}

function tcpTime(t: LatencyTarget): Promise<number | null> {
  return new Promise((resolve) => {
    const began = performance.now();
    const socket = connect({ host: t.address, port: t.port });
    const done = (rtt: number | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(rtt);
    };
    const timer = setTimeout(() => done(null), TIMEOUT_MS);
    socket.once('connect', () => done(performance.now() - began));
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNREFUSED' ? performance.now() - began : null));
  });
}

function udpTime(t: LatencyTarget): Promise<number | null> {
  return new Promise((resolve) => {
    const began = performance.now();
    const socket = createSocket('udp4');
    const done = (rtt: number | null): void => {
      clearTimeout(timer);
      socket.close();
      resolve(rtt);
    };
    const timer = setTimeout(() => done(null), TIMEOUT_MS);
    socket.once('message', () => done(performance.now() - began));
    socket.once('error', () => done(null));
    socket.send('proxima', t.port, t.address);
  });
}
