/** The online rule elsewhere than where its numbers were chosen: variants of the traces by seed, simple rules to compare with, and a bound. */
import { random } from '../../scheduler/global/joint/reorder.ts';
import type { EuaFile } from './instances.ts';
import type { Seen } from './online.ts';

type Request = EuaFile['requests'][number];

/** Share of its room that is free in the dimension that has least, after the request. */
function free(x: Seen): number {
  const K = x.capacity.width;
  let least = Number.POSITIVE_INFINITY;
  for (let k = 0; k < K; k++) {
    const at = x.server * K + k;
    least = Math.min(least, 1 - ((x.used[at] as number) + (x.size[k] as number)) / (x.capacity.total[at] as number));
  }
  return least;
}

/** Of the servers in range that have room: the lowest value, and of equal ones the first in the request's list. */
export const SIMPLE: Readonly<Record<string, (seen: Seen) => number>> = {
  'first fit': () => 0,
  nearest: (x) => x.distance,
  'most free': (x) => -free(x),
  'best fit': free,
  cheapest: (x) => x.longer * x.price,
};

/** Minutes within which requests change their order. */
const WINDOW = 60;

export interface Variant {
  readonly name: string;
  readonly file: EuaFile;
}

/** Other orders, other capacities (0.8 to 1.2 of each server's), and other users (drawn from the trace, with repetition, each when another one came). */
export function variants(base: string, file: EuaFile, seed: number): readonly Variant[] {
  const next = random(31_000 + seed);
  const { servers, requests } = file;
  const order = requests.map((r) => ({ r, key: Math.floor(r.t / WINDOW) + next() })).toSorted((a, b) => a.key - b.key).map((x) => x.r);
  const times = requests.toSorted((a, b) => a.t - b.t || a.id - b.id);
  const at = (r: Request, i: number): Request => ({ ...r, id: i, t: (times[i] as Request).t });
  const scaled = servers.map((s) => {
    const by = 0.8 + 0.4 * next();
    return { ...s, cap: [s.cap[0] * by, s.cap[1] * by, s.cap[2] * by] as const };
  });
  const drawn = times.map((_, i) => at(times[Math.floor(next() * times.length)] as Request, i));
  return [
    { name: `${base} order ${seed}`, file: { servers, requests: order.map(at) } },
    { name: `${base} capacity ${seed}`, file: { servers: scaled, requests } },
    { name: `${base} users ${seed}`, file: { servers, requests: drawn } },
  ];
}

/** Requests that no server in range could ever take: every rule rejects them. */
export function neverServed({ servers, requests }: EuaFile): number {
  return requests.filter((r) => !r.servers_in_range.some((s) => r.demand.every((d, k) => d <= (servers[s]?.cap[k] ?? 0)))).length;
}
