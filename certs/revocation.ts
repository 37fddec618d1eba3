/**
 * Which certificates are refused although they are valid. The list is one ConfigMap in the region's API: one key per serial, its value
 * says when and why, so that two operators who revoke at once do not undo each other.
 */
import type { Client, Place } from '../api/client.ts';
import { isMeshError, MeshError } from '../api/errors.ts';
import type { KubeObject } from '../api/object.ts';
import { Resources } from '../api/resources.ts';
import type { RevokedEntry } from './x509.ts';

export const REVOCATIONS_NAME = 'proxima-revocations';
export const REVOCATIONS_PLACE: Place = { tenant: 'system', namespace: 'default' };

export interface RevocationMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

export function serialsOf(map: RevocationMap): ReadonlySet<string> {
  return new Set(Object.keys(map.data ?? {}).map((s) => s.toUpperCase()));
}

export function revokedEntries(map: RevocationMap): RevokedEntry[] {
  return Object.entries(map.data ?? {}).map(([serial, text]) => {
    const at = Date.parse(text.split(' ')[0] ?? '');
    return { serial: serial.toUpperCase(), at: new Date(Number.isNaN(at) ? 0 : at) };
  });
}

/** Adds a serial to the list; the gateways hear of it through their watch and cut what is connected with it. */
export async function revokeSerial(client: Client, serial: string, reason: string, options: { readonly now?: number; readonly place?: Place } = {}): Promise<void> {
  const normal = serial.replaceAll(':', '').toUpperCase();
  if (!/^[0-9A-F]{2,40}$/.test(normal)) throw new MeshError('invalid', `serial: expected hex digits, got "${serial}"`, { fields: { path: 'serial' } });
  const place = options.place ?? REVOCATIONS_PLACE;
  const data = { [normal]: `${new Date(options.now ?? Date.now()).toISOString()} ${reason}` };
  const metadata = { name: REVOCATIONS_NAME, ...(place.tenant === null ? {} : { tenant: place.tenant }), ...(place.namespace === null ? {} : { namespace: place.namespace }) };
  for (let attempt = 0; ; attempt++) {
    try {
      await client.patch<RevocationMap>(Resources.ConfigMap, place, REVOCATIONS_NAME, { data });
      return;
    } catch (error) {
      if (!isMeshError(error, 'not-found') || attempt > 1) throw error;
    }
    try {
      await client.create<RevocationMap>(Resources.ConfigMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data });
      return;
    } catch (error) {
      if (!isMeshError(error, 'already-exists')) throw error; // made by another in between: add to it
    }
  }
}
