/** Reads a containerlab file. What is wrong is refused whole, with file, line, field path and what was expected; nothing is run here. */
import { readFileSync } from 'node:fs';
import { isMap, isNode, isPair, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
import { MeshError } from '../api/errors.ts';
import type { Impairment, LinkEnd, LinkType, Topology, TopologyLink, TopologyNode } from './model.ts';

type Dict = Readonly<Record<string, unknown>>;

const TOP = new Set(['name', 'prefix', 'mgmt', 'settings', 'topology', 'debug']);
const TOPOLOGY = new Set(['defaults', 'kinds', 'groups', 'nodes', 'links']);
const LINK_TYPES = new Set<LinkType>(['veth', 'host', 'mgmt-net', 'macvlan', 'dummy', 'vxlan', 'vxlan-stitch']);
const LINK_FIELDS = new Set(['type', 'endpoints', 'endpoint', 'mtu', 'vars', 'labels', 'host-interface', 'remote', 'vni', 'udp-port', 'dst-port', 'src-port', 'mode']);
const MAX_BYTES = 1_048_576;

/** Knows where each field stands in the file. */
class Source {
  readonly file: string;
  readonly #document: Document;
  readonly #lines: LineCounter;

  constructor(file: string, document: Document, lines: LineCounter) {
    this.file = file;
    this.#document = document;
    this.#lines = lines;
  }

  fail(path: readonly (string | number)[], expected: string): never {
    let at = '';
    for (let n = path.length; n >= 0 && at === ''; n--) {
      const node = n === 0 ? this.#document.contents : this.#document.getIn(path.slice(0, n), true);
      const offset = isNode(node) ? this.#keyOffset(path.slice(0, n)) ?? node.range?.[0] : undefined;
      if (offset !== undefined) at = `:${this.#lines.linePos(offset).line}`;
    }
    const field = path.join('.');
    throw new MeshError('invalid', `${this.file}${at}: ${field === '' ? '' : `${field}: `}${expected}`, { fields: { file: this.file, path: field } });
  }

  #keyOffset(path: readonly (string | number)[]): number | undefined {
    const parent = path.length <= 1 ? this.#document.contents : this.#document.getIn(path.slice(0, -1), true);
    if (!isMap(parent)) return undefined;
    const pair = parent.items.find((p) => isPair(p) && isScalar(p.key) && p.key.value === path.at(-1));
    return pair !== undefined && isScalar(pair.key) ? pair.key.range?.[0] : undefined;
  }
}

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
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const source = new Source(file, document, lines);
  const [broken] = document.errors;
  if (broken !== undefined) throw new MeshError('invalid', `${file}:${lines.linePos(broken.pos[0]).line}: ${broken.message.split('\n')[0]}`, { fields: { file } });
  const root = dict(source, [], document.toJS() as unknown);
  onlyKnown(source, [], root, TOP);
  const name = root['name'];
  if (typeof name !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) source.fail(['name'], 'expected a name of letters, digits, ".", "_" and "-"');
  const topology = dict(source, ['topology'], root['topology']);
  onlyKnown(source, ['topology'], topology, TOPOLOGY);
  const nodes = readNodes(source, topology);
  const names = new Set(nodes.map((n) => n.name));
  const links = list(source, ['topology', 'links'], topology['links'] ?? []).map((l, i) => readLink(source, ['topology', 'links', i], l, names));
  checkInterfaces(source, links);
  return { name: name as string, file, nodes, links };
}

function readNodes(source: Source, topology: Dict): TopologyNode[] {
  const section = (key: string): Dict => (topology[key] === undefined || topology[key] === null ? {} : dict(source, ['topology', key], topology[key]));
  const defaults = section('defaults');
  const kinds = section('kinds');
  const groups = section('groups');
  return Object.entries(dict(source, ['topology', 'nodes'], topology['nodes'])).map(([name, raw]) => {
    const path = ['topology', 'nodes', name];
    const own = raw === null ? {} : dict(source, path, raw);
    const groupName = (own['group'] ?? defaults['group']) as string | undefined;
    const group = groupName === undefined ? {} : ((groups[groupName] ?? {}) as Dict);
    const kind = own['kind'] ?? group['kind'] ?? defaults['kind'];
    if (typeof kind !== 'string') source.fail([...path, 'kind'], 'expected a kind here, in its group or in the defaults');
    const layers = [defaults, (kinds[kind as string] ?? {}) as Dict, group, own];
    const last = (key: string): unknown => layers.findLast((l) => l[key] !== undefined && l[key] !== null)?.[key];
    const merged = (key: string): Record<string, string> => {
      const entries = layers.flatMap((l) => Object.entries((l[key] ?? {}) as Dict));
      return Object.fromEntries(entries.map(([k, v]) => [k, String(v)]));
    };
    const text = (key: string): string | null => {
      const value = last(key);
      if (value !== undefined && typeof value !== 'string') source.fail([...path, key], 'expected a string');
      return (value as string | undefined) ?? null;
    };
    const exec = layers.flatMap((l) => (l['exec'] ?? []) as unknown[]);
    if (!exec.every((e) => typeof e === 'string')) source.fail([...path, 'exec'], 'expected a list of commands');
    return { name, kind: kind as string, image: text('image'), cmd: text('cmd'), exec: exec as string[], env: merged('env'), labels: merged('labels'), networkMode: text('network-mode') };
  });
}

function readLink(source: Source, path: readonly (string | number)[], raw: unknown, names: ReadonlySet<string>): TopologyLink {
  const link = dict(source, path, raw);
  onlyKnown(source, path, link, LINK_FIELDS);
  const type = (link['type'] ?? 'brief') as LinkType;
  if (type !== 'brief' && !LINK_TYPES.has(type)) source.fail([...path, 'type'], `expected one of ${[...LINK_TYPES].join(', ')}`);
  const mtu = link['mtu'] ?? null;
  if (mtu !== null && !(Number.isInteger(mtu) && (mtu as number) >= 68 && (mtu as number) <= 65_535)) source.fail([...path, 'mtu'], 'expected an integer from 68 to 65535');
  const rawEnds = link['endpoints'] !== undefined ? list(source, [...path, 'endpoints'], link['endpoints']) : [link['endpoint']];
  const pair = type === 'brief' || type === 'veth';
  if (pair && rawEnds.length !== 2) source.fail([...path, 'endpoints'], `expected two endpoints, got ${rawEnds.length}`);
  const field = link['endpoints'] === undefined ? [...path, 'endpoint'] : null;
  const ends = rawEnds.map((e, i) => readEnd(source, field ?? [...path, 'endpoints', i], e, names));
  return { type, ends, mtu: mtu as number | null, impairment: readVars(source, [...path, 'vars'], link['vars']) };
}

const PSEUDO_NODES = new Set(['host', 'mgmt-net', 'macvlan', 'vxlan', 'vxlan-stitch', 'dummy']);

function readEnd(source: Source, path: readonly (string | number)[], raw: unknown, names: ReadonlySet<string>): LinkEnd {
  let end: LinkEnd;
  if (typeof raw === 'string') {
    const cut = raw.indexOf(':');
    if (cut <= 0 || cut === raw.length - 1) source.fail(path, `expected "node:interface", got "${raw}"`);
    end = { node: raw.slice(0, cut), interface: raw.slice(cut + 1) };
  } else {
    const d = dict(source, path, raw);
    if (typeof d['node'] !== 'string' || typeof d['interface'] !== 'string') source.fail(path, 'expected node and interface');
    end = { node: d['node'] as string, interface: d['interface'] as string };
  }
  if (!names.has(end.node) && !PSEUDO_NODES.has(end.node)) source.fail(path, `no node "${end.node}"; there are ${[...names].join(', ')}`);
  return end;
}

function checkInterfaces(source: Source, links: readonly TopologyLink[]): void {
  const seen = new Set<string>();
  for (const [i, link] of links.entries()) {
    for (const end of link.ends) {
      const key = `${end.node}:${end.interface}`;
      if (seen.has(key) && !PSEUDO_NODES.has(end.node)) source.fail(['topology', 'links', i], `${key} is already used by another link`);
      seen.add(key);
    }
  }
}

/** Our link data: `vars: { delay: 20ms, jitter: 1ms, loss: 0.1%, rate: 100mbit }`, each optional, each way. */
function readVars(source: Source, path: readonly (string | number)[], raw: unknown): Impairment | null {
  if (raw === undefined || raw === null) return null;
  const vars = dict(source, path, raw);
  const ours = ['delay', 'jitter', 'loss', 'rate'].filter((k) => vars[k] !== undefined);
  if (ours.length === 0) return null;
  const read = (key: string, pattern: RegExp, units: Readonly<Record<string, number>>, example: string): number => {
    const value = vars[key];
    if (value === undefined) return 0;
    const m = typeof value === 'string' || typeof value === 'number' ? pattern.exec(String(value)) : null;
    const unit = units[m?.[2] ?? ''];
    if (m === null || unit === undefined) source.fail([...path, key], `expected something like "${example}", got ${JSON.stringify(value)}`);
    return Math.round(Number(m[1]) * (unit as number));
  };
  const time = { us: 1, ms: 1_000, s: 1_000_000 };
  return {
    delayUs: read('delay', /^(\d+(?:\.\d+)?)(us|ms|s)$/, time, '20ms'),
    jitterUs: read('jitter', /^(\d+(?:\.\d+)?)(us|ms|s)$/, time, '1ms'),
    lossPpm: read('loss', /^(\d{1,3}(?:\.\d+)?)(%)$/, { '%': 10_000 }, '0.1%'),
    rateKbit: read('rate', /^(\d+(?:\.\d+)?)(kbit|mbit|gbit)$/, { kbit: 1, mbit: 1_000, gbit: 1_000_000 }, '100mbit'),
  };
}

function dict(source: Source, path: readonly (string | number)[], value: unknown): Dict {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) source.fail(path, 'expected a map');
  return value as Dict;
}

function list(source: Source, path: readonly (string | number)[], value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) source.fail(path, 'expected a list');
  return value as unknown[];
}

function onlyKnown(source: Source, path: readonly (string | number)[], value: Dict, known: ReadonlySet<string>): void {
  const unknown = Object.keys(value).find((k) => !known.has(k));
  if (unknown !== undefined) source.fail([...path, unknown], `unknown key; expected one of ${[...known].join(', ')}`);
}
