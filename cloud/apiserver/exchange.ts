/** One HTTP exchange without a framework: there is one handler for every path, so routing, hooks and plugins would only be paid for. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { DEFAULT_LIMITS } from '../../api/decode.ts';
import { MeshError } from '../../api/errors.ts';

export class Reply {
  readonly raw: ServerResponse;
  #code = 200;
  /** Names and values in turn, as node takes them. */
  readonly #headers: (string | string[])[] = [];

  constructor(raw: ServerResponse) {
    this.raw = raw;
  }

  code(code: number): this {
    this.#code = code;
    return this;
  }

  header(name: string, value: string | readonly string[]): this {
    this.#headers.push(name, typeof value === 'string' ? value : [...value]);
    return this;
  }

  send(body: string | Uint8Array = ''): void {
    if (this.#code !== 304) this.#headers.push('content-length', String(typeof body === 'string' ? Buffer.byteLength(body) : body.length));
    this.raw.writeHead(this.#code, this.#headers as string[]).end(body);
  }
}

/** For a body to come in. */
const BODY_MS = 60_000;

const tooLarge = (): MeshError => new MeshError('too-large', `Request entity too large: limit is ${DEFAULT_LIMITS.bytes}`);

/** Calls `done` once: with the body, null where there is none, or why it cannot be had. A caller that goes away midway gets no answer. */
export function readBody(request: IncomingMessage, done: (body: Buffer | null, error: Error | null) => void): void {
  const { method, headers } = request;
  const length = headers['content-length'];
  const isEmpty = method === 'GET' || method === 'HEAD' || (headers['transfer-encoding'] === undefined && (length === undefined || length === '0'));
  if (isEmpty) return done(null, null);
  if (Number(length) > DEFAULT_LIMITS.bytes) return done(null, tooLarge());
  // Most bodies arrive with their headers. When the parser is through with those bytes they are whole, and need neither listeners nor a time limit.
  queueMicrotask(() => {
    if (request.readableLength !== Number(length)) return gatherBody(request, done);
    done(request.read() as Buffer, null);
  });
}

function gatherBody(request: IncomingMessage, done: (body: Buffer | null, error: Error | null) => void): void {
  const pieces: Buffer[] = [];
  let bytes = 0;
  const timer = setTimeout(() => request.destroy(), BODY_MS);
  request.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes <= DEFAULT_LIMITS.bytes) {
      pieces.push(piece);
      return;
    }
    clearTimeout(timer);
    request.removeAllListeners('data').removeAllListeners('end').resume();
    done(null, tooLarge());
  });
  request.on('end', () => {
    clearTimeout(timer);
    done(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces), null);
  });
  request.on('error', () => clearTimeout(timer)); // the connection went away; there is nobody to tell
}
