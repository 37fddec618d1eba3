/**
 * Demand to sites of limited room: those that would lose most by going elsewhere choose first (Vogel's approximation), then flows are exchanged
 * around cycles of sites while that gains something, which ends at the least cost of the transportation problem.
 */
import { MOST } from './candidates.ts';
import type { Problem } from './problem.ts';

export interface Split {
  /** [candidate] requests per second that fit, and that go there. */
  readonly limit: Float64Array;
  readonly load: Float64Array;
  /** [row * open.length + position] */
  flow: Float64Array;
  unserved: number;
  /** Used again for every split. By row: what is not served yet, the position that it would like most, what it loses by going elsewhere. */
  rest: Float64Array;
  wish: Int32Array;
  regret: Float64Array;
  readonly line: number[];
  /** By [from * positions + to]: what the request that loses least by being moved loses, and its row. */
  readonly weight: Float64Array;
  readonly row: Int32Array;
  /** By position: Bellman-Ford's. */
  readonly distance: Float64Array;
  readonly before: Int32Array;
}

const EPSILON = 1e-9;
/** What an exchange must gain in points of one request. */
const GAIN = 1e-7;
const MAX_EXCHANGES = 200;
const POSITIONS = MOST + 1;

export function splitting(load: Float64Array): Split {
  const byPair = POSITIONS * POSITIONS;
  return {
    limit: new Float64Array(MOST),
    load,
    flow: new Float64Array(MOST * MOST),
    unserved: 0,
    rest: new Float64Array(MOST),
    wish: new Int32Array(MOST),
    regret: new Float64Array(MOST),
    line: [],
    weight: new Float64Array(byPair),
    row: new Int32Array(byPair),
    distance: new Float64Array(POSITIONS),
    before: new Int32Array(POSITIONS),
  };
}

function grow(s: Split, rows: number, m: number): void {
  if (s.flow.length < rows * m) s.flow = new Float64Array(rows * m * 2);
  if (s.rest.length >= rows) return;
  s.rest = new Float64Array(rows * 2);
  s.wish = new Int32Array(rows * 2);
  s.regret = new Float64Array(rows * 2);
}

/** `isFresh`: from nothing; else only what is not served yet is added. */
export function splitDemand(p: Problem, open: readonly number[], s: Split, isFresh: boolean): void {
  const m = open.length;
  grow(s, p.regions, m);
  const { flow, rest } = s;
  let left = 0;
  for (let r = 0; r < p.regions; r++) {
    let served = 0;
    for (let i = 0; i < m; i++) {
      if (isFresh) flow[r * m + i] = 0;
      else served += flow[r * m + i] as number;
    }
    rest[r] = Math.max(0, (p.rps[r] as number) - served);
    if ((rest[r] as number) > EPSILON) left += 1;
  }
  while (left > 0 && pour(p, open, s)) {
    left = 0;
    for (let r = 0; r < p.regions; r++) if ((rest[r] as number) > EPSILON) left += 1;
  }
  s.unserved = 0;
  for (let r = 0; r < p.regions; r++) s.unserved += rest[r] as number;
  for (let i = 0; i < MAX_EXCHANGES && exchange(p, open, s); i++);
}

/** Rows by regret into the sites that have room, until one is full. false = none has room. */
function pour(p: Problem, open: readonly number[], s: Split): boolean {
  const m = open.length;
  const { rest, wish, regret, line, limit, load, flow } = s;
  line.length = 0;
  for (let r = 0; r < p.regions; r++) {
    if ((rest[r] as number) <= EPSILON) continue;
    let [best, first, second] = [-1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let i = 0; i < m; i++) {
      const c = open[i] as number;
      if ((limit[c] as number) - (load[c] as number) <= EPSILON) continue;
      const u = p.unit[r * p.candidates + c] as number;
      if (u < first) [best, second, first] = [i, first, u];
      else if (u < second) second = u;
    }
    if (best < 0) return false;
    wish[r] = best;
    regret[r] = second - first;
    line.push(r);
  }
  if (line.length > 1) line.sort((a, b) => (regret[a] === regret[b] ? 0 : (regret[b] as number) - (regret[a] as number)) || (p.rps[b] as number) - (p.rps[a] as number) || a - b);
  for (const r of line) {
    const at = r * m + (wish[r] as number);
    const c = open[wish[r] as number] as number;
    const room = (limit[c] as number) - (load[c] as number);
    const taken = Math.min(room, rest[r] as number);
    flow[at] = (flow[at] as number) + taken;
    load[c] = (load[c] as number) + taken;
    rest[r] = (rest[r] as number) - taken;
    if (room - taken <= EPSILON) return true;
  }
  return true;
}

/**
 * One improving cycle: site i gives some of a row to site j, which gives some of another to k, and so on, to a site with room or around. Bellman-Ford
 * over the open sites; position m stands for the room that is left.
 */
function exchange(p: Problem, open: readonly number[], s: Split): boolean {
  const m = open.length;
  const V = m + 1;
  const { limit, load, flow, row } = s;
  if (!weigh(p, open, s)) return false;
  const cycle = negativeCycle(s, V);
  if (cycle === null) return false;
  let amount = Number.POSITIVE_INFINITY;
  eachEdge(cycle, (a, b) => {
    if (b === m) amount = Math.min(amount, (limit[open[a] as number] as number) - (load[open[a] as number] as number));
    else if (a !== m) amount = Math.min(amount, flow[(row[a * V + b] as number) * m + a] as number);
  });
  if (!(amount > EPSILON) || !Number.isFinite(amount)) return false;
  eachEdge(cycle, (a, b) => {
    if (a === m || b === m) return;
    const r = row[a * V + b] as number;
    flow[r * m + a] = (flow[r * m + a] as number) - amount;
    flow[r * m + b] = (flow[r * m + b] as number) + amount;
    load[open[a] as number] = (load[open[a] as number] as number) - amount;
    load[open[b] as number] = (load[open[b] as number] as number) + amount;
  });
  return true;
}

/** Edges between the positions. false = moving any request loses something, so that no cycle can gain. */
function weigh(p: Problem, open: readonly number[], s: Split): boolean {
  const m = open.length;
  const V = m + 1;
  const { weight, row, flow, limit, load } = s;
  weight.fill(Number.POSITIVE_INFINITY, 0, V * V);
  let least = 0;
  for (let r = 0; r < p.regions; r++) {
    for (let i = 0; i < m; i++) {
      if ((flow[r * m + i] as number) <= EPSILON) continue;
      const here = p.unit[r * p.candidates + (open[i] as number)] as number;
      for (let j = 0; j < m; j++) {
        if (j === i) continue;
        const w = (p.unit[r * p.candidates + (open[j] as number)] as number) - here;
        if (w >= (weight[i * V + j] as number)) continue;
        weight[i * V + j] = w;
        row[i * V + j] = r;
        if (w < least) least = w;
      }
    }
  }
  if (least >= -GAIN) return false;
  for (let i = 0; i < m; i++) {
    const c = open[i] as number;
    if ((limit[c] as number) - (load[c] as number) > EPSILON) weight[i * V + m] = 0;
    if ((load[c] as number) > EPSILON) weight[m * V + i] = 0;
  }
  return true;
}

function eachEdge(cycle: readonly number[], visit: (a: number, b: number) => void): void {
  for (let i = 0; i < cycle.length; i++) visit(cycle[i] as number, cycle[(i + 1) % cycle.length] as number);
}

function negativeCycle({ weight, distance, before }: Split, V: number): number[] | null {
  distance.fill(0, 0, V);
  before.fill(-1, 0, V);
  let last = -1;
  for (let round = 0; round < V; round++) {
    last = -1;
    for (let a = 0; a < V; a++) {
      for (let b = 0; b < V; b++) {
        const d = (distance[a] as number) + (weight[a * V + b] as number);
        if (d < (distance[b] as number) - GAIN) {
          distance[b] = d;
          before[b] = a;
          last = b;
        }
      }
    }
    if (last < 0) return null;
  }
  for (let i = 0; i < V; i++) last = before[last] as number;
  const cycle = [last];
  for (let v = before[last] as number; v !== last && v >= 0; v = before[v] as number) cycle.push(v);
  return cycle.reverse();
}
