/** One droplet's transit daemon, as a process in the droplet's network namespace: a call a line on standard input, an answer a line on standard output. */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { loadNative } from '../../dataplane/native.ts';
import { createTransit, type Transit, type TransitOptions } from '../../dataplane/transit/transit.ts';
import { silentLogger } from '../../base/log.ts';

export type TimedCase = readonly [program: string, packet: string, ifindex: number];
type Call = { readonly id: number; readonly method: keyof Transit | 'testRunHex' | 'inTurn'; readonly args: readonly unknown[] };

const options = JSON.parse(process.argv[2] ?? '{}') as Omit<TransitOptions, 'log'>;
const transit = createTransit({ ...options, log: silentLogger });
await transit.start();
const say = (answer: object): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ id: 0, result: null });

/** Of each turn: nanoseconds of the measure (`floor.bpf.c`) and of each case, the mean of all runs but the slowest tenth, which were interrupted. */
function inTurn(cases: readonly TimedCase[], turns: number, runs: number): number[][] {
  const native = loadNative();
  const floor = native.loadObject(join(import.meta.dirname, '../../dataplane/bpf/floor.bpf.o'), join(options.bpffs ?? '', 'floor'));
  native.mapUpdate(native.openMap(join(options.bpffs ?? '', 'floor', 'floor_map')), Buffer.from('0700000000000000', 'hex'), Buffer.alloc(16, 1));
  const packets = cases.map(([, packet]) => Buffer.from(packet, 'hex'));
  const mean = (all: readonly number[]): number => {
    const kept = Uint32Array.from(all).toSorted().subarray(0, Math.ceil(all.length * 0.9));
    return kept.reduce((sum, x) => sum + x, 0) / kept.length;
  };
  return Array.from({ length: turns }, () => [
    mean(native.timeRuns(floor, 'one_lookup', packets[0] ?? Buffer.alloc(64), 1, runs)),
    ...cases.map(([program, , ifindex], i) => mean(transit.timeRuns(program, packets[i] as Buffer, ifindex, runs))),
  ]);
}

async function call(c: Call): Promise<unknown> {
  if (c.method === 'testRunHex') {
    const [program, packet, ifindex] = c.args as [string, string, number];
    const out = transit.testRun(program, Buffer.from(packet, 'hex'), ifindex);
    return { ...out, output: out.output.toString('hex') };
  }
  if (c.method === 'inTurn') return inTurn(...(c.args as [readonly TimedCase[], number, number]));
  return (transit[c.method] as (...args: unknown[]) => unknown).apply(transit, [...c.args]);
}

for await (const line of createInterface({ input: process.stdin })) {
  const c = JSON.parse(line) as Call;
  try {
    say({ id: c.id, result: (await call(c)) ?? null });
  } catch (error) {
    say({ id: c.id, error: (error as Error).message });
  }
}
