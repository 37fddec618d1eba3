/**
 * Frames between two agents on the connection of a transfer, either way:
 *
 *   0        1                 5
 *   +--------+-----------------+---------------
 *   |  type  |  length (BE)    |  payload ...
 *   +--------+-----------------+---------------
 *   type 1: control, JSON, at most 4 KiB     2: state, a part of a zstd stream, at most 1 MiB
 */
import type { Duplex } from 'node:stream';
import { MeshError, type ErrorKind } from '../../../api/errors.ts';
import type { MachineShape } from './transfer.ts';

export type Control =
  | { readonly kind: 'want'; readonly id: string; readonly tenant: string; readonly shape: MachineShape }
  | { readonly kind: 'outcome'; readonly id: string }
  | { readonly kind: 'offer' }
  | { readonly kind: 'refuse'; readonly error: ErrorKind; readonly message: string }
  | { readonly kind: 'go' }
  | { readonly kind: 'end'; readonly bytes: number }
  | { readonly kind: 'loaded' }
  | { readonly kind: 'commit'; readonly stoppedMs: number; readonly turnMs: number }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'running' };

export type Frame = { readonly type: 'control'; readonly control: Control } | { readonly type: 'state'; readonly bytes: Buffer };

const CONTROL = 1;
const STATE = 2;
const HEADER = 5;
const LIMITS: Readonly<Record<number, number>> = { [CONTROL]: 4096, [STATE]: 1 << 20 };

const isText = (v: unknown): boolean => typeof v === 'string' && v.length <= 1024;
const isCount = (v: unknown): boolean => typeof v === 'number' && Number.isFinite(v) && v >= 0;
const isShape = (v: unknown): boolean => {
  const s = v as Partial<Record<keyof MachineShape, unknown>> | null;
  return typeof s === 'object' && s !== null && isText(s.image) && isText(s.machine) && isCount(s.memoryMiB) && isCount(s.cpus);
};
const FIELDS: { readonly [K in Control['kind']]: Readonly<Record<string, (v: unknown) => boolean>> } = {
  want: { id: isText, tenant: isText, shape: isShape },
  outcome: { id: isText },
  offer: {},
  refuse: { error: isText, message: isText },
  go: {},
  end: { bytes: isCount },
  loaded: {},
  commit: { stoppedMs: isCount, turnMs: isCount },
  aborted: {},
  running: {},
};

export function encodeControl(control: Control): Buffer {
  const text = Buffer.from(JSON.stringify(control));
  return Buffer.concat([header(CONTROL, text.length), text]);
}

export function header(type: number, length: number): Buffer {
  const h = Buffer.alloc(HEADER);
  h.writeUInt8(type, 0);
  h.writeUInt32BE(length, 1);
  return h;
}

export function decodeControl(payload: Buffer): Control {
  const bad = (why: string): MeshError => new MeshError('invalid', `transfer: ${why}`, { fields: { path: 'control' } });
  let value: unknown;
  try {
    value = JSON.parse(payload.toString());
  } catch (cause) {
    throw new MeshError('invalid', 'transfer: a control frame is no JSON', { cause, fields: { path: 'control' } });
  }
  const kind = (value as { kind?: unknown } | null)?.kind;
  if (typeof kind !== 'string' || !Object.hasOwn(FIELDS, kind)) throw bad(`control.kind: unknown "${String(kind)}"`);
  for (const [field, check] of Object.entries(FIELDS[kind as Control['kind']])) if (!check((value as Record<string, unknown>)[field])) throw bad(`control.${field}: missing, too long or of another type`);
  return value as Control;
}

/** Takes whole frames off the front of what has come; null = more is needed. */
export function takeFrame(buffer: Buffer): { readonly frame: Frame; readonly rest: Buffer } | null {
  if (buffer.length < HEADER) return null;
  const [type, length] = [buffer.readUInt8(0), buffer.readUInt32BE(1)];
  const limit = LIMITS[type];
  if (limit === undefined) throw new MeshError('invalid', `transfer: unknown frame type ${type}`);
  if (length > limit) throw new MeshError('too-large', `transfer: a frame of ${length} bytes, at most ${limit} are allowed`);
  if (buffer.length < HEADER + length) return null;
  const payload = buffer.subarray(HEADER, HEADER + length);
  const rest = buffer.subarray(HEADER + length);
  return { frame: type === CONTROL ? { type: 'control', control: decodeControl(payload) } : { type: 'state', bytes: payload }, rest };
}

/** One end of the connection: frames in order, pulled, so that a slow reader holds the sender back. */
export class TransferStream {
  readonly #stream: Duplex;
  #buffer: Buffer = Buffer.alloc(0);
  #failed: MeshError | null = null;
  #wake: () => void = () => undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    const fail = (why: string, cause?: Error): void => {
      this.#failed ??= new MeshError('unavailable', `the connection of the transfer ended${why}`, cause === undefined ? {} : { cause });
      this.#wake();
    };
    stream.on('error', (e: Error) => fail(`: ${e.message}`, e)).on('end', () => fail('')).on('close', () => fail(''));
    stream.on('readable', () => this.#wake());
  }

  async send(control: Control): Promise<void> {
    await this.#write(encodeControl(control));
  }

  async sendState(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; at += LIMITS[STATE] ?? 0) {
      const part = bytes.subarray(at, at + (LIMITS[STATE] ?? 0));
      this.#stream.write(header(STATE, part.length));
      await this.#write(part);
    }
  }

  async next(timeoutMs: number): Promise<Frame> {
    const until = Date.now() + timeoutMs;
    for (;;) {
      const taken = takeFrame(this.#buffer);
      if (taken !== null) {
        this.#buffer = taken.rest;
        return taken.frame;
      }
      const chunk = this.#stream.read() as Buffer | null;
      if (chunk !== null) {
        this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
        continue;
      }
      if (this.#failed !== null) throw this.#failed;
      if (Date.now() >= until) throw new MeshError('timeout', `the other end of the transfer said nothing for ${timeoutMs} ms`);
      await this.#waited(until - Date.now());
    }
  }

  /** The next frame, which has to be this word. What the other end refuses is thrown as its error. */
  async expect<K extends Control['kind']>(kind: K, timeoutMs: number): Promise<Extract<Control, { kind: K }>> {
    const frame = await this.next(timeoutMs);
    if (frame.type === 'control' && frame.control.kind === kind) return frame.control as Extract<Control, { kind: K }>;
    throw unexpected(frame, kind);
  }

  end(): void {
    this.#stream.end();
  }

  destroy(): void {
    this.#stream.destroy();
  }

  async #write(bytes: Buffer): Promise<void> {
    if (this.#failed !== null) throw this.#failed;
    if (this.#stream.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#stream.off('drain', done).off('close', done).off('error', done);
        resolve();
      };
      this.#stream.on('drain', done).on('close', done).on('error', done);
    });
    if (this.#failed !== null) throw this.#failed;
  }

  #waited(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

export function unexpected(frame: Frame, wanted: string): MeshError {
  if (frame.type === 'control' && frame.control.kind === 'refuse') return new MeshError(frame.control.error, `the source refuses: ${frame.control.message}`);
  if (frame.type === 'control' && frame.control.kind === 'aborted') return new MeshError('io', 'the source has taken the transfer back and runs on');
  return new MeshError('invalid', `transfer: expected ${wanted}, got ${frame.type === 'control' ? frame.control.kind : 'state'}`);
}
