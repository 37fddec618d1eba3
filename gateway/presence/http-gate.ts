/**
 * The serving end of a plain HTTP presence: reads each request's head on the way to the service, asks the policy, adds the caller's name, and
 * lets bodies and every answer pass unread. One stream is one caller's connection, kept alive; its requests go to one connection of the service.
 */
import type { Socket } from 'node:net';
import type { CodeName } from '../mux/frames.ts';
import { CreditedWriter } from '../mux/pipe.ts';
import type { MuxStream, StreamEvents } from '../mux/stream.ts';
import { answer } from './answers.ts';
import { ChunkScanner, MAX_HEAD, parseHead } from './http-head.ts';
import type { RequestHead } from './http-head.ts';
import { decideRequest } from './policy.ts';
import type { PresenceRule } from './policy.ts';

export interface HttpGateOptions {
  readonly rule: PresenceRule;
  readonly caller: string;
  readonly connect: () => Socket;
  readonly onRefused: (code: CodeName, reason: string) => void;
}

const HEAD_END = Buffer.from('\r\n\r\n');
const SWITCHING = /^HTTP\/1\.1 101/;

export class HttpGate implements StreamEvents {
  readonly #stream: MuxStream;
  readonly #o: HttpGateOptions;
  readonly #tail: string;
  #service: Socket | null = null;
  #writer: CreditedWriter | null = null;
  #state: 'head' | 'length' | 'chunked' | 'switching' | 'opaque' | 'over' = 'head';
  #kept: Buffer | null = null;
  #left = 0;
  #chunks: ChunkScanner | null = null;
  #requests = 0;
  /** Said once the service has answered everything before it. */
  #lastWords: Buffer | null = null;
  #hasAnswered = false;

  constructor(stream: MuxStream, options: HttpGateOptions) {
    this.#stream = stream;
    this.#o = options;
    this.#tail = `\r\nx-proxima-caller: ${options.caller}\r\n\r\n`;
  }

  data(bytes: Buffer): void {
    const fresh = bytes.length;
    let b = bytes;
    let carried = 0;
    if (this.#kept !== null) {
      carried = this.#kept.length;
      b = Buffer.concat([this.#kept, bytes]);
      this.#kept = null;
    }
    // Credit is given per fresh byte; what was carried over has had its own.
    let at = 0;
    let credited = 0;
    const credit = (upTo: number): number => {
      const due = Math.max(0, Math.min(upTo - carried, fresh) - credited);
      credited += due;
      return due;
    };
    while (at < b.length) {
      const next = this.#step(b, at, credit);
      if (next === null) break;
      at = next;
    }
    if (at < b.length && this.#state !== 'over') this.#kept = at === 0 ? b : Buffer.from(b.subarray(at));
    const rest = credit(carried + fresh);
    if (rest > 0) this.#stream.consumed(rest);
  }

  end(): void {
    if (this.#service === null || this.#state === 'over') this.#stream.end();
    else this.#service.end();
  }

  reset(): void {
    this.#state = 'over';
    this.#service?.destroy();
  }

  drain(): void {
    this.#service?.resume();
  }

  /** One head or one piece of a body; where the next begins, or null to wait for more. */
  #step(b: Buffer, at: number, credit: (upTo: number) => number): number | null {
    switch (this.#state) {
      case 'head': {
        const end = b.indexOf(HEAD_END, at);
        if (end < 0 ? b.length - at > MAX_HEAD : end - at > MAX_HEAD) return this.#refuse('limit', `the request head is longer than ${MAX_HEAD} bytes`);
        if (end < 0) return null;
        return this.#request(b.toString('latin1', at, end), credit(end + 4)) ? end + 4 : null;
      }
      case 'length': {
        const end = at + Math.min(this.#left, b.length - at);
        this.#left -= end - at;
        this.#forward(b.subarray(at, end), credit(end));
        if (this.#left === 0) this.#state = 'head';
        return end;
      }
      case 'chunked': {
        const scanned = this.#chunks?.scan(b, at) ?? null;
        if (scanned === null) return this.#refuse('malformed', 'the chunked body is malformed');
        this.#forward(b.subarray(at, scanned.end), credit(scanned.end));
        if (scanned.done) this.#state = 'head';
        return scanned.end;
      }
      case 'switching':
        // Nothing may follow an upgrade until the service has agreed; what it does not agree to is read as requests.
        return b.length - at > MAX_HEAD ? this.#refuse('limit', 'too much sent before the upgrade was agreed') : null;
      case 'opaque':
        this.#forward(b.subarray(at), credit(b.length));
        return b.length;
      case 'over':
        return null;
    }
  }

  #request(text: string, credit: number): boolean {
    const parsed = parseHead(text);
    if (!parsed.ok) return this.#refuse('malformed', parsed.reason) !== null;
    const head = parsed.head;
    const verdict = decideRequest(this.#o.rule, head.method, head.target);
    if (!verdict.ok) return this.#refuse(verdict.code, verdict.reason) !== null;
    if (head.isUpgrade && this.#requests > 0) return this.#refuse('malformed', 'an upgrade has to be the first request of a connection') !== null;
    this.#requests += 1;
    if (this.#service === null) this.#connect(head);
    this.#forward(Buffer.from(head.text + this.#tail, 'latin1'), credit);
    if (head.isUpgrade) this.#state = 'switching';
    else if (head.body.kind === 'length') {
      this.#state = 'length';
      this.#left = head.body.bytes;
    } else if (head.body.kind === 'chunked') {
      this.#state = 'chunked';
      this.#chunks = new ChunkScanner();
    }
    return true;
  }

  #forward(bytes: Buffer, credit: number): void {
    this.#writer?.write(bytes, credit);
  }

  #connect(head: RequestHead): void {
    const service = this.#o.connect();
    this.#service = service;
    this.#writer = new CreditedWriter(service, this.#stream);
    if (head.isUpgrade) this.#awaitSwitch(service);
    service.once('data', () => (this.#hasAnswered = true));
    service.on('data', (chunk: Buffer) => {
      if (!this.#stream.write(chunk)) service.pause();
    });
    service.on('end', () => this.#finish());
    service.on('error', (error) => {
      const target = `${this.#o.rule.service.host}:${this.#o.rule.service.port}`;
      if (!this.#hasAnswered) this.#lastWords = answer('unavailable', `the service of presence ${this.#o.rule.key} (${target}) cannot be reached: ${error.message}`);
      else this.#stream.reset('unavailable', `the service broke off: ${error.message}`);
    });
    service.on('close', () => this.#finish());
  }

  #awaitSwitch(service: Socket): void {
    let start = '';
    const look = (chunk: Buffer): void => {
      start += chunk.toString('latin1', 0, 12);
      if (start.length < 12) return;
      service.off('data', look);
      if (this.#state !== 'switching') return;
      this.#state = SWITCHING.test(start) ? 'opaque' : 'head';
      const kept = this.#kept;
      this.#kept = null;
      if (kept !== null) this.#resumeWith(kept);
    };
    service.on('data', look);
  }

  /** Bytes that waited for the upgrade; their credit was given when they came. */
  #resumeWith(kept: Buffer): void {
    this.#kept = kept;
    this.data(Buffer.alloc(0));
  }

  #refuse(code: CodeName, reason: string): null {
    this.#state = 'over';
    this.#kept = null;
    this.#o.onRefused(code, reason);
    this.#lastWords = answer(code, reason);
    // A service that still answers earlier requests is let finish; its half-close tells it that no more will come.
    if (this.#service === null) this.#finish();
    else this.#service.end();
    return null;
  }

  #finish(): void {
    if (this.#lastWords !== null) this.#stream.write(this.#lastWords);
    this.#lastWords = null;
    this.#state = 'over';
    this.#stream.end();
    this.#writer?.settle();
  }
}

