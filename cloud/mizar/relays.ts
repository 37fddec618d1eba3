/**
 * WireGuard peers of a site's relay. Hub and spoke: a hub is the relay of a region's zone, a spoke the relay of an edge site. Every spoke
 * peers with every hub, hubs peer with each other. Traffic between two spokes passes one hub, and WireGuard accepts a source address
 * from one peer only, so both ends must name the same hub: it is a function of the unordered pair, and both regions compute it alike.
 */
import type { Droplet } from '../../api/kinds/mizar.ts';
import { choose } from './addresses.ts';
import type { View } from './world.ts';
import { isForeign } from './world.ts';

export interface RelayPeer {
  readonly site: string;
  readonly publicKey: string;
  /** The peer's address inside WireGuard. */
  readonly address: string;
  /** host:port, or null for a peer that dials us. */
  readonly endpoint: string | null;
  readonly allowedIps: readonly string[];
  /** 0 = off. Spokes keep their way through NAT open. */
  readonly keepaliveSeconds: number;
}

export const SITE_KIND_LABEL = 'mesh.proxima.io/site-kind';
export const REGION_LABEL = 'topology.kubernetes.io/region';
const KEEPALIVE_SECONDS = 10;

interface Relay {
  readonly site: string;
  readonly region: string | null;
  readonly isHub: boolean;
  readonly publicKey: string;
  readonly address: string;
  readonly endpoint: string | null;
}

export function relayPeers(site: string, view: View): readonly RelayPeer[] {
  const relays = [...view.relays.values()].map((d) => relayOf(d, view)).sort((a, b) => (a.site < b.site ? -1 : 1));
  const self = relays.find((r) => r.site === site);
  if (self === undefined) return [];
  const hubs = relays.filter((r) => r.isHub);
  const spokes = relays.filter((r) => !r.isHub && r.site !== site);
  const peer = (r: Relay, behind: readonly Relay[]): RelayPeer => ({
    site: r.site,
    publicKey: r.publicKey,
    address: r.address,
    endpoint: r.endpoint,
    allowedIps: [r, ...behind].map((x) => `${x.address}/32`),
    keepaliveSeconds: self.isHub ? 0 : KEEPALIVE_SECONDS,
  });
  if (self.isHub) return relays.filter((r) => r.site !== site).map((r) => peer(r, []));
  return hubs.map((hub) => peer(hub, spokes.filter((s) => hubBetween(self, s, hubs) === hub.site)));
}

/** Of the hubs in either spoke's region; of all hubs where a region is unknown, so that a region that knows more than the other does not differ. */
function hubBetween(a: Relay, b: Relay, hubs: readonly Relay[]): string | undefined {
  const isKnown = [a, b, ...hubs].every((r) => r.region !== null);
  const near = hubs.filter((h) => isKnown && (h.region === a.region || h.region === b.region));
  const pair = [a.site, b.site].sort().join('|');
  return choose(pair, (near.length > 0 ? near : hubs).map((h) => h.site), 1)[0];
}

/** A foreign relay says by labels what its Site object, which is in its own region only, would. Failing that, who listens is a hub. */
function relayOf(d: Droplet, view: View): Relay {
  const site = view.sites.get(d.spec.site);
  const kind = site?.spec.kind ?? d.metadata.labels?.[SITE_KIND_LABEL];
  const endpoint = d.spec.relay?.endpoint ?? null;
  return {
    site: d.spec.site,
    region: site?.spec.region ?? d.metadata.labels?.[REGION_LABEL] ?? (isForeign(d) ? null : view.world.region),
    isHub: kind === undefined ? endpoint !== null : kind === 'zone',
    publicKey: d.spec.relay?.publicKey ?? '',
    address: d.spec.relay?.address ?? '',
    endpoint,
  };
}
