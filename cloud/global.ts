/** The global process: its API over the embedded store, and the global scheduler on it with an in-process client. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { kinds } from '../api/definitions.ts';
import { MeshError } from '../api/errors.ts';
import { writeKubeconfig } from '../api/kubeconfig.ts';
import { type Service, ServiceGroup } from '../base/lifecycle.ts';
import { systemClock } from '../base/clock.ts';
import { createLogger, type Logger } from '../base/log.ts';
import { decodeGlobalConfig, type GlobalConfig } from '../scheduler/global/config.ts';
import { assembleScheduler } from '../scheduler/global/main.ts';
import { PolicyGate } from '../scheduler/global/policy-gate.ts';
import { Authenticator } from './apiserver/authenticate.ts';
import { type ApiServer, type Beside, createApiServer } from './apiserver/server.ts';
import { answerBeside, callerOf } from './global-rest.ts';
import { ServedCertificate } from './served-certificate.ts';
import { openStore } from './store/open.ts';
import { decodeTokens } from './tokens.ts';

/** What users apply globally and what the scheduler keeps; everything else belongs to the regions. */
const KINDS = kinds('Tenant', 'Namespace', 'ConfigMap', 'Secret', 'Event', 'Lease', 'Vpc', 'Site', 'Application', 'PlacementPolicy', 'Placement', 'Allocation', 'TrafficReport');

export interface RunningGlobal {
  /** `https://host:port` of the global API. */
  readonly url: string;
  readonly restPort: number;
  stop(): Promise<void>;
}

function pem(path: string, key: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new MeshError('missing-file', `${key}: cannot read ${path}`, { cause: error, fields: { path: key } });
  }
}

/** `input` is the parsed configuration file; resolves when the API listens and the scheduler runs. */
export async function globalStart(input: unknown, options: { readonly source?: string; readonly log?: Logger; readonly signal?: AbortSignal } = {}): Promise<RunningGlobal> {
  const config: GlobalConfig = decodeGlobalConfig(input, options.source);
  const log = options.log ?? createLogger({ name: 'global', level: config.logLevel });
  const read = () => ({ tls: { key: pem(config.api.key, 'api.key'), cert: pem(config.api.cert, 'api.cert'), ca: pem(config.api.ca, 'api.ca') } });
  const first = read();
  const { tls } = first;
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  const store = await openStore(config.store, { file: join(config.dataDir, 'global.mdb'), name: 'global' }, log);
  try {
    const auth = { tokens: config.api.tokens === undefined ? [] : decodeTokens(pem(config.api.tokens, 'api.tokens'), config.api.tokens) };
    const gate = new PolicyGate({ client: () => api.localClient(), clock: systemClock }, { clientRegions: config.clientRegions, regions: config.regions.map((r) => r.name) });
    const beside: Beside = { prefix: '/v1/', answer: (ask) => answerBeside(restApi, ask) };
    const api: ApiServer = createApiServer({ store, kinds: KINDS, listen: { host: config.api.host, port: config.api.port }, tls, auth, log, beside, moreMetrics: () => metrics(), unready: () => scheduler.unready, review: (def, object, live) => gate.admit(def.resource.kind, object, live) });
    const onChange = (fresh: typeof first): void => {
      api.setTls(fresh.tls);
      if (config.rest.cert === undefined) rest.setTls(fresh.tls); // the listener serves the API's own
    };
    const served = new ServedCertificate({ first, read, onChange, log });
    const authenticator = new Authenticator(auth);
    const { scheduler, rest, restApi, metrics, services } = await assembleScheduler(config, { client: api.localClient(), log, authenticate: (request) => callerOf(authenticator.identify(request), null), policyIssues: (policy, path) => gate.issues(policy, path) });
    const closing: Service = { name: 'store', start: async () => undefined, stop: () => store.close() };
    const access: Service = { name: 'kubeconfig', start: () => writeAccess(config, api.url, tls.ca), stop: async () => undefined };
    const all = new ServiceGroup('global', [closing, api, access, services, served]);
    await all.start(options.signal ?? new AbortController().signal);
    log.info('global scheduler runs', { api: api.url, rest: rest.port, regions: config.regions.map((r) => r.name) });
    return { url: api.url, restPort: rest.port, stop: () => all.stop() };
  } catch (error) {
    await store.close().catch(() => undefined); // the first error is the one to report
    throw error;
  }
}

async function writeAccess(config: GlobalConfig, url: string, ca: string): Promise<void> {
  const k = config.kubeconfig;
  if (k === undefined) return;
  await writeKubeconfig(k.path, { server: k.server ?? url, ca, credential: { kind: 'certificate', cert: pem(k.cert, 'kubeconfig.cert'), key: pem(k.key, 'kubeconfig.key') } }, 'proxima-global');
}
