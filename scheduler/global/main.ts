/** Assembles the global scheduler over a client of the global API; `cloud/global.ts` adds that API and starts both. */
import { readFileSync } from 'node:fs';
import type { Client } from '../../api/client.ts';
import { createHttpClient } from '../../api/http-client.ts';
import { loadKubeconfig } from '../../api/kubeconfig.ts';
import { type Service, ServiceGroup } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import type { GlobalConfig } from './config.ts';
import { GlobalScheduler } from './global-scheduler.ts';
import { Region } from './region.ts';
import { Rest } from './rest.ts';
import { TelemetryFeed } from './telemetry-feed.ts';

export interface AssembledScheduler {
  readonly scheduler: GlobalScheduler;
  readonly rest: Rest;
  readonly services: Service;
}

const REGION_TIMEOUT_MS = 4_000;

export async function assembleScheduler(config: GlobalConfig, deps: { readonly client: Client; readonly log: Logger }): Promise<AssembledScheduler> {
  const clients = await Promise.all(config.regions.map(async (r) => createHttpClient(await loadKubeconfig(r.kubeconfig), { userAgent: 'proxima-global', timeoutMs: REGION_TIMEOUT_MS })));
  const regions = config.regions.map((r, i) => new Region(r.name, clients[i] as Client));
  const { client, log } = deps;
  const scheduler = new GlobalScheduler({ client, regions, log }, { identity: config.identity, clientRegions: config.clientRegions, intervalMs: config.intervalMs, halfLifeMs: config.halfLifeMs, mover: config.mover, failure: config.failure, startGraceMs: config.startGraceMs });
  const feeds = config.regions.flatMap((r) => (r.broker === null ? [] : [new TelemetryFeed(r.name, r.broker, `proxima-${config.identity}`, { telemetry: scheduler.telemetry, log })]));
  const { host, port, cert, key } = config.rest;
  const rest = new Rest(scheduler, { host, port, tls: cert === undefined || key === undefined ? null : { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') } });
  const closing: Service = { name: 'region clients', start: async () => undefined, stop: async () => void (await Promise.all(clients.map((c) => c.close()))) };
  return { scheduler, rest, services: new ServiceGroup('global scheduler', [closing, ...feeds, rest, scheduler]) };
}
