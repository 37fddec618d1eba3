/** What a pod's sub-resources ask of the agent on its node: finds the node, dials it, and says its refusals in our words. */
import { request, type IncomingMessage } from 'node:http';
import type { Client } from '../api/client.ts';
import { isMeshError, MeshError, type ErrorKind } from '../api/errors.ts';
import type { Node, Pod } from '../api/kinds/core.ts';
import type { Site } from '../api/kinds/mesh.ts';
import { Resources } from '../api/resources.ts';
import { dialAgent, type AgentPlace, type DialOptions } from './agent-dial.ts';
import type { PodAgents, PodCall } from './apiserver/pod-agents.ts';

type Endpoints = { readonly daemonEndpoints?: { readonly kubeletEndpoint?: { readonly Port?: number } } };

const CLUSTER = { tenant: null, namespace: null } as const;
const SITE_LABEL = 'mesh.proxima.io/site';
const KINDS: Readonly<Record<number, ErrorKind>> = { 400: 'invalid', 401: 'unauthenticated', 403: 'forbidden', 404: 'not-found', 409: 'conflict', 413: 'too-large', 507: 'disk-full' };
const MAX_MESSAGE = 16_384;

export class NodeAgents implements PodAgents {
  readonly #o: DialOptions;
  readonly #client: () => Client;

  constructor(options: DialOptions, client: () => Client) {
    this.#o = options;
    this.#client = client;
  }

  async ask(call: PodCall): Promise<IncomingMessage> {
    const pod = call.pod as unknown as Pod;
    const place = await this.#placeOf(pod);
    const socket = await dialAgent(this.#o, place, call.signal);
    const { tenant = '', namespace = '', name } = pod.metadata;
    const parts = [call.what, tenant, namespace, name, ...call.rest.split('/').filter((p) => p !== '')];
    const path = `/${parts.map(encodeURIComponent).join('/')}${call.query === '' ? '' : `?${call.query}`}`;
    return new Promise((resolve, reject) => {
      const fail = (cause: Error): void => {
        socket.destroy();
        reject(isMeshError(cause) ? cause : new MeshError('unavailable', `the agent of node ${place.node} broke off: ${cause.message}`, { cause }));
      };
      const type = call.body?.headers['content-type'];
      const length = call.body?.headers['content-length'];
      const headers = { host: place.node, connection: 'close', ...(type === undefined ? {} : { 'content-type': type }), ...(length === undefined ? {} : { 'content-length': length }) };
      const ask = request({ createConnection: () => socket, method: call.method, path, headers, signal: call.signal }, (answer) => {
        if ((answer.statusCode ?? 500) < 300) return resolve(answer);
        void messageOf(answer).then((message) => reject(new MeshError(KINDS[answer.statusCode ?? 500] ?? 'unavailable', `node ${place.node}: ${message}`, answer.statusCode === 400 ? { fields: { reason: 'BadRequest' } } : {})));
      });
      ask.on('error', fail);
      if (call.body === null) ask.end();
      else call.body.on('aborted', () => ask.destroy(new Error('the caller went away'))).pipe(ask);
    });
  }

  async #placeOf(pod: Pod): Promise<AgentPlace> {
    const name = pod.spec.nodeName ?? '';
    if (name === '') throw new MeshError('unavailable', `pod ${pod.metadata.name} has no node yet`, { next: `kubectl describe pod ${pod.metadata.name}` });
    const node = await this.#client().get<Node>(Resources.Node, CLUSTER, name);
    const host = node.status?.addresses?.find((a) => a.type === 'InternalIP')?.address;
    const port = (node.status as Endpoints | undefined)?.daemonEndpoints?.kubeletEndpoint?.Port;
    if (host === undefined || port === undefined) throw new MeshError('unavailable', `node ${name} has not said where its agent listens`, { next: `kubectl describe node ${name}` });
    return { node: name, host, port, site: await this.#edgeSiteOf(node) };
  }

  /** A zone's nodes are on the region's own network, and so is a node of no site that the region knows. */
  async #edgeSiteOf(node: Node): Promise<string | null> {
    const name = node.metadata.labels?.[SITE_LABEL] ?? '';
    if (name === '') return null;
    try {
      const site = await this.#client().get<Site>(Resources.Site, CLUSTER, name);
      return site.spec.kind === 'edge' ? name : null;
    } catch (error) {
      if (isMeshError(error, 'not-found')) return null;
      throw error;
    }
  }
}

/** Agents say `{"message"}`; anything else is said as it is. */
async function messageOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const piece of answer) if (text.length < MAX_MESSAGE) text += (piece as Buffer).toString();
    return (JSON.parse(text) as { readonly message?: string }).message ?? text;
  } catch {
    return text.trim() === '' ? `HTTP ${answer.statusCode}` : text.trim(); // not JSON, or it broke off: what there is
  }
}
