/** The mTLS endpoint of a node's agent, as the pod's place in the region's API leads to it. */
import { request } from 'node:https';
import { isMeshError, MeshError, type ErrorKind } from '../api/errors.ts';
import type { Node, Pod } from '../api/kinds/core.ts';
import { Resources } from '../api/resources.ts';
import type { Connected } from './connect.ts';

export interface Ask {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** What comes, as it comes; absent = collected. */
  readonly onData?: (text: string) => void;
  readonly timeoutMs: number;
}

interface At {
  readonly node: string;
  readonly host: string;
  readonly port: number;
}

type Endpoints = { readonly daemonEndpoints?: { readonly kubeletEndpoint?: { readonly Port?: number } } };

const KIND: Readonly<Record<number, ErrorKind>> = { 400: 'invalid', 401: 'unauthenticated', 403: 'forbidden', 404: 'not-found' };

export async function findPod({ client }: Connected, tenant: string, namespace: string, name: string): Promise<{ readonly pod: Pod; readonly at: At }> {
  const pod = await client.get<Pod>(Resources.Pod, { tenant, namespace }, name);
  const node = pod.spec.nodeName ?? '';
  if (node === '') throw new MeshError('unavailable', `pod ${name} has no node yet`, { next: `kubectl describe pod ${name}` });
  const found = await client.get<Node>(Resources.Node, { tenant: null, namespace: null }, node);
  const host = found.status?.addresses?.find((a) => a.type === 'InternalIP')?.address;
  const port = (found.status as Endpoints | undefined)?.daemonEndpoints?.kubeletEndpoint?.Port;
  if (host === undefined || port === undefined) throw new MeshError('unavailable', `node ${node} has not said where its agent listens`, { next: `kubectl describe node ${node}` });
  return { pod, at: { node, host, port } };
}

function refusal(at: At, status: number, text: string): MeshError {
  let message = text.trim();
  try {
    message = (JSON.parse(text) as { readonly message?: string }).message ?? message;
  } catch {
    // not JSON: the text itself is the message
  }
  return new MeshError(KIND[status] ?? 'unavailable', `node ${at.node}: ${message === '' ? `HTTP ${status}` : message}`);
}

export async function askAgent({ access }: Connected, at: At, ask: Ask): Promise<string> {
  if (access.credential.kind !== 'certificate') throw new MeshError('unauthenticated', 'the kubeconfig holds no client certificate, and an agent answers to one only', { next: 'proxima certs issue --uri spiffe://proxima/admin/NAME' });
  const { cert, key } = access.credential;
  const { identityOf } = await import('../certs/names.ts');
  const isNode = (name: string, certificate: import('node:tls').PeerCertificate): Error | undefined => {
    const who = identityOf(certificate);
    return who.kind === 'node' && who.node === at.node ? undefined : new MeshError('unauthenticated', `${who.uri} answered at ${name} where node ${at.node} should`);
  };
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => reject(isMeshError(cause) ? cause : new MeshError('unavailable', `the agent of node ${at.node} (${at.host}:${at.port}) cannot be asked: ${cause.message}`, { cause, next: `run this where ${at.host} can be reached: a host of the node's own site` }));
    const call = request({ host: at.host, port: at.port, path: ask.path, method: ask.method, key, cert, ...(access.ca === null ? {} : { ca: access.ca }), agent: false, minVersion: 'TLSv1.3', timeout: ask.timeoutMs, checkServerIdentity: isNode }, (answer) => {
      const isWell = (answer.statusCode ?? 500) < 300;
      let text = '';
      answer.setEncoding('utf8').on('data', (d: string) => (isWell && ask.onData !== undefined ? ask.onData(d) : (text += d)));
      answer.on('error', fail).on('end', () => (isWell ? resolve(text) : reject(refusal(at, answer.statusCode ?? 500, text))));
    });
    call.on('timeout', () => call.destroy(new Error(`no answer in ${ask.timeoutMs / 1000} s`))).on('error', fail).end();
  });
}
