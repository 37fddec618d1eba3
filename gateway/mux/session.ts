/**
 * Both ends of the one connection: streams opened by either end, frames of one event-loop turn in one write, streams served in turn one
 * frame at a time while the socket has room, and nothing produced while it has not. A peer that breaks the protocol ends the session.
 */
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { isMeshError } from '../../api/errors.ts';
import type { Logger } from '../../base/log.ts';
import { encodeEnd, encodeGoaway, encodeOpen, encodePing, encodeReset, encodeWindow, FrameReader, FrameType, header } from './frames.ts';
import type { CodeName, FrameSink, Open } from './frames.ts';
import { MuxStream } from './stream.ts';
import type { StreamSession } from './stream.ts';

export interface SessionOptions {
  readonly isDialler: boolean;
  readonly log: Logger;
  /** A stream that the other end opened: attach events and answer, or reset it. */
  readonly onOpen: (stream: MuxStream) => void;
  /** Streams that the other end may have open at once. @default 4096 */
  readonly maxStreams?: number;
  /** @default 2000 */
  readonly pingMs?: number;
  /** Silence after which the other end counts as gone. @default 7000 */
  readonly deadMs?: number;
}

/** Frames collected in one turn before the socket gets them. */
const BATCH_BYTES = 131_072;

export class MuxSession implements StreamSession, FrameSink {
  /** Resolves with the reason once the session is over; never rejects. */
  readonly closed: Promise<{ readonly code: CodeName; readonly reason: string }>;
  readonly #socket: Duplex;
  readonly #o: SessionOptions;
  readonly #reader: FrameReader;
  readonly #streams = new Map<number, MuxStream>();
  readonly #ready = new Set<MuxStream>();
  readonly #timer: NodeJS.Timeout;
  #batch: Buffer[] = [];
  #batchBytes = 0;
  #isScheduled = false;
  #isBlocked = false;
  #nextId: number;
  #lastPeerId = 0;
  #peerStreams = 0;
  #isGoing = false;
  #whenIdle: (() => void) | null = null;
  #heardAt = performance.now();
  #end: { readonly code: CodeName; readonly reason: string } | null = null;
  #resolveClosed: (end: { readonly code: CodeName; readonly reason: string }) => void = () => undefined;

  constructor(socket: Duplex, options: SessionOptions) {
    this.#socket = socket;
    this.#o = options;
    this.#nextId = options.isDialler ? 1 : 2;
    this.#reader = new FrameReader(this);
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('drain', () => this.#unblock());
    socket.on('error', (error: Error) => this.#finish('unavailable', `the connection broke: ${error.message}`));
    socket.on('end', () => this.#finish('unavailable', 'the other end closed the connection'));
    socket.on('close', () => this.#finish('unavailable', 'the connection closed'));
    // A keep-alive has no state to converge, so it is a timer and not a loop.
    this.#timer = setInterval(() => this.#beat(), options.pingMs ?? 2_000);
    this.#timer.unref();
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** False once it is over or going: open streams elsewhere. */
  get isOpen(): boolean {
    return this.#end === null && !this.#isGoing;
  }

  /** `prepare` attaches the stream's events. Null when no stream can be opened any more. */
  openStream(open: Open, prepare: (stream: MuxStream) => void): MuxStream | null {
    if (!this.isOpen || this.#nextId > 0xffff_fff0) return null;
    const stream = new MuxStream(this, this.#nextId, open);
    this.#nextId += 2;
    this.#streams.set(stream.id, stream);
    this.#send(encodeOpen(stream.id, open));
    prepare(stream);
    return stream;
  }

  /** Tells the other end why and ends the session at once: every stream of it is over. */
  close(code: CodeName, reason: string): void {
    if (this.#end !== null) return;
    this.#send(encodeGoaway(code, reason));
    this.#flush();
    this.#finish(code, reason);
  }

  /** No new streams; those that are open may finish until the deadline. */
  async drain(deadlineMs: number): Promise<void> {
    if (this.#end !== null) return;
    this.#isGoing = true;
    this.#send(encodeGoaway('done', 'draining'));
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, deadlineMs);
      this.#whenIdle = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#checkIdle();
    });
    this.close('done', 'drained');
  }

  // StreamSession: what streams send.

  sendData(stream: MuxStream, bytes: Buffer): boolean {
    if (this.#isBlocked || this.#batchBytes > BATCH_BYTES) return false;
    this.#batch.push(header(FrameType.data, stream.id, bytes.length), bytes);
    this.#batchBytes += 8 + bytes.length;
    this.#schedule();
    return true;
  }

  queueData(stream: MuxStream): void {
    this.#ready.add(stream);
    this.#schedule();
  }

  sendEnd(stream: MuxStream): void {
    this.#send(encodeEnd(stream.id));
  }

  sendReset(stream: MuxStream, code: CodeName, reason: string): void {
    this.#send(encodeReset(stream.id, code, reason));
  }

  sendWindow(stream: MuxStream, bytes: number): void {
    this.#send(encodeWindow(stream.id, bytes));
  }

  forget(stream: MuxStream): void {
    this.#ready.delete(stream);
    if (this.#streams.delete(stream.id) && !this.#isOurs(stream.id)) this.#peerStreams -= 1;
    if (this.#whenIdle !== null) this.#checkIdle();
  }

  /** Control streams last as long as the session and keep nobody waiting. */
  #checkIdle(): void {
    if (this.#streams.values().every((s) => s.open.kind === 'control')) this.#whenIdle?.();
  }

  // FrameSink: what the wire says. A frame for a stream that is over crossed our reset on the way and means nothing.

  open(id: number, open: Open): void {
    if (this.#isOurs(id) || id <= this.#lastPeerId) return this.#violated(`stream ${id} opened out of order`);
    this.#lastPeerId = id;
    if (this.#isGoing || this.#peerStreams >= (this.#o.maxStreams ?? 4_096)) {
      this.#send(encodeReset(id, this.#isGoing ? 'unavailable' : 'limit', this.#isGoing ? 'this gateway is going away' : 'too many streams at once'));
      return;
    }
    const stream = new MuxStream(this, id, open);
    this.#streams.set(id, stream);
    this.#peerStreams += 1;
    this.#o.onOpen(stream);
  }

  data(id: number, bytes: Buffer): void {
    const verdict = this.#streams.get(id)?.onData(bytes) ?? 'ok';
    if (verdict !== 'ok') this.#violated(verdict === 'overflow' ? `stream ${id} sent more than its credit` : `stream ${id} sent DATA after END`);
  }

  end(id: number): void {
    this.#streams.get(id)?.onEnd();
  }

  reset(id: number, code: CodeName, reason: string): void {
    this.#streams.get(id)?.onReset(code, reason);
  }

  window(id: number, bytes: number): void {
    if (this.#streams.get(id)?.onWindow(bytes) === 'overflow') this.#violated(`stream ${id} was given too much credit`);
  }

  ping(opaque: Buffer): void {
    this.#send(encodePing(opaque, true));
  }

  pong(_opaque: Buffer): void {
    // Any frame counts as a sign of life: see #receive.
  }

  goaway(code: CodeName, reason: string): void {
    this.#isGoing = true;
    if (code !== 'done') this.#finish(code, reason);
  }

  #isOurs(id: number): boolean {
    return (id % 2 === 1) === this.#o.isDialler;
  }

  #receive(chunk: Buffer): void {
    if (this.#end !== null) return;
    this.#heardAt = performance.now();
    try {
      this.#reader.push(chunk);
    } catch (error) {
      if (!isMeshError(error, 'invalid')) throw error;
      this.#violated(error.message);
    }
  }

  #violated(what: string): void {
    this.#o.log.warn('gateway protocol violated', { what });
    this.close('protocol', what);
  }

  #beat(): void {
    const silentMs = performance.now() - this.#heardAt;
    if (silentMs > (this.#o.deadMs ?? 7_000)) this.#finish('unavailable', `nothing heard for ${Math.round(silentMs / 1000)} s`);
    else this.#send(encodePing(randomBytes(8), false));
  }

  #send(frame: Buffer): void {
    if (this.#end !== null) return;
    this.#batch.push(frame);
    this.#batchBytes += frame.length;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#flush());
  }

  #unblock(): void {
    this.#isBlocked = false;
    this.#flush();
  }

  /** Control frames always leave, they are small; data only while the socket has room. */
  #flush(): void {
    this.#isScheduled = false;
    if (this.#end !== null) return;
    while (!this.#isBlocked && this.#ready.size > 0 && this.#batchBytes <= BATCH_BYTES) this.#serveNext();
    if (this.#batch.length > 0) {
      const bytes = this.#batch.length === 1 ? (this.#batch[0] as Buffer) : Buffer.concat(this.#batch, this.#batchBytes);
      this.#batch = [];
      this.#batchBytes = 0;
      if (!this.#socket.write(bytes)) this.#isBlocked = true;
    }
    if (!this.#isBlocked && this.#ready.size > 0) this.#schedule();
  }

  #serveNext(): void {
    const [stream] = this.#ready;
    if (stream === undefined) return;
    this.#ready.delete(stream);
    const bytes = stream.nextFrame();
    if (bytes !== null) {
      this.#batch.push(header(FrameType.data, stream.id, bytes.length), bytes);
      this.#batchBytes += 8 + bytes.length;
      stream.afterFrame();
    }
    if (bytes !== null && stream.hasPending && stream.canSend) this.#ready.add(stream); // to the end of the line
  }

  #finish(code: CodeName, reason: string): void {
    if (this.#end !== null) return;
    this.#end = { code, reason };
    clearInterval(this.#timer);
    for (const stream of this.#streams.values()) stream.onReset(code === 'done' ? 'unavailable' : code, reason);
    this.#streams.clear();
    this.#whenIdle?.();
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), 200).unref();
    this.#resolveClosed(this.#end);
  }
}
