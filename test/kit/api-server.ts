/** A real API server on a free port over a store in memory, for tests: HTTPS with its own authority, and credentials for anybody. */
import { createHttpClient, type HttpClient } from '../../api/http-client.ts';
import type { Access } from '../../api/kubeconfig.ts';
import { definitions } from '../../api/definitions.ts';
import { silentLogger } from '../../base/log.ts';
import { createApiServer, type ApiServer, type ApiServerOptions } from '../../cloud/apiserver/server.ts';
import type { StaticToken } from '../../cloud/apiserver/identity.ts';
import { MemoryStore } from './memory-store.ts';
import { testAuthority, type TestAuthority } from './pki.ts';
import type { CaseContext } from './suite.ts';

export interface TestApiServer {
  readonly server: ApiServer;
  readonly store: MemoryStore;
  readonly authority: TestAuthority;
  /** By client certificate: `o` are the organizations. */
  readonly access: (cn: string, o: readonly string[], prefix?: string) => Access;
  readonly client: (cn: string, o: readonly string[], prefix?: string) => HttpClient;
}

/** Keys take a while to make: one authority serves a whole file. */
let shared: { readonly authority: TestAuthority; readonly leaf: { readonly cert: string; readonly key: string } } | null = null;

export async function testApiServer(t: Pick<CaseContext, 'after'>, options: Partial<ApiServerOptions> & { readonly tokens?: readonly StaticToken[] } = {}): Promise<TestApiServer> {
  if (shared === null) {
    const made = testAuthority();
    shared = { authority: made, leaf: made.issue({ cn: 'api' }) };
  }
  const { authority, leaf } = shared;
  const store = new MemoryStore();
  const server = createApiServer({
    store,
    kinds: Object.values(definitions),
    listen: { host: '127.0.0.1', port: 0 },
    tls: { key: leaf.key, cert: leaf.cert, ca: authority.ca },
    auth: { tokens: options.tokens ?? [] },
    log: silentLogger,
    ...options,
  });
  await server.start(new AbortController().signal);
  t.after(async () => {
    await server.stop();
    await store.close();
  });
  const access = (cn: string, o: readonly string[], prefix = ''): Access => {
    const { cert, key } = authority.issue({ cn, o });
    return { server: `${server.url}${prefix}`, ca: authority.ca, credential: { kind: 'certificate', cert, key } };
  };
  return {
    server,
    store,
    authority,
    access,
    client(cn, o, prefix) {
      const client = createHttpClient(access(cn, o, prefix));
      t.after(() => client.close());
      return client;
    },
  };
}
