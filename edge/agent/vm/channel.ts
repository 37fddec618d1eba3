/**
 * The line between agent and guest: a virtio-serial port, one text line per message.
 *   guest -> agent   hello                                   waits for its address (at boot, after a reboot, in a template)
 *                    configured                              has it, and serves
 *                    result <n> ok|failed                    answer to a probe
 *   agent -> guest   config <address> <prefix> <gateway> <mac> <mtu> <name> <site> <epoch seconds>
 *                    probe <n> http|tcp <port> <path>
 *                    poweroff
 * Every message may be repeated; the guest keeps no state that a repeat would spoil.
 */
import { connect, type Socket } from 'node:net';
import { MeshError } from '../../../api/errors.ts';

export class GuestChannel {
  readonly #socket: Socket;
  readonly #probes = new Map<number, (ok: boolean) => void>();
  #next = 1;
  #buffer = '';
  onHello: () => void = () => undefined;
  onConfigured: () => void = () => undefined;
  onClose: () => void = () => undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      this.#buffer += text;
      for (let at = this.#buffer.indexOf('\n'); at >= 0; at = this.#buffer.indexOf('\n')) {
        this.#receive(this.#buffer.slice(0, at).trim());
        this.#buffer = this.#buffer.slice(at + 1);
      }
      if (this.#buffer.length > 4096) this.#buffer = ''; // a guest that writes no line ends is not listened to
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      for (const done of this.#probes.values()) done(false);
      this.#probes.clear();
      this.onClose();
    });
  }

  static async connect(path: string): Promise<GuestChannel> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (cause) => reject(new MeshError('unavailable', `no guest channel on ${path}`, { cause })));
    });
    return new GuestChannel(socket);
  }

  config(c: { readonly address: string; readonly prefix: number; readonly gateway: string; readonly mac: string; readonly mtu: number; readonly name: string; readonly site: string }): void {
    this.#send(`config ${c.address} ${c.prefix} ${c.gateway} ${c.mac} ${c.mtu} ${c.name} ${c.site} ${Math.floor(Date.now() / 1000)}`);
  }

  poweroff(): void {
    this.#send('poweroff');
  }

  /** Asks the guest to try its own service; false also when it does not answer in time. */
  probe(kind: 'http' | 'tcp', port: number, path: string, timeoutMs: number): Promise<boolean> {
    const n = this.#next++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#settle(n, false), timeoutMs);
      this.#probes.set(n, (ok) => {
        clearTimeout(timer);
        resolve(ok);
      });
      this.#send(`probe ${n} ${kind} ${port} ${path.replaceAll(/\s/g, '')}`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(line: string): void {
    this.#socket.write(`${line}\n`);
  }

  #settle(n: number, ok: boolean): void {
    this.#probes.get(n)?.(ok);
    this.#probes.delete(n);
  }

  #receive(line: string): void {
    if (line === 'hello') return this.onHello();
    if (line === 'configured') return this.onConfigured();
    const result = /^result (\d+) (ok|failed)$/.exec(line);
    if (result !== null) this.#settle(Number(result[1]), result[2] === 'ok');
  }
}
