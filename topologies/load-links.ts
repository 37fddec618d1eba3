/** The links of a containerlab file, in the brief and the extended spelling, and our own data in their `vars`. */
import type { Impairment, LinkEnd, LinkType, TopologyLink } from './model.ts';
import type { Path, Source } from './source.ts';

const PAIRS = new Set<LinkType>(['brief', 'veth']);
const COMMON = ['type', 'mtu', 'vars', 'labels'];
const VXLAN = [...COMMON, 'endpoint', 'remote', 'vni', 'dst-port', 'src-port'];
const FIELDS: Readonly<Record<LinkType, ReadonlySet<string>>> = {
  brief: new Set(['endpoints', 'mtu', 'ipv4', 'ipv6', 'vars']),
  veth: new Set([...COMMON, 'endpoints', 'ipv4', 'ipv6']),
  host: new Set([...COMMON, 'endpoint', 'host-interface']),
  'mgmt-net': new Set([...COMMON, 'endpoint', 'host-interface']),
  macvlan: new Set([...COMMON, 'endpoint', 'host-interface', 'mode']),
  dummy: new Set([...COMMON, 'endpoint']),
  vxlan: new Set(VXLAN),
  'vxlan-stitch': new Set(VXLAN),
};
const REQUIRED: Partial<Record<LinkType, readonly string[]>> = { host: ['host-interface'], 'mgmt-net': ['host-interface'], macvlan: ['host-interface'], vxlan: ['remote', 'vni', 'dst-port'], 'vxlan-stitch': ['remote', 'vni', 'dst-port'] };
const END_FIELDS = new Set(['node', 'interface', 'mac', 'ipv4', 'ipv6', 'vars']);
/** Names that a brief link may use for an end without a node of that name. */
const PSEUDO_NODES = new Set(['host', 'mgmt-net', 'macvlan', 'vxlan', 'vxlan-stitch', 'dummy']);
const MAC = /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/;
const PREFIX = /^[0-9a-fA-F.:]+\/\d{1,3}$/;

export function readLinks(source: Source, path: Path, raw: unknown, names: ReadonlySet<string>): readonly TopologyLink[] {
  const links = source.list(path, raw).map((l, i) => readLink(source, [...path, i], l, names));
  const seen = new Set<string>();
  for (const [i, link] of links.entries()) {
    for (const end of link.ends) {
      const key = `${end.node}:${end.interface}`;
      if (seen.has(key) && !PSEUDO_NODES.has(end.node)) source.fail([...path, i], `${key} is already used by another link`);
      seen.add(key);
    }
  }
  return links;
}

function readLink(source: Source, path: Path, raw: unknown, names: ReadonlySet<string>): TopologyLink {
  const link = source.dict(path, raw);
  const type = (link['type'] ?? 'brief') as LinkType;
  if (!Object.hasOwn(FIELDS, type)) source.fail([...path, 'type'], `expected one of ${Object.keys(FIELDS).slice(1).join(', ')}`);
  source.onlyKnown(path, link, FIELDS[type]);
  for (const key of REQUIRED[type] ?? []) if (link[key] === undefined) source.fail(path, `a link of type ${type} needs ${key}`);
  const mtu = link['mtu'] ?? null;
  if (mtu !== null && !(Number.isInteger(mtu) && (mtu as number) >= 68 && (mtu as number) <= 65_535)) source.fail([...path, 'mtu'], 'expected an integer from 68 to 65535');
  const isPair = PAIRS.has(type);
  const at = isPair ? [...path, 'endpoints'] : [...path, 'endpoint'];
  if (!isPair) return { type, ends: [readEnd(source, at, link['endpoint'], names)], mtu: mtu as number | null, impairment: readVars(source, [...path, 'vars'], link['vars']) };
  const rawEnds = source.list(at, link['endpoints']);
  if (rawEnds.length !== 2) source.fail(at, `expected two endpoints, got ${rawEnds.length}`);
  const ends = rawEnds.map((e, i) => {
    const end = readEnd(source, [...at, i], e, names);
    const given = ['ipv4', 'ipv6'].flatMap((key) => (link[key] === undefined ? [] : readAddress(source, [...path, key, i], source.list([...path, key], link[key])[i])));
    return { ...end, addresses: [...end.addresses, ...given] };
  });
  return { type, ends, mtu: mtu as number | null, impairment: readVars(source, [...path, 'vars'], link['vars']) };
}

function readEnd(source: Source, path: Path, raw: unknown, names: ReadonlySet<string>): LinkEnd {
  let end: LinkEnd;
  if (typeof raw === 'string') {
    const cut = raw.indexOf(':');
    if (cut <= 0 || cut === raw.length - 1) source.fail(path, `expected "node:interface", got "${raw}"`);
    end = { node: raw.slice(0, cut), interface: raw.slice(cut + 1), mac: null, addresses: [] };
  } else {
    const d = source.dict(path, raw);
    source.onlyKnown(path, d, END_FIELDS);
    if (typeof d['node'] !== 'string' || typeof d['interface'] !== 'string') source.fail(path, 'expected node and interface');
    const mac = d['mac'] ?? null;
    if (mac !== null && !(typeof mac === 'string' && MAC.test(mac))) source.fail([...path, 'mac'], 'expected a MAC address such as "02:00:00:00:00:01"');
    const addresses = ['ipv4', 'ipv6'].flatMap((key) => readAddress(source, [...path, key], d[key]));
    end = { node: d['node'] as string, interface: d['interface'] as string, mac: mac as string | null, addresses };
  }
  if (!names.has(end.node) && !PSEUDO_NODES.has(end.node)) source.fail(path, `no node "${end.node}"; there are ${[...names].join(', ')}`);
  return end;
}

function readAddress(source: Source, path: Path, raw: unknown): readonly string[] {
  if (raw === undefined || raw === null || raw === '') return [];
  if (typeof raw !== 'string' || !PREFIX.test(raw)) source.fail(path, 'expected an address with its prefix length, such as "10.0.0.1/24"');
  return [raw as string];
}

const TIME = { us: 1, ms: 1_000, s: 1_000_000 } as const;

/** Our link data: `vars: { delay: 20ms, jitter: 1ms, loss: 0.1%, rate: 100mbit }`, each optional, each way. Other vars are not ours to judge. */
function readVars(source: Source, path: Path, raw: unknown): Impairment | null {
  if (raw === undefined || raw === null) return null;
  const vars = source.dict(path, raw);
  if (!['delay', 'jitter', 'loss', 'rate'].some((k) => vars[k] !== undefined)) return null;
  const read = (key: string, pattern: RegExp, units: Readonly<Record<string, number>>, example: string, max: number): number => {
    const value = vars[key];
    if (value === undefined) return 0;
    const m = typeof value === 'string' || typeof value === 'number' ? pattern.exec(String(value)) : null;
    const amount = Math.round(Number(m?.[1]) * (units[m?.[2] ?? ''] ?? Number.NaN));
    if (!(amount >= 0 && amount <= max)) source.fail([...path, key], `expected something like "${example}", got ${JSON.stringify(value)}`);
    return amount;
  };
  return {
    delayUs: read('delay', /^(\d+(?:\.\d+)?)(us|ms|s)$/, TIME, '20ms', 10_000_000),
    jitterUs: read('jitter', /^(\d+(?:\.\d+)?)(us|ms|s)$/, TIME, '1ms', 1_000_000),
    lossPpm: read('loss', /^(\d{1,3}(?:\.\d+)?)(%)$/, { '%': 10_000 }, '0.1%', 1_000_000),
    rateKbit: read('rate', /^(\d+(?:\.\d+)?)(kbit|mbit|gbit)$/, { kbit: 1, mbit: 1_000, gbit: 1_000_000 }, '100mbit', 100_000_000),
  };
}
