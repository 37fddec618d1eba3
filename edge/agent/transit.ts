/** The agent's pod network on the data plane of this node, and what the agent reads from it. The daemon itself is `dataplane/transit`. */
import type { EndpointAttachment } from '../../dataplane/transit/transit.ts';
import type { PodAddress } from './model.ts';
import type { PodAttachment, PodNetwork } from './network.ts';

/** Since the maps were made, per application and client region (16 bit ids). */
export interface FrontCount {
  readonly application: number;
  readonly clientRegion: number;
  readonly connections: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Mean ms over all handshakes; null = none ended well. */
  readonly rttMs: number | null;
  readonly handshakes: number;
}

export interface TransitPort {
  attachEndpoint(endpoint: EndpointAttachment): Promise<unknown>;
  detachEndpoint(endpoint: { readonly vni: number; readonly address: string }): Promise<unknown>;
}

export class TransitNetwork implements PodNetwork {
  readonly #transit: TransitPort;
  readonly #addressOf: (podUid: string) => PodAddress | null;

  constructor(transit: TransitPort, addressOf: (podUid: string) => PodAddress | null) {
    this.#transit = transit;
    this.#addressOf = addressOf;
  }

  async attach(a: PodAttachment): Promise<PodAddress> {
    const { vni, address, mac, mtu, gateway } = a.address;
    const where = a.netnsPath === null ? { tapName: a.tapName ?? a.ifName } : { podNetns: a.netnsPath };
    await this.#transit.attachEndpoint({ vni, address, mac, ifName: a.ifName, mtu, gateway, ...where });
    return a.address;
  }

  async detach(podUid: string): Promise<void> {
    const at = this.#addressOf(podUid);
    if (at !== null) await this.#transit.detachEndpoint({ vni: at.vni, address: at.address });
  }
}
