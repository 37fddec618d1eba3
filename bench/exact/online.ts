/**
 * Requests one at a time, without knowing the next: a server with room costs what keeping it on for longer costs, plus the price of its room, which
 * rises exponentially as it fills, times how much it was asked for so far (a request that had few servers to choose from counts more). Room is
 * counted by the planner's `Capacity`. This is the planner's idea of full sites, that room which others need is dear, where nothing can be moved.
 */
import { Capacity } from '../../scheduler/global/capacity.ts';
import { createModel, plainSite } from '../../scheduler/global/model.ts';
import type { EuaFile } from './instances.ts';

export interface OnlineOptions {
  /** Price of the last room of a server, in those of the first. */
  readonly steepness: number;
  /** Weight of the server's price per minute beside that of room. */
  readonly money: number;
  /** How much more a request with few choices counts. */
  readonly contest: number;
}

/** Chosen on the two instances; what others give is printed beside it. */
export const ONLINE: OnlineOptions = { steepness: 20, money: 1.2, contest: 1.5 };
const HORIZON = 1442;
/** What was asked for is taken as a rate over at least so many minutes. */
const WARM_UP = 30;

export interface Replayed {
  readonly rejected: number;
  readonly cost: number;
}

/** What a rule sees of a server with room: the lowest value gets the request. `longer`: minutes that the server stays on for it alone. */
export interface Seen {
  readonly capacity: Capacity;
  readonly used: Float64Array;
  readonly server: number;
  readonly size: Float64Array;
  readonly t: number;
  readonly duration: number;
  readonly longer: number;
  readonly price: number;
  /** Metres. */
  readonly distance: number;
  /** Minutes of requests that this server was in range of, each by its number of choices. */
  readonly asked: number;
}

export function ours(o: OnlineOptions): (seen: Seen) => number {
  return (x) => roomPrice(x.capacity, x.used, x.server, x.size, o.steepness) * x.duration * (x.asked / (x.t + WARM_UP)) + o.money * x.longer * x.price;
}

export const replay = (file: EuaFile, o: OnlineOptions): Replayed => replayWith(file, ours(o), o.contest);

/** By the rule of the data's README: release, pay for every server in use, then place the arrivals in order of their ids. */
export function replayWith(file: EuaFile, valueOf: (seen: Seen) => number, contest: number): Replayed {
  const { servers, requests } = file;
  const capacity = new Capacity(createModel({ sites: servers.map((s) => ({ ...plainSite, name: String(s.id).padStart(4, '0'), region: 'r', cpuMilli: s.cap[0], memoryMiB: s.cap[1], resources: { third: s.cap[2] } })), clientRegions: [], rtt: () => null, applications: [] }));
  const used = new Float64Array(capacity.total.length);
  const [active, until, asked] = [new Int32Array(servers.length), new Float64Array(servers.length), new Float64Array(servers.length)];
  const arrivals = Map.groupBy(requests.toSorted((a, b) => a.id - b.id), (r) => r.t);
  const leaving = new Map<number, { readonly s: number; readonly size: Float64Array }[]>();
  let [rejected, cost] = [0, 0];
  for (let t = 0; t < HORIZON; t++) {
    for (const { s, size } of leaving.get(t) ?? []) {
      capacity.take(used, s, size, -1);
      active[s] = (active[s] as number) - 1;
    }
    for (const [s, { price }] of servers.entries()) if ((active[s] as number) > 0) cost += price;
    for (const r of arrivals.get(t) ?? []) {
      const size = Float64Array.from(r.demand);
      let [best, least] = [-1, Number.POSITIVE_INFINITY];
      for (const s of r.servers_in_range) {
        asked[s] = (asked[s] as number) + r.dur / r.servers_in_range.length ** contest;
        if (capacity.fits(used, s, size) === 0) continue;
        const at = servers[s] as EuaFile['servers'][number];
        const longer = (active[s] as number) > 0 ? Math.max(0, t + r.dur - (until[s] as number)) : r.dur;
        const value = valueOf({ capacity, used, server: s, size, t, duration: r.dur, longer, price: at.price, distance: Math.hypot(at.x - r.x, at.y - r.y), asked: asked[s] as number });
        if (value < least) [best, least] = [s, value];
      }
      if (best < 0) {
        rejected += 1;
        continue;
      }
      capacity.take(used, best, size, 1);
      active[best] = (active[best] as number) + 1;
      until[best] = Math.max(until[best] as number, t + r.dur);
      (leaving.get(t + r.dur) ?? leaving.set(t + r.dur, []).get(t + r.dur))?.push({ s: best, size });
    }
  }
  return { rejected, cost };
}

function roomPrice(capacity: Capacity, used: Float64Array, s: number, size: Float64Array, steepness: number): number {
  let price = 0;
  for (let k = 0; k < capacity.width; k++) {
    const total = capacity.total[s * capacity.width + k] as number;
    price += ((size[k] as number) / total) * steepness ** (((used[s * capacity.width + k] as number) + (size[k] as number)) / total);
  }
  return price;
}
