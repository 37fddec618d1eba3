/**
 * Messages that the edge has acknowledged and the cloud has not. Append-only segments, one fdatasync for everything that came in meanwhile;
 * `append` resolves only after it. A message leaves when the cloud has acknowledged it; the cursor is written lazily, so a crash repeats
 * some messages and loses none. A torn tail (crash during a write) was never acknowledged and is cut off.
 *
 *   record:  | length:32 | crc32:32 | sequence:64 | topic length:16 | topic | payload |      length counts what follows crc32
 *   segment: queue-<first sequence, 16 hex digits>.seg
 */
import { closeSync, fdatasyncSync, ftruncateSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { MeshError } from '../../api/errors.ts';

export interface QueuedMessage {
  readonly sequence: number;
  readonly topic: string;
  readonly payload: Buffer;
}

export interface DiskQueueOptions {
  readonly dir: string;
  /** Refuses beyond this many bytes. @default 256 MiB */
  readonly maxBytes?: number;
  /** @default 1 MiB, and at most a quarter of maxBytes */
  readonly segmentBytes?: number;
}

const HEAD = 8;
const FIXED = 10;
const MAX_RECORD = 1_048_576;

interface Segment {
  readonly path: string;
  readonly first: number;
  bytes: number;
  last: number;
}

export function encodeRecord(message: QueuedMessage): Buffer {
  const topic = Buffer.from(message.topic);
  const length = FIXED + topic.length + message.payload.length;
  const b = Buffer.allocUnsafe(HEAD + length);
  b.writeUInt32BE(length, 0);
  b.writeBigUInt64BE(BigInt(message.sequence), 8);
  b.writeUInt16BE(topic.length, 16);
  topic.copy(b, 18);
  message.payload.copy(b, 18 + topic.length);
  b.writeUInt32BE(crc32(b.subarray(HEAD)), 4);
  return b;
}

/** The record at `at` and where the next begins; null = nothing whole there. */
export function decodeRecord(b: Buffer, at: number): { readonly message: QueuedMessage; readonly next: number } | null {
  if (b.length - at < HEAD + FIXED) return null;
  const length = b.readUInt32BE(at);
  const next = at + HEAD + length;
  if (length < FIXED || length > MAX_RECORD || next > b.length) return null;
  if (crc32(b.subarray(at + HEAD, next)) !== b.readUInt32BE(at + 4)) return null;
  const topicLength = b.readUInt16BE(at + 16);
  const topicEnd = at + 18 + topicLength;
  if (topicEnd > next) return null;
  return { message: { sequence: Number(b.readBigUInt64BE(at + 8)), topic: b.toString('utf8', at + 18, topicEnd), payload: Buffer.from(b.subarray(topicEnd, next)) }, next };
}

export class DiskQueue {
  readonly #dir: string;
  readonly #maxBytes: number;
  readonly #segmentBytes: number;
  #segments: Segment[] = [];
  #file: FileHandle | null = null;
  #nextSequence = 1;
  #acked = 0;
  #waiting: { readonly bytes: Buffer; readonly sequence: number; readonly done: (error: MeshError | null) => void }[] = [];
  #isWriting = false;
  #onAppend: () => void = () => undefined;

  constructor(options: DiskQueueOptions) {
    this.#dir = options.dir;
    this.#maxBytes = options.maxBytes ?? 268_435_456;
    this.#segmentBytes = options.segmentBytes ?? Math.min(1_048_576, this.#maxBytes / 4);
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    this.#recover();
  }

  get bytes(): number {
    return this.#segments.reduce((n, s) => n + s.bytes, 0);
  }

  get length(): number {
    return this.#nextSequence - 1 - this.#acked;
  }

  get acked(): number {
    return this.#acked;
  }

  onAppend(listener: () => void): void {
    this.#onAppend = listener;
  }

  /** Resolves once the message is on disk for good. */
  append(topic: string, payload: Buffer): Promise<number> {
    const sequence = this.#nextSequence;
    const bytes = encodeRecord({ sequence, topic, payload });
    if (bytes.length > MAX_RECORD) return Promise.reject(new MeshError('too-large', `message on ${topic}: ${payload.length} bytes, the queue takes ${MAX_RECORD} at most`));
    const queued = this.bytes + this.#waiting.reduce((n, w) => n + w.bytes.length, 0);
    if (queued + bytes.length > this.#maxBytes) {
      return Promise.reject(new MeshError('disk-full', `the message queue in ${this.#dir} is full: ${queued} of ${this.#maxBytes} bytes wait for the region`, { next: 'restore the uplink, or raise mqtt.queue.maxBytes' }));
    }
    this.#nextSequence += 1;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, sequence, done: (error) => (error === null ? resolve(sequence) : reject(error)) });
      void this.#write();
    });
  }

  /** Up to `limit` durable messages after a sequence, oldest first. */
  read(after: number, limit: number): QueuedMessage[] {
    const out: QueuedMessage[] = [];
    for (const segment of this.#segments) {
      if (segment.last <= after) continue;
      const b = readPrefix(segment.path, segment.bytes);
      for (let record = decodeRecord(b, 0); record !== null; record = decodeRecord(b, record.next)) {
        if (record.message.sequence > after) out.push(record.message);
        if (out.length >= limit) return out;
      }
    }
    return out;
  }

  /** Everything up to and including `sequence` has been delivered. */
  ack(sequence: number): void {
    if (sequence <= this.#acked) return;
    this.#acked = sequence;
    writeFileSync(join(this.#dir, 'acked'), String(sequence)); // not synced: an old value only repeats messages
    while (this.#segments.length > 1 && (this.#segments[0] as Segment).last <= sequence) unlinkSync((this.#segments.shift() as Segment).path);
    const [only] = this.#segments;
    // An emptied queue starts a new segment, so that what was delivered does not count as full.
    if (only !== undefined && this.#segments.length === 1 && only.last <= sequence && only.bytes > this.#segmentBytes / 2 && !this.#isWriting) this.#retire(only);
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = null;
  }

  #retire(segment: Segment): void {
    this.#segments = this.#segments.filter((s) => s !== segment);
    const file = this.#file;
    this.#file = null;
    void file?.close();
    unlinkSync(segment.path);
  }

  async #write(): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0);
      let failure: MeshError | null = null;
      try {
        await this.#store(batch);
      } catch (error) {
        const full = (error as NodeJS.ErrnoException).code === 'ENOSPC';
        failure = new MeshError(full ? 'disk-full' : 'io', `the message queue in ${this.#dir} could not be written: ${(error as Error).message}`, { cause: error, ...(full ? { next: 'make room on this disk' } : {}) });
      }
      for (const w of batch) w.done(failure);
      if (failure === null) this.#onAppend();
    }
    this.#isWriting = false;
  }

  async #store(batch: readonly { readonly bytes: Buffer; readonly sequence: number }[]): Promise<void> {
    const first = batch[0]?.sequence ?? this.#nextSequence;
    let segment = this.#segments.at(-1);
    if (segment === undefined || this.#file === null || segment.bytes >= this.#segmentBytes) {
      await this.#file?.close();
      const path = join(this.#dir, `queue-${first.toString(16).padStart(16, '0')}.seg`);
      this.#file = await open(path, 'a', 0o600);
      segment = { path, first, bytes: 0, last: first - 1 };
      this.#segments.push(segment);
      syncFolder(this.#dir);
    }
    const bytes = Buffer.concat(batch.map((w) => w.bytes));
    try {
      await this.#file.appendFile(bytes);
      await this.#file.datasync();
    } catch (error) {
      // What got there in part must not come before later records: cut back to what is known good.
      await this.#file.truncate(segment.bytes);
      throw error;
    }
    segment.bytes += bytes.length;
    segment.last = batch.at(-1)?.sequence ?? segment.last;
  }

  #recover(): void {
    const names = readdirSync(this.#dir).filter((n) => /^queue-[0-9a-f]{16}\.seg$/.test(n)).sort();
    for (const name of names) {
      const path = join(this.#dir, name);
      const b = readFileSync(path);
      const segment: Segment = { path, first: Number.parseInt(name.slice(6, 22), 16), bytes: 0, last: Number.parseInt(name.slice(6, 22), 16) - 1 };
      for (let record = decodeRecord(b, 0); record !== null; record = decodeRecord(b, record.next)) {
        segment.bytes = record.next;
        segment.last = record.message.sequence;
      }
      if (segment.bytes < b.length) cut(path, segment.bytes);
      this.#segments.push(segment);
      this.#nextSequence = Math.max(this.#nextSequence, segment.last + 1);
    }
    this.#acked = this.#readAcked();
    this.#nextSequence = Math.max(this.#nextSequence, this.#acked + 1);
  }

  #readAcked(): number {
    const path = join(this.#dir, 'acked');
    const floor = (this.#segments[0]?.first ?? 1) - 1;
    try {
      const value = Number(readFileSync(path, 'utf8'));
      return Number.isSafeInteger(value) ? Math.max(value, floor) : floor;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return floor;
    }
  }
}

function readPrefix(path: string, bytes: number): Buffer {
  const fd = openSync(path, 'r');
  try {
    const b = Buffer.allocUnsafe(Math.min(bytes, statSync(path).size));
    return b.subarray(0, readSync(fd, b, 0, b.length, 0));
  } finally {
    closeSync(fd);
  }
}

function cut(path: string, bytes: number): void {
  const fd = openSync(path, 'r+');
  try {
    ftruncateSync(fd, bytes);
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function syncFolder(dir: string): void {
  const fd = openSync(dir, 'r');
  try {
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
