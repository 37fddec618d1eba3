/**
 * Instance families from real data, small enough that the optimum can be proven: sites that are full, applications that compete for them,
 * containers and VMs. Deterministic: every random number is of a fixed seed.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PolicySpec } from '../../api/kinds/mesh.ts';
import { random } from '../../scheduler/global/joint/reorder.ts';
import { createModel, plainSite, type InstanceSize, type Model, type SiteModel } from '../../scheduler/global/model.ts';

export const DATA = join(import.meta.dirname, '..', '..', '..', 'shared', 'data');
export const hasData = (): boolean => existsSync(join(DATA, 'gap', 'gap1.txt'));

export interface Instance {
  readonly family: 'aws-rtt' | 'dev-40' | 'eua' | 'gap';
  readonly name: string;
  readonly model: Model;
  /** Proven by the publisher; null = the solver is asked. */
  readonly published: number | null;
}

interface Matrix {
  readonly names: readonly string[];
  readonly ms: (from: string, to: string) => number | null;
}

/** Square CSV with names in the first row and column; an empty cell was not measured. */
function matrix(path: string): Matrix {
  const [head, ...rows] = readFileSync(join(DATA, path), 'utf8').trim().split('\n').map((l) => l.trim().split(','));
  const names = (head ?? []).slice(1);
  const by = new Map(rows.map((r) => [r[0] ?? '', new Map(names.map((n, i) => [n, r[i + 1] ?? '']))]));
  return { names, ms: (from, to) => (by.get(from)?.get(to) ?? '') === '' ? null : Number(by.get(from)?.get(to)) };
}

/** Containers, and VMs that are larger and serve more. */
const KINDS: readonly (InstanceSize & { readonly perInstance: number })[] = [
  { cpuMilli: 250, memoryMiB: 256, perInstance: 100 },
  { cpuMilli: 500, memoryMiB: 1024, perInstance: 150 },
  { cpuMilli: 2000, memoryMiB: 2048, perInstance: 400 },
];

interface Asked {
  readonly demand: ReadonlyMap<string, number>;
  readonly policy: PolicySpec;
  readonly kind: (typeof KINDS)[number];
}

/** Every site gets its share of what all applications need at `load` of it, half at the least loved and twice at the most. */
function competing(m: Matrix, regions: readonly string[], asked: readonly Asked[], load: number, next: () => number): Model {
  const need = (d: 'cpuMilli' | 'memoryMiB'): number => asked.reduce((sum, a) => sum + ([...a.demand.values()].reduce((x, y) => x + y, 0) / (0.7 * a.kind.perInstance) + 1) * a.kind[d], 0);
  const [cpu, memory] = [need('cpuMilli') / load / m.names.length, need('memoryMiB') / load / m.names.length];
  const site = (name: string): SiteModel => {
    const size = 0.4 + 1.2 * next();
    return { ...plainSite, name, region: name.slice(0, 2), kind: 'zone', cost: Math.round((0.6 + 1.2 * next()) * 100) / 100, carbon: Math.round(next() * 100) / 100, cpuMilli: Math.max(2000, Math.round((cpu * size) / 250) * 250), memoryMiB: Math.max(2048, Math.round((memory * size) / 256) * 256) };
  };
  const applications = asked.map((a, i) => ({ key: `t/default/app-${String(i).padStart(3, '0')}`, policy: a.policy, perInstance: a.kind.perInstance, cpuMilli: a.kind.cpuMilli, memoryMiB: a.kind.memoryMiB, demand: a.demand, avoid: [], movedAt: [] }));
  return createModel({ sites: m.names.map(site), clientRegions: regions, rtt: m.ms, applications });
}

function policyFor(i: number, next: () => number): PolicySpec {
  return {
    instances: { min: i % 5 === 0 ? 2 : 1, max: 40 },
    ...(i % 3 === 0 ? {} : { latency: [{ percentile: 95, milliseconds: Math.round(40 + 80 * next()) }] }),
    ...(i % 5 === 0 ? { spread: { over: 'site' as const, min: 2 } } : {}),
    ...(i % 4 === 0 ? { cost: { weights: { latency: 1, money: 1, carbon: 2 } } } : {}),
  };
}

function awsRtt(seed: number, apps: number, load: number): Instance {
  const next = random(1000 + seed);
  const m = matrix('aws-rtt/aws_rtt_p50_ms.csv');
  const asked = Array.from({ length: apps }, (_, i): Asked => {
    const regions = Array.from({ length: 2 + Math.floor(next() * 4) }, () => m.names[Math.floor(next() * next() * m.names.length)] as string);
    return { demand: new Map(regions.map((r) => [r, Math.round(20 + 300 * next())])), policy: policyFor(i, next), kind: KINDS[i % KINDS.length] as Asked['kind'] };
  });
  return { family: 'aws-rtt', name: `seed ${seed}, ${apps} applications`, model: competing(m, m.names, asked, load, next), published: null };
}

function dev40(hour: number, apps: number, load: number): Instance {
  const next = random(2000 + hour);
  const m = matrix('dev-40/rtt_avg_ms.csv');
  const [head, ...rows] = readFileSync(join(DATA, 'dev-40/demand_rps_hourly_7d.csv'), 'utf8').trim().split('\n').map((l) => l.trim().split(','));
  const cities = (head ?? []).slice(1);
  const row = rows[hour] ?? [];
  const asked = Array.from({ length: apps }, (_, i): Asked => {
    const chosen = Array.from({ length: 3 + Math.floor(next() * 4) }, () => Math.floor(next() * cities.length));
    return { demand: new Map(chosen.map((c) => [cities[c] as string, Math.max(1, Math.round(Number(row[c + 1]) * (0.2 + 0.3 * next())))])), policy: policyFor(i, next), kind: KINDS[i % KINDS.length] as Asked['kind'] };
  });
  return { family: 'dev-40', name: `hour ${hour}, ${apps} applications`, model: competing(m, cities, asked, load, next), published: null };
}

export interface EuaFile {
  readonly servers: readonly { readonly id: number; readonly x: number; readonly y: number; readonly cap: readonly [number, number, number]; readonly price: number }[];
  readonly requests: readonly { readonly id: number; readonly x: number; readonly y: number; readonly demand: readonly [number, number, number]; readonly t: number; readonly dur: number; readonly servers_in_range: readonly number[] }[];
}

export const euaFile = (name: string): EuaFile => JSON.parse(readFileSync(join(DATA, 'eua', `${name}.json`), 'utf8')) as EuaFile;

/** Requests that arrive in a window, all at once: each is an application of one instance that must be at a server in range. Air adds little; what counts is the price and who fits where. */
function eua(name: string, from: number, count: number): Instance {
  const { servers, requests } = euaFile(name);
  const now = requests.filter((r) => r.t >= from && r.servers_in_range.length > 0).toSorted((a, b) => a.t - b.t || a.id - b.id).slice(0, count);
  const server = (id: number): string => `server-${String(id).padStart(3, '0')}`;
  const at = new Map<string, { readonly x: number; readonly y: number }>([...servers.map((s) => [server(s.id), s] as const), ...now.map((r) => [`user-${r.id}`, r] as const)]);
  const ms = (a: string, b: string): number => {
    const [p, q] = [at.get(a), at.get(b)];
    return p === undefined || q === undefined ? 100 : 1 + Math.hypot(p.x - q.x, p.y - q.y) / 50;
  };
  const model = createModel({
    sites: servers.map((s) => ({ ...plainSite, name: server(s.id), region: 'melbourne', kind: 'edge' as const, cost: s.price, cpuMilli: s.cap[0], memoryMiB: s.cap[1], resources: { bandwidth: s.cap[2] } })),
    clientRegions: now.map((r) => `user-${r.id}`),
    rtt: ms,
    applications: now.map((r) => ({ key: `t/default/request-${r.id}`, policy: { instances: { min: 1, max: 1 }, sites: { required: { names: r.servers_in_range.map(server) } }, cost: { weights: { latency: 1, money: 5, carbon: 0 } } }, perInstance: 10, cpuMilli: r.demand[0], memoryMiB: r.demand[1], resources: { bandwidth: r.demand[2] }, demand: new Map([[`user-${r.id}`, 7]]), avoid: [], movedAt: [] })),
  });
  return { family: 'eua', name: `${name} from minute ${from}, ${count} requests`, model, published: null };
}

/** A job is an application of one instance with clients of its own; an agent is a site, whose processors take their own amount of it; what it earns there is ms less. */
const BEST_PROFIT = 26;

function gap(file: string, problem: number): Instance {
  const numbers = readFileSync(join(DATA, 'gap', `${file}.txt`), 'utf8').trim().split(/\s+/).map(Number);
  let position = 1;
  const take = (n: number): number[] => numbers.slice(position, (position += n));
  let [agents, jobs] = [0, 0];
  let [profit, weight, room]: [number[][], number[][], number[]] = [[], [], []];
  for (let p = 1; p <= problem; p++) {
    [agents, jobs] = take(2) as [number, number];
    profit = Array.from({ length: agents }, () => take(jobs));
    weight = Array.from({ length: agents }, () => take(jobs));
    room = take(agents);
  }
  const optimum = readFileSync(join(DATA, 'gap', 'optima.csv'), 'utf8').split('\n').find((l) => l.startsWith(`${file},${problem},`))?.split(',')[4];
  const agent = (i: number): string => `agent-${i}`;
  const model = createModel({
    sites: room.map((b, i) => ({ ...plainSite, name: agent(i), region: 'r', cost: 0, cpuMilli: b, memoryMiB: 1e6 })),
    clientRegions: Array.from({ length: jobs }, (_, j) => `job-${j}`),
    rtt: (r, s) => BEST_PROFIT - (profit[Number(s.slice(6))]?.[Number(r.slice(4))] as number),
    applications: Array.from({ length: jobs }, (_, j) => ({ key: `t/default/job-${j}`, policy: { instances: { min: 1, max: 1 } }, perInstance: 10, cpuMilli: 1, memoryMiB: 1, sizeAt: Object.fromEntries(room.map((_b, i) => [agent(i), { cpuMilli: weight[i]?.[j] as number, memoryMiB: 1 }])), demand: new Map([[`job-${j}`, 7]]), avoid: [], movedAt: [] })),
  });
  return { family: 'gap', name: `${file} problem ${problem}`, model, published: jobs * BEST_PROFIT - Number(optimum) };
}

/** Those that the planner's search was made on. */
export function instances(): Instance[] {
  return [
    ...[1, 2, 3, 4].map((seed) => awsRtt(seed, 5 + seed, 0.55 + 0.05 * seed)),
    ...[3, 9, 15, 21].map((hour, i) => dev40(hour, 5 + i, 0.6 + 0.05 * i)),
    ...[0, 900].flatMap((from) => [eua('EUA-2000', from, 250), eua('EUA-4000', from, 300)]),
    ...['gap1', 'gap2', 'gap3', 'gap4', 'gap5', 'gap6'].flatMap((file) => [gap(file, 1), gap(file, 3)]),
  ];
}

/** Others of the same families: seeds, hours, windows and problems that no constant of the search was chosen on. */
export function heldOut(): Instance[] {
  return [
    ...[11, 12, 13, 14, 15, 16].map((seed, i) => awsRtt(seed, 6 + (i % 4), 0.6 + 0.05 * (i % 4))),
    ...[30, 54, 81, 106, 133, 161].map((hour, i) => dev40(hour, 5 + (i % 4), 0.6 + 0.05 * (i % 4))),
    ...[450, 1150].flatMap((from) => [eua('EUA-2000', from, 250), eua('EUA-4000', from, 300)]),
    ...['gap1', 'gap2', 'gap3', 'gap4', 'gap5', 'gap6'].flatMap((file) => [gap(file, 2), gap(file, 4), gap(file, 5)]),
  ];
}

/** Named by who measures: seeds (of dev-40, hours) that nobody has looked at. Applications and load change with the number as in the set held out. */
export function fresh(family: string | null, from: number, to: number): Instance[] {
  const numbers = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const make = [...(family === null || family === 'aws-rtt' ? [awsRtt] : []), ...(family === null || family === 'dev-40' ? [dev40] : [])];
  return make.flatMap((of) => numbers.map((n) => of(n, (of === awsRtt ? 6 : 5) + (n % 4), 0.6 + 0.05 * (n % 4))));
}
