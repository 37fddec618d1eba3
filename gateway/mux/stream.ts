/**
 * One stream of a session. Sending spends credit that the other end gave; receiving gives credit back only for bytes that their consumer
 * has taken, so a slow reader holds at most one window here and stops the sender, not the session.
 */
import { INITIAL_WINDOW, MAX_DATA } from './frames.ts';
import type { CodeName, Open } from './frames.ts';

export interface StreamEvents {
  /** Call `stream.consumed(n)` once they are taken. */
  data(bytes: Buffer): void;
  end(): void;
  /** The stream is over at once, with the other end's reason or, when the session broke, ours. */
  reset(code: CodeName, reason: string): void;
  /** There is room again after `write` returned false. */
  drain(): void;
}

/** What a stream needs of its session. */
export interface StreamSession {
  /** Puts a frame into this turn's batch; true = it was taken. */
  sendData(stream: MuxStream, bytes: Buffer): boolean;
  queueData(stream: MuxStream): void;
  sendEnd(stream: MuxStream): void;
  sendReset(stream: MuxStream, code: CodeName, reason: string): void;
  sendWindow(stream: MuxStream, bytes: number): void;
  forget(stream: MuxStream): void;
}

export class MuxStream {
  readonly id: number;
  readonly open: Open;
  readonly #session: StreamSession;
  #events: StreamEvents | null = null;
  #pending: Buffer[] = [];
  #credit = INITIAL_WINDOW;
  #received = 0;
  #unreported = 0;
  #localEnd: 'open' | 'ending' | 'sent' = 'open';
  #remoteEnded = false;
  #isOver = false;
  #wantsDrain = false;

  constructor(session: StreamSession, id: number, open: Open) {
    this.#session = session;
    this.id = id;
    this.open = open;
  }

  attach(events: StreamEvents): void {
    this.#events = events;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get hasPending(): boolean {
    return this.#pending.length > 0 || this.#localEnd === 'ending';
  }

  get canSend(): boolean {
    return this.#credit > 0 || (this.#pending.length === 0 && this.#localEnd === 'ending');
  }

  /** False = stop until `drain`. The bytes are kept: do not reuse them. */
  write(bytes: Buffer): boolean {
    if (this.#isOver || this.#localEnd !== 'open') return true;
    if (this.#pending.length === 0 && bytes.length <= MAX_DATA && bytes.length <= this.#credit && this.#session.sendData(this, bytes)) {
      this.#credit -= bytes.length;
      return true;
    }
    this.#pending.push(bytes);
    this.#wantsDrain = true;
    this.#session.queueData(this);
    return false;
  }

  end(): void {
    if (this.#isOver || this.#localEnd !== 'open') return;
    this.#localEnd = 'ending';
    if (this.#pending.length === 0) this.#finishLocal();
  }

  reset(code: CodeName, reason: string): void {
    if (this.#isOver) return;
    this.#session.sendReset(this, code, reason);
    this.#over();
  }

  /** Gives the sender credit for bytes that were taken from us. */
  consumed(bytes: number): void {
    this.#received -= bytes;
    this.#unreported += bytes;
    if (this.#unreported < INITIAL_WINDOW / 2 || this.#remoteEnded || this.#isOver) return;
    this.#session.sendWindow(this, this.#unreported);
    this.#unreported = 0;
  }

  /** Called by the session in turn: at most one frame, so that no stream keeps the others waiting. Null = nothing to send now. */
  nextFrame(): Buffer | null {
    const head = this.#pending[0];
    if (head === undefined) {
      if (this.#localEnd === 'ending') this.#finishLocal();
      return null;
    }
    const take = Math.min(head.length, MAX_DATA, this.#credit);
    if (take === 0) return null;
    this.#credit -= take;
    if (take === head.length) this.#pending.shift();
    else this.#pending[0] = head.subarray(take);
    return take === head.length ? head : head.subarray(0, take);
  }

  /** Called by the session after a frame has left. */
  afterFrame(): void {
    if (this.#pending.length > 0) return;
    if (this.#localEnd === 'ending') return this.#finishLocal();
    if (!this.#wantsDrain) return;
    this.#wantsDrain = false;
    this.#events?.drain();
  }

  // What the wire says.

  onData(bytes: Buffer): 'ok' | 'overflow' | 'after-end' {
    if (this.#remoteEnded) return 'after-end';
    this.#received += bytes.length;
    if (this.#received + this.#unreported > INITIAL_WINDOW) return 'overflow';
    this.#events?.data(bytes);
    return 'ok';
  }

  onEnd(): void {
    this.#remoteEnded = true;
    this.#events?.end();
    this.#settle();
  }

  onReset(code: CodeName, reason: string): void {
    if (this.#isOver) return;
    this.#over();
    this.#events?.reset(code, reason);
  }

  onWindow(bytes: number): 'ok' | 'overflow' {
    this.#credit += bytes;
    if (this.#credit > 0x7fff_ffff) return 'overflow';
    if (this.#pending.length > 0) this.#session.queueData(this);
    return 'ok';
  }

  #finishLocal(): void {
    if (this.#localEnd === 'sent') return;
    this.#localEnd = 'sent';
    this.#session.sendEnd(this);
    this.#settle();
  }

  #settle(): void {
    if (this.#remoteEnded && this.#localEnd === 'sent') this.#over();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#pending = [];
    this.#session.forget(this);
  }
}
