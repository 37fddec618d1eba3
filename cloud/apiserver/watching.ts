/** A watch over HTTP: one JSON event a line, headers at once, bookmarks while it is quiet, a clean end when its time is over. */
import type { ServerResponse } from 'node:http';
import type { JsonObject, KindDefinition } from '../../api/definition.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import { apiVersionOf } from '../../api/resources.ts';
import type { Logger } from '../../base/log.ts';
import type { Happening } from './reading.ts';
import { statusOf } from './status.ts';

export interface WatchReply {
  readonly def: KindDefinition;
  /** One stored object as it is to be sent. */
  readonly render: (bytes: Uint8Array, revision: number) => Buffer;
  readonly bookmarks: boolean;
  /** The position the watch begins at; 0 = not known yet. */
  readonly from: number;
  readonly timeoutMs: number;
  readonly log: Logger;
}

const QUIET_MS = 30_000;
const END = Buffer.from('}\n');
const HEADS = {
  ADDED: Buffer.from('{"type":"ADDED","object":'),
  MODIFIED: Buffer.from('{"type":"MODIFIED","object":'),
  DELETED: Buffer.from('{"type":"DELETED","object":'),
} as const;

/** Pumps happenings into `out` until the caller goes, the server stops (`signal`) or the time is over. */
export async function sendWatch(out: ServerResponse, happenings: (signal: AbortSignal) => AsyncIterable<Happening>, reply: WatchReply, signal: AbortSignal): Promise<void> {
  const over = new AbortController();
  const stop = (): void => over.abort(new Error('watch is over'));
  const timer = setTimeout(stop, reply.timeoutMs);
  out.on('close', stop);
  signal.addEventListener('abort', stop, { once: true });
  let position = reply.from;
  const bookmark = (initial: boolean): Buffer => {
    const annotations = initial ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
    const object = { kind: reply.def.resource.kind, apiVersion: apiVersionOf(reply.def.resource), metadata: { resourceVersion: String(position), creationTimestamp: null, ...annotations } };
    return Buffer.from(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  };
  const quiet = setInterval(() => {
    if (reply.bookmarks && position > 0 && !out.writableNeedDrain) out.write(bookmark(false));
  }, QUIET_MS);
  out.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked', 'cache-control': 'no-cache, private' });
  out.flushHeaders();
  try {
    for await (const h of happenings(over.signal)) {
      if (over.signal.aborted) break;
      position = Math.max(position, h.revision);
      const line = h.type === 'BOOKMARK' ? (h.initial === true && reply.bookmarks ? bookmark(true) : null) : Buffer.concat([HEADS[h.type], reply.render(h.bytes, h.revision), END]);
      if (line !== null && !out.write(line)) await drained(out, over.signal);
    }
    if (reply.bookmarks && position > 0 && !out.destroyed) out.write(bookmark(false));
  } catch (error) {
    if (!over.signal.aborted) out.write(`${JSON.stringify({ type: 'ERROR', object: failure(error, reply.log) })}\n`);
  } finally {
    clearTimeout(timer);
    clearInterval(quiet);
    signal.removeEventListener('abort', stop);
    out.end();
  }
}

function failure(error: unknown, log: Logger): JsonObject {
  if (isMeshError(error)) return statusOf(error);
  log.error('watch failed', { err: error });
  return statusOf(new MeshError('internal', 'the watch failed', { cause: error }));
}

function drained(out: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      out.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    out.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
  });
}
