/** Opens the engine that a process's configuration names. */
import { readFileSync } from 'node:fs';
import { MeshError } from '../../api/errors.ts';
import type { StoreConfig } from '../../api/store-config.ts';
import type { Logger } from '../../base/log.ts';
import type { Store } from './port.ts';

function pem(path: string, key: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new MeshError('missing-file', `store.tls.${key}: cannot read ${path}`, { cause: error, fields: { path: `store.tls.${key}` } });
  }
}

/** `file`: of the embedded engine. `name`: of the store, where it has no namespace of its own. Each engine is loaded only where it is used. */
export async function openStore(config: StoreConfig, at: { readonly file: string; readonly name: string }, log: Logger): Promise<Store> {
  if (config.kind === 'lmdb') {
    const { openLmdbStore } = await import('./lmdb.ts');
    return openLmdbStore({ path: at.file, mapSizeBytes: config.mapSizeMiB * 2 ** 20, keepRevisions: config.keepRevisions, historyBytes: config.historyMiB * 2 ** 20, log });
  }
  const { openEtcdStore } = await import('./etcd.ts');
  const { tls } = config;
  const credentials = tls === null ? {} : { credentials: { rootCertificate: pem(tls.ca, 'ca'), certChain: pem(tls.cert, 'cert'), privateKey: pem(tls.key, 'key') } };
  const store = await openEtcdStore({ hosts: config.endpoints, ...credentials, namespace: config.namespace ?? `/proxima/${at.name}`, keepRevisions: config.keepRevisions, log });
  try {
    await store.revision();
  } catch (error) {
    await store.close();
    throw new MeshError('unavailable', `store.endpoints: no etcd answers at ${config.endpoints.join(', ')}: ${(error as Error).message}`, { cause: error, fields: { path: 'store.endpoints' }, next: `etcdctl --endpoints ${config.endpoints.join(',')} endpoint health` });
  }
  return store;
}
