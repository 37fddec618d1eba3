/**
 * The node's certificate is renewed while it is valid, and after: the proof is its key. Where to ask: the configured address (at a site the
 * gateway's), else the one that joining wrote down; the next is tried when one does not answer.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { ENDPOINTS_FILE, loadIdentity, renewIfDue, type LoadedIdentity, type RegionEndpoints } from '../../certs/enrol.ts';

export interface RenewalOptions {
  readonly dir: string;
  readonly use: string;
  /** host:port, or null. */
  readonly enrol: string | null;
  readonly onRenewed: (identity: LoadedIdentity) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

const CHECK_MS = 60_000;

export function enrolAddresses(dir: string, configured: string | null): readonly string[] {
  const file = join(dir, ENDPOINTS_FILE);
  const known = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Partial<RegionEndpoints>).enrol : undefined;
  return [...new Set([configured, known].filter((a): a is string => typeof a === 'string' && a !== ''))];
}

export class Renewal implements Service {
  readonly name = 'certificate renewal';
  readonly #o: RenewalOptions;
  readonly #loop: Loop;

  constructor(options: RenewalOptions) {
    this.#o = options;
    this.#loop = new Loop({ name: this.name, log: options.log, clock: options.clock, firstRetryMs: 5000, maxRetryMs: 300_000, run: () => this.#pass() });
  }

  async start(signal: AbortSignal): Promise<void> {
    if (enrolAddresses(this.#o.dir, this.#o.enrol).length === 0) return this.#o.log.warn('nobody renews the certificate of this node: the configuration names no "enrol"');
    await this.#loop.start(signal);
    this.#loop.trigger('own');
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #pass(): Promise<number> {
    const { dir, use, enrol, onRenewed, clock, log } = this.#o;
    let failed: unknown = null;
    for (const gateway of enrolAddresses(dir, enrol)) {
      try {
        if (!(await renewIfDue({ dir, use, gateway, now: clock.now() }))) return CHECK_MS;
        const renewed = loadIdentity(dir, use);
        onRenewed(renewed);
        log.info('certificate renewed', { serial: renewed.identity.serial, until: new Date(renewed.identity.notAfter).toISOString() });
        return CHECK_MS;
      } catch (error) {
        failed ??= error; // the first address is the one to mend
      }
    }
    if (failed === null) return CHECK_MS; // the addresses were taken away meanwhile
    throw failed;
  }
}
