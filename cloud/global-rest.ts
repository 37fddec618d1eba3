/** The scheduler's REST face behind the global API's own address and credentials: who may ask, as whom. */
import { MeshError } from '../api/errors.ts';
import type { RestApi } from '../scheduler/global/rest-api.ts';
import type { Caller } from '../scheduler/global/rest-routes.ts';
import { type Identity, isMaster, SYSTEM_TENANT } from './apiserver/identity.ts';
import type { Beside } from './apiserver/server.ts';

/** `tenant`: of the URL's prefix, to which an operator then keeps itself. */
export function callerOf(who: Identity, tenant: string | null): Caller {
  if (isMaster(who)) return { name: who.name, tenant, defaultTenant: tenant ?? SYSTEM_TENANT };
  if (who.tenant === SYSTEM_TENANT) throw new MeshError('forbidden', `"${who.name}" has no role here: placements are for tenants and operators`);
  if (tenant !== null && tenant !== who.tenant) throw new MeshError('forbidden', `the credential is of tenant "${who.tenant}", not "${tenant}"`);
  return { name: who.name, tenant: who.tenant, defaultTenant: who.tenant };
}

/** `/v1/...` or `/tenants/<t>/v1/...`, as the server has taken it apart. */
export async function answerBeside(rest: RestApi, ask: Parameters<Beside['answer']>[0]): ReturnType<Beside['answer']> {
  const prefix = /^\/tenants\/([^/?]+)(?=\/)/.exec(ask.url);
  const url = prefix === null ? ask.url : ask.url.slice(prefix[0].length);
  const answer = await rest.answer({ ...ask, url, caller: () => callerOf(ask.who, prefix?.[1] ?? null) });
  return { code: answer.status, body: Buffer.from(answer.body) };
}
