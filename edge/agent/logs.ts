/**
 * The agent's own mTLS endpoint, for the region's API server and for operators:
 *   GET  /logs/<tenant>/<namespace>/<pod>?container=&follow=&tailLines=&timestamps=&previous=&sinceSeconds=&limitBytes=
 *   POST /vm/<tenant>/<namespace>/<pod>/<pause|resume|reboot|snapshot|restore>?name=
 */
import { closeSync, existsSync, openSync, readSync, readdirSync, statSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setInterval as every } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Pod } from '../../api/kinds/core.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { identityOf } from '../../certs/names.ts';
import { nameOf, uidOf } from './model.ts';
import type { Records } from './records.ts';
import type { VmRuntime } from './vm/runtime.ts';
import type { UpgradeHandler } from './vm/transfer-endpoint.ts';

export interface EndpointOptions {
  readonly listen: { readonly address: string; readonly port: number };
  /** Of the regions, only this one is answered. */
  readonly region: string;
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string };
  readonly logDir: string;
  readonly records: Records;
  readonly vms: VmRuntime;
  /** For other agents, when a VM moves. @default null: none is served */
  readonly upgrades?: UpgradeHandler | null;
  readonly log: Logger;
}

const CALLERS: ReadonlySet<string> = new Set(['region', 'admin', 'global']);
const STATUS: Partial<Record<string, number>> = { invalid: 400, unauthenticated: 401, forbidden: 403, 'not-found': 404, unsupported: 404, conflict: 409 };
const CHUNK = 64 * 1024;

export class AgentEndpoint implements Service {
  readonly name = 'agent endpoint';
  readonly #o: EndpointOptions;
  #server: Server | null = null;
  readonly #abort = new AbortController();
  /** Connections that left HTTP; the server no longer ends them. */
  readonly #upgraded = new Set<Duplex>();

  constructor(options: EndpointOptions) {
    this.#o = options;
  }

  get port(): number {
    return (this.#server?.address() as AddressInfo | null)?.port ?? this.#o.listen.port;
  }

  async start(): Promise<void> {
    const { key, cert, ca } = this.#o.tls;
    const server = createServer({ key, cert, ca, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' }, (request, response) => void this.#serve(request, response));
    const { upgrades = null } = this.#o;
    if (upgrades !== null) server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#upgraded.add(socket);
      socket.on('close', () => this.#upgraded.delete(socket));
      upgrades(request, socket, head);
    });
    const { address, port } = this.#o.listen;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => reject(cause.code === 'EADDRINUSE' ? new MeshError('port-in-use', `listen.port: TCP port ${port} of ${address} is in use`, { cause, fields: { path: 'listen.port' }, next: `see who has it: ss -ltnp sport = :${port}` }) : cause));
      server.listen(port, address, resolve);
    });
    this.#server = server;
  }

  /** For new connections. */
  renew(tls: EndpointOptions['tls']): void {
    this.#server?.setSecureContext({ ...tls, minVersion: 'TLSv1.3' });
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('agent stops'));
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    server.closeAllConnections();
    for (const socket of this.#upgraded) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const caller = identityOf((request.socket as TLSSocket).getPeerCertificate());
      if (!CALLERS.has(caller.kind) || (caller.kind === 'region' && caller.region !== this.#o.region)) throw new MeshError('forbidden', `${caller.uri} may not ask a node agent`);
      const url = new URL(request.url ?? '/', 'https://agent');
      const [what = '', tenant = '', namespace = '', name = '', action = ''] = url.pathname.slice(1).split('/').map(decodeURIComponent);
      const record = this.#o.records.all().find((r) => nameOf(r.pod) === `${tenant}/${namespace}/${name}`);
      if (record === undefined) throw new MeshError('not-found', `pod ${tenant}/${namespace}/${name} is not on this node`);
      if (request.method === 'GET' && what === 'logs') return await this.#logs(record.pod, url.searchParams, response);
      if (request.method === 'POST' && what === 'vm') {
        await this.#vm(uidOf(record.pod), action, url.searchParams.get('name') ?? 'default');
        return void response.writeHead(204).end();
      }
      throw new MeshError('unsupported', `${request.method} ${url.pathname} is not served here`);
    } catch (error) {
      if (response.headersSent) return void response.destroy(error as Error);
      const status = isMeshError(error) ? (STATUS[error.kind] ?? 500) : 500;
      if (status === 500) this.#o.log.error('agent endpoint failed', { url: request.url, err: error });
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ message: (error as Error).message }));
    }
  }

  #vm(uid: string, action: string, name: string): Promise<void> {
    const { vms } = this.#o;
    switch (action) {
      case 'pause': return vms.pause(uid);
      case 'resume': return vms.resume(uid);
      case 'reboot': return vms.reboot(uid);
      case 'snapshot': return vms.snapshot(uid, name);
      case 'restore': return vms.restore(uid, name);
      default: return Promise.reject(new MeshError('invalid', `unknown VM action "${action}": pause, resume, reboot, snapshot or restore`));
    }
  }

  async #logs(pod: Pod, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const isVm = pod.spec.virtualMachine !== undefined;
    const file = isVm ? this.#o.vms.consoleLog(uidOf(pod)) : containerLog(join(this.#o.logDir, uidOf(pod)), pod, query);
    const follow = query.get('follow') === 'true';
    const filter = lineFilter(query, isVm, Date.now());
    const lines = existsSync(file) ? new LogFile(file) : null;
    if (lines === null && !follow) throw new MeshError('not-found', `${nameOf(pod)} has written no log yet`);
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
    const log = lines ?? new LogFile(file);
    const first = log.read().flatMap(filter);
    const tail = query.get('tailLines');
    response.write((tail === null ? first : first.slice(Math.max(0, first.length - Number(tail)))).join(''));
    if (follow) {
      const gone = new AbortController();
      response.on('close', () => gone.abort(new Error('the caller went away')));
      const signal = AbortSignal.any([gone.signal, this.#abort.signal]);
      try {
        for await (const _ of every(200, undefined, { signal })) {
          if (this.#o.records.get(uidOf(pod)) === undefined) break;
          response.write(log.read().flatMap(filter).join(''));
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    }
    response.end();
  }
}

function containerLog(dir: string, pod: Pod, query: URLSearchParams): string {
  const names = (pod.spec.containers ?? []).map((c) => c.name);
  const container = query.get('container') ?? names[0] ?? '';
  if (!names.includes(container)) throw new MeshError('invalid', `container ${container} is not in pod ${pod.metadata.name}: ${names.join(', ')}`);
  const folder = join(dir, container);
  const attempts = existsSync(folder) ? readdirSync(folder).map((f) => Number.parseInt(f, 10)).filter(Number.isInteger).sort((a, b) => b - a) : [];
  const attempt = attempts[query.get('previous') === 'true' ? 1 : 0];
  if (attempt === undefined && query.get('previous') === 'true') throw new MeshError('not-found', `container ${container} has not ended before`);
  return join(folder, `${attempt ?? 0}.log`);
}

/** CRI lines are `<time> <stream> <F|P> <text>`; a part (P) has no line end of its own. */
function lineFilter(query: URLSearchParams, raw: boolean, now: number): (line: string) => string[] {
  const timestamps = query.get('timestamps') === 'true';
  const seconds = query.get('sinceSeconds');
  const since = seconds === null ? 0 : now - Number(seconds) * 1000;
  let left = Number(query.get('limitBytes') ?? Infinity);
  return (line) => {
    const match = raw ? null : /^(\S+) (?:stdout|stderr) ([FP]) (.*)$/s.exec(line);
    if (match !== null && since > 0 && Date.parse(match[1] ?? '') < since) return [];
    const text = match === null ? `${line}\n` : `${timestamps ? `${match[1]} ` : ''}${match[3]}${match[2] === 'F' ? '\n' : ''}`;
    const part = text.slice(0, Math.max(0, left));
    left -= text.length;
    return part === '' ? [] : [part];
  };
}

/** Whole lines since the last read. */
class LogFile {
  readonly #path: string;
  #at = 0;
  #rest = '';

  constructor(path: string) {
    this.#path = path;
  }

  read(): string[] {
    if (!existsSync(this.#path)) return [];
    if (statSync(this.#path).size < this.#at) this.#at = 0;
    const fd = openSync(this.#path, 'r');
    const buffer = Buffer.alloc(CHUNK);
    let text = this.#rest;
    for (let n = readSync(fd, buffer, 0, CHUNK, this.#at); n > 0; n = readSync(fd, buffer, 0, CHUNK, this.#at)) {
      text += buffer.toString('utf8', 0, n);
      this.#at += n;
    }
    closeSync(fd);
    const lines = text.split('\n');
    this.#rest = lines.pop() ?? '';
    return lines;
  }
}
