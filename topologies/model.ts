/** A topology after inheritance (defaults < kinds < groups < node) and with both link spellings made one. */
export interface TopologyNode {
  readonly name: string;
  readonly kind: string;
  readonly image: string | null;
  readonly cmd: string | null;
  readonly exec: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly networkMode: string | null;
  /** Fields of the file that only a container could honour. */
  readonly needsContainer: readonly string[];
}

export type LinkType = 'brief' | 'veth' | 'host' | 'mgmt-net' | 'macvlan' | 'dummy' | 'vxlan' | 'vxlan-stitch';

export interface LinkEnd {
  readonly node: string;
  readonly interface: string;
  /** null = the kernel chooses. */
  readonly mac: string | null;
  readonly addresses: readonly string[];
}

export interface Impairment {
  readonly delayUs: number;
  readonly jitterUs: number;
  readonly lossPpm: number;
  /** 0 = no limit. */
  readonly rateKbit: number;
}

export interface TopologyLink {
  readonly type: LinkType;
  /** One end for a link to the host, the management network or nowhere. */
  readonly ends: readonly LinkEnd[];
  readonly mtu: number | null;
  readonly impairment: Impairment | null;
}

export interface Topology {
  readonly name: string;
  readonly file: string;
  readonly nodes: readonly TopologyNode[];
  readonly links: readonly TopologyLink[];
}
