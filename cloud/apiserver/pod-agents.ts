/**
 * What is asked of the agent on a pod's node, through the pod's sub-resources:
 *   GET  …/pods/P/log                    its log, as `kubectl logs` asks for it
 *   any  …/pods/P/vm/<rest>?<query>      `/vm/<tenant>/<namespace>/P/<rest>?<query>` at the agent, bodies streamed both ways
 *   POST …/pods/P/action                 Arktos' CustomAction: reboot, snapshot, restore
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { asText, type JsonObject } from '../../api/definition.ts';
import { MeshError } from '../../api/errors.ts';
import { objectBody } from './body.ts';
import { at, metaOf } from './bytes.ts';
import { badRequest } from './errors.ts';
import type { Query } from './request.ts';
import type { Answer } from './resource-handler.ts';
import { success } from './status.ts';

export interface PodCall {
  /** The stored Pod; `spec.nodeName` says where it is. */
  readonly pod: JsonObject;
  readonly method: string;
  /** First part of the agent's path, before the pod: `logs`, `vm`. */
  readonly what: 'logs' | 'vm';
  /** After the pod: `reboot`; '' = nothing. */
  readonly rest: string;
  readonly query: string;
  /** Streamed to the agent; null = no body. */
  readonly body: IncomingMessage | null;
  readonly signal: AbortSignal;
}

/** The region gives an implementation that asks the pod's node, wherever that is. */
export interface PodAgents {
  /** The agent's answer when it is 2xx; anything else is thrown as the MeshError that it says. */
  ask(call: PodCall): Promise<IncomingMessage>;
}

export interface PodRequest {
  readonly pod: JsonObject;
  readonly name: string;
  readonly query: Query;
  /** As it came: `reboot?delay=5`. */
  readonly raw: IncomingMessage;
  readonly out: ServerResponse;
  readonly signal: AbortSignal;
}

const LOG_QUERY = ['container', 'follow', 'tailLines', 'timestamps', 'sinceSeconds', 'previous', 'limitBytes'] as const;
/** Whose body goes on to the agent unread. */
const STREAMED = /\/pods\/[^/?]+\/vm\/[^?]/;
const PASSED = ['content-type', 'content-length', 'etag', 'digest'] as const;

export const isStreamed = (request: IncomingMessage): boolean => STREAMED.test(request.url ?? '');

export async function podLog(agents: PodAgents, r: PodRequest): Promise<null> {
  const query = new URLSearchParams();
  for (const k of LOG_QUERY) if (r.query.text(k) !== '') query.set(k, r.query.text(k));
  const answer = await agents.ask({ pod: r.pod, method: 'GET', what: 'logs', rest: '', query: query.toString(), body: null, signal: r.signal });
  r.out.writeHead(200, { 'content-type': 'text/plain' });
  return pass(answer, r.out, r.signal);
}

export async function podVm(agents: PodAgents, r: PodRequest, rest: string): Promise<null> {
  const url = r.raw.url ?? '';
  const cut = url.indexOf('?');
  const method = r.raw.method ?? 'GET';
  const hasBody = r.raw.headers['transfer-encoding'] !== undefined || (r.raw.headers['content-length'] ?? '0') !== '0';
  const answer = await agents.ask({ pod: r.pod, method, what: 'vm', rest, query: cut < 0 ? '' : url.slice(cut + 1), body: hasBody ? r.raw : null, signal: r.signal });
  const headers = Object.fromEntries(PASSED.flatMap((name) => (answer.headers[name] === undefined ? [] : [[name, String(answer.headers[name])]])));
  r.out.writeHead(answer.statusCode ?? 200, headers);
  return pass(answer, r.out, r.signal);
}

/** A caller that goes away ends the agent's answer, and an agent that breaks off breaks the answer off: neither is our error. */
async function pass(answer: IncomingMessage, out: ServerResponse, signal: AbortSignal): Promise<null> {
  out.flushHeaders();
  await pipeline(answer, out, { signal }).catch(() => out.destroy());
  return null;
}

/** Operation -> what is asked of the agent, and what the Status names. Delays are refused: nobody would remember them across a restart. */
const OPERATIONS: Readonly<Record<string, (body: JsonObject) => { readonly query: string; readonly made: string }>> = {
  reboot: (body) => {
    const delay = at(body, 'rebootParams.delayInSeconds');
    if (delay !== undefined && delay !== null && delay !== 0) throw badRequest('rebootParams.delayInSeconds: only 0 is served', 'rebootParams.delayInSeconds');
    return { query: '', made: '' };
  },
  snapshot: (body) => named(body, 'snapshotParams.snapshotName'),
  restore: (body) => named(body, 'restoreParams.snapshotID'),
};

function named(body: JsonObject, path: string): { readonly query: string; readonly made: string } {
  const name = at(body, path);
  if (typeof name !== 'string' || name === '') throw badRequest(`${path}: names the snapshot`, path);
  return { query: new URLSearchParams({ name }).toString(), made: name };
}

export async function podAction(agents: PodAgents, r: Omit<PodRequest, 'query' | 'raw' | 'out'>, contentType: string, body: Buffer | null): Promise<Answer> {
  const action = objectBody(contentType, body);
  const operation = at(action, 'operation');
  const known = typeof operation === 'string' && Object.hasOwn(OPERATIONS, operation) ? OPERATIONS[operation] : undefined;
  if (typeof operation !== 'string' || known === undefined) throw badRequest(`Unsupported operation '${asText(operation)}' for Pod '${r.name}': reboot, snapshot or restore`, 'operation');
  const { query, made } = known(action);
  const answer = await agents.ask({ pod: r.pod, method: 'POST', what: 'vm', rest: operation, query, body: null, signal: r.signal });
  answer.resume();
  const status = success({ name: made === '' ? r.name : made, kind: 'Action', uid: metaOf(r.pod)['uid'] ?? '' });
  return { code: 201, body: Buffer.from(JSON.stringify({ ...status, message: `Created action '${operation}' for Pod '${r.name}'` })) };
}

export function requireAgents(agents: PodAgents | null): PodAgents {
  if (agents === null) throw new MeshError('unavailable', 'this server has no way to the agents of its nodes');
  return agents;
}
