/** The agent of a pod's node, asked through the region's API: wherever the node is, the region knows the way, and says who may. */
import { request } from 'node:https';
import { isMeshError, MeshError } from '../api/errors.ts';
import type { Pod } from '../api/kinds/core.ts';
import { Resources } from '../api/resources.ts';
import { errorOfStatus } from '../api/status.ts';
import type { Connected } from './connect.ts';

export interface PodName {
  readonly tenant: string;
  readonly namespace: string;
  readonly name: string;
}

export interface Ask {
  readonly method: 'GET' | 'POST';
  /** After the pod: `log?follow=true`, `vm/reboot`. */
  readonly path: string;
  /** What comes, as it comes. */
  readonly onData?: (text: string) => void;
  readonly timeoutMs: number;
}

/** The pod, which has to be a VM on a node. */
export async function findVm({ client }: Connected, { tenant, namespace, name }: PodName, next: string): Promise<Pod> {
  const pod = await client.get<Pod>(Resources.Pod, { tenant, namespace }, name);
  if ((pod.spec.nodeName ?? '') === '') throw new MeshError('unavailable', `pod ${name} has no node yet`, { next: `kubectl describe pod ${name}` });
  if (pod.spec.virtualMachine === undefined) throw new MeshError('invalid', `pod ${name} is no VM pod: it has containers`, { next });
  return pod;
}

/** A server URL that ends in `/tenants/T` speaks for that tenant already. */
export function podPath(server: string, { tenant, namespace, name }: PodName, path: string): string {
  const prefix = new URL(server).pathname.replace(/\/+$/, '');
  const own = /\/tenants\/([^/]+)$/.exec(prefix)?.[1];
  const of = own === tenant ? '' : `/tenants/${encodeURIComponent(tenant)}`;
  return `${prefix}/api/v1${of}/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/${path}`;
}

export function askAgent({ access }: Connected, pod: PodName, ask: Ask): Promise<void> {
  const { hostname, port } = new URL(access.server);
  const { credential: c } = access;
  const headers = c.kind === 'token' ? { authorization: `Bearer ${c.token}` } : {};
  const identity = c.kind === 'certificate' ? { key: c.key, cert: c.cert } : {};
  const trust = { ...(access.ca === null ? {} : { ca: access.ca }), ...(access.serverName === undefined ? {} : { servername: access.serverName }) };
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => reject(isMeshError(cause) ? cause : new MeshError('unavailable', `cannot reach ${access.server}: ${cause.message}`, { cause }));
    const call = request({ host: hostname, port: port === '' ? 443 : Number(port), method: ask.method, path: podPath(access.server, pod, ask.path), headers, ...identity, ...trust, agent: false, timeout: ask.timeoutMs }, (answer) => {
      const isWell = (answer.statusCode ?? 500) < 300;
      let text = '';
      answer.setEncoding('utf8').on('data', (d: string) => (isWell ? ask.onData?.(d) : (text += d)));
      answer.on('error', fail).on('end', () => (isWell ? resolve() : reject(refusal(text, answer.statusCode ?? 500, pod))));
    });
    call.on('timeout', () => call.destroy(new Error(`no answer in ${ask.timeoutMs / 1000} s`))).on('error', fail).end();
  });
}

function refusal(text: string, status: number, pod: PodName): MeshError {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = { message: text.trim() }; // no Status: something between us and the region answered
  }
  const error = errorOfStatus(body, status);
  return error.kind === 'unavailable' ? new MeshError('unavailable', error.message, { fields: error.fields, next: `kubectl get pod ${pod.name} -n ${pod.namespace} -o wide shows its node, kubectl get nodes whether that answers` }) : error;
}
