/** A stream of a session as a Node Duplex, for libraries that want one (MQTT, fastify). Plain pipes use `pipe.ts`, which is cheaper. */
import { Duplex } from 'node:stream';
import { MeshError } from '../../api/errors.ts';
import type { MuxStream, StreamEvents } from './stream.ts';

export class MuxDuplex extends Duplex {
  readonly events: StreamEvents;
  #stream: MuxStream | null = null;
  #resume: (() => void) | null = null;
  #unread = 0;

  constructor() {
    super({ allowHalfOpen: true });
    this.events = {
      data: (bytes) => {
        this.#unread += bytes.length;
        if (this.push(bytes)) this.#took();
      },
      end: () => this.push(null),
      reset: (code, reason) => this.destroy(code === 'done' || code === 'cancelled' ? undefined : new MeshError('unavailable', reason)),
      drain: () => {
        const resume = this.#resume;
        this.#resume = null;
        resume?.();
      },
    };
  }

  bind(stream: MuxStream): this {
    this.#stream = stream;
    return this;
  }

  override _read(): void {
    this.#took();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#stream?.write(chunk) === false) this.#resume = () => done();
    else done();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream?.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stream?.reset('cancelled', error?.message ?? 'closed');
    this.#resume = null;
    done(error);
  }

  #took(): void {
    const bytes = this.#unread;
    if (bytes === 0) return;
    this.#unread = 0;
    this.#stream?.consumed(bytes);
  }
}

export function duplexOf(stream: MuxStream): MuxDuplex {
  const duplex = new MuxDuplex().bind(stream);
  stream.attach(duplex.events);
  return duplex;
}
