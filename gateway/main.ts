/** Entry points of the gateway processes: `gateway start --config FILE [--check]`; a configuration with `authority` is a cloud gateway's. */
import { enableCompileCache, flushCompileCache, getCompileCacheDir } from 'node:module';
import { join } from 'node:path';
import type { Client } from '../api/client.ts';
import { decodeConfig } from '../api/config.ts';
import type { HttpClient } from '../api/http-client.ts';
import { systemClock } from '../base/clock.ts';
import { createLogger } from '../base/log.ts';
import type { Logger } from '../base/log.ts';
import { loadIdentity } from '../certs/enrol.ts';
import { CloudGatewaySchema, EdgeGatewaySchema } from './config.ts';
import type { CloudGatewayConfig, EdgeGatewayConfig } from './config.ts';

export interface GatewayStartOptions {
  readonly log?: Logger;
  readonly signal?: AbortSignal;
  /** Where the region's API is reached by other means than the configured address, e.g. in tests. */
  readonly client?: Client;
  /** Milliseconds between pings of a session, and of silence until it counts as lost. */
  readonly pingMs?: number;
  readonly deadMs?: number;
}

export function decodeCloudConfig(input: unknown, source = 'cloud gateway config'): CloudGatewayConfig {
  return decodeConfig(CloudGatewaySchema, input, source);
}

export function decodeEdgeConfig(input: unknown, source = 'edge gateway config'): EdgeGatewayConfig {
  return decodeConfig(EdgeGatewaySchema, input, source);
}

const timing = (o: GatewayStartOptions): { pingMs?: number; deadMs?: number } => ({ ...(o.pingMs === undefined ? {} : { pingMs: o.pingMs }), ...(o.deadMs === undefined ? {} : { deadMs: o.deadMs }) });

type RenewableClient = Client & { renew(): void; close(): Promise<void> };

/** How long requests of the old credential may take to end. */
const OLD_CLIENT_MS = 60_000;

/** The region's API by the gateway's own certificate, whichever that is now. Loaded here alone: an edge gateway speaks to no API. */
async function regionClient(config: CloudGatewayConfig): Promise<RenewableClient> {
  const { createHttpClient } = await import('../api/http-client.ts');
  const { server, serverName } = config.api;
  const make = (): HttpClient => {
    const id = loadIdentity(config.identity.dir, config.identity.use);
    return createHttpClient({ server, ca: id.trustPem, credential: { kind: 'certificate', cert: id.chainPem, key: id.keyPem }, ...(serverName === undefined ? {} : { serverName }) }, { userAgent: 'proxima-cloud-gateway' });
  };
  let now = make();
  return {
    get: (...a) => now.get(...a),
    list: (...a) => now.list(...a),
    watch: (...a) => now.watch(...a),
    create: (...a) => now.create(...a),
    update: (...a) => now.update(...a),
    updateStatus: (...a) => now.updateStatus(...a),
    patch: (...a) => now.patch(...a),
    delete: (...a) => now.delete(...a),
    renew: () => {
      const old = now;
      now = make();
      setTimeout(() => void old.close(), OLD_CLIENT_MS).unref();
    },
    close: () => now.close(),
  };
}

/** Resolves once every port listens and the region's presences and revocations are known. */
export async function cloudGatewayStart(input: unknown, options: GatewayStartOptions = {}) {
  const config = decodeCloudConfig(input);
  const { CloudGateway } = await import('./cloud/gateway.ts');
  const log = options.log ?? createLogger({ name: 'cloud-gateway', level: config.logLevel });
  const own = options.client === undefined ? await regionClient(config) : null;
  const abort = new AbortController();
  options.signal?.addEventListener('abort', () => abort.abort(options.signal?.reason), { once: true });
  const gateway = new CloudGateway(config, { log, clock: systemClock, client: options.client ?? (own as RenewableClient), ...timing(options), onRenewed: () => own?.renew() });
  const ports = await gateway.start(abort.signal);
  const stop = async (): Promise<void> => {
    await gateway.stop();
    abort.abort(new Error('gateway stopped'));
    await own?.close();
  };
  return { gateway, ports, stop };
}

/** Resolves once the local addresses listen; the uplink may still be down. */
export async function edgeGatewayStart(input: unknown, options: GatewayStartOptions = {}) {
  const config = decodeEdgeConfig(input);
  // Code whose types were stripped once is kept: the next start is quicker and a fifth smaller.
  if (getCompileCacheDir() === undefined) enableCompileCache(join(config.stateDir, 'code-cache'));
  const { EdgeGateway } = await import('./edge/gateway.ts');
  const log = options.log ?? createLogger({ name: 'edge-gateway', level: config.logLevel });
  const abort = new AbortController();
  options.signal?.addEventListener('abort', () => abort.abort(options.signal?.reason), { once: true });
  const gateway = new EdgeGateway(config, { log, clock: systemClock, ...timing(options) });
  await gateway.start(abort.signal);
  setTimeout(flushCompileCache, 3_000).unref(); // what loads with the first connection is in it then
  const stop = async (): Promise<void> => {
    await gateway.stop();
    abort.abort(new Error('gateway stopped'));
  };
  return { gateway, stop };
}
