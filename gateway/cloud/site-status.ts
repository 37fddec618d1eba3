/** Writes what the gateway sees of sites and presences into the region's API. */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import { Resources } from '../../api/resources.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import type { GatewayStatus } from '../control.ts';

export interface SiteConnection {
  readonly connected: boolean;
  /** ISO time. */
  readonly since: string;
  readonly serial: string;
  readonly message: string;
}

const SEEN_MS = 5_000;

export class SiteStatus implements Service {
  readonly name = 'site status';
  readonly #client: Client;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #sites = new Map<string, SiteConnection>();
  /** By presence, then by the site (or region) that listens. */
  readonly #presences = new Map<string, Map<string, GatewayStatus['presences'][string]>>();
  readonly #loop: Loop;

  constructor(options: { readonly client: Client; readonly log: Logger; readonly now: () => number }) {
    this.#client = options.client;
    this.#log = options.log;
    this.#now = options.now;
    this.#loop = new Loop({ name: 'site status', log: options.log, run: (key) => (key.startsWith('site/') ? this.#writeSite(key.slice(5)) : this.#writePresence(key.slice(9))), resyncMs: 0, maxRetryMs: 5_000 });
  }

  start(signal: AbortSignal): Promise<void> {
    return this.#loop.start(signal);
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  setSite(site: string, connection: SiteConnection): void {
    this.#sites.set(site, connection);
    this.#loop.trigger(`site/${site}`);
  }

  setPresences(where: string, status: GatewayStatus['presences']): void {
    for (const [key, state] of Object.entries(status)) {
      const sites = this.#presences.get(key) ?? new Map<string, GatewayStatus['presences'][string]>();
      sites.set(where, state);
      this.#presences.set(key, sites);
      this.#loop.trigger(`presence/${key}`);
    }
  }

  get sites(): ReadonlyMap<string, SiteConnection> {
    return this.#sites;
  }

  async #writeSite(site: string): Promise<number> {
    const c = this.#sites.get(site);
    if (c === undefined) return 60_000;
    const status = {
      gateway: { connected: c.connected, since: c.since, serial: c.serial },
      phase: c.connected ? 'Ready' : 'Unreachable',
      message: c.message,
      ...(c.connected ? { lastSeen: new Date(this.#now()).toISOString() } : {}),
    };
    await this.#patch('Site', null, site, status);
    return c.connected ? SEEN_MS : 60_000;
  }

  async #writePresence(key: string): Promise<number> {
    const sites = this.#presences.get(key);
    const [tenant = '', name = ''] = key.split('/');
    if (sites !== undefined) await this.#patch('Presence', tenant, name, { sites: Object.fromEntries(sites) });
    return 300_000;
  }

  async #patch(kind: 'Site' | 'Presence', tenant: string | null, name: string, status: unknown): Promise<void> {
    try {
      await this.#client.patch(Resources[kind], { tenant, namespace: null }, name, { status }, { subresource: 'status' });
    } catch (error) {
      if (!isMeshError(error, 'not-found')) throw error;
      this.#log.debug('status of an object that is gone', { kind, name });
    }
  }
}
