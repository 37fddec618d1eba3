/** A region process of its own, and what an agent would do for its nodes, for tests. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

const MAIN = join(import.meta.dirname, '..', '..', 'cloud', 'main.ts');
const PROGRAM = `
import { regionStart } from ${JSON.stringify(MAIN)};
const region = await regionStart(JSON.parse(process.argv[1]));
process.stdin.resume().on('end', () => process.exit(1)); // whoever started it is gone
process.on('SIGTERM', () => void region.stop().then(() => process.exit(0)));
console.log(JSON.stringify({ port: region.port, goalPort: region.goalPort }));
`;

export interface RegionProcess {
  readonly child: ChildProcess;
  readonly port: number;
  readonly goalPort: number;
  /** Resolves with the exit code, or null after a signal. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>;
}

export async function regionProcess(config: unknown): Promise<RegionProcess> {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', PROGRAM, JSON.stringify(config)], { stdio: ['pipe', 'pipe', 'pipe'] });
  const gone = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  let errors = '';
  child.stderr.on('data', (d: Buffer) => (errors = (errors + d.toString()).slice(-20_000)));
  const first = await Promise.race([(async () => { for await (const line of createInterface({ input: child.stdout })) return line; return null; })(), gone.then(() => null)]);
  if (first === null) throw new Error(`the region did not start:\n${errors}`);
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> => {
    child.kill(signal);
    return gone;
  };
  return { child, ...(JSON.parse(first) as { port: number; goalPort: number }), end };
}
