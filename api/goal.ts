/**
 * Goal state: the complete, versioned desired configuration of one droplet, computed by the network plane (`cloud/mizar`) and brought
 * into the kernel by the transit daemon (`dataplane/transit`). It is a set of entries, each with a stable key, so that a delta is
 * `put` and `drop` lists over the same keys and a full state is a delta against nothing.
 */
export type GoalEntry =
  /** A VPC known on this droplet. `dividers` are substrate addresses of droplets of this site that know every network of it. */
  | { readonly kind: 'vpc'; readonly vni: number; readonly cidr: string; readonly dividers: readonly string[] }
  /** A network of this site. `bouncers` are substrate addresses of droplets that know every endpoint of it. */
  | { readonly kind: 'network'; readonly vni: number; readonly cidr: string; readonly bouncers: readonly string[] }
  /** A network of another site: send to `relay` (a substrate address of this site; on the relay itself, the other relay's 100.64.0.0/10 address). */
  | { readonly kind: 'route'; readonly vni: number; readonly cidr: string; readonly relay: string }
  /** An endpoint: on this droplet where `droplet` is this droplet's address, else known here because this droplet is its bouncer or relay, or for a direct way. */
  | { readonly kind: 'endpoint'; readonly vni: number; readonly address: string; readonly mac: string; readonly droplet: string }
  /** A substrate peer whose Geneve packets are believed. Nothing is learned from, or decapsulated for, anybody else. */
  | { readonly kind: 'droplet'; readonly address: string; readonly mac: string | null }
  | { readonly kind: 'scaled'; readonly vni: number; readonly address: string; readonly port: number; readonly protocol: 'TCP' | 'UDP'; readonly backends: readonly GoalBackend[] }
  /** On the front droplet: an uplink address and port balanced onto VPC backends; `application` (16 bit id) and client region are counted. */
  | { readonly kind: 'front'; readonly address: string; readonly port: number; readonly protocol: 'TCP' | 'UDP'; readonly vni: number; readonly application: number; readonly backends: readonly GoalBackend[] }
  /** Longest prefix names the client region (16 bit id). */
  | { readonly kind: 'client-region'; readonly cidr: string; readonly id: number };

export interface GoalBackend {
  readonly address: string;
  readonly port: number;
  readonly weight: number;
}

export interface GoalState {
  readonly droplet: string;
  readonly version: number;
  /** 0: `put` is everything and whatever else is there goes. Else: the version that this is a delta against. */
  readonly base: number;
  readonly put: readonly GoalEntry[];
  /** Keys (`goalKey`) to remove; empty when base is 0. */
  readonly drop: readonly string[];
}

export interface GoalAck {
  readonly droplet: string;
  readonly version: number;
  readonly ok: boolean;
  readonly message: string;
}

export function goalKey(e: GoalEntry): string {
  switch (e.kind) {
    case 'vpc':
      return `vpc/${e.vni}`;
    case 'network':
    case 'route':
      return `${e.kind}/${e.vni}/${e.cidr}`;
    case 'endpoint':
      return `endpoint/${e.vni}/${e.address}`;
    case 'droplet':
      return `droplet/${e.address}`;
    case 'scaled':
      return `scaled/${e.vni}/${e.address}/${e.protocol}/${e.port}`;
    case 'front':
      return `front/${e.address}/${e.protocol}/${e.port}`;
    case 'client-region':
      return `client-region/${e.cidr}`;
  }
}
