/** The target's end of a transfer: one Loop key per VM that is to come, from the question to the source until the guest runs here. */
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { isMeshError, MeshError } from '../../../api/errors.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Service } from '../../../base/lifecycle.ts';
import type { Logger } from '../../../base/log.ts';
import { Loop } from '../../../base/loop.ts';
import { nameOf, type PodRecord } from '../model.ts';
import type { VmRuntime } from './runtime.ts';
import { downtimeMs, retryAt, sourceOf, type Receiving, type Source } from './transfer.ts';
import { TransferStream, unexpected } from './transfer-wire.ts';

/** The way to the agent that has a pod, proved to be a node of that site. */
export interface TransferDial {
  dial(from: Source, signal: AbortSignal): Promise<Duplex>;
}

export interface VmReceiverOptions {
  readonly vms: VmRuntime;
  readonly recordOf: (uid: string) => PodRecord | undefined;
  readonly way: TransferDial;
  /** Nothing is waited for any more: the guest runs here, or there is none to come; its next start is an ordinary one. */
  readonly onRestored: (uid: string) => void;
  readonly onChange: (uid: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long a source that knows of nothing is asked again, ms. @default 60000 */
  readonly patienceMs?: number;
}

const ASK_MS = 20_000;
const LOAD_MS = 30_000;
const CONFIGURE_MS = 20_000;
const RETRY_MS = 1000;

/** It only frees the source's memory earlier: that it was not heard changes nothing. */
const sayRunning = (stream: TransferStream): Promise<void> => stream.send({ kind: 'running' }).catch(() => undefined);

export class VmReceiver implements Service {
  readonly name = 'VM arrivals';
  readonly #o: VmReceiverOptions;
  readonly #loop: Loop;
  readonly #active = new Map<string, AbortController>();

  constructor(options: VmReceiverOptions) {
    this.#o = options;
    this.#loop = new Loop({ name: this.name, log: options.log, clock: options.clock, resyncMs: 0, maxRetryMs: RETRY_MS, run: (uid, signal) => this.#run(uid, signal) });
    options.vms.isReceiving = (uid) => this.#active.has(uid);
  }

  start(signal: AbortSignal): Promise<void> {
    return this.#loop.start(signal);
  }

  /** What is under way ends: the source runs on, or is asked by the next agent. */
  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Sees to it that this VM comes; may be said again. */
  receive(uid: string): void {
    if (this.#active.has(uid)) return;
    this.#active.set(uid, new AbortController());
    this.#loop.trigger(uid);
  }

  /** The pod goes: whatever is under way is no longer wanted. */
  letGo(uid: string): void {
    this.#active.get(uid)?.abort(new Error('the pod is taken away'));
    this.#active.delete(uid);
    this.#loop.forget(uid);
  }

  async #run(uid: string, stopping: AbortSignal): Promise<number | void> {
    const [active, record] = [this.#active.get(uid), this.#o.recordOf(uid)];
    if (active === undefined || record === undefined || record.address === null) return this.letGo(uid);
    const signal = AbortSignal.any([active.signal, stopping]);
    let delay: number | null = null;
    try {
      const from = sourceOf(record.pod);
      if (from === null) return this.letGo(uid);
      const before = this.#o.vms.transfers.get(uid);
      const known = before?.role === 'receive' ? before : null;
      if (known?.phase === 'committed') await this.#goOn(uid, known, { stoppedMs: 0, turnMs: 0, waitedMs: 0 }, performance.now());
      else if (known?.phase === 'loaded') delay = await this.#ask(uid, known, signal);
      else if (known === null || known.phase === 'receiving') delay = await this.#try(uid, record, from, known, signal);
    } catch (error) {
      if (signal.aborted) return;
      throw error; // the loop asks again
    }
    if (delay !== null) return delay;
    this.#active.delete(uid);
    this.#o.onChange(uid);
  }

  /** One try from the beginning; a delay until the next, or null when there is none to come. */
  async #try(uid: string, record: PodRecord, from: Source, known: Receiving | null, signal: AbortSignal): Promise<number | null> {
    const { vms, clock } = this.#o;
    let now: Receiving = { role: 'receive', id: randomUUID(), from, phase: 'receiving', attempt: known?.attempt ?? 0, startedAt: known?.startedAt ?? clock.now(), bytes: 0, downtimeMs: null, reason: null };
    let hasBegun = false;
    let stream: TransferStream | null = null;
    const put = (change: Partial<Receiving>): void => {
      if (signal.aborted) throw signal.reason as Error;
      now = { ...now, ...change };
      vms.transfers.put(uid, now);
      this.#o.onChange(uid);
    };
    try {
      stream = new TransferStream(await this.#o.way.dial(from, signal));
      signal.addEventListener('abort', () => stream?.destroy(), { once: true });
      await stream.send({ kind: 'want', id: now.id, tenant: record.pod.metadata.tenant ?? 'system', shape: vms.shapeOf(record.pod, record.address as NonNullable<PodRecord['address']>) });
      await stream.expect('offer', ASK_MS);
      put({ attempt: now.attempt + 1 });
      const socket = await vms.startEmpty(record.pod, record.address as NonNullable<PodRecord['address']>);
      hasBegun = true;
      await stream.send({ kind: 'go' });
      const bytes = await this.#load(uid, stream, socket);
      put({ phase: 'loaded', bytes });
      const loaded = performance.now();
      await stream.send({ kind: 'loaded' });
      const { stoppedMs, turnMs } = await stream.expect('commit', LOAD_MS);
      const committed = performance.now();
      put({ phase: 'committed' });
      await this.#goOn(uid, now, { stoppedMs, turnMs, waitedMs: committed - loaded }, committed);
      await sayRunning(stream);
      return null;
    } catch (error) {
      if (signal.aborted) throw error;
      return await this.#after(uid, now, hasBegun, error);
    } finally {
      stream?.end();
    }
  }

  async #after(uid: string, now: Receiving, hasBegun: boolean, cause: unknown): Promise<number | null> {
    const error = isMeshError(cause) ? cause : new MeshError('io', (cause as Error).message, { cause });
    const last = this.#o.vms.transfers.get(uid);
    if (last?.role !== 'receive' || last.reason !== error.message) this.#o.log.warn('a VM has not come yet', { uid, from: now.from, phase: now.phase, attempt: now.attempt, reason: error.message });
    if (now.phase === 'loaded') return RETRY_MS; // only the source knows whether it is ours
    if (now.phase === 'committed') throw error;
    return this.#failed(uid, now, hasBegun, error);
  }

  /** The source runs on: what came of it here is of no use. */
  async #failed(uid: string, now: Receiving, hasBegun: boolean, error: MeshError): Promise<number | null> {
    await this.#o.vms.endMachine(uid);
    const at = retryAt(now, hasBegun, error, this.#o.clock.now(), this.#o.patienceMs ?? 60_000);
    const isGone = at === null && !hasBegun && error.kind === 'not-found';
    const reason = isGone ? `${error.message}; the VM starts without a past` : error.message;
    this.#o.vms.transfers.put(uid, { ...now, phase: at === null ? 'failed' : 'receiving', bytes: 0, reason, ...(isGone ? { isSourceGone: true } : {}) });
    if (isGone) this.#o.onRestored(uid);
    this.#o.onChange(uid);
    if (at === null) this.#o.log.error('a VM does not come', { uid, from: now.from, err: error });
    return at === null ? null : Math.max(1, at - this.#o.clock.now());
  }

  /** After a lost connection, or a start of this agent: whose is it? Asked until the source answers. */
  async #ask(uid: string, known: Receiving, signal: AbortSignal): Promise<number | null> {
    const stream = new TransferStream(await this.#o.way.dial(known.from, signal));
    try {
      await stream.send({ kind: 'outcome', id: known.id });
      const frame = await stream.next(ASK_MS);
      if (frame.type === 'control' && frame.control.kind === 'aborted') return await this.#failed(uid, known, true, new MeshError('io', 'the connection was lost before the source had let go; it runs on'));
      if (frame.type !== 'control' || frame.control.kind !== 'commit') throw unexpected(frame, 'commit');
      this.#o.vms.transfers.put(uid, { ...known, phase: 'committed' });
      await this.#goOn(uid, known, { stoppedMs: frame.control.stoppedMs, turnMs: 0, waitedMs: 0 }, performance.now());
      await sayRunning(stream);
      return null;
    } finally {
      stream.end();
    }
  }

  async #goOn(uid: string, now: Receiving, waited: { readonly stoppedMs: number; readonly turnMs: number; readonly waitedMs: number }, since: number): Promise<void> {
    const { vms, log } = this.#o;
    const isHere = vms.live(uid) !== undefined;
    if (isHere) await vms.goOn(uid, CONFIGURE_MS);
    const downtime = isHere && waited.stoppedMs > 0 ? downtimeMs({ ...waited, wentOnMs: performance.now() - since }) : null;
    // A machine that died after the commit took its state along: what is left is a VM that ended.
    vms.transfers.put(uid, { ...now, phase: 'restored', downtimeMs: downtime, reason: isHere ? null : 'the machine ended on arrival; the VM starts anew' });
    this.#o.onRestored(uid);
    const record = this.#o.recordOf(uid);
    log.info('VM restored', { pod: record === undefined ? uid : nameOf(record.pod), from: now.from.site, bytes: now.bytes, downtimeMs: downtime });
  }

  /** What comes is unpacked and written to the QEMU that waits for it; resolves when QEMU has put it together. Bytes as they crossed. */
  async #load(uid: string, stream: TransferStream, path: string): Promise<number> {
    const live = this.#o.vms.live(uid);
    if (live === undefined) throw new MeshError('io', 'QEMU ended before the state came');
    const socket = connect(path);
    let bytes = 0;
    const parts = async function* (): AsyncGenerator<Buffer> {
      for (;;) {
        const frame = await stream.next(ASK_MS);
        if (frame.type === 'state') {
          bytes += frame.bytes.length;
          yield frame.bytes;
        } else if (frame.control.kind === 'end' && frame.control.bytes === bytes) return;
        else throw unexpected(frame, 'state');
      }
    };
    await pipeline(parts, createZstdDecompress(), socket);
    await live.qmp.migrated(LOAD_MS);
    return bytes;
  }
}
