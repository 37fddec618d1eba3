/**
 * Readiness probes. They are asked from inside the pod, as the kubelet's are from its node: a container's from its network namespace, a VM's
 * by its guest. So a probe needs no route into the VPC, and two VPCs may use the same addresses. One Loop key per container.
 */
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Pod, Probe } from '../../api/kinds/core.ts';
import { run } from './exec.ts';
import { nameOf, uidOf } from './model.ts';

export interface ProbeTarget {
  /** Key of the result: container name, or the VM's. */
  readonly name: string;
  readonly probe: Probe;
}

export interface ProberOptions {
  readonly log: Logger;
  /** null = the pod does not run. */
  readonly pidOf: (uid: string) => Promise<number | null>;
  readonly askGuest: (uid: string, kind: 'http' | 'tcp', port: number, path: string, timeoutMs: number) => Promise<boolean>;
  readonly onChange: (uid: string) => void;
}

const TIMEOUT_MS = 1000;
/** Until the first answer, ask often: readiness is on the path of every start. */
const EAGER_MS = 30;

interface State {
  ok: boolean | null;
  failures: number;
  asked: number;
}

export function targetsOf(pod: Pod): readonly ProbeTarget[] {
  const vm = pod.spec.virtualMachine;
  if (vm !== undefined) return vm.readinessProbe === undefined ? [] : [{ name: vm.name, probe: vm.readinessProbe }];
  return (pod.spec.containers ?? []).flatMap((c) => (c.readinessProbe === undefined ? [] : [{ name: c.name, probe: c.readinessProbe }]));
}

export class Prober implements Service {
  readonly name = 'probes';
  readonly #o: ProberOptions;
  readonly #loop: Loop;
  readonly #pods = new Map<string, Pod>();
  readonly #states = new Map<string, State>();

  constructor(options: ProberOptions) {
    this.#o = options;
    this.#loop = new Loop({ name: 'probes', log: options.log, concurrency: 8, run: (key) => this.#probe(key) });
  }

  start(signal: AbortSignal): Promise<void> {
    return this.#loop.start(signal);
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Watches a pod's running containers; the others' results are forgotten, so that a restart begins as not ready. */
  watch(pod: Pod, running: ReadonlySet<string>): void {
    const uid = uidOf(pod);
    this.#pods.set(uid, pod);
    for (const { name } of targetsOf(pod)) {
      const key = `${uid} ${name}`;
      if (!running.has(name)) this.#drop(key);
      else if (!this.#states.has(key)) {
        this.#states.set(key, { ok: null, failures: 0, asked: 0 });
        this.#loop.trigger(key);
      }
    }
  }

  forget(uid: string): void {
    this.#pods.delete(uid);
    for (const key of this.#states.keys()) if (key.startsWith(`${uid} `)) this.#drop(key);
  }

  results(pod: Pod): Readonly<Record<string, boolean>> {
    const out: Record<string, boolean> = {};
    for (const { name } of targetsOf(pod)) {
      const ok = this.#states.get(`${uidOf(pod)} ${name}`)?.ok ?? null;
      if (ok !== null) out[name] = ok;
    }
    return out;
  }

  #drop(key: string): void {
    this.#states.delete(key);
    this.#loop.forget(key);
  }

  async #probe(key: string): Promise<number | void> {
    const [uid = '', name = ''] = key.split(' ');
    const pod = this.#pods.get(uid);
    const state = this.#states.get(key);
    const target = pod === undefined ? undefined : targetsOf(pod).find((t) => t.name === name);
    if (pod === undefined || state === undefined || target === undefined) return;
    const ok = await this.#ask(pod, target.probe);
    if (this.#states.get(key) !== state) return;
    state.asked += 1;
    state.failures = ok ? 0 : state.failures + 1;
    const was = state.ok;
    if (ok) state.ok = true;
    else if (state.ok !== true || state.failures >= (target.probe.failureThreshold ?? 3)) state.ok = false;
    if (state.ok !== was) {
      this.#o.log.info('readiness changed', { pod: nameOf(pod), container: name, ready: state.ok });
      this.#o.onChange(uid);
    }
    const period = (target.probe.periodSeconds ?? 10) * 1000;
    return state.ok === true ? period : Math.min(period, EAGER_MS * 2 ** Math.min(state.asked, 8));
  }

  async #ask(pod: Pod, probe: Probe): Promise<boolean> {
    const uid = uidOf(pod);
    const kind = probe.httpGet === undefined ? 'tcp' : 'http';
    const port = probe.httpGet?.port ?? probe.tcpSocket?.port ?? 0;
    const path = probe.httpGet?.path ?? '/';
    if (pod.spec.virtualMachine !== undefined) return this.#o.askGuest(uid, kind, port, path, TIMEOUT_MS);
    const pid = await this.#o.pidOf(uid);
    if (pid === null) return false;
    const asking = kind === 'http' ? ['busybox', 'wget', '-q', '-O', '/dev/null', `http://127.0.0.1:${port}${path}`] : ['busybox', 'nc', '-w', '1', '127.0.0.1', String(port)];
    return run('nsenter', [`--net=/proc/${pid}/ns/net`, '--', ...asking], { timeoutMs: TIMEOUT_MS }).then(() => true, () => false);
  }
}
