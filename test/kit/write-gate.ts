/** Between a client and an API server: everything passes, but chosen writes are held until the gate opens, as a network or a paused process holds them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { Agent, request, type Dispatcher } from 'undici';
import type { Access } from '../../api/kubeconfig.ts';
import type { TestApiServer } from './api-server.ts';
import type { CaseContext } from './suite.ts';

export interface Held {
  readonly what: string;
  /** null while it is held. */
  status: number | null;
  answer: string;
}

export interface WriteGate {
  /** The way to the server through the gate. */
  readonly access: Access;
  /** In the order in which they came. */
  readonly held: readonly Held[];
  /** For those that are held now. */
  open(): void;
}

/** `isHeld` sees `<METHOD> <path>` and the body. */
export async function writeGate(t: CaseContext, to: TestApiServer, isHeld: (what: string, body: string) => boolean): Promise<WriteGate> {
  const { authority } = to;
  const leaf = authority.issue({ cn: 'api' });
  const master = authority.issue({ cn: 'global', o: ['system:masters'] });
  const agent = new Agent({ connect: { ca: authority.ca, cert: master.cert, key: master.key }, bodyTimeout: 0 });
  const held: Held[] = [];
  const waiting: (() => void)[] = [];
  const open = (): void => waiting.splice(0).forEach((go) => go());
  const pass = async (asked: IncomingMessage, answer: ServerResponse): Promise<void> => {
    const parts: Buffer[] = [];
    for await (const part of asked) parts.push(part as Buffer);
    const body = Buffer.concat(parts);
    const what = `${asked.method ?? ''} ${asked.url ?? ''}`;
    const mine: Held | null = asked.method !== 'GET' && isHeld(what, body.toString()) ? { what, status: null, answer: '' } : null;
    if (mine !== null) {
      held.push(mine);
      await new Promise<void>((go) => void waiting.push(go));
    }
    const { host: _h, connection: _c, 'content-length': _l, 'transfer-encoding': _t, ...headers } = asked.headers;
    const got = await request(`${to.server.url}${asked.url ?? ''}`, { dispatcher: agent, method: asked.method as Dispatcher.HttpMethod, headers: headers as Record<string, string>, ...(body.length === 0 ? {} : { body }) });
    answer.writeHead(got.statusCode, { 'content-type': String(got.headers['content-type'] ?? 'application/json') });
    if (mine === null) return pipeline(got.body, answer);
    mine.answer = await got.body.text();
    mine.status = got.statusCode;
    answer.end(mine.answer);
  };
  const server = createServer({ cert: leaf.cert, key: leaf.key, ca: authority.ca, requestCert: true }, (asked, answer) => {
    pass(asked, answer).catch(() => answer.destroy()); // the client or the server went away
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(async () => {
    open();
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await agent.destroy();
  });
  const direct = to.access('global', ['system:masters']);
  return { access: { ...direct, server: `https://127.0.0.1:${(server.address() as AddressInfo).port}` }, held, open };
}
