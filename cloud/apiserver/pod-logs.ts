/** How a pod's log reaches a caller: the region gives an implementation that asks the pod's node. */
import type { ServerResponse } from 'node:http';
import type { JsonObject } from '../../api/definition.ts';
import type { Query } from './request.ts';

export interface PodLogsRequest {
  /** The stored Pod; `spec.nodeName` says where it is. */
  readonly pod: JsonObject;
  /** container, follow, tailLines, timestamps, sinceSeconds, previous, limitBytes. */
  readonly query: Query;
  /** Write the head (200, text/plain) and the text; end it. Throw a MeshError before the head is written to answer with a Status. */
  readonly out: ServerResponse;
  readonly signal: AbortSignal;
}

export interface PodLogs {
  stream(request: PodLogsRequest): Promise<void>;
}
