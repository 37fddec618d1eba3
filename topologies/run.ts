/**
 * Runs a topology without Docker: a linux node is a network namespace, a bridge node a bridge in a namespace of its own, a plain link a veth
 * pair, a link with `vars` a stretch of emulated WAN. The host's own namespace is never touched.
 */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { MeshError } from '../api/errors.ts';
import type { LinkEnd, Topology, TopologyLink, TopologyNode } from './model.ts';
import { changeLink, isWanAlive, startWan, stopWan, type LinkChange, type WanLink, type WanProcess } from './wan.ts';

export interface DeployOptions {
  readonly stateDir: string;
  readonly onProgress?: (line: string) => void;
}

export interface LabState {
  readonly lab: string;
  readonly file: string;
  readonly hash: string;
  readonly nodes: readonly { readonly name: string; readonly kind: string; readonly netns: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly wanLinks: readonly WanLink[];
  readonly wan: WanProcess | null;
}

export const netnsOf = (lab: string, node: string): string => `${lab}-${node.replaceAll(/[^A-Za-z0-9_.-]/g, '-')}`;
const stateFile = (stateDir: string, lab: string): string => join(stateDir, `${lab}.lab.json`);
const hashOf = (t: Topology): string => createHash('sha256').update(JSON.stringify([t.nodes, t.links])).digest('hex');

export function readLab(stateDir: string, lab: string): LabState | null {
  const file = stateFile(stateDir, lab);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as LabState) : null;
}

/** Everything that this runner cannot do for a topology, by name. Empty = it can be deployed. */
export function refusals(topology: Topology): readonly string[] {
  const out: string[] = [];
  for (const n of topology.nodes) {
    if (n.kind !== 'linux' && n.kind !== 'bridge') out.push(`node ${n.name}: kind "${n.kind}" (linux and bridge run without Docker)`);
    if (n.networkMode !== null) out.push(`node ${n.name}: network-mode "${n.networkMode}"`);
    if (n.cmd !== null) out.push(`node ${n.name}: cmd, which needs its image "${n.image ?? ''}"`);
  }
  const kinds = new Map(topology.nodes.map((n) => [n.name, n.kind]));
  for (const l of topology.links) {
    const name = l.ends.map((e) => `${e.node}:${e.interface}`).join(' - ');
    if (l.type !== 'brief' && l.type !== 'veth') out.push(`link ${name}: type "${l.type}"`);
    else for (const e of l.ends) if (!kinds.has(e.node)) out.push(`link ${name}: an end at "${e.node}"`);
    if (l.impairment !== null && l.ends.some((e) => kinds.get(e.node) === 'bridge')) out.push(`link ${name}: vars on a link to a bridge`);
    for (const e of l.ends) if (e.interface.length > 15) out.push(`link ${name}: interface name "${e.interface}" is longer than 15`);
  }
  return out;
}

async function ip(lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  const { exitCode, stderr } = await execa('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n`, reject: false });
  if (exitCode !== 0) throw new MeshError('io', `ip: ${stderr.trim().split('\n')[0]}`, { fields: { stderr } });
}

export async function deploy(topology: Topology, options: DeployOptions): Promise<LabState> {
  const cannot = refusals(topology);
  if (cannot.length > 0) throw new MeshError('unsupported', `${topology.file} cannot be run here:\n  ${cannot.join('\n  ')}`);
  if (process.getuid?.() !== 0) throw new MeshError('missing-capability', 'a topology needs network namespaces, and those need root', { next: `sudo ./proxima topology deploy ${topology.file}` });
  mkdirSync(options.stateDir, { recursive: true });
  const say = options.onProgress ?? ((): void => undefined);
  const before = readLab(options.stateDir, topology.name);
  if (before !== null && before.hash === hashOf(topology) && isWhole(before)) {
    say(`${topology.name} is already up`);
    return before;
  }
  await destroy(topology.name, options);
  try {
    return await build(topology, options, say);
  } catch (error) {
    await destroy(topology.name, options);
    throw error;
  }
}

function isWhole(state: LabState): boolean {
  return state.nodes.every((n) => existsSync(`/run/netns/${n.netns}`)) && (state.wan === null || isWanAlive(state.wan));
}

async function build(topology: Topology, options: DeployOptions, say: (line: string) => void): Promise<LabState> {
  const lab = topology.name;
  const nodes = topology.nodes.map((n) => ({ name: n.name, kind: n.kind, netns: netnsOf(lab, n.name), labels: n.labels }));
  let state: LabState = { lab, file: topology.file, hash: hashOf(topology), nodes, wanLinks: wanLinksOf(topology), wan: null };
  const save = (): void => writeFileSync(stateFile(options.stateDir, lab), JSON.stringify(state, null, 2));
  save(); // before anything exists, so that an interrupted deploy can be destroyed
  await ip(nodes.map((n) => `netns add ${n.netns}`));
  say(`${nodes.length} network namespaces`);
  const bridges = topology.nodes.filter((n) => n.kind === 'bridge');
  for (const n of topology.nodes) await inNode(lab, n.name, `ip link set lo up${n.kind === 'bridge' ? `; sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip link add name ${bridgeName(n)} type bridge; ip link set dev ${bridgeName(n)} up` : ''}`);
  const plain = topology.links.filter((l) => l.impairment === null);
  await ip(plain.map((l) => vethLine(lab, l)));
  if (state.wanLinks.length > 0) {
    state = { ...state, wan: await startWan(options.stateDir, lab, state.wanLinks) };
    save();
  }
  for (const l of topology.links) for (const e of l.ends) await inNode(lab, e.node, linkUp(l, e, bridges));
  say(`${plain.length} plain links, ${state.wanLinks.length} WAN links (${state.wanLinks.length > 0 ? 'emulated by our own process' : 'none'})`);
  for (const n of topology.nodes) {
    for (const command of n.exec) await inNode(lab, n.name, command, n.env);
  }
  say(`${topology.nodes.reduce((n, x) => n + x.exec.length, 0)} exec lines`);
  return state;
}

const bridgeName = (n: TopologyNode): string => n.name.slice(0, 15);

function vethLine(lab: string, l: TopologyLink): string {
  const [a, b] = l.ends as readonly [LinkEnd, LinkEnd];
  const mtu = l.mtu === null ? '' : ` mtu ${l.mtu}`;
  return `link add name ${a.interface}${mtu} netns ${netnsOf(lab, a.node)} type veth peer name ${b.interface}${mtu} netns ${netnsOf(lab, b.node)}`;
}

function linkUp(l: TopologyLink, e: LinkEnd, bridges: readonly TopologyNode[]): string {
  const bridge = bridges.find((b) => b.name === e.node);
  const master = bridge === undefined ? '' : ` master ${bridgeName(bridge)}`;
  const mtu = l.impairment !== null && l.mtu !== null ? ` mtu ${l.mtu}` : '';
  return `ip link set dev ${e.interface}${master}${mtu} up`;
}

function wanLinksOf(topology: Topology): readonly WanLink[] {
  return topology.links.flatMap((l) => {
    const [a, b] = l.ends;
    if (l.impairment === null || a === undefined || b === undefined) return [];
    const end = (e: LinkEnd): { netns: string; interface: string } => ({ netns: netnsOf(topology.name, e.node), interface: e.interface });
    return [{ id: linkId(a, b), ends: [end(a), end(b)] as const, impairment: l.impairment }];
  });
}

const linkId = (a: LinkEnd, b: LinkEnd): string => `${a.node}:${a.interface}=${b.node}:${b.interface}`;

async function inNode(lab: string, node: string, command: string, env: Readonly<Record<string, string>> = {}): Promise<void> {
  const { exitCode, stderr } = await execa('nsenter', [`--net=/run/netns/${netnsOf(lab, node)}`, '--', 'sh', '-c', command], { reject: false, env });
  if (exitCode !== 0) throw new MeshError('io', `node ${node}: \`${command}\` failed: ${stderr.trim().split('\n')[0]}`, { fields: { node, command } });
}

/** Removes everything of a lab; a lab that is not there is fine. Processes inside its namespaces are their owners' business. */
export async function destroy(lab: string, options: DeployOptions): Promise<void> {
  const state = readLab(options.stateDir, lab);
  if (state === null) return;
  if (state.wan !== null) await stopWan(state.wan);
  for (const n of state.nodes) if (existsSync(`/run/netns/${n.netns}`)) await execa('ip', ['netns', 'delete', n.netns]);
  for (const suffix of ['wan.sock', 'wan.log', 'lab.json']) rmSync(join(options.stateDir, `${lab}.${suffix}`), { force: true });
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
  const state = readLab(options.stateDir, lab);
  if (state === null) throw new MeshError('not-found', `no lab "${lab}" is deployed`, { next: 'proxima topology deploy topologies/two-regions-three-edges.clab.yml' });
  return Promise.all(
    state.nodes.map(async (n) => {
      const up = existsSync(`/run/netns/${n.netns}`);
      const { stdout } = up ? await execa('ip', ['-n', n.netns, '-4', '-o', 'addr', 'show', 'scope', 'global'], { reject: false }) : { stdout: '' };
      const addresses = stdout.split('\n').flatMap((l) => /^\d+: (\S+)\s+inet (\S+)/.exec(l)?.slice(1, 3).join(' ') ?? []);
      return { node: n.name, kind: n.kind, netns: n.netns, up, addresses, labels: n.labels };
    }),
  );
}

/** A process inside a node. */
export function spawnIn(lab: string, node: string, argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
  return spawn('nsenter', [`--net=/run/netns/${netnsOf(lab, node)}`, '--', ...argv], options);
}

/** Cuts, restores or changes the WAN link between two nodes while the lab runs. */
export async function setLink(lab: string, a: string, b: string, change: LinkChange, options: DeployOptions): Promise<void> {
  const state = readLab(options.stateDir, lab);
  const isBetween = (id: string): boolean => {
    const nodes = id.split('=').map((e) => e.slice(0, e.lastIndexOf(':')));
    return nodes.includes(a) && nodes.includes(b);
  };
  const link = state?.wanLinks.find((l) => isBetween(l.id));
  if (state === null || state.wan === null || link === undefined) throw new MeshError('not-found', `lab ${lab} has no WAN link between ${a} and ${b}`, { next: `proxima topology inspect ${lab}` });
  await changeLink(state.wan, link.id, change);
}
