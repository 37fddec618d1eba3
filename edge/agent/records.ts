/**
 * Desired pods on disk, one file each: what the node comes back to after a reboot with no cloud in sight. A record is written (and
 * flushed, with its folder) before anything is done about it.
 */
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Pod } from '../../api/kinds/core.ts';
import type { Logger } from '../../base/log.ts';
import { writeDurably } from '../../certs/files.ts';
import { FENCE_AFTER } from './fence.ts';
import { uidOf, type PodRecord } from './model.ts';
import { RESTORE_FROM, SEND_TO } from './vm/transfer.ts';

export class Records {
  readonly #dir: string;
  readonly #log: Logger;
  readonly #records = new Map<string, PodRecord>();

  constructor(dir: string, log: Logger) {
    this.#dir = dir;
    this.#log = log;
  }

  load(): void {
    mkdirSync(this.#dir, { recursive: true });
    for (const file of readdirSync(this.#dir)) {
      if (!file.endsWith('.json')) continue;
      try {
        const record = JSON.parse(readFileSync(join(this.#dir, file), 'utf8')) as PodRecord;
        this.#records.set(uidOf(record.pod), record);
      } catch (error) {
        this.#log.error('a pod record cannot be read; the pod waits for the API', { file, err: error });
      }
    }
  }

  get(uid: string): PodRecord | undefined {
    return this.#records.get(uid);
  }

  all(): readonly PodRecord[] {
    return [...this.#records.values()];
  }

  /** The pod as the API has it now. Its newest status stays ours until the API has taken it. */
  desire(pod: Pod): boolean {
    const uid = uidOf(pod);
    const old = this.#records.get(uid);
    if (old !== undefined && sameDesire(old.pod, pod) && !old.gone) {
      this.#records.set(uid, { ...old, pod });
      return false;
    }
    const { wordAt, ...known } = old ?? { address: null, provisioned: false, starts: {}, crashes: {} };
    // the time of a fence runs from a word that was heard while there was one
    const isFenced = wordAt !== undefined && old?.pod.metadata.annotations?.[FENCE_AFTER] !== undefined;
    this.#write(uid, { ...known, ...(isFenced ? { wordAt } : {}), pod, gone: false });
    return true;
  }

  change(uid: string, change: Partial<PodRecord>): void {
    const old = this.#records.get(uid);
    if (old !== undefined) this.#write(uid, { ...old, ...change });
  }

  forget(uid: string): void {
    this.#records.delete(uid);
    rmSync(this.#file(uid), { force: true });
  }

  #write(uid: string, record: PodRecord): void {
    this.#records.set(uid, record);
    writeDurably(this.#file(uid), JSON.stringify(record), 0o600);
  }

  #file(uid: string): string {
    return join(this.#dir, `${uid.replaceAll(/[^A-Za-z0-9.-]/g, '_')}.json`);
  }
}

/** Annotations that the agent acts on. */
const HEEDED = [RESTORE_FROM, SEND_TO, FENCE_AFTER] as const;

/** Whether two versions of a pod ask for the same; statuses are not asked for. */
function sameDesire(a: Pod, b: Pod): boolean {
  return HEEDED.every((k) => a.metadata.annotations?.[k] === b.metadata.annotations?.[k]) && a.metadata.deletionTimestamp === b.metadata.deletionTimestamp && a.metadata.deletionGracePeriodSeconds === b.metadata.deletionGracePeriodSeconds && JSON.stringify(a.spec) === JSON.stringify(b.spec);
}
