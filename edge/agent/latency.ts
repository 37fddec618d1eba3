/** Round-trip times to other sites and to client regions: the time of a TCP connect (a refusal is an answer too) or of a UDP echo. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { ProbeSample } from '../../api/telemetry.ts';

export interface LatencyTarget {
  readonly to: string;
  readonly kind: 'site' | 'client-region';
  readonly address: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

const TIMEOUT_MS = 900;
/** Loss is the share of the last so many probes. */
const WINDOW = 10;

export class LatencyProbes {
  readonly #targets: readonly LatencyTarget[];
  readonly #history = new Map<string, boolean[]>();

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
        return { to: t.to, kind: t.kind, rttMs, loss: history.filter((ok) => !ok).length / history.length };
      }),
    );
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
