/** The real global scheduler over a simulated mesh, on the mesh's clock: each step is what its loops would do in that time. */
import { silentLogger } from '../../base/log.ts';
import type { Clock } from '../../base/clock.ts';
import { GlobalScheduler, type GlobalSchedulerOptions } from '../../scheduler/global/global-scheduler.ts';
import { Region } from '../../scheduler/global/region.ts';
import type { MemoryMesh } from './memory-mesh.ts';

export interface RunOptions {
  readonly scheduler?: Partial<GlobalSchedulerOptions>;
  /** Between two looks at everything. @default 250 */
  readonly stepMs?: number;
  /** The processor's time that a pass takes passes on the mesh's clock too, the in-memory APIs' included. @default false: a pass takes no time */
  readonly isCharged?: boolean;
}

export interface Run {
  readonly scheduler: GlobalScheduler;
  /** Of each pass: ms of processor time, of all of this process. */
  readonly passMs: number[];
  readonly stop: () => Promise<void>;
  /** Advances the mesh and the scheduler by so long; true = over before. */
  readonly forMs: (ms: number, each?: () => Promise<boolean | void>) => Promise<void>;
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

export function runMesh(mesh: MemoryMesh, options: RunOptions = {}): Run {
  const { stepMs = 250, isCharged = false } = options;
  const clock: Clock = { now: () => mesh.now, sleep: async () => undefined };
  const regions = mesh.regions.map((client, i) => new Region(`r${i}`, client));
  const stopwatch = isCharged ? cpuMs : () => 0;
  const scheduler = new GlobalScheduler({ client: mesh.global, regions, log: silentLogger, clock }, { identity: 'global-0', clientRegions: mesh.clientRegions, planning: { stopwatch }, ...options.scheduler });
  mesh.listeners.add(scheduler.telemetry);
  const abort = new AbortController();
  for (const r of regions) r.follow(abort.signal, silentLogger, clock);
  const passMs: number[] = [];
  const turn = (): Promise<void> => new Promise((r) => setImmediate(r));
  let askedAt = Number.NEGATIVE_INFINITY;
  const forMs: Run['forMs'] = async (ms, each) => {
    for (const end = mesh.now + ms; mesh.now < end; ) {
      mesh.now += stepMs;
      await mesh.step();
      if (mesh.now - askedAt >= 1_000) {
        askedAt = mesh.now;
        for (const r of regions) await scheduler.refreshRegion(r.name);
      }
      await turn(); // what the watches bring
      const began = cpuMs();
      await scheduler.pass();
      passMs.push(cpuMs() - began);
      if (isCharged) mesh.now += passMs.at(-1) ?? 0;
      await turn(); // the regions' own controllers
      if ((await each?.()) === true) return;
    }
  };
  const stop = async (): Promise<void> => {
    mesh.stop();
    abort.abort(new Error('over'));
    for (const r of regions) await r.close();
  };
  return { scheduler, passMs, stop, forMs };
}

export const percentile = (values: readonly number[], p: number): number => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))] ?? Number.NaN;
