/** The last goal on disk, so that a gateway which starts while the uplink is down offers what it offered before. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '../../base/log.ts';
import { writeDurably } from '../../certs/files.ts';
import { decodeGoal } from '../control.ts';
import type { GatewayGoal } from '../control.ts';

export const NO_GOAL: GatewayGoal = { type: 'goal', presences: [], revoked: [] };

const pathOf = (dir: string): string => join(dir, 'gateway-goal.json');

export function loadGoal(dir: string, log: Logger): GatewayGoal {
  try {
    return decodeGoal(readFileSync(pathOf(dir), 'utf8'));
  } catch (error) {
    // A damaged file is as good as none: the region sends the whole goal on connecting.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log.warn('the kept goal cannot be read', { path: pathOf(dir), err: error });
    return NO_GOAL;
  }
}

export function saveGoal(dir: string, goal: GatewayGoal): void {
  writeDurably(pathOf(dir), JSON.stringify(goal), 0o600);
}
