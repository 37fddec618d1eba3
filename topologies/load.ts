/** Reads a containerlab file. What is wrong is refused whole, with file, line, field path and what was expected; nothing is run here. */
import { readFileSync } from 'node:fs';
import { MeshError } from '../api/errors.ts';
import { readLinks } from './load-links.ts';
import type { Topology, TopologyNode } from './model.ts';
import { Source, type Dict, type Path } from './source.ts';

const TOP = new Set(['name', 'prefix', 'mgmt', 'settings', 'topology', 'debug']);
const TOPOLOGY = new Set(['defaults', 'kinds', 'groups', 'nodes', 'links']);
/** Fields that describe the program of a container; a namespace has none, so a node that has them cannot be run here. */
const NEEDS_CONTAINER = ['license', 'startup-config', 'enforce-startup-config', 'binds', 'volumes', 'ports', 'env-files', 'entrypoint', 'stages', 'healthcheck', 'components', 'tmpfs', 'devices'] as const;
/** Fields that run, or that change nothing a namespace has (management network, limits, presentation). */
const HARMLESS = [
  'kind', 'group', 'image', 'cmd', 'exec', 'env', 'labels', 'sysctls', 'network-mode', 'image-pull-policy', 'restart-policy', 'type', 'startup-delay', 'suppress-startup-config', 'auto-remove',
  'credentials', 'user', 'hostname', 'runtime', 'mgmt-ipv4', 'mgmt-ipv6', 'link-apply-mode', 'cpu', 'memory', 'cpu-set', 'extras', 'config', 'dns', 'certificate', 'aliases', 'shm-size', 'cap-add',
  'privileged', 'cgroupns-mode', 'cgroup-parent', 'pid-mode', 'security-opts',
] as const;
const NODE_FIELDS: ReadonlySet<string> = new Set([...HARMLESS, ...NEEDS_CONTAINER]);
const NODE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.|-]*$/;
const MAX_BYTES = 1_048_576;

export function loadTopology(file: string): Topology {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new MeshError('missing-file', `${file}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message}`, { fields: { path: file }, cause: error, next: 'ls topologies/*.clab.yml' });
  }
  return parseTopology(file, text);
}

export function parseTopology(file: string, text: string): Topology {
  if (text.length > MAX_BYTES) throw new MeshError('too-large', `${file}: larger than ${MAX_BYTES} bytes`);
  const source = new Source(file, text);
  const root = source.dict([], source.value());
  source.onlyKnown([], root, TOP);
  const name = root['name'];
  if (typeof name !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) source.fail(['name'], 'expected a name of letters, digits, ".", "_" and "-"');
  const topology = source.dict(['topology'], root['topology']);
  source.onlyKnown(['topology'], topology, TOPOLOGY);
  const nodes = readNodes(source, topology);
  const links = readLinks(source, ['topology', 'links'], topology['links'] ?? [], new Set(nodes.map((n) => n.name)));
  return { name: name as string, file, nodes, links };
}

interface Layer {
  readonly path: Path;
  readonly fields: Dict;
}

function readLayer(source: Source, path: Path, raw: unknown): Layer {
  const fields = raw === undefined || raw === null ? {} : source.dict(path, raw);
  source.onlyKnown(path, fields, NODE_FIELDS);
  return { path, fields };
}

function readLayers(source: Source, path: Path, raw: unknown): ReadonlyMap<string, Layer> {
  const entries = raw === undefined || raw === null ? {} : source.dict(path, raw);
  return new Map(Object.entries(entries).map(([name, value]) => [name, readLayer(source, [...path, name], value)]));
}

function readNodes(source: Source, topology: Dict): TopologyNode[] {
  const defaults = readLayer(source, ['topology', 'defaults'], topology['defaults']);
  const kinds = readLayers(source, ['topology', 'kinds'], topology['kinds']);
  const groups = readLayers(source, ['topology', 'groups'], topology['groups']);
  const nodes = readLayers(source, ['topology', 'nodes'], source.dict(['topology', 'nodes'], topology['nodes']));
  return [...nodes].map(([name, own]) => {
    if (!NODE_NAME.test(name)) source.fail(own.path, 'expected a node name of letters, digits, ".", "_", "-" and "|"');
    const naming = own.fields['group'] === undefined ? defaults : own;
    const groupName = naming.fields['group'];
    const group = typeof groupName === 'string' ? groups.get(groupName) : undefined;
    if (groupName !== undefined && group === undefined) source.fail([...naming.path, 'group'], `no group ${JSON.stringify(groupName)}; there are ${[...groups.keys()].join(', ') || 'none'}`);
    const kind = own.fields['kind'] ?? group?.fields['kind'] ?? defaults.fields['kind'];
    if (typeof kind !== 'string') source.fail([...own.path, 'kind'], 'expected a kind here, in its group or in the defaults');
    return mergeNode(source, name, kind as string, [defaults, kinds.get(kind as string), group, own].filter((l) => l !== undefined));
  });
}

/** Scalars: the nearest layer wins. Maps: merged by key. `exec`: every layer's lines, farthest first. */
function mergeNode(source: Source, name: string, kind: string, layers: readonly Layer[]): TopologyNode {
  const isSet = (l: Layer, key: string): boolean => l.fields[key] !== undefined && l.fields[key] !== null;
  const text = (key: string): string | null => {
    const layer = layers.findLast((l) => isSet(l, key));
    const value = layer?.fields[key];
    if (layer !== undefined && typeof value !== 'string') source.fail([...layer.path, key], 'expected a string');
    return (value as string | undefined) ?? null;
  };
  const merged = (key: string): Record<string, string> => Object.fromEntries(layers.filter((l) => isSet(l, key)).flatMap((l) => readScalars(source, [...l.path, key], l.fields[key])));
  const exec = layers.filter((l) => isSet(l, 'exec')).flatMap((l) => readStrings(source, [...l.path, 'exec'], l.fields['exec']));
  return {
    name,
    kind,
    image: text('image'),
    cmd: text('cmd'),
    exec,
    env: merged('env'),
    labels: merged('labels'),
    sysctls: merged('sysctls'),
    networkMode: text('network-mode'),
    needsContainer: NEEDS_CONTAINER.filter((key) => layers.some((l) => isSet(l, key))),
  };
}

function readScalars(source: Source, path: Path, raw: unknown): readonly (readonly [string, string])[] {
  return Object.entries(source.dict(path, raw)).map(([key, value]) => {
    if (value === null) return [key, ''];
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return source.fail([...path, key], 'expected a string, number or boolean');
    return [key, String(value)];
  });
}

function readStrings(source: Source, path: Path, raw: unknown): readonly string[] {
  return source.list(path, raw).map((value, i) => {
    if (typeof value !== 'string') source.fail([...path, i], 'expected a command');
    return value as string;
  });
}
