/** The CRI over gRPC on containerd's unix socket: one typed promise per call, errors translated to MeshError once, here. */
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { MeshError, type ErrorKind } from '../../api/errors.ts';

export interface SandboxConfig {
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string; readonly attempt: number };
  readonly hostname?: string;
  readonly log_directory: string;
  readonly dns_config?: { readonly servers: readonly string[] };
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux: { readonly cgroup_parent: string; readonly security_context: { readonly namespace_options: { readonly network: 'POD' | 'NODE'; readonly pid: 'CONTAINER'; readonly ipc: 'POD' } } };
}

export interface ContainerConfig {
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly image: { readonly image: string };
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly envs: readonly { readonly key: string; readonly value: string }[];
  readonly labels: Readonly<Record<string, string>>;
  readonly log_path: string;
  readonly linux: {
    readonly resources: { readonly cpu_period: number; readonly cpu_quota: number; readonly cpu_shares: number; readonly memory_limit_in_bytes: number };
    readonly security_context: { readonly namespace_options: { readonly network: 'POD' | 'NODE'; readonly pid: 'CONTAINER'; readonly ipc: 'POD' } };
  };
}

export interface CriSandbox {
  readonly id: string;
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string; readonly attempt: number };
  readonly state: 'SANDBOX_READY' | 'SANDBOX_NOTREADY';
  readonly created_at: string;
}

export interface CriContainer {
  readonly id: string;
  readonly pod_sandbox_id: string;
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly state: 'CONTAINER_CREATED' | 'CONTAINER_RUNNING' | 'CONTAINER_EXITED' | 'CONTAINER_UNKNOWN';
  readonly labels: Readonly<Record<string, string>>;
}

export interface CriContainerStatus {
  readonly id: string;
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly state: CriContainer['state'];
  /** Nanoseconds since the epoch, as decimal text; "0" = not yet. */
  readonly started_at: string;
  readonly finished_at: string;
  readonly exit_code: number;
  readonly image: { readonly image: string };
  readonly image_ref: string;
  readonly reason: string;
  readonly message: string;
  readonly log_path: string;
}

interface Calls {
  Version: [{ version: string }, { runtime_name: string; runtime_version: string }];
  RunPodSandbox: [{ config: SandboxConfig }, { pod_sandbox_id: string }];
  StopPodSandbox: [{ pod_sandbox_id: string }, object];
  RemovePodSandbox: [{ pod_sandbox_id: string }, object];
  PodSandboxStatus: [{ pod_sandbox_id: string; verbose: boolean }, { status: CriSandbox & { network?: { ip: string } | null }; info: Record<string, string> }];
  ListPodSandbox: [{ filter: { label_selector?: Record<string, string> } }, { items: CriSandbox[] }];
  CreateContainer: [{ pod_sandbox_id: string; config: ContainerConfig; sandbox_config: SandboxConfig }, { container_id: string }];
  StartContainer: [{ container_id: string }, object];
  StopContainer: [{ container_id: string; timeout: number }, object];
  RemoveContainer: [{ container_id: string }, object];
  ListContainers: [{ filter: { label_selector?: Record<string, string> } }, { containers: CriContainer[] }];
  ContainerStatus: [{ container_id: string }, { status: CriContainerStatus }];
  ImageStatus: [{ image: { image: string } }, { image: { id: string; repo_tags: string[] } | null }];
  PullImage: [{ image: { image: string } }, { image_ref: string }];
}

export interface Cri {
  call<K extends keyof Calls>(method: K, request: Calls[K][0], timeoutMs?: number): Promise<Calls[K][1]>;
  /** Calls `onEnd` whenever a task on the node ends. Resolves when the stream breaks or `signal` aborts. */
  watchExits(onEnd: () => void, signal: AbortSignal): Promise<void>;
  close(): void;
}

const KINDS: Partial<Record<grpc.status, ErrorKind>> = {
  [grpc.status.NOT_FOUND]: 'not-found',
  [grpc.status.ALREADY_EXISTS]: 'already-exists',
  [grpc.status.INVALID_ARGUMENT]: 'invalid',
  [grpc.status.UNAVAILABLE]: 'unavailable',
  [grpc.status.DEADLINE_EXCEEDED]: 'timeout',
};

type Unary = (request: unknown, options: grpc.CallOptions, done: (error: grpc.ServiceError | null, reply: unknown) => void) => void;
const OPTIONS = { keepCase: true, longs: String, enums: String, defaults: true } as const;
const IMAGE_CALLS: ReadonlySet<string> = new Set(['ImageStatus', 'PullImage']);

function serviceOf(file: grpc.GrpcObject, path: readonly string[]): grpc.ServiceClientConstructor {
  let at: unknown = file;
  for (const part of path) at = (at as Record<string, unknown>)[part];
  return at as grpc.ServiceClientConstructor;
}

export function connectCri(socket: string): Cri {
  const channelOptions = { 'grpc.default_authority': 'localhost', 'grpc.initial_reconnect_backoff_ms': 50, 'grpc.max_reconnect_backoff_ms': 1000, 'grpc.use_local_subchannel_pool': 1 };
  const load = (file: string): grpc.GrpcObject => grpc.loadPackageDefinition(loadSync(join(import.meta.dirname, file), OPTIONS));
  const cri = load('cri.proto'); // two services in one file: read once
  const make = (file: grpc.GrpcObject, path: readonly string[]): grpc.Client => new (serviceOf(file, path))(`unix:${socket}`, grpc.credentials.createInsecure(), channelOptions);
  const runtime = make(cri, ['runtime', 'v1', 'RuntimeService']);
  const image = make(cri, ['runtime', 'v1', 'ImageService']);
  const events = make(load('events.proto'), ['containerd', 'services', 'events', 'v1', 'Events']);
  return {
    call: (method, request, timeoutMs = 60_000) =>
      new Promise((resolve, reject) => {
        const client = IMAGE_CALLS.has(method) ? image : runtime;
        const unary = (client as unknown as Record<string, Unary>)[method];
        unary?.call(client, request, { deadline: Date.now() + timeoutMs }, (error, reply) => {
          if (error === null) return resolve(reply as never);
          reject(new MeshError(KINDS[error.code] ?? 'io', `containerd ${method}: ${error.details}`, { cause: error, fields: { method } }));
        });
      }),
    watchExits: (onEnd, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) return resolve();
        const stream = (events as unknown as { Subscribe(r: unknown): grpc.ClientReadableStream<unknown> }).Subscribe({ filters: ['topic=="/tasks/exit"', 'topic=="/tasks/oom"'] });
        const cancel = (): void => stream.cancel();
        signal.addEventListener('abort', cancel, { once: true });
        stream.on('data', onEnd);
        stream.on('error', () => undefined); // 'close' follows and ends the wait; the caller subscribes again
        stream.on('close', () => {
          signal.removeEventListener('abort', cancel);
          resolve();
        });
      }),
    close: () => {
      runtime.close();
      image.close();
      events.close();
    },
  };
}
