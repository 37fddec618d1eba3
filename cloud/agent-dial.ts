/**
 * A connection to a node's agent: dialled directly, or, for a node of an edge site, asked of the region's cloud gateways, which lead it back over
 * the connection that the site's gateway dialled. Inside is TLS with the agent itself: the node that answers proves its name, whatever the way.
 */
import { request } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type PeerCertificate, type TLSSocket } from 'node:tls';
import { MeshError, isMeshError } from '../api/errors.ts';
import { identityOf } from '../certs/names.ts';

export interface AgentPlace {
  readonly node: string;
  /** Of its own LAN. */
  readonly host: string;
  readonly port: number;
  /** The edge site whose gateway leads there; null = it can be dialled. */
  readonly site: string | null;
}

export interface DialOptions {
  readonly region: string;
  readonly tls: () => { readonly key: string; readonly cert: string; readonly ca: string };
  /** host:port of the cloud gateways' `agents`. */
  readonly gateways: readonly string[];
}

const TIMEOUT_MS = 10_000;
const MAX_REASON = 4_096;

export async function dialAgent(o: DialOptions, at: AgentPlace, signal: AbortSignal): Promise<TLSSocket> {
  const way = at.site === null ? connectTcp({ host: at.host, port: at.port, noDelay: true, signal }) : await throughGateway(o, at, at.site, signal);
  const who = at.site === null ? `${at.host}:${at.port}` : `${at.host}:${at.port} of site ${at.site}`;
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => {
      way.destroy();
      reject(isMeshError(cause) ? cause : new MeshError('unavailable', `the agent of node ${at.node} (${who}) cannot be asked: ${cause.message}`, { cause, next: `kubectl describe node ${at.node}` }));
    };
    const socket = connectTls({ socket: way, ...o.tls(), minVersion: 'TLSv1.3', checkServerIdentity: (_, certificate) => isNode(at.node, certificate) }, () => {
      socket.setTimeout(0);
      resolve(socket);
    });
    way.on('error', fail); // before the handshake TLS does not report what breaks below it
    socket.setTimeout(TIMEOUT_MS, () => fail(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)));
    socket.once('error', fail);
  });
}

function isNode(node: string, certificate: PeerCertificate): Error | undefined {
  const found = identityOf(certificate);
  return found.kind === 'node' && found.node === node ? undefined : new MeshError('unauthenticated', `${found.uri} answered where node ${node} should`);
}

/** Every instance of the cloud gateway may have the site's connection: the next is asked when one has not. */
async function throughGateway(o: DialOptions, at: AgentPlace, site: string, signal: AbortSignal): Promise<Socket> {
  if (o.gateways.length === 0) throw new MeshError('unavailable', `node ${at.node} is at the edge site ${site}, and this region names no gateway that leads there`, { next: 'set "gateways" in the region’s configuration and "agents" in its cloud gateway’s' });
  let last: unknown = null;
  for (const gateway of o.gateways) {
    try {
      return await ask(o, gateway, at, site, signal);
    } catch (error) {
      last = error;
      if (!isMeshError(error, 'unavailable')) break;
    }
  }
  throw last;
}

function ask(o: DialOptions, gateway: string, at: AgentPlace, site: string, signal: AbortSignal): Promise<Socket> {
  const cut = gateway.lastIndexOf(':');
  const authority = `${at.host}:${at.port}`;
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => reject(isMeshError(cause) ? cause : new MeshError('unavailable', `the cloud gateway at ${gateway} cannot be asked for node ${at.node}: ${cause.message}`, { cause, next: 'is `proxima gateway start` running, with "agents" at that address?' }));
    const call = request({ host: gateway.slice(0, cut), port: Number(gateway.slice(cut + 1)), method: 'CONNECT', path: authority, headers: { 'x-proxima-site': site }, ...o.tls(), agent: false, minVersion: 'TLSv1.3', timeout: TIMEOUT_MS, signal, checkServerIdentity: (_, certificate) => isGateway(o.region, certificate) });
    call.on('timeout', () => call.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`))).on('error', fail);
    call.on('response', (answer) => {
      answer.resume();
      fail(new Error(`HTTP ${answer.statusCode}`));
    });
    call.on('connect', (answer, socket: Socket, head) => {
      socket.setTimeout(0);
      if (answer.statusCode !== 200) return void readReason(socket, head).then((text) => fail(refusal(at, site, answer.statusCode ?? 500, text)));
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    call.end();
  });
}

function isGateway(region: string, certificate: PeerCertificate): Error | undefined {
  const found = identityOf(certificate);
  return found.kind === 'cloud-gateway' && found.region === region ? undefined : new MeshError('unauthenticated', `${found.uri} answered where a gateway of region ${region} should`);
}

function readReason(socket: Socket, head: Buffer): Promise<string> {
  let text = head.toString();
  return new Promise((resolve) => {
    const done = (): void => {
      socket.destroy();
      resolve(text);
    };
    socket.setTimeout(TIMEOUT_MS, done);
    socket.on('data', (d: Buffer) => {
      text += d.toString();
      if (text.length > MAX_REASON) done();
    });
    socket.on('end', done).on('error', done).on('close', done);
    socket.resume();
  });
}

function refusal(at: AgentPlace, site: string, status: number, text: string): MeshError {
  let reason = `HTTP ${status}`;
  try {
    reason = (JSON.parse(text) as { readonly reason?: string }).reason ?? reason;
  } catch {
    // not JSON: the number has to do
  }
  return new MeshError(status === 503 ? 'unavailable' : 'forbidden', `the agent of node ${at.node} cannot be reached through the gateway of site ${site}: ${reason}`, { next: `kubectl get site ${site}` });
}
