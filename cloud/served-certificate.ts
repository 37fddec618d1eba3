/**
 * The certificate that a server shows, as its files have it now: `proxima certs rotate`, a renewal or an operator replaces them, and the next handshake
 * shows the new one. Nothing that is connected notices. Files are looked at, not waited for: a watch on a replaced file would watch the old one.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { systemClock, type Clock } from '../base/clock.ts';
import type { Service } from '../base/lifecycle.ts';
import type { Logger } from '../base/log.ts';
import { Loop } from '../base/loop.ts';
import type { TlsMaterial } from './apiserver/server.ts';

/** What comes with the certificate, from the same files. */
interface Shown {
  readonly tls: TlsMaterial;
}

export interface ServedCertificateOptions<T extends Shown> {
  readonly first: T;
  /** What should be shown now; throws while it cannot be had. */
  readonly read: (known: T) => T;
  readonly onChange: (fresh: T) => void | Promise<void>;
  readonly log: Logger;
  readonly clock?: Clock;
}

const CHECK_MS = 2_000;

export class ServedCertificate<T extends Shown> implements Service {
  readonly name = 'served certificate';
  readonly #o: ServedCertificateOptions<T>;
  readonly #loop: Loop;
  #now: T;

  constructor(options: ServedCertificateOptions<T>) {
    this.#o = options;
    this.#now = options.first;
    this.#loop = new Loop({ name: this.name, log: options.log, clock: options.clock ?? systemClock, resyncMs: 0, firstRetryMs: CHECK_MS, maxRetryMs: CHECK_MS, run: () => this.#look() });
  }

  get now(): T {
    return this.#now;
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    this.#loop.trigger('own', CHECK_MS);
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #look(): Promise<number> {
    const fresh = this.#o.read(this.#now);
    const [{ cert, key, ca }, shown] = [fresh.tls, this.#now.tls];
    const isSame = cert === shown.cert && key === shown.key && ca === shown.ca;
    // Key and certificate are two files: between the two writes they do not fit, and the next look finds both.
    if (isSame || !fits(fresh.tls)) return CHECK_MS;
    await this.#o.onChange(fresh);
    this.#now = fresh;
    const { serialNumber, validTo } = new X509Certificate(cert);
    this.#o.log.info('certificate renewed', { serial: serialNumber, until: validTo });
    return CHECK_MS;
  }
}

function fits({ cert, key }: TlsMaterial): boolean {
  return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
}
