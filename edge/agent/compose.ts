/** Puts a node agent together from its parts. The daemon and the tests both come through here; what differs is the client and the network. */
import { join } from 'node:path';
import { MeshError } from '../../api/errors.ts';
import type { Client } from '../../api/client.ts';
import type { Pod } from '../../api/kinds/core.ts';
import { Informer } from '../../api/informer.ts';
import { Resources } from '../../api/resources.ts';
import type { Clock } from '../../base/clock.ts';
import { ServiceGroup, type Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import { Loop } from '../../base/loop.ts';
import { Addresses } from './addresses.ts';
import { Agent } from './agent.ts';
import { CniServer } from './cni.ts';
import { Containerd, detectRuntime } from './containerd.ts';
import { Containers } from './containers.ts';
import { uidOf } from './model.ts';
import type { PodNetwork } from './network.ts';
import { Prober } from './probes.ts';
import { Records } from './records.ts';
import { VmReceiver, type TransferDial } from './vm/receive.ts';
import { VmRuntime } from './vm/runtime.ts';
import { VmSender } from './vm/send.ts';

export interface NodeAgentOptions {
  readonly dir: string;
  readonly node: string;
  readonly site: string;
  readonly region: string;
  readonly address: string;
  /** The CNI plugin's binary. */
  readonly cniPlugin: string;
  /** OCI archives to have in containerd before the first pod. */
  readonly images: readonly string[];
  readonly vmImageDir: string;
  /** MTU of pod interfaces. */
  readonly mtu: number;
  /** VPC of the system tenant's pods that name none. @default null: they are in the node's network */
  readonly systemVpc?: string | null;
  readonly client: Client;
  readonly network: PodNetwork;
  /** The way to other sites' agents. @default null: no VM comes from elsewhere */
  readonly way?: TransferDial | null;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface NodeAgent extends Service {
  readonly agent: Agent;
  readonly records: Records;
  readonly containerd: Containerd;
  readonly containers: Containers;
  readonly vms: VmRuntime;
  /** Serves the VMs that are to be sent away. */
  readonly departures: VmSender;
  readonly runtimeName: string;
  /** Called when a runtime becomes ready or stops being so. */
  onRuntime: () => void;
}

export async function composeAgent(o: NodeAgentOptions): Promise<NodeAgent> {
  const runtime = await detectRuntime();
  if (runtime === null) throw new MeshError('missing-file', 'neither crun nor runc is on this machine', { next: 'apt-get install --no-install-recommends crun' });
  const { log, clock, client } = o;
  const containerd = new Containerd({ dir: o.dir, node: o.node, runtime, log });
  const containers = new Containers(containerd.cri, { node: o.node, logDir: join(o.dir, 'logs'), environment: { PROXIMA_SITE: o.site, PROXIMA_REGION: o.region } });
  const records = new Records(join(o.dir, 'pods'), log);
  const trigger = (uid: string): void => agent.trigger(uid);
  const vms = new VmRuntime({ dir: join(o.dir, 'v'), imageDir: o.vmImageDir, site: o.site, network: o.network, log, onChange: trigger });
  const recordOf = records.get.bind(records);
  const departures = new VmSender({ vms, recordOf, onChange: trigger, log });
  const arrivals = new VmReceiver({ vms, recordOf, way: o.way ?? noWay, onRestored: (uid) => countStart(records, uid), onChange: trigger, clock, log });
  vms.onStop = (uid) => arrivals.letGo(uid);
  const prober = new Prober({ log, pidOf: pidLookup(containers), askGuest: (...a) => vms.probe(...a), onChange: trigger });
  const agent = new Agent({ node: o.node, hostIp: o.address, client, records, runtimes: { containers, vms, arrivals }, prober, clock, log });
  const cni = new CniServer({ socket: join(o.dir, 'cni.sock'), dir: join(o.dir, 'c'), plugin: o.cniPlugin, network: o.network, log, addressOf: (uid) => records.get(uid)?.address ?? null, hostPath: (path) => `${containerd.rootPath()}${path}` });
  const addresses = new Addresses({
    node: o.node, mtu: o.mtu, client, log,
    onAddress: (uid, address, provisioned) => {
      const record = records.get(uid);
      if (record === undefined || (record.address?.address === address.address && record.address.vni === address.vni && (record.provisioned || !provisioned))) return;
      records.change(uid, { address, provisioned });
      agent.trigger(uid);
    },
  });
  const pods = new Informer<Pod>({ client, log, clock, resource: Resources.Pod, list: { tenant: 'all', fieldSelector: `spec.nodeName=${o.node}` }, maxRetryMs: 3000 });
  pods.onChange((_, found, previous) => {
    const pod = found === null ? null : inSystemVpc(found, o.systemVpc ?? null);
    if (previous !== null && (pod === null || uidOf(pod) !== uidOf(previous))) agent.onGone(previous);
    if (pod === null) return;
    agent.onPod(pod);
    addresses.look(uidOf(pod));
  });
  // Only a whole list says that a pod on disk is gone; it never comes while the cloud is out of reach.
  pods.synced.then(() => agent.onList(pods.list().map((p) => inSystemVpc(p, o.systemVpc ?? null))), () => undefined);
  const vmStart = new Loop({ name: 'VM runtime', log, resyncMs: 0, run: async () => {
    await vms.start();
    agent.triggerAll();
    self.onRuntime();
  } });
  const exits = new Loop({ name: 'container exits', log, run: async (_, signal) => {
    await containerd.cri.watchExits(() => agent.triggerAll(), signal);
    agent.triggerAll();
    return 500;
  } });
  const group = new ServiceGroup('node agent', [
    once('records', async () => records.load()),
    cni, containerd,
    once('images', () => importImages(containerd, containers, o.images)),
    once('orphans', () => removeOrphans(containers, vms, records, log)),
    prober, arrivals, agent, exits, vmStart, addresses, pods,
  ]);
  const self: NodeAgent = {
    name: 'node agent', agent, records, containerd, containers, vms, departures, runtimeName: runtime.name,
    onRuntime: () => undefined,
    start: async (signal) => {
      await group.start(signal);
      exits.trigger('exits');
      vmStart.trigger('vm');
    },
    stop: async () => {
      await group.stop();
      vms.stop();
    },
  };
  return self;
}

/** The pod as the network plane reads it: one of the system's that names no VPC is in the system's, where there is one. */
function inSystemVpc(pod: Pod, vpc: string | null): Pod {
  return vpc === null || pod.spec.vpc !== undefined || (pod.metadata.tenant ?? 'system') !== 'system' ? pod : { ...pod, spec: { ...pod.spec, vpc } };
}

const noWay: TransferDial = { dial: () => Promise.reject(new MeshError('unsupported', 'this agent knows no way to other sites')) };

/** A VM that came from elsewhere has been started here; its next start is an ordinary one. */
function countStart(records: Records, uid: string): void {
  const record = records.get(uid);
  const name = record?.pod.spec.virtualMachine?.name ?? '';
  if (record !== undefined) records.change(uid, { starts: { ...record.starts, [name]: (record.starts[name] ?? 0) + 1 } });
}

function once(name: string, start: () => Promise<void>): Service {
  return { name, start, stop: () => Promise.resolve() };
}

async function importImages(containerd: Containerd, containers: Containers, tars: readonly string[]): Promise<void> {
  const missing = await containers.missingImages(tars);
  for (const tar of missing) await containerd.importImage(tar);
}

/** What runs here and no record asks for: the record was dropped, and the agent ended before the pod did. */
async function removeOrphans(containers: Containers, vms: VmRuntime, records: Records, log: Logger): Promise<void> {
  for (const { uid, sandboxId } of await containers.sandboxes()) {
    if (records.get(uid) !== undefined) continue;
    log.warn('a pod that nobody asks for is removed', { uid });
    await containers.removeOrphan(uid, sandboxId);
  }
  for (const uid of vms.uids()) if (records.get(uid) === undefined) await vms.stopVm(uid, 0);
}

/** Process of a pod's live sandbox, remembered per sandbox: probes ask every second. */
function pidLookup(containers: Containers): (uid: string) => Promise<number | null> {
  const known = new Map<string, { readonly sandboxId: string; readonly pid: number }>();
  return async (uid) => {
    const id = containers.liveSandbox(uid);
    if (id === null) return null;
    const old = known.get(uid);
    if (old?.sandboxId === id) return old.pid;
    const pid = await containers.pidOf(id);
    known.set(uid, { sandboxId: id, pid });
    return pid;
  };
}
