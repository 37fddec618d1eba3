/** The two archive formats that images are made of, written by hand because each is a header and some padding: ustar and newc cpio. */
import { closeSync, openSync, readSync } from 'node:fs';
import { MeshError } from '../../api/errors.ts';

export interface Entry {
  /** Without a leading slash. */
  readonly path: string;
  readonly mode: number;
  readonly kind: 'file' | 'dir' | 'link' | 'char';
  readonly content?: Buffer;
  readonly target?: string;
  readonly device?: readonly [major: number, minor: number];
}

const TAR_TYPES = { file: '0', link: '2', char: '3', dir: '5' } as const;

export function tar(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  for (const e of entries) {
    const content = e.content ?? Buffer.alloc(0);
    const h = Buffer.alloc(512);
    const octal = (value: number, at: number, length: number): void => void h.write(value.toString(8).padStart(length - 1, '0'), at);
    if (Buffer.byteLength(e.path) > 99) throw new RangeError(`path too long for tar: ${e.path}`);
    h.write(e.kind === 'dir' ? `${e.path}/` : e.path, 0);
    octal(e.mode, 100, 8);
    octal(0, 108, 8);
    octal(0, 116, 8);
    octal(content.length, 124, 12);
    octal(0, 136, 12);
    h.write('        ', 148);
    h.write(TAR_TYPES[e.kind], 156);
    h.write(e.target ?? '', 157);
    h.write('ustar\0' + '00', 257);
    octal(e.device?.[0] ?? 0, 329, 8);
    octal(e.device?.[1] ?? 0, 337, 8);
    const sum = h.reduce((a, b) => a + b, 0);
    h.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    parts.push(h, content, Buffer.alloc((512 - (content.length % 512)) % 512));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

const CPIO_TYPES = { file: 0o100000, link: 0o120000, char: 0o020000, dir: 0o040000 } as const;

export function cpio(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  const pad = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);
  const add = (e: Entry, inode: number, mode: number): void => {
    const content = e.kind === 'link' ? Buffer.from(e.target ?? '') : (e.content ?? Buffer.alloc(0));
    const name = Buffer.from(`${e.path}\0`);
    const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, e.device?.[0] ?? 0, e.device?.[1] ?? 0, name.length, 0];
    const header = Buffer.from(`070701${fields.map((f) => f.toString(16).padStart(8, '0')).join('')}`);
    parts.push(header, name, pad(header.length + name.length), content, pad(content.length));
  };
  entries.forEach((e, i) => add(e, i + 1, CPIO_TYPES[e.kind] | e.mode));
  add({ path: 'TRAILER!!!', mode: 0, kind: 'file' }, 0, 0);
  return Buffer.concat(parts);
}

/** Name and image id (digest of its configuration) of an OCI archive whose index and manifest come first, as ours do. */
export function ociImage(file: string): { readonly name: string; readonly configDigest: string } {
  const fd = openSync(file, 'r');
  const head = Buffer.alloc(64 * 1024);
  readSync(fd, head, 0, head.length, 0);
  closeSync(fd);
  const texts = new Map<string, string>();
  for (let at = 0; at + 512 <= head.length && head[at] !== 0; ) {
    const name = head.toString('utf8', at, at + 100).replace(/\0.*$/s, '');
    const size = Number.parseInt(head.toString('latin1', at + 124, at + 135), 8);
    texts.set(name, head.toString('utf8', at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  const index = JSON.parse(texts.get('index.json') ?? '{}') as { manifests?: { digest: string; annotations?: Record<string, string> }[] };
  const entry = index.manifests?.[0];
  const manifest = JSON.parse(texts.get(`blobs/sha256/${entry?.digest.slice(7)}`) ?? '{}') as { config?: { digest: string } };
  const name = entry?.annotations?.['io.containerd.image.name'];
  if (name === undefined || manifest.config === undefined) throw new MeshError('invalid', `${file} is not an OCI archive of ours`, { fields: { path: 'images' }, next: 'make the images again' });
  return { name, configDigest: manifest.config.digest };
}
