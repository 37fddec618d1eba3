/** Certificates and keys on disk. A file is there whole or not at all, and a key is never readable by others, not even for a moment. */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { MeshError } from '../api/errors.ts';

export function writeDurably(path: string, content: string | Uint8Array, mode = 0o644): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    const temporary = `${path}.new`;
    const fd = openSync(temporary, 'w', mode);
    try {
      const bytes = typeof content === 'string' ? Buffer.from(content) : content;
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    const folder = openSync(dirname(path), 'r');
    fsyncSync(folder);
    closeSync(folder);
  } catch (error) {
    const full = (error as NodeJS.ErrnoException).code === 'ENOSPC';
    throw new MeshError(full ? 'disk-full' : 'io', `${path} could not be written: ${(error as Error).message}`, { fields: { path }, cause: error });
  }
}

export function readText(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new MeshError('missing-file', `${what}: ${path} does not exist`, { fields: { path }, cause: error });
    throw new MeshError('io', `${what}: ${path} could not be read: ${(error as Error).message}`, { fields: { path }, cause: error });
  }
}
