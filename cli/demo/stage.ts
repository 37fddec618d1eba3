/** The lab and everything in it, from nothing to sites that are Ready, and back to nothing. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Node } from '../../api/kinds/core.ts';
import { removeCgroups } from '../../edge/agent/containerd.ts';
import { buildImages } from '../../edge/images/build.ts';
import { loadTopology } from '../../topologies/load.ts';
import { deploy, destroy, readLab } from '../../topologies/run.ts';
import { factsOf, type LabFacts } from './facts.ts';
import { Mesh } from './mesh.ts';
import { Processes } from './processes.ts';
import { Hopeless, type Report, until } from './report.ts';

export const TOPOLOGY = join(import.meta.dirname, '..', '..', 'topologies', 'two-regions-three-edges.clab.yml');
/** Unix sockets live below it, so it is short. */
export const DIR = '/tmp/px-demo';

/** Where the demo's sites and client regions are: only what is not measured is guessed from distance. */
export const LOCATIONS: Readonly<Record<string, readonly [number, number]>> = {
  west: [41.9, -87.6], east: [40.7, -74], 'edge-a': [45, -93.3], 'edge-b': [39.7, -105], 'edge-c': [29.8, -95.4],
  'metro-west': [41.9, -87.6], 'metro-a': [45, -93.3], 'metro-b': [39.7, -105], 'metro-c': [29.8, -95.4],
};

export interface Stage {
  readonly facts: LabFacts;
  readonly mesh: Mesh;
  readonly processes: Processes;
  readonly labs: string;
}

export async function setLab(labs: string, report: Report): Promise<LabFacts> {
  const topology = loadTopology(TOPOLOGY);
  await tearDown(labs); // what an interrupted run left
  await deploy(topology, { stateDir: labs, onProgress: (line) => report.say(line) });
  return factsOf(topology);
}

export async function startMesh(facts: LabFacts, labs: string, state: string, report: Report): Promise<Stage> {
  const images = await buildImages(join(state, 'images'), { onProgress: (what) => report.say(`making ${what}`) });
  mkdirSync(DIR, { recursive: true, mode: 0o700 });
  const processes = new Processes(join(DIR, 'logs'));
  const mesh = new Mesh({ dir: DIR, facts, images, processes });
  for (const r of facts.regions) await mesh.startRegion(r);
  return { facts, mesh, processes, labs };
}

/** What is asked of an API is asked with kubectl, from inside the lab. */
export async function kubeJson<T>(stage: Stage, which: string, args: readonly string[]): Promise<T> {
  return JSON.parse(await stage.mesh.kubectl(which, [...args, '-o', 'json'])) as T;
}

export async function regionReady(stage: Stage, region: string): Promise<void> {
  await until(`region ${region} answering`, 60_000, async () => ((await stage.mesh.kubectl(region, ['get', '--raw', '/readyz'])).includes('ok') ? true : null));
}

export async function nodesReady(stage: Stage, region: string, names: readonly string[], timeoutMs: number): Promise<void> {
  await until(`nodes ${names.join(', ')} being Ready`, timeoutMs, async () => {
    const [ended] = stage.processes.unexpected;
    if (ended !== undefined) throw new Hopeless(`${ended} ended`);
    const { items } = await kubeJson<{ items: readonly Node[] }>(stage, region, ['get', 'nodes']);
    const ready = new Set(items.filter((n) => n.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')).map((n) => n.metadata.name));
    const missing = names.filter((n) => !ready.has(n));
    if (missing.length > 0) throw new Error(`waiting for ${missing.join(', ')}`);
    return true;
  }, 500);
}

/** Ends everything that was started in the lab's namespaces, then the lab, then the files. Harmless when there is nothing. */
export async function tearDown(labs: string): Promise<readonly string[]> {
  const lab = readLab(labs, 'proxima');
  const nodes = lab?.nodes.map((n) => n.name) ?? [];
  const inside = lab === null ? [] : (await Promise.all(lab.nodes.filter((n) => existsSync(`/run/netns/${n.netns}`)).map(async (n) => (await execa('ip', ['netns', 'pids', n.netns], { reject: false })).stdout.split('\n')))).flat();
  const pids = new Set([...inside.map(Number), ...pidsOf([DIR], nodes)].filter((p) => p > 1 && p !== process.pid));
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  await until('processes ending', 10_000, async () => ([...pids].every((p) => !isAlive(p)) ? true : null), 50);
  await unmountBelow(DIR);
  await destroy('proxima', { stateDir: labs });
  const droplets = '/sys/fs/bpf/proxima';
  if (lab !== null && existsSync(droplets)) for (const n of lab.nodes) rmSync(join(droplets, n.name), { recursive: true, force: true });
  for (const n of nodes) removeCgroups(n);
  if (existsSync('/var/run/wireguard')) for (const socket of readdirSync('/var/run/wireguard')) if (socket.startsWith('pxwg-')) rmSync(join('/var/run/wireguard', socket), { force: true });
  rmSync(DIR, { recursive: true, force: true });
  return [...pids].map(String);
}

/** Processes of ours that left the lab's namespaces, such as pods in namespaces of their own: their command line names one of the folders, or their cgroup one of the nodes. */
export function pidsOf(folders: readonly string[], nodes: readonly string[]): readonly number[] {
  return readdirSync('/proc').filter((e) => /^\d+$/.test(e)).flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
      return folders.some((f) => command.includes(`${f}/`)) || nodes.some((n) => cgroup.includes(`/proxima/${n}/`)) ? [Number(pid)] : [];
    } catch {
      return []; // it ended while we looked
    }
  });
}

function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/\) [ZX] /.test(stat);
  } catch {
    return false; // gone
  }
}

async function unmountBelow(dir: string): Promise<void> {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n').map((l) => l.split(' ')[1] ?? '').filter((m) => m.startsWith(`${dir}/`));
  for (const m of mounts.reverse()) await execa('umount', ['-l', m], { reject: false });
}
