/** What this runner cannot do for a topology, by name. A namespace runs no image, so whatever needs the programs inside one is refused. */
import { netnsOf } from './lab.ts';
import type { Topology, TopologyLink, TopologyNode } from './model.ts';

/** Images that hold no service of their own: a namespace with the host's tools stands in for them. */
const PLAIN_IMAGES = new Set(['alpine', 'busybox', 'debian', 'ubuntu', 'network-multitool']);
/** The largest frame of our own WAN process, less the Ethernet header and a VLAN tag. */
const WAN_MTU_MAX = 2_000;

/** Empty = it can be deployed. */
export function refusals(topology: Topology): readonly string[] {
  const kinds = new Map(topology.nodes.map((n) => [n.name, n.kind]));
  return [...topology.nodes.flatMap(refuseNode), ...topology.links.flatMap((l) => refuseLink(l, kinds)), ...sameNamespace(topology)];
}

function refuseNode(n: TopologyNode): readonly string[] {
  const out: string[] = [];
  if (n.kind !== 'linux' && n.kind !== 'bridge') out.push(`kind "${n.kind}" (linux and bridge run without Docker)`);
  if (n.networkMode !== null) out.push(`network-mode "${n.networkMode}"`);
  if (n.cmd !== null) out.push(`cmd, which needs its image "${n.image ?? ''}"`);
  const image = /([^/:@]+)(?:[:@][^/]*)?$/.exec(n.image ?? '')?.[1];
  if (n.kind === 'linux' && image !== undefined && !PLAIN_IMAGES.has(image)) out.push(`image "${n.image}", whose programs are not here (${[...PLAIN_IMAGES].join(', ')} are stood in for by the host's tools)`);
  if (n.needsContainer.length > 0) out.push(`${n.needsContainer.join(', ')}: only a container has these`);
  for (const key of Object.keys(n.sysctls)) if (!key.startsWith('net.')) out.push(`sysctl ${key}, which would change the host`);
  return out.map((what) => `node ${n.name}: ${what}`);
}

function refuseLink(l: TopologyLink, kinds: ReadonlyMap<string, string>): readonly string[] {
  const out: string[] = [];
  if (l.type !== 'brief' && l.type !== 'veth') out.push(`type "${l.type}"`);
  else for (const e of l.ends) if (!kinds.has(e.node)) out.push(`an end at "${e.node}"`);
  if (l.impairment !== null && l.ends.some((e) => kinds.get(e.node) === 'bridge')) out.push('vars on a link to a bridge');
  if (l.impairment !== null && (l.mtu ?? 0) > WAN_MTU_MAX) out.push(`mtu ${l.mtu} on a link with vars (at most ${WAN_MTU_MAX})`);
  for (const e of l.ends) if (!/^[^\s/:=]{1,15}$/.test(e.interface)) out.push(`interface name "${e.interface}" (at most 15 characters, none of them a space, "/", ":" or "=")`);
  return out.map((what) => `link ${l.ends.map((e) => `${e.node}:${e.interface}`).join(' - ')}: ${what}`);
}

function sameNamespace(topology: Topology): readonly string[] {
  const taken = new Map<string, string>();
  return topology.nodes.flatMap((n) => {
    const netns = netnsOf(topology.name, n.name);
    const other = taken.get(netns);
    taken.set(netns, n.name);
    return other === undefined ? [] : [`node ${n.name}: its namespace ${netns} is node ${other}'s`];
  });
}
