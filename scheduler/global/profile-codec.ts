/**
 * The shape of an application's day as text for the store, 240 bytes a client region before base64. Little-endian, for each of 48 slots:
 *
 *     mean u16 | deviation u16 | days u8      requests/s as round(4000 x ln(1 + r)): within 0.03 %, up to 13 million
 */
import { MeshError } from '../../api/errors.ts';
import { type ProfileRow, SLOTS } from './predict.ts';

const BYTES = SLOTS * 5;
const SCALE = 4000;
const MAX = 0xffff;

const pack = (rps: number): number => Math.min(MAX, Math.round(Math.log1p(Math.max(0, rps)) * SCALE));
const unpack = (n: number): number => Math.expm1(n / SCALE);

export function encodeProfile(rows: readonly ProfileRow[]): string {
  return JSON.stringify(
    Object.fromEntries(
      rows.map((r) => {
        const b = Buffer.alloc(BYTES);
        for (let i = 0; i < SLOTS; i++) {
          b.writeUInt16LE(pack(r.mean[i] ?? 0), i * 5);
          b.writeUInt16LE(pack(r.deviation[i] ?? 0), i * 5 + 2);
          b.writeUInt8(Math.min(255, r.days[i] ?? 0), i * 5 + 4);
        }
        return [r.clientRegion, b.toString('base64')];
      }),
    ),
  );
}

/** Throws `invalid` when somebody changed it by hand. */
export function decodeProfile(text: string): readonly ProfileRow[] {
  const bad = (what: string, cause?: unknown): MeshError => new MeshError('invalid', `demand profile: ${what}`, { cause, next: 'delete the ConfigMap: the profile is learned again' });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw bad('not JSON', error);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw bad('expected a map');
  return Object.entries(value).map(([clientRegion, encoded]): ProfileRow => {
    const b = Buffer.from(String(encoded), 'base64');
    if (b.length !== BYTES) throw bad(`${clientRegion}: ${b.length} bytes, expected ${BYTES}`);
    const each = <T>(f: (i: number) => T): T[] => Array.from({ length: SLOTS }, (_, i) => f(i * 5));
    return { clientRegion, mean: each((i) => unpack(b.readUInt16LE(i))), deviation: each((i) => unpack(b.readUInt16LE(i + 2))), days: each((i) => b.readUInt8(i + 4)) };
  });
}
