/**
 * Numbers for names: the data plane counts by 16-bit ids, so every application of a front gets one that stays its own for as long as it is
 * needed, and the nodes learn what the ids mean from one ConfigMap.
 */
import type { KubeObject } from '../../api/object.ts';
import type { ClientRegion, View } from './world.ts';
import { SYSTEM, tenantOf } from './world.ts';

export interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

export const CLIENT_REGIONS = 'client-regions';
export const APPLICATION_IDS = 'application-ids';
export const TELEMETRY_NAMES = 'telemetry-names';
const LAST_ID = 0xffff;

/** A front names its application as `<tenant>/<name>`, or as `<name>` in the endpoint's own tenant. */
export function applicationKey(tenant: string, application: string): string {
  return application.includes('/') ? application : `${tenant}/${application}`;
}

export function configMap(name: string, data: Readonly<Record<string, string>>): ConfigMap {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, tenant: SYSTEM.tenant, namespace: SYSTEM.namespace }, data };
}

/** `{ "<id>:<name>": "cidr,cidr" }`. What cannot be read is left out and named in `problems`. */
export function parseClientRegions(map: ConfigMap | undefined): { readonly regions: readonly ClientRegion[]; readonly problems: readonly string[] } {
  const regions: ClientRegion[] = [];
  const problems: string[] = [];
  for (const [key, value] of Object.entries(map?.data ?? {})) {
    const match = /^(\d{1,5})[:.](.+)$/.exec(key);
    const id = Number(match?.[1]);
    if (match === null || id < 1 || id > LAST_ID) problems.push(`data["${key}"]: expected "<id 1..${LAST_ID}>:<name>" as the key`);
    else regions.push({ id, name: match[2] ?? '', cidrs: value.split(',').map((c) => c.trim()).filter((c) => c !== '') });
  }
  return { regions: regions.sort((a, b) => a.id - b.id), problems };
}

export function parseApplicationIds(map: ConfigMap | undefined): ReadonlyMap<string, number> {
  return new Map(Object.entries(map?.data ?? {}).map(([name, id]): [string, number] => [name.replace('..', '/'), Number(id)]));
}

/** ConfigMap keys may not hold a slash; names of tenants and applications hold no double dot. */
export function applicationIdsMap(ids: ReadonlyMap<string, number>): ConfigMap {
  return configMap(APPLICATION_IDS, Object.fromEntries([...ids].map(([name, id]) => [name.replace('/', '..'), String(id)])));
}

/** The same map when nothing is missing. Ids of applications without a front are taken back only when all 65,535 are used up. */
export function assignApplicationIds(ids: ReadonlyMap<string, number>, view: View): ReadonlyMap<string, number> {
  const wanted = new Set([...view.frontsBySite.values()].flat().map((e) => applicationKey(tenantOf(e), e.spec.application)));
  const missing = [...wanted].filter((name) => !ids.has(name)).sort();
  if (missing.length === 0) return ids;
  const next = new Map(ids);
  if (next.size + missing.length > LAST_ID) for (const name of ids.keys()) if (!wanted.has(name)) next.delete(name);
  const used = new Set(next.values());
  let candidate = Math.max(0, ...used);
  for (const name of missing) {
    if (used.size >= LAST_ID) break;
    do candidate = (candidate % LAST_ID) + 1;
    while (used.has(candidate));
    used.add(candidate);
    next.set(name, candidate);
  }
  return next;
}

/** `data.applications` and `data.clientRegions`: JSON objects from id to name. */
export function telemetryNames(view: View): ConfigMap {
  const applications = Object.fromEntries([...view.world.applications].map(([name, id]) => [String(id), name]));
  const clientRegions = Object.fromEntries(view.world.clientRegions.map((r) => [String(r.id), r.name]));
  return configMap(TELEMETRY_NAMES, { applications: JSON.stringify(applications), clientRegions: JSON.stringify(clientRegions) });
}
