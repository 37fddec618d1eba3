/** Kubernetes quantities as whole numbers: milli-CPU and bytes. What cannot be read counts as nothing asked for. */
import type { Pod } from '../../api/kinds/core.ts';

const UNITS: Readonly<Record<string, number>> = { n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 };

export function quantity(text: string | number | undefined): number {
  const match = /^([+-]?[\d.]+(?:[eE][+-]?\d+)?)(n|u|m|k|[MGTPE]i?|Ki)?$/.exec(String(text ?? '0'));
  const value = Number(match?.[1]) * (UNITS[match?.[2] ?? ''] ?? 1);
  return Number.isFinite(value) ? value : 0;
}

export interface Amounts {
  readonly cpuMilli: number;
  readonly memoryBytes: number;
  readonly pods: number;
}

/** What a pod asks for; a limit without a request counts as the request. */
export function requestOf(pod: Pod): Amounts {
  const parts = pod.spec.virtualMachine === undefined ? (pod.spec.containers ?? []) : [pod.spec.virtualMachine];
  let cpuMilli = 0;
  let memoryBytes = 0;
  for (const { resources } of parts) {
    cpuMilli += Math.ceil(quantity(resources?.requests?.cpu ?? resources?.limits?.cpu) * 1000 - 1e-6);
    memoryBytes += Math.ceil(quantity(resources?.requests?.memory ?? resources?.limits?.memory));
  }
  return { cpuMilli: Math.max(0, cpuMilli), memoryBytes: Math.max(0, memoryBytes), pods: 1 };
}
