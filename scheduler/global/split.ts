/**
 * Demand to sites of limited room: those that would lose most by going elsewhere choose first (Vogel's approximation), then flows are exchanged
 * around cycles of sites while that gains something, which ends at the least cost of the transportation problem.
 */
import type { Problem } from './problem.ts';

export interface Split {
  /** [candidate] requests per second that fit, and that go there. */
  readonly limit: Float64Array;
  readonly load: Float64Array;
  /** [row * open.length + position] */
  flow: Float64Array;
  unserved: number;
}

const EPSILON = 1e-9;
const MAX_EXCHANGES = 200;

/** `isFresh`: from nothing; else only what is not served yet is added. */
export function splitDemand(p: Problem, open: readonly number[], s: Split, isFresh: boolean): void {
  const m = open.length;
  const rest = new Float64Array(p.regions);
  let left = 0;
  for (let r = 0; r < p.regions; r++) {
    let served = 0;
    for (let i = 0; i < m; i++) {
      if (isFresh) s.flow[r * m + i] = 0;
      else served += s.flow[r * m + i] as number;
    }
    rest[r] = Math.max(0, (p.rps[r] as number) - served);
    if ((rest[r] as number) > EPSILON) left += 1;
  }
  while (left > 0 && pour(p, open, s, rest)) {
    left = 0;
    for (let r = 0; r < p.regions; r++) if ((rest[r] as number) > EPSILON) left += 1;
  }
  s.unserved = rest.reduce((a, b) => a + b, 0);
  for (let i = 0; i < MAX_EXCHANGES && exchange(p, open, s); i++);
}

/** Rows by regret into the sites that have room, until one is full. false = none has room. */
function pour(p: Problem, open: readonly number[], s: Split, rest: Float64Array): boolean {
  const m = open.length;
  const rows: { r: number; i: number; regret: number }[] = [];
  for (let r = 0; r < p.regions; r++) {
    if ((rest[r] as number) <= EPSILON) continue;
    let [best, first, second] = [-1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let i = 0; i < m; i++) {
      const c = open[i] as number;
      if ((s.limit[c] as number) - (s.load[c] as number) <= EPSILON) continue;
      const u = p.unit[r * p.candidates + c] as number;
      if (u < first) [best, second, first] = [i, first, u];
      else if (u < second) second = u;
    }
    if (best < 0) return false;
    rows.push({ r, i: best, regret: second - first });
  }
  rows.sort((a, b) => (a.regret === b.regret ? 0 : b.regret - a.regret) || (p.rps[b.r] as number) - (p.rps[a.r] as number) || a.r - b.r);
  for (const { r, i } of rows) {
    const c = open[i] as number;
    const room = (s.limit[c] as number) - (s.load[c] as number);
    const taken = Math.min(room, rest[r] as number);
    s.flow[r * m + i] = (s.flow[r * m + i] as number) + taken;
    s.load[c] = (s.load[c] as number) + taken;
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
  const weight = new Float64Array(V * V).fill(Number.POSITIVE_INFINITY);
  const row = new Int32Array(V * V).fill(-1);
  for (let r = 0; r < p.regions; r++) {
    for (let i = 0; i < m; i++) {
      if ((s.flow[r * m + i] as number) <= EPSILON) continue;
      const here = p.unit[r * p.candidates + (open[i] as number)] as number;
      for (let j = 0; j < m; j++) {
        if (j === i) continue;
        const w = (p.unit[r * p.candidates + (open[j] as number)] as number) - here;
        if (w < (weight[i * V + j] as number)) {
          weight[i * V + j] = w;
          row[i * V + j] = r;
        }
      }
    }
  }
  for (let i = 0; i < m; i++) {
    const c = open[i] as number;
    if ((s.limit[c] as number) - (s.load[c] as number) > EPSILON) weight[i * V + m] = 0;
    if ((s.load[c] as number) > EPSILON) weight[m * V + i] = 0;
  }
  const cycle = negativeCycle(weight, V);
  if (cycle === null) return false;
  let amount = Number.POSITIVE_INFINITY;
  eachEdge(cycle, (a, b) => {
    if (b === m) amount = Math.min(amount, (s.limit[open[a] as number] as number) - (s.load[open[a] as number] as number));
    else if (a !== m) amount = Math.min(amount, s.flow[(row[a * V + b] as number) * m + a] as number);
  });
  if (!(amount > EPSILON) || !Number.isFinite(amount)) return false;
  eachEdge(cycle, (a, b) => {
    if (a === m || b === m) return;
    const r = row[a * V + b] as number;
    s.flow[r * m + a] = (s.flow[r * m + a] as number) - amount;
    s.flow[r * m + b] = (s.flow[r * m + b] as number) + amount;
    s.load[open[a] as number] = (s.load[open[a] as number] as number) - amount;
    s.load[open[b] as number] = (s.load[open[b] as number] as number) + amount;
  });
  return true;
}

function eachEdge(cycle: readonly number[], visit: (a: number, b: number) => void): void {
  for (let i = 0; i < cycle.length; i++) visit(cycle[i] as number, cycle[(i + 1) % cycle.length] as number);
}

function negativeCycle(weight: Float64Array, V: number): number[] | null {
  const distance = new Float64Array(V);
  const before = new Int32Array(V).fill(-1);
  let last = -1;
  for (let round = 0; round < V; round++) {
    last = -1;
    for (let a = 0; a < V; a++) {
      for (let b = 0; b < V; b++) {
        const d = (distance[a] as number) + (weight[a * V + b] as number);
        if (d < (distance[b] as number) - 1e-7) {
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
