/** The ConfigMaps that the plane writes for others to read: ids of applications, their names for the nodes, and each site's WireGuard peers. */
import type { Client } from '../../api/client.ts';
import { isMeshError } from '../../api/errors.ts';
import { Resources } from '../../api/resources.ts';
import { REVOCATIONS_NAME } from '../../certs/revocation.ts';
import type { ConfigMap } from './names.ts';
import { APPLICATION_IDS, applicationIdsMap, assignApplicationIds, CLIENT_REGIONS, configMap, TELEMETRY_NAMES, telemetryNames } from './names.ts';
import { relayPeers } from './relays.ts';
import type { View } from './world.ts';
import { SYSTEM } from './world.ts';

const RELAY_PREFIX = 'relay-';

/** Others keep ConfigMaps in the same namespace, thousands perhaps: what the plane neither writes nor reads is nothing to it. */
const isWritten = (name: string): boolean => name === TELEMETRY_NAMES || name === APPLICATION_IDS || name.startsWith(RELAY_PREFIX);
export const isRecord = (name: string): boolean => isWritten(name) || name === CLIENT_REGIONS || name === REVOCATIONS_NAME;

export const relayRecord = (site: string): string => `${RELAY_PREFIX}${site}`;

/** What the record `name` should hold; null = it should not be there. */
export function recordFor(name: string, view: View): ConfigMap | null {
  if (name === TELEMETRY_NAMES) return telemetryNames(view);
  if (name === APPLICATION_IDS) return applicationIdsMap(assignApplicationIds(view.world.applications, view));
  const site = name.startsWith(RELAY_PREFIX) ? name.slice(RELAY_PREFIX.length) : '';
  const relay = view.relays.get(site);
  if (relay === undefined || !view.dropletsBySite.has(site)) return null;
  return configMap(name, { peers: JSON.stringify(relayPeers(site, view)) });
}

/** Names of the records that should be there, or are and may have to go. */
export function recordNames(view: View, present: Iterable<string>): readonly string[] {
  const sites = [...view.dropletsBySite.keys()].map(relayRecord);
  return [...new Set([APPLICATION_IDS, TELEMETRY_NAMES, ...sites, ...[...present].filter((n) => n.startsWith(RELAY_PREFIX))])];
}

/** Conditional on what was read, so that two planes never hand out ids from the same state. */
export async function writeRecord(client: Client, name: string, wanted: ConfigMap | null, present: ConfigMap | undefined): Promise<void> {
  if (wanted === null) {
    if (present !== undefined) await unlessGone(client.delete(Resources.ConfigMap, SYSTEM, name));
    return;
  }
  if (present === undefined) {
    if (Object.keys(wanted.data ?? {}).length > 0) await client.create<ConfigMap>(Resources.ConfigMap, wanted);
    return;
  }
  if (sameData(present.data ?? {}, wanted.data ?? {})) return;
  await client.update<ConfigMap>(Resources.ConfigMap, { ...present, data: wanted.data ?? {} });
}

function sameData(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((k) => a[k] === b[k]);
}

async function unlessGone(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isMeshError(error, 'not-found')) throw error;
  }
}

const EPOCH = 'goal-epoch';
/** 2^32 versions per start and 2^21 starts fit into the integers that JSON and JavaScript hold exactly. */
const VERSIONS_PER_EPOCH = 2 ** 32;

/** Versions of goal state: each start of a plane takes the next epoch, so they grow over restarts and two planes never share one. */
export async function versionSource(client: Client): Promise<() => number> {
  const epoch = await nextEpoch(client);
  let n = 0;
  return () => epoch * VERSIONS_PER_EPOCH + ++n;
}

async function nextEpoch(client: Client): Promise<number> {
  for (;;) {
    try {
      const found = await client.get<ConfigMap>(Resources.ConfigMap, SYSTEM, EPOCH);
      const epoch = Number(found.data?.['epoch'] ?? 0) + 1;
      await client.update<ConfigMap>(Resources.ConfigMap, { ...found, data: { epoch: String(epoch) } });
      return epoch;
    } catch (error) {
      if (isMeshError(error, 'conflict')) continue;
      if (!isMeshError(error, 'not-found')) throw error;
    }
    try {
      await client.create<ConfigMap>(Resources.ConfigMap, configMap(EPOCH, { epoch: '1' }));
      return 1;
    } catch (error) {
      if (!isMeshError(error, 'already-exists')) throw error;
    }
  }
}
