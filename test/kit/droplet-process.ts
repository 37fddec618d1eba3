/** One droplet's transit daemon, as a process in the droplet's network namespace: a call a line on standard input, an answer a line on standard output. */
import { createInterface } from 'node:readline';
import { createTransit, type Transit, type TransitOptions } from '../../dataplane/transit/transit.ts';
import { silentLogger } from '../../base/log.ts';

type Call = { readonly id: number; readonly method: keyof Transit | 'testRunHex'; readonly args: readonly unknown[] };

const transit = createTransit({ ...(JSON.parse(process.argv[2] ?? '{}') as Omit<TransitOptions, 'log'>), log: silentLogger });
await transit.start();
const say = (answer: object): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ id: 0, result: null });

async function call(c: Call): Promise<unknown> {
  if (c.method === 'testRunHex') {
    const [program, packet, ifindex, repeat] = c.args as [string, string, number, number | undefined];
    const out = transit.testRun(program, Buffer.from(packet, 'hex'), ifindex, repeat);
    return { ...out, output: out.output.toString('hex') };
  }
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
