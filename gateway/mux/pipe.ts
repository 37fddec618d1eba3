/** A socket and a stream, joined: back-pressure both ways, each end's half-close passed on. Sockets need `allowHalfOpen`. */
import type { Socket } from 'node:net';
import type { CodeName } from './frames.ts';
import type { MuxStream, StreamEvents } from './stream.ts';

export interface PipeHooks {
  /** The stream was reset; the default destroys the socket. */
  readonly onReset?: (code: CodeName, reason: string) => void;
  readonly onSocketError?: (error: Error) => void;
  /** The other end's END; the default half-closes the socket. */
  readonly onEnd?: () => void;
}

/** Hands bytes to a socket; their credit goes back when it took them, or once it has drained. */
export class CreditedWriter {
  readonly #socket: Socket;
  readonly #stream: MuxStream;
  #owed = 0;

  constructor(socket: Socket, stream: MuxStream) {
    this.#socket = socket;
    this.#stream = stream;
    socket.on('drain', () => this.settle());
  }

  /** `credit`: how much of the stream's window `bytes` stand for. */
  write(bytes: Buffer, credit: number): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return this.#stream.consumed(credit);
    if (this.#socket.write(bytes)) this.#stream.consumed(credit);
    else this.#owed += credit;
  }

  settle(): void {
    const owed = this.#owed;
    this.#owed = 0;
    if (owed > 0) this.#stream.consumed(owed);
  }
}

/** Everything but incoming DATA: what the socket says goes to the stream. */
export function socketToStream(socket: Socket, stream: MuxStream, hooks: PipeHooks = {}): void {
  let hasEnded = false;
  socket.on('data', (chunk: Buffer) => {
    if (!stream.write(chunk)) socket.pause();
  });
  socket.on('end', () => {
    hasEnded = true;
    stream.end();
  });
  socket.on('error', (error) => hooks.onSocketError?.(error));
  // After an orderly end the stream still owes what is queued; only a broken socket cancels it.
  socket.on('close', () => {
    if (!hasEnded) stream.reset('cancelled', 'the local connection closed');
  });
}

export function joinSocket(socket: Socket, stream: MuxStream, hooks: PipeHooks = {}): StreamEvents {
  const writer = new CreditedWriter(socket, stream);
  socketToStream(socket, stream, hooks);
  return {
    data: (bytes) => writer.write(bytes, bytes.length),
    end: hooks.onEnd ?? (() => void socket.end()),
    reset: hooks.onReset ?? (() => void socket.destroy()),
    drain: () => void socket.resume(),
  };
}
