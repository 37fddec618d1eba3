/** A pod's log, asked of the agent on its node over mTLS. */
import { request } from 'node:https';
import type { Client } from '../api/client.ts';
import { MeshError } from '../api/errors.ts';
import type { Node, Pod } from '../api/kinds/core.ts';
import { Resources } from '../api/resources.ts';
import { identityOf } from '../certs/names.ts';
import type { PodLogs, PodLogsRequest } from './apiserver/pod-logs.ts';

type Tls = { readonly key: string; readonly cert: string; readonly ca: string };
type Endpoints = { readonly daemonEndpoints?: { readonly kubeletEndpoint?: { readonly Port?: number } } };

const TIMEOUT_MS = 10_000;
const PASSED = ['container', 'follow', 'tailLines', 'timestamps', 'sinceSeconds', 'previous', 'limitBytes'] as const;

export class NodeLogs implements PodLogs {
  readonly #tls: Tls;
  readonly #client: () => Client;

  constructor(tls: Tls, client: () => Client) {
    this.#tls = tls;
    this.#client = client;
  }

  async stream({ pod: stored, query, out, signal }: PodLogsRequest): Promise<void> {
    const pod = stored as unknown as Pod;
    const name = pod.spec.nodeName ?? '';
    if (name === '') throw new MeshError('unavailable', `pod ${pod.metadata.name} has no node yet`);
    const node = await this.#client().get<Node>(Resources.Node, { tenant: null, namespace: null }, name);
    const host = node.status?.addresses?.find((a) => a.type === 'InternalIP')?.address;
    const port = (node.status as Endpoints | undefined)?.daemonEndpoints?.kubeletEndpoint?.Port;
    if (host === undefined || port === undefined) throw new MeshError('unavailable', `node ${name} has not said where its agent listens`);
    const { tenant = '', namespace = '' } = pod.metadata;
    const asked = new URLSearchParams();
    for (const k of PASSED) if (query.text(k) !== '') asked.set(k, query.text(k));
    const path = `/logs/${encodeURIComponent(tenant)}/${encodeURIComponent(namespace)}/${encodeURIComponent(pod.metadata.name)}?${asked.toString()}`;
    await this.#pipe({ host, port, path, name, out, signal });
  }

  #pipe(ask: { readonly host: string; readonly port: number; readonly path: string; readonly name: string; readonly out: PodLogsRequest['out']; readonly signal: AbortSignal }): Promise<void> {
    const { host, port, path, name, out, signal } = ask;
    return new Promise((resolve, reject) => {
      const fail = (cause: Error): void => reject(new MeshError('unavailable', `the agent of node ${name} (${host}:${port}) cannot be asked: ${cause.message}`, { cause }));
      const call = request({ host, port, path, signal, ...this.#tls, agent: false, minVersion: 'TLSv1.3', timeout: TIMEOUT_MS, checkServerIdentity: (_, cert) => {
        const found = identityOf(cert);
        return found.kind === 'node' && found.node === name ? undefined : new MeshError('unauthenticated', `${found.uri} answered where node ${name} should`);
      } }, (answer) => {
        call.setTimeout(0); // a followed log may be silent for as long as it likes
        if (answer.statusCode === 200) {
          out.writeHead(200, { 'content-type': 'text/plain' });
          answer.pipe(out);
          answer.on('close', resolve).on('error', () => out.destroy());
          return;
        }
        const parts: Buffer[] = [];
        answer.on('data', (d: Buffer) => parts.push(d)).on('error', fail).on('end', () => reject(new MeshError(answer.statusCode === 404 ? 'not-found' : 'unavailable', `node ${name}: ${Buffer.concat(parts).toString().trim() || `HTTP ${answer.statusCode}`}`)));
      });
      call.on('timeout', () => call.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`))).on('error', fail).end();
    });
  }
}
