/** What the embedded engine writes: entries of the table `now`, and of the table `log`. */
import type { Entry, StoreEvent } from './port.ts';

/** [type, key, value, previous value, createRevision, previous createRevision, previous modRevision] */
export type LoggedEvent = readonly [0 | 1, string, Uint8Array | null, Uint8Array | null, number, number, number];

const HEADER_BYTES = 24; // createRevision, modRevision, lease; doubles hold integers to 2^53

export function encode(value: Uint8Array, createRevision: number, modRevision: number, lease: number): Buffer {
  const out = Buffer.allocUnsafe(HEADER_BYTES + value.length);
  out.writeDoubleLE(createRevision, 0);
  out.writeDoubleLE(modRevision, 8);
  out.writeDoubleLE(lease, 16);
  out.set(value, HEADER_BYTES);
  return out;
}

export function decode(key: string, bytes: Buffer): Entry & { readonly lease: number } {
  return { key, value: bytes.subarray(HEADER_BYTES), createRevision: bytes.readDoubleLE(0), modRevision: bytes.readDoubleLE(8), lease: bytes.readDoubleLE(16) };
}

export function toEvents(revision: number, logged: readonly LoggedEvent[]): readonly StoreEvent[] {
  return logged.map(([type, key, value, previous, createRevision]) => ({ type: type === 0 ? 'put' : 'delete', key, value, previous, createRevision, revision }));
}
