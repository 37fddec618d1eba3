/** One droplet's transit daemon, as a process in the droplet's network namespace: a call a line on standard input, an answer a line on standard output. */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { loadNative } from '../../dataplane/native.ts';
import { createTransit, type Transit, type TransitOptions } from '../../dataplane/transit/transit.ts';
import { silentLogger } from '../../base/log.ts';

type Call = { readonly id: number; readonly method: keyof Transit | 'testRunHex' | 'medianNs' | 'floorNs'; readonly args: readonly unknown[] };

const options = JSON.parse(process.argv[2] ?? '{}') as Omit<TransitOptions, 'log'>;
const transit = createTransit({ ...options, log: silentLogger });
await transit.start();
const say = (answer: object): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ id: 0, result: null });

/** One packet a run: the next would meet what the one before made of it. */
function medianOf(runs: number, once: () => { readonly nanoseconds: number }): number {
  const all = Uint32Array.from({ length: runs }, () => once().nanoseconds).toSorted();
  return all[runs >> 1] ?? 0;
}

function floorNs(packet: Buffer, runs: number): number {
  const native = loadNative();
  const programs = native.loadObject(join(import.meta.dirname, '../../dataplane/bpf/floor.bpf.o'), join(options.bpffs ?? '', 'floor'));
  return medianOf(runs, () => native.testRun(programs, 'one_lookup', packet, 1, 1));
}

async function call(c: Call): Promise<unknown> {
  if (c.method === 'testRunHex') {
    const [program, packet, ifindex, repeat] = c.args as [string, string, number, number | undefined];
    const out = transit.testRun(program, Buffer.from(packet, 'hex'), ifindex, repeat);
    return { ...out, output: out.output.toString('hex') };
  }
  if (c.method === 'medianNs') {
    const [program, packet, ifindex, runs] = c.args as [string, string, number, number];
    const bytes = Buffer.from(packet, 'hex');
    return medianOf(runs, () => transit.testRun(program, bytes, ifindex));
  }
  if (c.method === 'floorNs') return floorNs(Buffer.from(c.args[0] as string, 'hex'), c.args[1] as number);
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
