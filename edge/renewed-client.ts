/** The agent's API client across renewals of its certificate: new requests go out under the new one, those under way end as they began. */
import type { Client } from '../api/client.ts';
import type { HttpClient } from '../api/http-client.ts';
import type { Clock } from '../base/clock.ts';

/** Longer than a request may take. Watches end with it, and their informers watch again. */
const DRAIN_MS = 45_000;

export interface RenewedClient {
  readonly client: Client;
  replace(next: HttpClient): void;
  close(): Promise<void>;
}

export function renewedClient(first: HttpClient, clock: Clock): RenewedClient {
  let current = first;
  const closing = new AbortController();
  const draining = new Set<Promise<void>>();
  return {
    client: {
      get: (...a) => current.get(...a),
      list: (...a) => current.list(...a),
      watch: (...a) => current.watch(...a),
      create: (...a) => current.create(...a),
      update: (...a) => current.update(...a),
      updateStatus: (...a) => current.updateStatus(...a),
      patch: (...a) => current.patch(...a),
      delete: (...a) => current.delete(...a),
    },
    replace: (next) => {
      const old = current;
      current = next;
      const done = clock.sleep(DRAIN_MS, closing.signal).catch(() => undefined).then(() => old.close()); // at once when the agent ends
      draining.add(done);
      void done.then(() => draining.delete(done));
    },
    close: async () => {
      closing.abort(new Error('the agent ends'));
      await Promise.all([...draining, current.close()]);
    },
  };
}
