/**
 * The two parts of undici that a client of an API needs. Its front door also loads fetch, WebSocket, cookies and caches: 12 MiB in every daemon.
 * Its inner paths hold as long as the version is pinned; `test/contract/client` notices when they do not.
 */
import { createRequire } from 'node:module';
import type { Agent as FullAgent, Dispatcher } from 'undici';

const load = createRequire(import.meta.url);

export const Agent = load('undici/lib/dispatcher/agent.js') as typeof FullAgent;
export type Agent = FullAgent;

type Request = (this: Dispatcher, options: Dispatcher.RequestOptions) => Promise<Dispatcher.ResponseData>;
const call = load('undici/lib/api/api-request.js') as Request;

export function request(agent: Agent, options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> {
  return call.call(agent, options);
}
