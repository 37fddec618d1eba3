/**
 * A region put together:
 *
 *   LMDB store -> API server -> { controllers, network plane } -> goal state for the nodes' transit daemons
 */
import { join } from 'node:path';
import { definitions } from '../api/definitions.ts';
import { Informer } from '../api/informer.ts';
import { writeKubeconfig } from '../api/kubeconfig.ts';
import { Resources } from '../api/resources.ts';
import type { Service } from '../base/lifecycle.ts';
import { ServiceGroup } from '../base/lifecycle.ts';
import type { Logger } from '../base/log.ts';
import { REVOCATIONS_NAME, REVOCATIONS_PLACE, serialsOf } from '../certs/revocation.ts';
import type { RevocationMap } from '../certs/revocation.ts';
import { createApiServer } from './apiserver/server.ts';
import type { ApiServer } from './apiserver/server.ts';
import { createControllers } from './arktos/controllers.ts';
import type { RegionConfig } from './config.ts';
import { createNetworkPlane } from './mizar/network-plane.ts';
import { NodeAgents } from './node-agents.ts';
import { currentIdentity, regionIdentity, type RegionIdentity } from './region-identity.ts';
import { ServedCertificate } from './served-certificate.ts';
import { openStore } from './store/open.ts';

export interface RunningRegion {
  readonly url: string;
  readonly port: number;
  /** Where goal state is served; 0 = not served. */
  readonly goalPort: number;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  readonly api: ApiServer;
  /** Idempotent. */
  stop(): Promise<void>;
}

/** Certificates that are no longer believed, as the region's API lists them. */
class Revocations implements Service {
  readonly name = 'revocations';
  #informer: Informer<RevocationMap> | null = null;
  readonly #create: () => Informer<RevocationMap>;

  constructor(create: () => Informer<RevocationMap>) {
    this.#create = create;
  }

  has(serial: string): boolean {
    return this.#informer?.list().some((m) => serialsOf(m).has(serial.toUpperCase())) === true;
  }

  async start(signal: AbortSignal): Promise<void> {
    this.#informer = this.#create();
    await this.#informer.start(signal);
    await this.#informer.synced;
  }

  async stop(): Promise<void> {
    await this.#informer?.stop();
  }
}

export async function startRegion(config: RegionConfig, log: Logger): Promise<RunningRegion> {
  const served = new ServedCertificate<RegionIdentity>({ first: regionIdentity(config), read: (known) => currentIdentity(config, known, Date.now()), onChange: (fresh) => renewed(fresh), log });
  const tls = served.now.tls;
  const store = await openStore(config.store, { file: join(config.dataDir, 'store.mdb'), name: config.region }, log);
  const revocations: Revocations = new Revocations(() => new Informer<RevocationMap>({ client: api.localClient(), resource: Resources.ConfigMap, list: { ...REVOCATIONS_PLACE, fieldSelector: `metadata.name=${REVOCATIONS_NAME}` }, log }));
  const api: ApiServer = createApiServer({
    store,
    kinds: Object.values(definitions),
    listen: { host: config.listen.address, port: config.listen.port },
    tls,
    auth: { isRevoked: (serial) => revocations.has(serial) },
    log: log.child({ part: 'api' }),
    podAgents: new NodeAgents({ region: config.region, tls: () => served.now.tls, gateways: config.gateways }, () => api.localClient()),
    systemNamespaces: ['default', 'kube-system', 'kube-node-lease', 'node-lease'],
  });
  const client = api.localClient();
  const plane = createNetworkPlane({ client, region: config.region, grpc: config.goal === null ? null : { host: config.goal.address, port: config.goal.port, tls }, log });
  const writeAccess = ({ tls: { ca }, admin }: RegionIdentity): Promise<void> => writeKubeconfig(config.kubeconfig, { server: api.url, ca, credential: admin }, config.region);
  const renewed = (fresh: RegionIdentity): Promise<void> => {
    api.setTls(fresh.tls);
    plane.renew(fresh.tls);
    return writeAccess(fresh);
  };
  const group = new ServiceGroup('region', [api, revocations, createControllers({ client, log }), plane, served]);
  const abort = new AbortController();
  let stopping: Promise<void> | null = null;
  const stop = (): Promise<void> => (stopping ??= (async () => {
    try {
      await group.stop();
    } finally {
      await store.close();
    }
  })());
  try {
    await group.start(abort.signal);
    await writeAccess(served.now);
  } catch (error) {
    await stop().catch(() => undefined); // the start error is the one to report
    throw error;
  }
  log.info('region started', { region: config.region, url: api.url, goalPort: plane.grpcPort, kubeconfig: config.kubeconfig });
  return { url: api.url, port: api.port, goalPort: plane.grpcPort, kubeconfig: config.kubeconfig, api, stop };
}
