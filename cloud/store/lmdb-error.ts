/** Why a write to the embedded engine failed, in words that say what to do. */
import { statfs } from 'node:fs/promises';
import { MeshError } from '../../api/errors.ts';

/** LMDB writes pages where they belong, several at once; with less than this free, one write ends short and it says no more than `EIO`. */
const FULL_BELOW_BYTES = 2 ** 20;

/** LMDB says of a commit only that it failed; why is in a promise of its own, which ends the process when nobody takes it. */
async function reasonOf(failed: unknown): Promise<unknown> {
  const { commitError } = failed as { readonly commitError?: Promise<never> };
  return commitError === undefined ? failed : commitError.catch((reason: unknown) => reason);
}

async function freeBytes(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY; // not known: then it is not said
  }
}

export async function writeError(path: string, failed: unknown): Promise<MeshError> {
  const cause = await reasonOf(failed);
  const { message } = cause as Error;
  if (message.includes('MDB_MAP_FULL')) return new MeshError('disk-full', `${path}: the map is full`, { cause, next: 'start with a larger map size' });
  const isFull = /ENOSPC|No space/.test(message) || (await freeBytes(path)) < FULL_BELOW_BYTES;
  if (isFull) return new MeshError('disk-full', `${path}: the disk is full; what was acknowledged is safe, and reads go on`, { cause, next: `make room on this disk: df -h ${path}` });
  return new MeshError('io', `${path}: ${message}`, { cause });
}
