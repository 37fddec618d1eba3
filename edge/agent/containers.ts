/** Container pods through the CRI: what is there, and the verbs that the steps need. Labels tie every object to its pod's uid. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError, isMeshError } from '../../api/errors.ts';
import type { Container, Pod } from '../../api/kinds/core.ts';
import { ociImage } from '../images/archive.ts';
import { cgroupParent, removeCgroups } from './containerd.ts';
import type { ContainerConfig, Cri, CriContainerStatus, SandboxConfig } from './cri.ts';
import { bytesOf, isInVpc, milliCpu, uidOf, type ObservedContainer, type ObservedSandbox } from './model.ts';

export const POD_UID_LABEL = 'io.kubernetes.pod.uid';
const CONTAINER_LABEL = 'io.kubernetes.container.name';
const STATES = { CONTAINER_CREATED: 'created', CONTAINER_RUNNING: 'running', CONTAINER_EXITED: 'exited', CONTAINER_UNKNOWN: 'unknown' } as const;

export interface ContainersOptions {
  readonly node: string;
  /** Folder of pod logs: `<uid>/<container>/<attempt>.log`, in the CRI's line format. */
  readonly logDir: string;
  /** Told to every container as PROXIMA_SITE, PROXIMA_REGION, ... */
  readonly environment: Readonly<Record<string, string>>;
}

export class Containers {
  readonly #cri: Cri;
  readonly #o: ContainersOptions;
  readonly #liveSandboxes = new Map<string, string>();

  constructor(cri: Cri, options: ContainersOptions) {
    this.#cri = cri;
    this.#o = options;
  }

  async observe(uid: string): Promise<{ readonly sandboxes: readonly ObservedSandbox[]; readonly containers: readonly ObservedContainer[] }> {
    const filter = { label_selector: { [POD_UID_LABEL]: uid } };
    const [sandboxes, containers] = await Promise.all([this.#cri.call('ListPodSandbox', { filter }, 5000), this.#cri.call('ListContainers', { filter }, 5000)]);
    const live = sandboxes.items.find((s) => s.state === 'SANDBOX_READY');
    if (live === undefined) this.#liveSandboxes.delete(uid);
    else this.#liveSandboxes.set(uid, live.id);
    const seen: ObservedContainer[] = [];
    for (const c of containers.containers) {
      try {
        const { status } = await this.#cri.call('ContainerStatus', { container_id: c.id }, 5000);
        seen.push(containerOf(c.pod_sandbox_id, status));
      } catch (error) {
        if (!isMeshError(error, 'not-found')) throw error; // removed between the list and the look
      }
    }
    return {
      sandboxes: sandboxes.items.map((s) => ({ id: s.id, ready: s.state === 'SANDBOX_READY', attempt: s.metadata.attempt })).sort((a, b) => b.attempt - a.attempt),
      containers: seen.sort((a, b) => b.attempt - a.attempt),
    };
  }

  /** Every sandbox that containerd has. */
  async sandboxes(): Promise<readonly { readonly uid: string; readonly sandboxId: string }[]> {
    const { items } = await this.#cri.call('ListPodSandbox', { filter: {} }, 5000);
    return items.map((s) => ({ uid: s.metadata.uid, sandboxId: s.id }));
  }

  async removeOrphan(uid: string, sandboxId: string): Promise<void> {
    await this.#gone(this.#cri.call('StopPodSandbox', { pod_sandbox_id: sandboxId }));
    await this.#gone(this.#cri.call('RemovePodSandbox', { pod_sandbox_id: sandboxId }));
    removeCgroups(this.#o.node, uid);
  }

  /** The sandbox seen ready at the last look. */
  liveSandbox(uid: string): string | null {
    return this.#liveSandboxes.get(uid) ?? null;
  }

  /** Of OCI archives `<...>.tar`, those that are not in containerd with just this content. */
  async missingImages(tars: readonly string[]): Promise<readonly string[]> {
    const missing: string[] = [];
    for (const tar of tars) {
      const { name, configDigest } = ociImage(tar);
      const { image } = await this.#cri.call('ImageStatus', { image: { image: name } }, 5000);
      if (image?.id !== configDigest) missing.push(tar);
    }
    return missing;
  }

  async runSandbox(pod: Pod, attempt: number): Promise<string> {
    mkdirSync(this.logFolder(pod), { recursive: true });
    const reply = await this.#cri.call('RunPodSandbox', { config: this.#sandboxConfig(pod, attempt) });
    return reply.pod_sandbox_id;
  }

  async removeSandbox(pod: Pod, id: string): Promise<void> {
    await this.removeOrphan(uidOf(pod), id);
  }

  async startContainer(pod: Pod, name: string, attempt: number, sandbox: ObservedSandbox): Promise<void> {
    const spec = pod.spec.containers?.find((c) => c.name === name);
    if (spec === undefined) throw new MeshError('internal', `pod has no container ${name}`);
    await this.#image(spec.image);
    mkdirSync(join(this.logFolder(pod), name), { recursive: true });
    const request = { pod_sandbox_id: sandbox.id, config: this.#containerConfig(pod, spec, attempt), sandbox_config: this.#sandboxConfig(pod, sandbox.attempt) };
    const { container_id: id } = await this.#cri.call('CreateContainer', request);
    await this.#cri.call('StartContainer', { container_id: id });
  }

  async stopContainer(id: string, graceMs: number): Promise<void> {
    await this.#gone(this.#cri.call('StopContainer', { container_id: id, timeout: Math.ceil(graceMs / 1000) }, graceMs + 20_000));
  }

  async removeContainer(id: string): Promise<void> {
    await this.#gone(this.#cri.call('RemoveContainer', { container_id: id }));
  }

  /** The process that holds the pod's namespaces. */
  async pidOf(sandboxId: string): Promise<number> {
    const { info } = await this.#cri.call('PodSandboxStatus', { pod_sandbox_id: sandboxId, verbose: true }, 5000);
    const pid = (JSON.parse(info['info'] ?? '{}') as { pid?: number }).pid;
    if (pid === undefined || pid === 0) throw new MeshError('not-found', `sandbox ${sandboxId} has no process`);
    return pid;
  }

  logFolder(pod: Pod): string {
    return join(this.#o.logDir, uidOf(pod));
  }

  forget(pod: Pod): void {
    this.#liveSandboxes.delete(uidOf(pod));
    rmSync(this.logFolder(pod), { recursive: true, force: true });
    removeCgroups(this.#o.node, uidOf(pod));
  }

  /** Removing what is already removed is success. */
  async #gone(call: Promise<unknown>): Promise<void> {
    await call.catch((error: unknown) => {
      if (!isMeshError(error, 'not-found')) throw error;
    });
  }

  async #image(image: string): Promise<void> {
    const { image: found } = await this.#cri.call('ImageStatus', { image: { image } }, 5000);
    if (found !== null) return;
    try {
      await this.#cri.call('PullImage', { image: { image } }, 120_000);
    } catch (error) {
      throw new MeshError('unavailable', `image ${image} is not on the node and cannot be pulled: ${(error as Error).message}`, { cause: error, fields: { reason: 'ErrImagePull' }, next: 'import it on the node, or name a registry that the node reaches' });
    }
  }

  #sandboxConfig(pod: Pod, attempt: number): SandboxConfig {
    const uid = uidOf(pod);
    const network = networkOf(pod);
    return {
      metadata: { name: pod.metadata.name, uid, namespace: `${pod.metadata.tenant ?? 'system'}-${pod.metadata.namespace ?? 'default'}`, attempt },
      // A sandbox in the node's network shares the node's host name too.
      ...(network === 'POD' ? { hostname: pod.metadata.name.slice(0, 63) } : {}),
      log_directory: this.logFolder(pod),
      labels: { [POD_UID_LABEL]: uid, 'io.kubernetes.pod.name': pod.metadata.name },
      annotations: {},
      linux: { cgroup_parent: cgroupParent(this.#o.node, uid), security_context: { namespace_options: { network, pid: 'CONTAINER', ipc: 'POD' } } },
    };
  }

  #containerConfig(pod: Pod, spec: Container, attempt: number): ContainerConfig {
    const given = (spec.env ?? []).map((e) => ({ key: e.name, value: e.value ?? '' }));
    const ours = Object.entries({ POD_NAME: pod.metadata.name, POD_NAMESPACE: pod.metadata.namespace ?? 'default', NODE_NAME: this.#o.node, ...this.#o.environment });
    const cpu = milliCpu(spec.resources?.limits?.cpu);
    return {
      metadata: { name: spec.name, attempt },
      image: { image: spec.image },
      command: spec.command ?? [],
      args: spec.args ?? [],
      envs: [...ours.filter(([key]) => !given.some((g) => g.key === key)).map(([key, value]) => ({ key, value })), ...given],
      labels: { [POD_UID_LABEL]: uidOf(pod), [CONTAINER_LABEL]: spec.name },
      log_path: `${spec.name}/${attempt}.log`,
      linux: {
        resources: {
          cpu_period: 100_000,
          cpu_quota: cpu * 100,
          cpu_shares: Math.max(2, Math.round((milliCpu(spec.resources?.requests?.cpu) * 1024) / 1000)),
          memory_limit_in_bytes: bytesOf(spec.resources?.limits?.memory),
        },
        security_context: { namespace_options: { network: networkOf(pod), pid: 'CONTAINER', ipc: 'POD' } },
      },
    };
  }
}

/** A pod of no VPC runs in the node's own network. */
function networkOf(pod: Pod): 'POD' | 'NODE' {
  return isInVpc(pod) ? 'POD' : 'NODE';
}

function containerOf(sandboxId: string, s: CriContainerStatus): ObservedContainer {
  const ms = (nanos: string): number => Math.floor(Number(nanos) / 1e6);
  return {
    id: s.id,
    sandboxId,
    name: s.metadata.name,
    attempt: s.metadata.attempt,
    state: STATES[s.state],
    startedAt: ms(s.started_at),
    finishedAt: ms(s.finished_at),
    exitCode: s.exit_code,
    reason: s.reason,
    image: s.image.image,
    imageId: s.image_ref,
  };
}
