/**
 * Runs a topology without Docker: a linux node is a network namespace, a bridge node a bridge in a namespace of its own, a plain link a veth
 * pair, a link with `vars` a stretch of emulated WAN. The host's own namespace is never touched.
 */
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { execa } from 'execa';
import { MeshError } from '../api/errors.ts';
import { ipBatch, shellIn } from './enter.ts';
import { forgetLab, hasNetns, netnsOf, readLab, saveLab, type LabState, type WanEnd, type WanLink } from './lab.ts';
import type { LinkEnd, Topology, TopologyLink, TopologyNode } from './model.ts';
import { applyNetem, hasNetem, prepareNetem } from './netem.ts';
import { refusals } from './refuse.ts';
import { countersOf, isWanAlive, startWan, stopWan, tellWan, type LinkChange, type LinkCounters } from './wan.ts';

export { execIn, spawnIn, type ExecResult } from './enter.ts';
export { netnsOf, readLab, type LabState } from './lab.ts';
export { refusals } from './refuse.ts';
export type { LinkChange, LinkCounters } from './wan.ts';

export interface DeployOptions {
  readonly stateDir: string;
  readonly onProgress?: (line: string) => void;
}

type Say = (line: string) => void;
const hashOf = (t: Topology): string => createHash('sha256').update(JSON.stringify([t.nodes, t.links])).digest('hex');

/** All or nothing. A lab that is up stays as it is; one whose WAN process died gets a new one under the same interfaces; any other difference is a new lab. */
export async function deploy(topology: Topology, options: DeployOptions): Promise<LabState> {
  const cannot = refusals(topology);
  if (cannot.length > 0) throw new MeshError('unsupported', `${topology.file} cannot be run here:\n  ${cannot.join('\n  ')}`);
  if (process.getuid?.() !== 0) throw new MeshError('missing-capability', 'a topology needs network namespaces, and those need root', { next: `sudo ./proxima topology deploy ${topology.file}` });
  mkdirSync(options.stateDir, { recursive: true });
  const say = options.onProgress ?? ((): void => undefined);
  const before = readLab(options.stateDir, topology.name);
  if (before !== null && before.hash === hashOf(topology) && before.complete && before.nodes.every((n) => hasNetns(n.netns))) return heal(before, options, say);
  await destroy(topology.name, options);
  // Without a state file these are somebody else's: undoing a failed deploy would remove them.
  const foreign = topology.nodes.map((n) => netnsOf(topology.name, n.name)).filter(hasNetns);
  if (foreign.length > 0) throw new MeshError('already-exists', `network namespaces of that name exist and are not of a lab in ${options.stateDir}: ${foreign.join(', ')}`, { next: `ip netns delete ${foreign[0]}` });
  try {
    return await build(topology, options, say);
  } catch (error) {
    await destroy(topology.name, options);
    throw error;
  }
}

async function heal(state: LabState, options: DeployOptions, say: Say): Promise<LabState> {
  if (state.wan === null || isWanAlive(state.wan)) {
    say(`${state.lab} is already up`);
    return state;
  }
  const healed = { ...state, wan: await startWan(options.stateDir, state.lab, state.wanLinks) };
  saveLab(options.stateDir, healed);
  say(`${state.lab} was up without its WAN process; started it again`);
  return healed;
}

async function build(topology: Topology, options: DeployOptions, say: Say): Promise<LabState> {
  const lab = topology.name;
  const nodes = topology.nodes.map((n) => ({ name: n.name, kind: n.kind, netns: netnsOf(lab, n.name), labels: n.labels }));
  const wanLinks = wanLinksOf(topology);
  const emulation = wanLinks.length === 0 ? 'none' : (await hasNetem()) ? 'netem' : 'process';
  let state: LabState = { lab, file: topology.file, hash: hashOf(topology), complete: false, nodes, emulation, wanLinks, wan: null };
  saveLab(options.stateDir, state); // before anything exists, so that an interrupted deploy can be destroyed
  await ipBatch(nodes.map((n) => `netns add ${n.netns}`));
  say(`${nodes.length} network namespaces`);
  const veths = topology.links.filter((l) => l.impairment === null || emulation === 'netem');
  await ipBatch(veths.map((l) => vethLine(lab, l)));
  if (emulation === 'process') {
    state = { ...state, wan: await startWan(options.stateDir, lab, wanLinks) };
    saveLab(options.stateDir, state);
  }
  await inEachNode(topology, (n) => shellIn(lab, n.name, linksUp(topology, n)));
  if (emulation === 'netem') await Promise.all(wanLinks.map(prepareNetem));
  const by = { none: '', netem: ', emulated by netem', process: ', emulated by a process of our own (this kernel has no netem)' }[emulation];
  say(`${topology.links.length - wanLinks.length} plain links, ${wanLinks.length} WAN links${by}`);
  await inEachNode(topology, async (n) => {
    for (const command of execOf(n)) await shellIn(lab, n.name, command, n.env);
  });
  say(`${topology.nodes.reduce((sum, n) => sum + n.exec.length, 0)} exec lines`);
  state = { ...state, complete: true };
  saveLab(options.stateDir, state);
  return state;
}

/** Nodes at once, a node's own steps in order. All are waited for, so that nothing still runs when a failure is undone. */
async function inEachNode(topology: Topology, step: (n: TopologyNode) => Promise<void>): Promise<void> {
  const failed = (await Promise.allSettled(topology.nodes.map(step))).find((r) => r.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

const execOf = (n: TopologyNode): readonly string[] => [...Object.entries(n.sysctls).map(([key, value]) => `sysctl -qw '${key}=${value.replaceAll("'", '')}'`), ...n.exec];
const bridgeName = (n: TopologyNode): string => n.name.slice(0, 15);

function vethLine(lab: string, l: TopologyLink): string {
  const [a, b] = l.ends as readonly [LinkEnd, LinkEnd];
  const mtu = l.mtu === null ? '' : ` mtu ${l.mtu}`;
  const end = (e: LinkEnd): string => `name ${e.interface}${mtu}${e.mac === null ? '' : ` address ${e.mac}`} netns ${netnsOf(lab, e.node)}`;
  return `link add ${end(a)} type veth peer ${end(b)}`;
}

function linksUp(topology: Topology, n: TopologyNode): string {
  const lines = ['ip link set lo up'];
  const isBridge = n.kind === 'bridge';
  if (isBridge) lines.push('sysctl -qw net.ipv6.conf.all.disable_ipv6=1', `ip link add name ${bridgeName(n)} type bridge`, `ip link set dev ${bridgeName(n)} up`);
  for (const l of topology.links) {
    for (const e of l.ends.filter((end) => end.node === n.name)) {
      const mtu = l.mtu === null ? '' : ` mtu ${l.mtu}`;
      const mac = e.mac === null ? '' : ` address ${e.mac}`;
      lines.push(`ip link set dev ${e.interface}${isBridge ? ` master ${bridgeName(n)}` : ''}${mtu}${mac} up`, ...e.addresses.map((a) => `ip addr add ${a} dev ${e.interface}`));
    }
  }
  return lines.join(' && ');
}

function wanLinksOf(topology: Topology): readonly WanLink[] {
  return topology.links.flatMap((l) => {
    const [a, b] = l.ends;
    if (l.impairment === null || a === undefined || b === undefined) return [];
    const end = (e: LinkEnd): WanEnd => ({ netns: netnsOf(topology.name, e.node), interface: e.interface });
    return [{ id: `${a.node}:${a.interface}=${b.node}:${b.interface}`, ends: [end(a), end(b)] as const, impairment: l.impairment, up: true }];
  });
}

/** Removes everything of a lab; a lab that is not there is fine. Processes inside its namespaces are their owners' business. */
export async function destroy(lab: string, options: DeployOptions): Promise<void> {
  const state = readLab(options.stateDir, lab);
  if (state === null) return;
  if (state.wan !== null) await stopWan(state.wan);
  await ipBatch(state.nodes.filter((n) => hasNetns(n.netns)).map((n) => `netns delete ${n.netns}`));
  forgetLab(options.stateDir, lab);
  options.onProgress?.(`${lab}: ${state.nodes.length} namespaces removed`);
}

export interface InspectRow {
  readonly node: string;
  readonly kind: string;
  readonly netns: string;
  readonly up: boolean;
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export async function inspect(lab: string, options: DeployOptions): Promise<readonly InspectRow[]> {
  const state = labOrFail(lab, options);
  return Promise.all(
    state.nodes.map(async (n) => {
      const up = hasNetns(n.netns);
      const { stdout } = up ? await execa('ip', ['-n', n.netns, '-4', '-o', 'addr', 'show', 'scope', 'global'], { reject: false }) : { stdout: '' };
      const addresses = stdout.split('\n').flatMap((l) => /^\d+: (\S+)\s+inet (\S+)/.exec(l)?.slice(1, 3).join(' ') ?? []);
      return { node: n.name, kind: n.kind, netns: n.netns, up, addresses, labels: n.labels };
    }),
  );
}

/** Cuts, restores or changes the WAN link between two nodes while the lab runs. A cut loses every packet; the interfaces stay up. */
export async function setLink(lab: string, a: string, b: string, change: LinkChange, options: DeployOptions): Promise<void> {
  const { state, link } = findLink(lab, a, b, options);
  const changed: WanLink = 'up' in change ? { ...link, up: change.up } : { ...link, impairment: change };
  if (state.wan === null) await applyNetem(changed);
  else await tellWan(state.wan, link.id, change);
  saveLab(options.stateDir, { ...state, wanLinks: state.wanLinks.map((l) => (l === link ? changed : l)) });
}

/** What a WAN link carried, each way; null where netem emulates it. */
export async function linkCounters(lab: string, a: string, b: string, options: DeployOptions): Promise<LinkCounters | null> {
  const { state, link } = findLink(lab, a, b, options);
  return state.wan === null ? null : countersOf(state.wan, link.id);
}

function findLink(lab: string, a: string, b: string, options: DeployOptions): { readonly state: LabState; readonly link: WanLink } {
  const state = labOrFail(lab, options);
  const link = state.wanLinks.find((l) => {
    const nodes = l.id.split('=').map((e) => e.slice(0, e.lastIndexOf(':')));
    return nodes.includes(a) && nodes.includes(b);
  });
  if (link === undefined) throw new MeshError('not-found', `lab ${lab} has no WAN link between ${a} and ${b}`, { next: `proxima topology inspect ${lab}` });
  return { state, link };
}

function labOrFail(lab: string, options: DeployOptions): LabState {
  const state = readLab(options.stateDir, lab);
  if (state === null) throw new MeshError('not-found', `no lab "${lab}" is deployed`, { next: 'proxima topology deploy topologies/two-regions-three-edges.clab.yml' });
  return state;
}
