/** Assembles the global scheduler over a client of the global API; `cloud/global.ts` adds that API and starts both. */
import { readFileSync } from 'node:fs';
import { Registry as PrometheusRegistry } from 'prom-client';
import type { Client } from '../../api/client.ts';
import { createHttpClient } from '../../api/http-client.ts';
import { loadKubeconfig } from '../../api/kubeconfig.ts';
import { systemClock } from '../../base/clock.ts';
import { type Service, ServiceGroup } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Allocations } from './allocations.ts';
import type { GlobalConfig } from './config.ts';
import { GlobalScheduler } from './global-scheduler.ts';
import { Region } from './region.ts';
import { RestApi } from './rest-api.ts';
import type { RouteDeps } from './rest-routes.ts';
import { Rest, type RestDeps, type RestOptions } from './rest.ts';
import { TelemetryFeed } from './telemetry-feed.ts';

export interface AssemblyDeps {
  readonly client: Client;
  readonly log: Logger;
  /** Who is calling the REST listener; throws when it is nobody that is known. */
  readonly authenticate: RestDeps['authenticate'];
  readonly policyIssues: RouteDeps['policyIssues'];
}

export interface AssembledScheduler {
  readonly scheduler: GlobalScheduler;
  readonly rest: Rest;
  /** What the listener answers with, for another server that has identified its callers. */
  readonly restApi: RestApi;
  /** What it counts, as Prometheus reads it. */
  readonly metrics: () => Promise<string>;
  readonly services: Service;
}

const REGION_TIMEOUT_MS = 4_000;

export async function assembleScheduler(config: GlobalConfig, deps: AssemblyDeps): Promise<AssembledScheduler> {
  const clients = await Promise.all(config.regions.map(async (r) => createHttpClient(await loadKubeconfig(r.kubeconfig), { userAgent: 'proxima-global', timeoutMs: REGION_TIMEOUT_MS })));
  const regions = config.regions.map((r, i) => new Region(r.name, clients[i] as Client));
  const { client, log } = deps;
  const scheduler = new GlobalScheduler({ client, regions, log }, { identity: config.identity, clientRegions: config.clientRegions, intervalMs: config.intervalMs, halfLifeMs: config.halfLifeMs, mover: config.mover, budget: config.mover.budget, undo: config.mover.undo, failure: config.failure, startGraceMs: config.startGraceMs, shards: config.shards, leaseMs: config.leaseMs, prediction: config.prediction });
  const feeds = config.regions.flatMap((r) => (r.broker === null ? [] : [new TelemetryFeed(r.name, r.broker, `proxima-${config.identity}`, { telemetry: scheduler.telemetry, log })]));
  const api = new RestApi({ source: scheduler, policyIssues: deps.policyIssues, log, clock: systemClock }, { openSteering: config.rest.openSteering });
  const rest = new Rest({ api, authenticate: deps.authenticate }, { host: config.rest.host, port: config.rest.port, tls: restTls(config) });
  const closing: Service = { name: 'region clients', start: async () => undefined, stop: async () => void (await Promise.all(clients.map((c) => c.close()))) };
  const allocations = new Allocations({ client, log, source: scheduler });
  const counted = PrometheusRegistry.merge([scheduler.metrics.registry, scheduler.moves.registry, api.registry, allocations.registry]);
  return { scheduler, rest, restApi: api, metrics: () => counted.metrics(), services: new ServiceGroup('global scheduler', [closing, ...feeds, rest, scheduler, allocations]) };
}

function restTls(config: GlobalConfig): RestOptions['tls'] {
  const { rest, api } = config;
  if (!rest.tls) return null;
  const read = (path: string): string => readFileSync(path, 'utf8');
  return { cert: read(rest.cert ?? api.cert), key: read(rest.key ?? api.key), ca: read(api.ca) };
}
