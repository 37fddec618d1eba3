/** QMP, QEMU's control protocol: JSON objects on a unix socket, one command at a time, events in between. */
import { connect, type Socket } from 'node:net';
import { MeshError } from '../../../api/errors.ts';

interface Message {
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly id?: number;
}

export class Qmp {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: unknown) => void }>();
  readonly #greeted: Promise<void>;
  #next = 1;
  #buffer = '';
  #closed = false;
  onEvent: (event: string) => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    let greet: () => void = () => undefined;
    this.#greeted = new Promise((resolve) => (greet = resolve));
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      this.#buffer += text;
      for (let at = this.#buffer.indexOf('\n'); at >= 0; at = this.#buffer.indexOf('\n')) {
        const line = this.#buffer.slice(0, at).trim();
        this.#buffer = this.#buffer.slice(at + 1);
        if (line !== '') this.#receive(JSON.parse(line) as Message, greet);
      }
    });
    socket.on('error', () => undefined); // 'close' follows and ends every waiter
    socket.on('close', () => {
      this.#closed = true;
      greet();
      for (const w of this.#waiting.values()) w.reject(new MeshError('unavailable', 'QEMU closed its control socket'));
      this.#waiting.clear();
      this.onEvent('CLOSED');
    });
  }

  /** Connects and negotiates; QEMU serves one QMP client at a time, so a second one waits and then times out. */
  static async connect(path: string, timeoutMs = 3000): Promise<Qmp> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (cause) => reject(new MeshError('unavailable', `no QEMU on ${path}`, { cause })));
    });
    const qmp = new Qmp(socket);
    const timer = setTimeout(() => socket.destroy(), timeoutMs);
    await qmp.#greeted;
    clearTimeout(timer);
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  async execute<T = unknown>(command: string, args?: Readonly<Record<string, unknown>>): Promise<T> {
    if (this.#closed) throw new MeshError('unavailable', 'QEMU closed its control socket');
    const id = this.#next++;
    const reply = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#socket.write(`${JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }), id })}\n`);
    return (await reply) as T;
  }

  async status(): Promise<string> {
    return (await this.execute<{ status: string }>('query-status')).status;
  }

  /** Waits until a migration, in either direction, has ended. */
  async migrated(timeoutMs: number): Promise<void> {
    const until = Date.now() + timeoutMs;
    for (;;) {
      const { status } = await this.execute<{ status?: string }>('query-migrate');
      if (status === 'completed') return;
      if (status === 'failed' || status === 'cancelled') throw new MeshError('io', `QEMU state transfer ${status}`);
      if (Date.now() > until) throw new MeshError('timeout', `QEMU state transfer did not end within ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(message: Message, greet: () => void): void {
    if (message.QMP !== undefined) return greet();
    if (message.event !== undefined) return this.onEvent(message.event);
    const waiter = this.#waiting.get(message.id ?? 0);
    this.#waiting.delete(message.id ?? 0);
    if (message.error !== undefined) waiter?.reject(new MeshError('io', `QEMU: ${message.error.desc}`));
    else waiter?.resolve(message.return);
  }
}
