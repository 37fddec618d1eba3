/**
 * Reads an HTTP/1.1 request head once, strictly: whatever two parsers could read in two ways (RFC 9112 11.2) is refused, because the policy
 * is decided on our reading and the service acts on its own.
 */
export type BodyKind = { readonly kind: 'none' } | { readonly kind: 'length'; readonly bytes: number } | { readonly kind: 'chunked' };

export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly host: string;
  readonly body: BodyKind;
  readonly isUpgrade: boolean;
  /** The head without what only a gateway may say; without its empty line. */
  readonly text: string;
}

export const MAX_HEAD = 16_384;
const REQUEST_LINE = /^([A-Z]{3,20}) ([^\s]{1,8192}) HTTP\/1\.1$/;
const NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
const NONE: BodyKind = { kind: 'none' };

export type HeadResult = { readonly ok: true; readonly head: RequestHead } | { readonly ok: false; readonly reason: string };

const bad = (reason: string): HeadResult => ({ ok: false, reason });

/** `text` is the head in latin1, up to but without the empty line. */
export function parseHead(text: string): HeadResult {
  const firstEnd = text.indexOf('\r\n');
  const line = REQUEST_LINE.exec(firstEnd < 0 ? text : text.slice(0, firstEnd));
  if (line === null) return bad('the request line is not METHOD SP target SP HTTP/1.1');
  let host: string | null = null;
  let length: number | null = null;
  let isChunked = false;
  let isUpgrade = false;
  let isOurs = false;
  for (let at = firstEnd < 0 ? text.length : firstEnd + 2; at < text.length; ) {
    let end = text.indexOf('\r\n', at);
    if (end < 0) end = text.length;
    const colon = text.indexOf(':', at);
    if (colon < 0 || colon > end) return bad('a header line without a colon');
    const name = text.slice(at, colon).toLowerCase();
    if (!NAME.test(name)) return bad('a header name with characters that are not allowed');
    switch (name) {
      case 'host':
        if (host !== null) return bad('two Host headers');
        host = text.slice(colon + 1, end).trim();
        break;
      case 'content-length': {
        const value = text.slice(colon + 1, end).trim();
        if (length !== null || !/^\d{1,15}$/.test(value)) return bad('Content-Length is not one number');
        length = Number(value);
        break;
      }
      case 'transfer-encoding':
        if (isChunked || text.slice(colon + 1, end).trim().toLowerCase() !== 'chunked') return bad('Transfer-Encoding other than chunked');
        isChunked = true;
        break;
      case 'upgrade':
        isUpgrade = true;
        break;
      default:
        if (name.startsWith('x-proxima-')) isOurs = true;
    }
    at = end + 2;
  }
  if (text.indexOf('\0') >= 0 || /\r(?!\n)|(?<!\r)\n/.test(text)) return bad('a bare CR, LF or NUL in the head');
  if (host === null) return bad('no Host header');
  if (isChunked && length !== null) return bad('both Content-Length and Transfer-Encoding');
  if (isUpgrade && (isChunked || (length ?? 0) > 0)) return bad('an upgrade with a body');
  const body: BodyKind = isChunked ? { kind: 'chunked' } : length === null || length === 0 ? NONE : { kind: 'length', bytes: length };
  return { ok: true, head: { method: line[1] ?? '', target: line[2] ?? '', host, body, isUpgrade, text: isOurs ? withoutOurs(text) : text } };
}

function withoutOurs(text: string): string {
  return text.split('\r\n').filter((l, i) => i === 0 || !/^x-proxima-/i.test(l)).join('\r\n');
}

/** Finds the end of a chunked body as it passes by. */
export class ChunkScanner {
  #state: 'size' | 'data' | 'data-crlf' | 'trailer' = 'size';
  #line = '';
  #left = 0;

  /** How many bytes of `bytes` from `at` belong to the body, and whether it ended there; null = malformed. */
  scan(bytes: Buffer, at: number): { readonly end: number; readonly done: boolean } | null {
    while (at < bytes.length) {
      if (this.#state === 'data' || this.#state === 'data-crlf') {
        const take = Math.min(this.#left, bytes.length - at);
        if (this.#state === 'data-crlf') for (let i = 0; i < take; i++) if (bytes[at + i] !== (this.#left - i === 2 ? 13 : 10)) return null;
        this.#left -= take;
        at += take;
        if (this.#left === 0) {
          this.#left = 2;
          this.#state = this.#state === 'data' ? 'data-crlf' : 'size';
        }
        continue;
      }
      const end = bytes.indexOf(10, at);
      const piece = bytes.toString('latin1', at, end < 0 ? bytes.length : end + 1);
      this.#line += piece;
      if (this.#line.length > 4_096) return null;
      at += piece.length;
      if (end < 0) break;
      const line = this.#line;
      this.#line = '';
      if (!line.endsWith('\r\n') || line.slice(0, -2).includes('\r')) return null;
      if (this.#state === 'trailer') {
        if (line === '\r\n') return { end: at, done: true };
        continue;
      }
      const size = /^([0-9a-fA-F]{1,12})(;[\x20-\x7e]*)?\r\n$/.exec(line);
      if (size === null) return null;
      this.#left = Number.parseInt(size[1] ?? '0', 16);
      this.#state = this.#left === 0 ? 'trailer' : 'data';
    }
    return { end: at, done: false };
  }
}
