/** What the demo needs to know of its lab, read from the topology's labels. */
import type { Topology } from '../../topologies/model.ts';
import { netnsOf } from '../../topologies/run.ts';

export interface NodeFacts {
  readonly name: string;
  readonly netns: string;
  readonly site: string;
  readonly region: string;
  readonly lan: string;
  /** On a gateway node: its address on the uplink. */
  readonly uplink: string | null;
}

export interface SiteFacts {
  readonly name: string;
  readonly region: string;
  readonly kind: 'zone' | 'edge';
  /** Names the site's relay in the mesh: 100.64.<index>.1 */
  readonly index: number;
  readonly gateway: NodeFacts;
  readonly others: readonly NodeFacts[];
}

export interface RegionFacts {
  readonly name: string;
  readonly control: NodeFacts;
}

export interface ClientFacts {
  readonly region: string;
  readonly netns: string;
  readonly cidr: string;
  readonly address: string;
}

export interface LabFacts {
  readonly lab: string;
  readonly global: { readonly netns: string; readonly address: string };
  readonly regions: readonly RegionFacts[];
  readonly sites: readonly SiteFacts[];
  readonly clients: readonly ClientFacts[];
}

export function factsOf(topology: Topology): LabFacts {
  const lab = topology.name;
  const label = (n: { readonly labels: Readonly<Record<string, string>> }, key: string): string => n.labels[`proxima.${key}`] ?? '';
  const role = (r: string): typeof topology.nodes => topology.nodes.filter((n) => label(n, 'role') === r);
  const node = (n: (typeof topology.nodes)[number]): NodeFacts => ({ name: n.name, netns: netnsOf(lab, n.name), site: label(n, 'site'), region: label(n, 'region'), lan: label(n, 'lan'), uplink: label(n, 'uplink') || null });
  const [global] = role('global');
  return {
    lab,
    global: { netns: netnsOf(lab, global?.name ?? 'global'), address: global === undefined ? '' : label(global, 'uplink') },
    regions: role('control').map((n) => ({ name: label(n, 'region'), control: node(n) })),
    sites: role('gateway-node').map((n) => ({
      name: label(n, 'site'), region: label(n, 'region'), kind: label(n, 'kind') === 'edge' ? 'edge' : 'zone', index: Number(label(n, 'index')), gateway: node(n),
      others: role('node').filter((o) => label(o, 'site') === label(n, 'site')).map(node),
    })),
    clients: role('client').map((n) => ({ region: label(n, 'client-region'), netns: netnsOf(lab, n.name), cidr: label(n, 'cidr'), address: label(n, 'uplink') })),
  };
}
