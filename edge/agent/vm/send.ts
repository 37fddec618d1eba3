/** The source's end of a transfer: writes the guest's state to whoever its pod is to be sent to, stops it for the last of it, and never runs it again once that is settled. */
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress } from 'node:zlib';
import { isMeshError, MeshError } from '../../../api/errors.ts';
import type { Pod } from '../../../api/kinds/core.ts';
import type { Logger } from '../../../base/log.ts';
import type { Identity } from '../../../certs/names.ts';
import { nameOf, type PodRecord } from '../model.ts';
import type { Live } from './folder.ts';
import type { VmRuntime } from './runtime.ts';
import { mismatch, outcomeOf, refusal, type Sending } from './transfer.ts';
import { TransferStream, type Control } from './transfer-wire.ts';

export interface VmSenderOptions {
  readonly vms: VmRuntime;
  readonly recordOf: (uid: string) => PodRecord | undefined;
  readonly onChange: (uid: string) => void;
  readonly log: Logger;
}

const ASK_MS = 20_000;
/** A guest that writes faster than the way carries is stopped then. */
const FIRST_COPY_MS = 15_000;
/** The target has read the state and its QEMU puts it together. */
const LOAD_MS = 30_000;
/** The way is the limit, not QEMU's own default. */
const UNLIMITED_BYTES_PER_SECOND = 10_000_000_000;

export class VmSender {
  readonly #o: VmSenderOptions;
  /** One transfer at a time per VM; another target's, or a question about it, ends the one under way. */
  readonly #active = new Map<string, { readonly stream: TransferStream; readonly done: Promise<void> }>();

  constructor(options: VmSenderOptions) {
    this.#o = options;
  }

  /** Serves one connection of a target to its end. */
  async serve(uid: string, caller: Identity, duplex: Duplex): Promise<void> {
    const stream = new TransferStream(duplex);
    try {
      const record = this.#o.recordOf(uid);
      if (record === undefined) throw new MeshError('not-found', `no pod ${uid} on this node`);
      const first = await stream.next(ASK_MS);
      if (first.type !== 'control' || (first.control.kind !== 'want' && first.control.kind !== 'outcome')) throw new MeshError('invalid', 'transfer: expected want or outcome');
      const { control } = first;
      if (control.kind === 'outcome') return await this.#outcome(uid, caller, control.id, stream);
      await this.#letGo(uid);
      const done = this.#send(record.pod, uid, caller, control, stream);
      this.#active.set(uid, { stream, done: done.catch(() => undefined) });
      await done.finally(() => this.#active.delete(uid));
    } catch (error) {
      const known = isMeshError(error) ? error : new MeshError('internal', (error as Error).message, { cause: error });
      this.#o.log.warn('a VM was not sent', { uid, to: caller.uri, reason: known.message });
      await stream.send({ kind: 'refuse', error: known.kind, message: known.message }).catch(() => undefined); // the connection may be what failed
    } finally {
      stream.end();
    }
  }

  /** Ends a transfer that is under way; the guest goes on here, unless it is settled already. */
  async #letGo(uid: string): Promise<void> {
    const active = this.#active.get(uid);
    active?.stream.destroy();
    await active?.done;
  }

  /** A target that lost the connection asks. What is not settled by now never will be. */
  async #outcome(uid: string, caller: Identity, id: string, stream: TransferStream): Promise<void> {
    await this.#letGo(uid);
    const transfer = this.#o.vms.transfers.get(uid);
    if (outcomeOf(transfer, id) === 'aborted') return stream.send({ kind: 'aborted' });
    const { to, stoppedAt } = transfer as Sending;
    if (caller.kind !== 'node' || caller.site !== to) throw new MeshError('forbidden', `this VM was sent to ${to}`);
    await stream.send({ kind: 'commit', stoppedMs: Math.max(0, Date.now() - stoppedAt), turnMs: 0 });
    await this.#confirmed(uid, stream);
  }

  async #send(pod: Pod, uid: string, caller: Identity, want: Extract<Control, { kind: 'want' }>, stream: TransferStream): Promise<void> {
    const live = this.#accept(pod, uid, caller, want);
    await stream.send({ kind: 'offer' });
    await stream.expect('go', ASK_MS);
    const sending: Sending = { role: 'send', id: want.id, to: caller.site ?? '', phase: 'sending', ranBefore: live.power === 'running', bytes: 0, stoppedAt: 0 };
    this.#o.vms.transfers.put(uid, sending);
    this.#o.onChange(uid);
    try {
      await this.#hand(uid, live, sending, stream, () => refusal(this.#o.recordOf(uid)?.pod ?? pod, caller, want.tenant));
    } catch (error) {
      if (outcomeOf(this.#o.vms.transfers.get(uid), want.id) === 'aborted' && this.#o.vms.live(uid) === live) await this.#o.vms.goBack(uid, sending.ranBefore);
      throw error;
    }
    this.#o.log.info('VM sent', { pod: nameOf(pod), to: sending.to, bytes: (this.#o.vms.transfers.get(uid) as Sending | undefined)?.bytes });
    this.#o.onChange(uid);
    await this.#confirmed(uid, stream);
  }

  #accept(pod: Pod, uid: string, caller: Identity, want: Extract<Control, { kind: 'want' }>): Live {
    const { vms } = this.#o;
    const live = vms.live(uid);
    const no = refusal(pod, caller, want.tenant);
    if (no !== null) throw no;
    const before = vms.transfers.get(uid);
    if (before?.role === 'send' && before.phase === 'sent') throw new MeshError('conflict', `pod ${pod.metadata.name} has been sent to ${before.to} already`);
    if (live === undefined || !live.configured) throw new MeshError('unavailable', `the VM of pod ${pod.metadata.name} does not run`);
    const differs = mismatch(vms.shapeOf(pod, live.file.address), want.shape);
    if (differs !== null) throw differs;
    return live;
  }

  /** To the commit. Throws before `sent` is on disk, and then nothing has happened; not after. */
  async #hand(uid: string, live: Live, sending: Sending, stream: TransferStream, isRefused: () => MeshError | null): Promise<void> {
    let stopped = performance.now(); // of a guest that stands still already
    live.qmp.onEvent = (event) => {
      if (event !== 'STOP') return;
      stopped = performance.now();
      live.power = 'paused';
      this.#o.onChange(uid);
    };
    const bytes = await this.#state(uid, live, stream).finally(() => (live.qmp.onEvent = () => undefined));
    await stream.send({ kind: 'end', bytes });
    await stream.expect('loaded', LOAD_MS);
    const loaded = performance.now();
    const no = isRefused();
    if (no !== null) throw no;
    if (this.#o.vms.live(uid) !== live) throw new MeshError('io', 'the VM ended meanwhile');
    const now = performance.now();
    this.#o.vms.transfers.put(uid, { ...sending, phase: 'sent', bytes, stoppedAt: Date.now() - (now - stopped) });
    // From here on the target finds out by asking, should this not reach it.
    await stream.send({ kind: 'commit', stoppedMs: performance.now() - stopped, turnMs: performance.now() - loaded }).catch((error: unknown) => this.#o.log.warn('the target has to ask', { uid, err: error }));
  }

  /**
   * QEMU writes to a socket of ours; what comes is packed and passed on. The guest goes on while its memory is copied a first time; it stops for
   * what it has written since, which QEMU does when that is little, or we when it does not become so. Bytes as they crossed.
   */
  async #state(uid: string, live: Live, stream: TransferStream): Promise<number> {
    const path = join(this.#o.vms.folder(uid), 's');
    rmSync(path, { force: true });
    const server = createServer();
    try {
      const connection = new Promise<Socket>((resolve, reject) => server.once('connection', resolve).once('error', reject));
      await new Promise<void>((resolve) => server.listen(path, resolve));
      await live.qmp.execute('migrate-set-parameters', { 'max-bandwidth': UNLIMITED_BYTES_PER_SECOND });
      await live.qmp.execute('migrate', { uri: `unix:${path}` });
      const socket = await connection;
      let bytes = 0;
      const limit = setTimeout(() => void live.qmp.execute('stop').catch(() => undefined), FIRST_COPY_MS); // a QEMU that is gone ends the copy too
      const packed = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } });
      await pipeline(socket, packed, async (parts: AsyncIterable<Buffer>) => {
        for await (const part of parts) {
          bytes += part.length;
          await stream.sendState(part);
        }
      }).finally(() => clearTimeout(limit));
      await live.qmp.migrated(LOAD_MS);
      return bytes;
    } finally {
      server.close();
    }
  }

  /** The guest runs there: what stands still here is of no more use. A target that does not say so leaves it, stopped, until the pod goes. */
  async #confirmed(uid: string, stream: TransferStream): Promise<void> {
    await stream.expect('running', LOAD_MS).then(
      () => this.#o.vms.endMachine(uid),
      (error: unknown) => this.#o.log.warn('the target has not said that the VM runs', { uid, err: error }),
    );
  }
}
