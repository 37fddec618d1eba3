/**
 * The way between the agents of two sites, for nothing but a VM that moves. An agent reaches its site's relay on the LAN, the relay reaches other
 * relays through WireGuard, and the relay there reaches its own LAN:
 *
 *   target ── LAN ── its relay ══ WireGuard ══ the source's relay ── LAN ── source
 *
 * Each hop is a request `GET /relay/<site>/<pod uid>` with `Upgrade: proxima-transfer` to an agent's endpoint, under the caller's certificate; the
 * last leg is a plain TCP connection to the source's endpoint, and both ends then speak TLS with each other through all of it. A relay leads its
 * own site's nodes out, and leads in only to the node of a pod that is to be sent to the caller's site.
 */
import { request } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { Client } from '../../../api/client.ts';
import { MeshError, type ErrorKind } from '../../../api/errors.ts';
import type { Node, Pod } from '../../../api/kinds/core.ts';
import type { Droplet } from '../../../api/kinds/mizar.ts';
import { Resources } from '../../../api/resources.ts';
import { identityOf, type Identity } from '../../../certs/names.ts';
import type { TransferDial } from './receive.ts';
import { refusal, type Source } from './transfer.ts';

export const UPGRADE = 'proxima-transfer';

export interface WayOptions {
  readonly site: string;
  readonly node: string;
  /** Port of the agents' endpoints on relays of other regions, whose nodes this region's API does not have: the same as our own. */
  readonly port: () => number;
  readonly client: Client;
  readonly tls: () => { readonly key: string; readonly cert: string; readonly ca: string };
}

interface Peer {
  readonly host: string;
  readonly port: number;
  readonly site: string;
}

export type Hop = { readonly kind: 'source' } | { readonly kind: 'relay'; readonly droplet: Droplet; readonly through: 'lan' | 'tunnel' };

const CONNECT_MS = 10_000;
const STATUS: Partial<Record<ErrorKind, number>> = { invalid: 400, unauthenticated: 401, forbidden: 403, 'not-found': 404, unavailable: 503, timeout: 504 };

/** The next hop from a node towards a pod of `site`. */
export function nextHop(self: { readonly site: string; readonly node: string }, site: string, droplets: readonly Droplet[]): Hop {
  if (site === self.site) return { kind: 'source' };
  const relayOf = (of: string): Droplet | undefined => droplets.filter((d) => d.spec.site === of && d.spec.relay !== undefined).sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))[0];
  const [own, far] = [relayOf(self.site), relayOf(site)];
  if (own === undefined || far === undefined) throw new MeshError('unavailable', `site ${own === undefined ? self.site : site} has no relay`, { next: 'kubectl get droplets shows the relays' });
  return own.spec.node === self.node ? { kind: 'relay', droplet: far, through: 'tunnel' } : { kind: 'relay', droplet: own, through: 'lan' };
}

export class TransferWay implements TransferDial {
  readonly #o: WayOptions;

  constructor(options: WayOptions) {
    this.#o = options;
  }

  /** The source's endpoint itself has answered, and is a node of its site. */
  async dial(from: Source, signal: AbortSignal): Promise<Duplex> {
    return this.#upgrade({ socket: await this.#towards(from, signal) }, `/transfer/${encodeURIComponent(from.uid)}`, from.site, signal);
  }

  /** What an agent does for another that asks it to lead on. */
  async lead(caller: Identity, to: Source): Promise<Duplex> {
    if (caller.kind !== 'node' || caller.site === null) throw new MeshError('forbidden', `${caller.uri} is no node: a relay leads nodes only`);
    if (to.site !== this.#o.site) {
      if (caller.site !== this.#o.site) throw new MeshError('forbidden', `this relay is of ${this.#o.site}: it leads ${caller.site} to no third site`);
      return this.#towards(to, AbortSignal.timeout(CONNECT_MS));
    }
    const { peer, pod } = await this.#find(to.uid);
    const no = refusal(pod, caller, pod.metadata.tenant ?? 'system');
    if (no !== null) throw no;
    return connected(connectTcp({ host: peer.host, port: peer.port }), AbortSignal.timeout(CONNECT_MS));
  }

  /** Bytes to and from the source's endpoint. */
  async #towards(to: Source, signal: AbortSignal): Promise<Duplex> {
    const { items } = await this.#o.client.list<Droplet>(Resources.Droplet);
    const hop = nextHop(this.#o, to.site, items);
    if (hop.kind === 'source') {
      const { peer } = await this.#find(to.uid);
      return connected(connectTcp({ host: peer.host, port: peer.port }), signal);
    }
    const { spec } = hop.droplet;
    const host = hop.through === 'lan' ? spec.address : (spec.relay?.address ?? '');
    const port = hop.through === 'lan' ? await this.#portOf(spec.node) : this.#o.port();
    return this.#upgrade({ host, port }, `/relay/${encodeURIComponent(to.site)}/${encodeURIComponent(to.uid)}`, spec.site, signal);
  }

  /** The node of this site that has the pod, and the pod as the API has it. */
  async #find(uid: string): Promise<{ readonly peer: Peer; readonly pod: Pod }> {
    const { items } = await this.#o.client.list<Node>(Resources.Node, { labelSelector: `mesh.proxima.io/site=${this.#o.site}` });
    for (const node of items) {
      const pods = await this.#o.client.list<Pod>(Resources.Pod, { tenant: 'all', fieldSelector: `spec.nodeName=${node.metadata.name}` });
      const pod = pods.items.find((p) => p.metadata.uid === uid);
      if (pod !== undefined) return { pod, peer: peerOf(node, this.#o.site) };
    }
    throw new MeshError('not-found', `no pod ${uid} at site ${this.#o.site}`);
  }

  async #portOf(node: string): Promise<number> {
    return peerOf(await this.#o.client.get<Node>(Resources.Node, { tenant: null, namespace: null }, node), this.#o.site).port;
  }

  #upgrade(to: { readonly host: string; readonly port: number } | { readonly socket: Duplex }, path: string, site: string, signal: AbortSignal): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const where = 'socket' in to ? `the agent of ${site}, at the end of the way,` : `the agent of ${site} (${to.host}:${to.port})`;
      const fail = (cause: Error): void => reject(new MeshError('unavailable', `${where} cannot be reached: ${cause.message}`, { cause }));
      const createConnection = (): Duplex => connectTls({ ...to, ...this.#o.tls(), minVersion: 'TLSv1.3', checkServerIdentity: isNodeOf(site) });
      const call = request({ createConnection, path, headers: { host: site, connection: 'Upgrade', upgrade: UPGRADE }, timeout: CONNECT_MS });
      const stop = (): void => void call.destroy(signal.reason as Error);
      signal.addEventListener('abort', stop, { once: true });
      call.on('timeout', () => call.destroy(new Error(`no answer in ${CONNECT_MS / 1000} s`))).on('error', fail);
      call.on('upgrade', (_, socket: Socket, head) => {
        signal.removeEventListener('abort', stop);
        socket.setTimeout(0);
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      call.on('response', (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (d: string) => (text += d)).on('error', fail);
        answer.on('end', () => reject(answered(where, answer.statusCode ?? 500, text)));
      });
      call.end();
    });
  }
}

export function statusOf(error: unknown): number {
  return error instanceof MeshError ? (STATUS[error.kind] ?? 500) : 500;
}

function answered(where: string, status: number, text: string): MeshError {
  const kind = (Object.entries(STATUS).find(([, s]) => s === status)?.[0] ?? 'unavailable') as ErrorKind;
  let message = text.trim();
  try {
    message = (JSON.parse(text) as { readonly message?: string }).message ?? message;
  } catch {
    // not JSON: the text itself is the message
  }
  return new MeshError(kind, `${where}: ${message === '' ? `HTTP ${status}` : message}`);
}

function peerOf(node: Node, site: string): Peer {
  const host = node.status?.addresses?.find((a) => a.type === 'InternalIP')?.address;
  const port = (node.status as { readonly daemonEndpoints?: { readonly kubeletEndpoint?: { readonly Port?: number } } } | undefined)?.daemonEndpoints?.kubeletEndpoint?.Port;
  if (host === undefined || port === undefined) throw new MeshError('unavailable', `node ${node.metadata.name} has not said where its agent listens`);
  return { host, port, site };
}

function isNodeOf(site: string): (name: string, certificate: import('node:tls').PeerCertificate) => Error | undefined {
  return (_, certificate) => {
    const who = identityOf(certificate);
    return who.kind === 'node' && who.site === site ? undefined : new MeshError('unauthenticated', `${who.uri} answered where a node of ${site} should`);
  };
}

function connected(socket: Socket, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const stop = (): void => void socket.destroy(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
    socket.once('error', (cause) => reject(new MeshError('unavailable', `no connection: ${cause.message}`, { cause })));
    socket.once('connect', () => {
      signal.removeEventListener('abort', stop);
      resolve(socket);
    });
  });
}
