/** What verbs share: a client of the region that a kubeconfig names, waiting with a deadline, numbers from options. */
import type { HttpClient } from '../api/http-client.ts';
import { isMeshError, MeshError } from '../api/errors.ts';
import type { Access } from '../api/kubeconfig.ts';

export interface Connected {
  readonly client: HttpClient;
  readonly access: Access;
}

export async function connect(kubeconfig: string | undefined): Promise<Connected> {
  const path = kubeconfig ?? process.env['KUBECONFIG'];
  if (path === undefined || path === '') throw new MeshError('invalid', 'expected --kubeconfig FILE of the region (or KUBECONFIG)', { fields: { path: '--kubeconfig' }, next: 'sudo ./proxima up makes a region and prints its kubeconfig' });
  const { loadKubeconfig } = await import('../api/kubeconfig.ts');
  const { createHttpClient } = await import('../api/http-client.ts');
  const access = await loadKubeconfig(path).catch((error: unknown) => {
    throw isMeshError(error, 'missing-file') ? new MeshError('missing-file', error.message, { fields: error.fields, cause: error, next: 'name the region\'s kubeconfig: --kubeconfig FILE (sudo ./proxima up prints its own)' }) : error;
  });
  return { client: createHttpClient(access, { timeoutMs: 10_000 }), access };
}

/** Runs with a client that is closed afterwards. */
export async function withClient<T>(kubeconfig: string | undefined, use: (connected: Connected) => Promise<T>): Promise<T> {
  const connected = await connect(kubeconfig);
  try {
    return await use(connected);
  } catch (error) {
    if (!isMeshError(error, 'unavailable') || error.next !== null) throw error;
    throw new MeshError('unavailable', error.message, { fields: error.fields, cause: error, next: `check that the region answers: kubectl --kubeconfig ${kubeconfig ?? 'FILE'} get --raw /readyz` });
  } finally {
    await connected.client.close();
  }
}

export function integer(option: string, value: string, from: number, to: number): number {
  const n = Number(value);
  if (!/^\d+$/.test(value) || n < from || n > to) throw new MeshError('invalid', `${option}: expected a number from ${from} to ${to}, got "${value}"`, { fields: { path: option } });
  return n;
}

/** Asks until there is an answer that is not null. Errors count as "not yet", except those that time does not mend. */
export async function until<T>(what: string, timeoutMs: number, ask: () => Promise<T | null>, next?: string): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    let last = '';
    try {
      const found = await ask();
      if (found !== null) return found;
    } catch (error) {
      if (isMeshError(error, 'unauthenticated') || isMeshError(error, 'forbidden')) throw error;
      last = `: ${(error as Error).message}`;
    }
    if (Date.now() > end) throw new MeshError('timeout', `${what}: not in ${Math.round(timeoutMs / 1000)} s${last}`, next === undefined ? {} : { next });
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}
