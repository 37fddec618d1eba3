/** A cloud gateway holds its region's authority, so it renews its own certificate itself, at two thirds of the lifetime, without a restart. */
import type { Clock } from '../../base/clock.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { issueToFiles } from '../../certs/authority.ts';
import type { Authority } from '../../certs/authority.ts';
import { loadIdentity, renewalDue } from '../../certs/enrol.ts';
import type { LoadedIdentity } from '../../certs/enrol.ts';

const CHECK_MS = 60_000;

export class OwnCertificate implements Service {
  readonly name = 'own certificate';
  readonly #loop: Loop;

  constructor(options: { readonly dir: string; readonly use: string; readonly authority: Authority; readonly lifetimeMs: number; readonly clock: Clock; readonly log: Logger; readonly onRenewed: (identity: LoadedIdentity) => void }) {
    const { dir, use, authority, clock, log } = options;
    this.#loop = new Loop({
      name: this.name,
      log,
      resyncMs: 0,
      run: async () => {
        const { certificate, identity } = loadIdentity(dir, use);
        if (clock.now() < renewalDue(certificate)) return CHECK_MS;
        const names = (certificate.subjectAltName ?? '').split(', ');
        const of = (prefix: string): string[] => names.filter((n) => n.startsWith(prefix)).map((n) => n.slice(prefix.length));
        issueToFiles(authority, dir, use, { uri: identity.uri, dns: of('DNS:'), ips: of('IP Address:'), lifetimeMs: options.lifetimeMs, now: clock.now() });
        const renewed = loadIdentity(dir, use);
        options.onRenewed(renewed);
        log.info('certificate renewed', { serial: renewed.identity.serial });
        return CHECK_MS;
      },
    });
  }

  async start(signal: AbortSignal): Promise<void> {
    await this.#loop.start(signal);
    this.#loop.trigger('own');
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }
}
