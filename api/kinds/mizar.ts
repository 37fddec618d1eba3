/** The network kinds (`mizar.com/v1`), after Mizar's custom resources. `status.phase` goes Init -> Provisioned; Error carries a message. */
import type { KubeObject } from '../object.ts';

export interface NetStatus {
  readonly phase: 'Init' | 'Provisioned' | 'Error';
  readonly message?: string;
}

export interface Vpc extends KubeObject {
  /** `vni` (24 bit) is given by the global scheduler for a VPC that spans regions, else allocated by the region. */
  readonly spec: { readonly cidr: string; readonly vni?: number; readonly dividers?: number };
  readonly status?: NetStatus & { readonly vni?: number };
}

/** One subnet lives in one site; a subnet of another region's site is present here as `virtual` and reached over the relays. */
export interface Subnet extends KubeObject {
  readonly spec: { readonly vpc: string; readonly cidr: string; readonly site: string; readonly bouncers?: number; readonly virtual?: boolean };
  readonly status?: NetStatus & { readonly allocated?: number };
}

/** A node's interface on the substrate. Name = node name. */
export interface Droplet extends KubeObject {
  readonly spec: {
    readonly node: string;
    readonly site: string;
    readonly interface: string;
    readonly address: string;
    readonly mac: string;
    /** Set on the droplet that relays for its site. */
    readonly relay?: RelaySpec;
    /** Set on the droplet that is its site's front. */
    readonly front?: { readonly interface: string; readonly address: string };
  };
  readonly status?: NetStatus & { readonly goalVersion?: number; readonly mode?: string };
}

export interface RelaySpec {
  /** The relay's address inside WireGuard (100.64.0.0/10), unique in the mesh. */
  readonly address: string;
  readonly publicKey: string;
  /** host:port on the uplink; absent for a relay that only dials out. */
  readonly endpoint?: string;
  readonly interface: string;
}

export interface Bouncer extends KubeObject {
  readonly spec: { readonly vpc: string; readonly subnet: string; readonly droplet: string };
  readonly status?: NetStatus;
}

export interface Divider extends KubeObject {
  readonly spec: { readonly vpc: string; readonly droplet: string };
  readonly status?: NetStatus;
}

export interface Backend {
  /** Address in the VPC. */
  readonly address: string;
  readonly port: number;
  /** 0..100; 0 drains: flows that exist stay, new ones go elsewhere. */
  readonly weight: number;
}

/**
 * simple: one pod interface. scaled: one address in the VPC served by `backends`. front: `address` is on a site's uplink, clients outside the mesh
 * reach `backends` through it, counted per client region and `application`.
 */
export interface Endpoint extends KubeObject {
  readonly spec:
    | { readonly type: 'simple'; readonly vpc: string; readonly subnet: string; readonly address: string; readonly mac: string; readonly droplet: string; readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string } }
    | { readonly type: 'scaled'; readonly vpc: string; readonly address: string; readonly ports: readonly { readonly port: number; readonly protocol: 'TCP' | 'UDP' }[]; readonly backends: readonly Backend[] }
    | { readonly type: 'front'; readonly vpc: string; readonly site: string; readonly address: string; readonly port: number; readonly protocol: 'TCP' | 'UDP'; readonly application: string; readonly backends: readonly Backend[] };
  readonly status?: NetStatus;
}
