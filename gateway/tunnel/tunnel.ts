/**
 * WireGuard between relays. Decide is pure: the interface that is wanted and what `wg show dump` says -> steps. Acting goes through `ip` and
 * `wg` in the network namespace of this process; the kernel's WireGuard where there is one, `wireguard-go` otherwise.
 *
 * wireguard-go keeps its control sockets in /var/run/wireguard by interface name, for all namespaces of a machine: names have to differ.
 */
import { readFileSync } from 'node:fs';
import { MeshError } from '../../api/errors.ts';

export interface TunnelPeer {
  readonly publicKey: string;
  /** host:port; null = it dials us. */
  readonly endpoint: string | null;
  readonly allowedIps: readonly string[];
  /** Seconds; 0 = off. */
  readonly keepalive: number;
}

export interface TunnelSpec {
  /** At most 15 characters, unique on this machine. */
  readonly interface: string;
  /** e.g. 100.64.3.1/32 */
  readonly address: string;
  readonly privateKeyFile: string;
  /** null = any. */
  readonly listenPort: number | null;
  readonly mtu: number;
  readonly peers: readonly TunnelPeer[];
}

export interface ObservedPeer extends TunnelPeer {
  readonly lastHandshakeSeconds: number;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** null = no such interface. */
export interface ObservedTunnel {
  readonly privateKey: string;
  readonly publicKey: string;
  readonly listenPort: number;
  readonly address: string | null;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly routes: readonly string[];
  readonly peers: readonly ObservedPeer[];
}

export type TunnelStep =
  | { readonly kind: 'create' }
  | { readonly kind: 'key' }
  | { readonly kind: 'port'; readonly port: number }
  | { readonly kind: 'peer'; readonly peer: TunnelPeer }
  | { readonly kind: 'remove-peer'; readonly publicKey: string }
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'up'; readonly mtu: number }
  | { readonly kind: 'route'; readonly to: string };

const sorted = (list: readonly string[]): string => [...list].sort().join(',');

/** Peers change address by themselves (roaming), so an endpoint is only set when there is none. */
function isSame(want: TunnelPeer, have: ObservedPeer | undefined): boolean {
  return have !== undefined && sorted(want.allowedIps) === sorted(have.allowedIps) && want.keepalive === have.keepalive && (want.endpoint === null || have.endpoint !== null);
}

/** `privateKey`: the content of the key file, compared and never logged. */
export function decideTunnel(want: TunnelSpec, privateKey: string, have: ObservedTunnel | null): TunnelStep[] {
  const steps: TunnelStep[] = [];
  if (have === null) steps.push({ kind: 'create' });
  if (have?.privateKey !== privateKey) steps.push({ kind: 'key' });
  if (want.listenPort !== null && have?.listenPort !== want.listenPort) steps.push({ kind: 'port', port: want.listenPort });
  const known = new Map((have?.peers ?? []).map((p) => [p.publicKey, p]));
  const wanted = new Set(want.peers.map((p) => p.publicKey));
  // Removals first: an address range belongs to one peer, and moves away from the old one before the new one gets it.
  for (const publicKey of known.keys()) if (!wanted.has(publicKey)) steps.push({ kind: 'remove-peer', publicKey });
  for (const peer of want.peers) if (!isSame(peer, known.get(peer.publicKey))) steps.push({ kind: 'peer', peer });
  if (have?.address !== want.address) steps.push({ kind: 'address', address: want.address });
  if (have?.isUp !== true || have.mtu !== want.mtu) steps.push({ kind: 'up', mtu: want.mtu });
  const routes = new Set(have?.isUp === true && have.mtu === want.mtu && have.address === want.address ? have.routes : []);
  for (const to of new Set(want.peers.flatMap((p) => p.allowedIps))) if (!routes.has(to)) steps.push({ kind: 'route', to });
  return steps;
}

const NONE = '(none)';

/** `wg show <interface> dump`: one line of the interface, then one per peer, tab-separated. */
export function parseDump(text: string): Omit<ObservedTunnel, 'address' | 'mtu' | 'isUp' | 'routes'> {
  const [own = '', ...lines] = text.trimEnd().split('\n');
  const [privateKey = '', publicKey = '', listenPort = '0'] = own.split('\t');
  const peers = lines.map((line): ObservedPeer => {
    const [key = '', , endpoint = NONE, allowed = NONE, handshake = '0', rx = '0', tx = '0', keepalive = 'off'] = line.split('\t');
    return {
      publicKey: key,
      endpoint: endpoint === NONE ? null : endpoint,
      allowedIps: allowed === NONE ? [] : allowed.split(','),
      keepalive: keepalive === 'off' ? 0 : Number(keepalive),
      lastHandshakeSeconds: Number(handshake),
      rxBytes: Number(rx),
      txBytes: Number(tx),
    };
  });
  return { privateKey: privateKey === NONE ? '' : privateKey, publicKey, listenPort: Number(listenPort), peers };
}

export function checkSpec(spec: TunnelSpec): void {
  const bad = (path: string, expected: string): MeshError => new MeshError('invalid', `tunnel.${path}: expected ${expected}`, { fields: { path: `tunnel.${path}` } });
  if (!/^[a-zA-Z0-9_.-]{1,15}$/.test(spec.interface)) throw bad('interface', 'an interface name of 1 to 15 characters');
  if (!/^\d+\.\d+\.\d+\.\d+\/\d+$/.test(spec.address)) throw bad('address', 'an IPv4 address with a prefix length, e.g. 100.64.3.1/32');
  if (!Number.isInteger(spec.mtu) || spec.mtu < 576 || spec.mtu > 65_535) throw bad('mtu', '576 to 65535');
  spec.peers.forEach((p, i) => {
    if (!/^[A-Za-z0-9+/]{43}=$/.test(p.publicKey)) throw bad(`peers[${i}].publicKey`, 'a WireGuard public key');
    if (!Number.isInteger(p.keepalive) || p.keepalive < 0 || p.keepalive > 65_535) throw bad(`peers[${i}].keepalive`, '0 to 65535 seconds');
  });
}

export function readPrivateKey(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new MeshError('missing-file', `tunnel.privateKeyFile: ${path} cannot be read: ${(error as Error).message}`, { fields: { path: 'tunnel.privateKeyFile' }, cause: error, next: `wg genkey > ${path}` });
  }
}
