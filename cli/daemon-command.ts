/**
 * How a daemon is started, in one place: `daemonArgv('agent', file)` with `daemonEnv(stateDir)`.
 *
 * V8 sizes its heap for throughput on a big machine; an edge node has neither. With a young generation of 1 MiB, an old one that is collected before
 * it grows, one malloc arena and code compiled once, an idle edge gateway is 84 MiB resident and an agent 112; without them and with all of TypeBox
 * and undici loaded they were 126 and 160 to 179. Some 50 MiB of each are node's own text, shared by all daemons of a machine. `bench/memory.ts`
 * measures whole daemons. A region creates objects equally fast with a young generation of 4 MiB and of 16.
 */
import { join } from 'node:path';

export type DaemonVerb = 'region' | 'global' | 'gateway' | 'agent';

/** Megabytes of old generation; the region and the global process hold whole worlds, the two others only what their site has. */
const OLD_SPACE: Readonly<Record<DaemonVerb, number | null>> = { region: null, global: null, gateway: 96, agent: 96 };

const cliMain = join(import.meta.dirname, 'main.ts');

export function daemonFlags(verb: DaemonVerb): readonly string[] {
  const old = OLD_SPACE[verb];
  return old === null ? ['--max-semi-space-size=4'] : ['--max-semi-space-size=1', `--max-old-space-size=${old}`];
}

export function daemonArgv(verb: DaemonVerb, configFile: string): string[] {
  return [process.execPath, ...daemonFlags(verb), cliMain, verb, 'start', '--config', configFile];
}

/** `stateDir` is any folder that outlives the daemon; daemons may share it. */
export function daemonEnv(stateDir: string): Record<string, string> {
  return { NODE_COMPILE_CACHE: join(stateDir, 'code-cache'), MALLOC_ARENA_MAX: '1' };
}
