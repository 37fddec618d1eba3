/** What the mover must not forget: kept with the Placement, so that a scheduler that was killed goes on where it was. */
import type { Placement } from '../../api/kinds/mesh.ts';
import type { Epochs } from './epoch.ts';
import type { ApplicationModel } from './model.ts';
import type { Traffic } from './mover-model.ts';
import type { Trials } from './trials.ts';

export interface Memory {
  readonly traffic: Readonly<Record<string, Traffic>>;
  readonly avoid: ApplicationModel['avoid'];
  readonly movedAt: readonly number[];
  /** By site; absent = 0. */
  readonly epochs?: Epochs;
  /** By the site that takes over. */
  readonly trials?: Trials;
}

export const MEMORY_ANNOTATION = 'mesh.proxima.io/moves';
export const NOTHING: Memory = { traffic: {}, avoid: [], movedAt: [] };

/** A Placement's text is read once, however often it is asked for. */
const read = new WeakMap<Placement, Memory>();

export function memoryOf(placement: Placement | undefined): Memory {
  if (placement === undefined) return NOTHING;
  const known = read.get(placement);
  if (known !== undefined) return known;
  const memory = parse(placement.metadata.annotations?.[MEMORY_ANNOTATION]);
  read.set(placement, memory);
  return memory;
}

function parse(text: string | undefined): Memory {
  if (text === undefined) return NOTHING;
  try {
    return { ...NOTHING, ...(JSON.parse(text) as Partial<Memory>) };
  } catch {
    return NOTHING; // edited by hand: as if it had never moved
  }
}
