/**
 * Frames of the one connection between an edge gateway and a cloud gateway. Big-endian.
 *
 *    0               1               2               3
 *    0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7
 *   +---------------+-----------------------------------------------+
 *   |     type      |                payload length                 |
 *   +---------------+-----------------------------------------------+
 *   |                            stream                             |   the dialler's streams are odd, the other end's even; 0 = the session
 *   +---------------------------------------------------------------+
 *   |                            payload ...
 *
 *   OPEN   1  | kind:8 | 0:8 | name length:16 | caller length:16 | serial length:16 | name | caller | serial |
 *   DATA   2  | bytes of the stream, at most 16,384 |
 *   END    3  | no more DATA from this end |
 *   RESET  4  | code:16 | reason, UTF-8 |
 *   WINDOW 5  | bytes:32 that the other end may send on top |
 *   PING   6  | opaque:64 |      PONG 7 | the same opaque:64 |
 *   GOAWAY 8  | code:16 | reason, UTF-8 |   no new streams; open ones go on, except after a code other than Code.done
 *
 * Limits are checked on the header, before anything is kept: a peer cannot make us hold more than one small frame.
 */
import { MeshError } from '../../api/errors.ts';

export const FrameType = { open: 1, data: 2, end: 3, reset: 4, window: 5, ping: 6, pong: 7, goaway: 8 } as const;

export const StreamKind = { control: 0, tcp: 1, http: 2, mqtt: 3 } as const;
export type StreamKindName = keyof typeof StreamKind;

/** Why a stream or a session was refused or ended. Numbers are the wire's, names are for logs, metrics and people. */
export const Code = { done: 0, protocol: 1, notExposed: 2, caller: 3, method: 4, unavailable: 5, cancelled: 6, limit: 7, revoked: 8, internal: 9, site: 10, malformed: 11, rights: 12, token: 13 } as const;
export type CodeName = keyof typeof Code;

export const HEADER_BYTES = 8;
export const MAX_DATA = 16_384;
export const INITIAL_WINDOW = 262_144;
const MAX_OPEN = 2_048;
const MAX_REASON = 1_024;

const KINDS = Object.keys(StreamKind) as StreamKindName[];
const CODES = Object.keys(Code) as CodeName[];

export interface Open {
  readonly kind: StreamKindName;
  /** `tenant/presence`, or `@service` for what the gateway itself offers. */
  readonly name: string;
  /** The identity that asks; '' = the gateway's own site without a certificate of the caller's. */
  readonly caller: string;
  /** Serial of the caller's certificate, so that the other end can refuse a revoked one. */
  readonly serial: string;
}

/** What a reader calls, in the order of the wire. DATA may come in pieces, views of what the socket read. */
export interface FrameSink {
  open(stream: number, open: Open): void;
  data(stream: number, bytes: Buffer): void;
  end(stream: number): void;
  reset(stream: number, code: CodeName, reason: string): void;
  window(stream: number, bytes: number): void;
  ping(opaque: Buffer): void;
  pong(opaque: Buffer): void;
  goaway(code: CodeName, reason: string): void;
}

export function header(type: number, stream: number, length: number): Buffer {
  const h = Buffer.allocUnsafe(HEADER_BYTES);
  h.writeUInt32BE((type << 24) | length, 0);
  h.writeUInt32BE(stream, 4);
  return h;
}

export function encodeOpen(stream: number, open: Open): Buffer {
  const [name, caller, serial] = [Buffer.from(open.name), Buffer.from(open.caller), Buffer.from(open.serial)];
  const fixed = Buffer.allocUnsafe(8);
  fixed[0] = StreamKind[open.kind];
  fixed[1] = 0;
  fixed.writeUInt16BE(name.length, 2);
  fixed.writeUInt16BE(caller.length, 4);
  fixed.writeUInt16BE(serial.length, 6);
  const length = 8 + name.length + caller.length + serial.length;
  if (length > MAX_OPEN) throw new MeshError('too-large', `stream name and caller take ${length} bytes, ${MAX_OPEN} is the most`);
  return Buffer.concat([header(FrameType.open, stream, length), fixed, name, caller, serial]);
}

function encodeReason(type: number, stream: number, code: CodeName, reason: string): Buffer {
  const text = Buffer.from(reason).subarray(0, MAX_REASON);
  const number = Buffer.allocUnsafe(2);
  number.writeUInt16BE(Code[code], 0);
  return Buffer.concat([header(type, stream, 2 + text.length), number, text]);
}

export const encodeReset = (stream: number, code: CodeName, reason: string): Buffer => encodeReason(FrameType.reset, stream, code, reason);
export const encodeGoaway = (code: CodeName, reason: string): Buffer => encodeReason(FrameType.goaway, 0, code, reason);
export const encodeEnd = (stream: number): Buffer => header(FrameType.end, stream, 0);
export const encodeData = (stream: number, bytes: Buffer): Buffer => Buffer.concat([header(FrameType.data, stream, bytes.length), bytes]);

export function encodeWindow(stream: number, bytes: number): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + 4);
  frame.writeUInt32BE((FrameType.window << 24) | 4, 0);
  frame.writeUInt32BE(stream, 4);
  frame.writeUInt32BE(bytes, 8);
  return frame;
}

export function encodePing(opaque: Buffer, isAnswer: boolean): Buffer {
  return Buffer.concat([header(isAnswer ? FrameType.pong : FrameType.ping, 0, 8), opaque]);
}

function violation(what: string): MeshError {
  return new MeshError('invalid', `gateway frame: ${what}`, { next: 'run the same version of Proxima at both ends' });
}

/** Shortest and longest payload, and whether the frame belongs to a stream. */
const SHAPE: Readonly<Record<number, readonly [min: number, max: number, ofStream: boolean]>> = {
  [FrameType.open]: [8, MAX_OPEN, true],
  [FrameType.data]: [0, MAX_DATA, true],
  [FrameType.end]: [0, 0, true],
  [FrameType.reset]: [2, 2 + MAX_REASON, true],
  [FrameType.window]: [4, 4, true],
  [FrameType.ping]: [8, 8, false],
  [FrameType.pong]: [8, 8, false],
  [FrameType.goaway]: [2, 2 + MAX_REASON, false],
};

function checkHeader(type: number, length: number, stream: number): void {
  const shape = SHAPE[type];
  if (shape === undefined) throw violation(`unknown type ${type}`);
  if (length < shape[0] || length > shape[1]) throw violation(`type ${type} with ${length} bytes, expected ${shape[0]} to ${shape[1]}`);
  if ((stream !== 0) !== shape[2]) throw violation(`type ${type} on stream ${stream}`);
}

function codeOf(payload: Buffer): CodeName {
  return CODES[payload.readUInt16BE(0)] ?? 'internal';
}

function decodeOpen(p: Buffer): Open {
  const kind = KINDS[p[0] ?? 255];
  const [name, caller, serial] = [p.readUInt16BE(2), p.readUInt16BE(4), p.readUInt16BE(6)];
  if (kind === undefined || p[1] !== 0) throw violation(`stream kind ${p[0]}`);
  if (8 + name + caller + serial !== p.length) throw violation('the lengths in OPEN do not add up');
  return { kind, name: p.toString('utf8', 8, 8 + name), caller: p.toString('utf8', 8 + name, 8 + name + caller), serial: p.toString('utf8', 8 + name + caller) };
}

/** Takes bytes as they come and calls the sink; keeps at most one incomplete frame that is not DATA. */
export class FrameReader {
  readonly #sink: FrameSink;
  #rest: Buffer | null = null;
  #dataStream = 0;
  #dataLeft = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  push(chunk: Buffer): void {
    let b = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = null;
    let at = 0;
    for (;;) {
      if (this.#dataLeft > 0) {
        const take = Math.min(this.#dataLeft, b.length - at);
        if (take === 0) return;
        this.#dataLeft -= take;
        this.#sink.data(this.#dataStream, b.subarray(at, at + take));
        at += take;
        continue;
      }
      if (b.length - at < HEADER_BYTES) break;
      const first = b.readUInt32BE(at);
      const type = first >>> 24;
      const length = first & 0xff_ffff;
      const stream = b.readUInt32BE(at + 4);
      checkHeader(type, length, stream);
      if (type === FrameType.data) {
        at += HEADER_BYTES;
        this.#dataStream = stream;
        this.#dataLeft = length;
        continue;
      }
      if (b.length - at - HEADER_BYTES < length) break;
      this.#frame(type, stream, b.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length));
      at += HEADER_BYTES + length;
    }
    if (at < b.length) this.#rest = Buffer.from(b.subarray(at));
  }

  #frame(type: number, stream: number, payload: Buffer): void {
    const sink = this.#sink;
    switch (type) {
      case FrameType.open:
        return sink.open(stream, decodeOpen(payload));
      case FrameType.end:
        return sink.end(stream);
      case FrameType.reset:
        return sink.reset(stream, codeOf(payload), payload.toString('utf8', 2));
      case FrameType.window:
        return sink.window(stream, payload.readUInt32BE(0));
      case FrameType.ping:
        return sink.ping(Buffer.from(payload));
      case FrameType.pong:
        return sink.pong(Buffer.from(payload));
      default:
        return sink.goaway(codeOf(payload), payload.toString('utf8', 2));
    }
  }
}
