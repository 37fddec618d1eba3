/** The one importer of the addon: types for its functions, and its failures as MeshError. */
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../api/errors.ts';

/** Opaque handles. */
export interface Programs {
  readonly type: 'programs';
}
export interface MapHandle {
  readonly type: 'map';
}

export interface TestRun {
  readonly verdict: number;
  readonly nanoseconds: number;
  readonly output: Buffer;
}

export interface MapShape {
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
}

export interface Native {
  loadObject(path: string, pinDir: string): Programs;
  attachTcx(programs: Programs, program: string, interfaceName: string, pin: string): 'attached' | 'replaced';
  attachXdp(programs: Programs, program: string, interfaceName: string, pin: string, isNative: boolean): 'attached' | 'replaced';
  /** Bits of `enum netdev_xdp_act`. */
  xdpFeatures(interfaceName: string): number;
  testRun(programs: Programs, program: string, packet: Buffer, ifindex: number): TestRun;
  /** Of each run, on a fresh copy of the packet. */
  timeRuns(programs: Programs, program: string, packet: Buffer, ifindex: number, runs: number): readonly number[];
  openMap(path: string): MapHandle;
  mapShape(map: MapHandle): MapShape;
  mapUpdate(map: MapHandle, keys: Buffer, values: Buffer): void;
  mapDelete(map: MapHandle, keys: Buffer): void;
  /** key, value, key, value, ... */
  mapEntries(map: MapHandle): Buffer;
}

let loaded: Native | null = null;

export function loadNative(path: string = join(import.meta.dirname, 'native', 'proxima.node')): Native {
  if (loaded !== null) return loaded;
  if (!existsSync(path)) throw new MeshError('missing-file', `the data plane's addon is not built: ${path}`, { next: 'sh dataplane/build.sh' });
  const raw = createRequire(import.meta.url)(path) as Record<keyof Native, (...args: readonly unknown[]) => unknown>;
  const guarded = Object.fromEntries(
    Object.entries(raw).map(([name, f]) => [
      name,
      (...args: readonly unknown[]): unknown => {
        try {
          return f(...args);
        } catch (error) {
          throw translate(error as Error);
        }
      },
    ]),
  );
  loaded = guarded as unknown as Native;
  return loaded;
}

function translate(error: Error): MeshError {
  if (/Operation not permitted|EPERM/.test(error.message)) return new MeshError('missing-capability', `eBPF: ${error.message}`, { cause: error, next: 'run as root (CAP_BPF, CAP_NET_ADMIN); proxima doctor shows what is missing' });
  return new MeshError('io', `eBPF: ${error.message}`, { cause: error });
}
