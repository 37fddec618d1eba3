/** What is kept of a VM in its folder: `vm.json` (how it was started) and `transfer.json` (its part of a move), written before they are true. */
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../../api/errors.ts';
import { writeDurably } from '../../../certs/files.ts';
import type { PodAddress } from '../model.ts';
import type { GuestChannel } from './channel.ts';
import type { MachineSpec } from './machine.ts';
import type { Qmp } from './qmp.ts';
import type { Transfer } from './transfer.ts';

export interface VmFile {
  readonly name: string;
  readonly pod: { readonly tenant: string; readonly namespace: string; readonly name: string };
  readonly spec: MachineSpec;
  readonly address: PodAddress;
  readonly tap: string;
  readonly startedAt: number;
}

/** A VM whose QEMU this process speaks to. */
export interface Live {
  readonly file: VmFile;
  readonly qmp: Qmp;
  readonly channel: GuestChannel;
  power: 'running' | 'paused';
  configured: boolean;
}

export function snapshotFile(folder: string, name: string): string {
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) throw new MeshError('invalid', `snapshot: "${name}" must be lower-case letters, digits and dashes`, { fields: { path: 'snapshot' } });
  return join(folder, 'snapshots', name);
}

/** The transfers of a node's VMs, on disk and in memory. */
export class Transfers {
  readonly #dir: string;
  readonly #known = new Map<string, Transfer>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  load(): void {
    for (const uid of existsSync(this.#dir) ? readdirSync(this.#dir) : []) {
      if (existsSync(this.#path(uid))) this.#known.set(uid, JSON.parse(readFileSync(this.#path(uid), 'utf8')) as Transfer);
    }
  }

  get(uid: string): Transfer | undefined {
    return this.#known.get(uid);
  }

  /** On disk when this returns. */
  put(uid: string, transfer: Transfer): void {
    writeDurably(this.#path(uid), JSON.stringify(transfer), 0o600);
    this.#known.set(uid, transfer);
  }

  drop(uid: string): void {
    rmSync(this.#path(uid), { force: true });
    this.#known.delete(uid);
  }

  #path(uid: string): string {
    return join(this.#dir, uid, 'transfer.json');
  }
}
