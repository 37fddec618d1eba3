/** Counters and modes of the data planes on this machine, read from the maps that they pin; works while no agent runs. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { loadNative } from '../dataplane/native.ts';
import { decodeCounts, decodeDrops, decodeModes, type CountRow } from '../dataplane/transit/layout.ts';
import type { Chosen } from '../dataplane/transit/modes.ts';

const ROOT = '/sys/fs/bpf/proxima';

export function pinnedDroplets(): readonly string[] {
  return existsSync(ROOT) ? readdirSync(ROOT).sort() : [];
}

export interface Pinned {
  readonly drops: Readonly<Record<string, number>>;
  readonly fronts: readonly CountRow[];
}

function entriesOf(path: string): readonly { readonly key: Buffer; readonly value: Buffer }[] {
  const native = loadNative();
  const map = native.openMap(path);
  const { keySize, valueSize } = native.mapShape(map);
  const all = native.mapEntries(map);
  return Array.from({ length: all.length / (keySize + valueSize) }, (_, i) => {
    const at = i * (keySize + valueSize);
    return { key: all.subarray(at, at + keySize), value: all.subarray(at + keySize, at + keySize + valueSize) };
  });
}

export interface PinnedMode extends Chosen {
  readonly droplet: string;
  readonly role: 'bouncer' | 'front';
}

/** Where each role's programs are attached on this machine, and why. */
export function readModes(): readonly PinnedMode[] {
  return pinnedDroplets().flatMap((droplet) =>
    readdirSync(join(ROOT, droplet)).flatMap((netns) => {
      const config = join(ROOT, droplet, netns, 'maps', 'config');
      const modes = existsSync(config) ? decodeModes(entriesOf(config)[0]?.value ?? Buffer.alloc(0)) : null;
      if (modes === null) return [];
      return [{ droplet, role: 'bouncer' as const, ...modes.lan }, ...(modes.front === null ? [] : [{ droplet, role: 'front' as const, ...modes.front }])];
    }),
  );
}

/** Maps are below a folder named after the network namespace that they serve: one, except right after a move of the node. */
export function readPinned(droplet: string): Pinned {
  const drops: Record<string, number> = {};
  const fronts: CountRow[] = [];
  for (const netns of readdirSync(join(ROOT, droplet))) {
    const maps = join(ROOT, droplet, netns, 'maps');
    if (!existsSync(join(maps, 'drops'))) continue;
    for (const [reason, n] of Object.entries(decodeDrops(entriesOf(join(maps, 'drops'))))) drops[reason] = (drops[reason] ?? 0) + n;
    fronts.push(...decodeCounts(entriesOf(join(maps, 'counts'))));
  }
  return { drops, fronts };
}
