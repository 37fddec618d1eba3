/** `proxima down`: ends the daemons, takes pods, VMs, data plane and interface away. Data stays, unless it is to be purged. */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createLogger } from '../../base/log.ts';
import { createTransit } from '../../dataplane/transit/transit.ts';
import { removeNode } from '../../edge/agent/containerd.ts';
import { endDaemon, hasInterface, removeInterface } from './machine.ts';
import type { Paths, Settings } from './settings.ts';

const GRACE_MS = 10_000;
/** What `up` puts into its folder; images may be elsewhere and are then not ours to remove. */
const MADE = ['up.json', 'region.json', 'agent.json', 'region.pid', 'agent.pid', 'admin.kubeconfig', 'region', 'identity', 'logs', 'n', 'code-cache', 'images'];

export interface DropletPlace {
  readonly node: string;
  readonly interface: string;
  readonly address: string;
  readonly tunnel: { readonly interface: string; readonly address: string } | null;
  readonly uplink: string | null;
}

/** Everything of one droplet out of the kernel: pods' interfaces, programs, maps. */
export async function removeDroplet(d: DropletPlace): Promise<void> {
  const pinned = join('/sys/fs/bpf/proxima', d.node);
  if (!existsSync(pinned)) return;
  const devices = [d.interface, ...(d.tunnel === null ? [] : [d.tunnel.interface]), ...(d.uplink === null ? [] : [d.uplink])];
  const isThere = await Promise.all(devices.map(hasInterface));
  if (isThere.every(Boolean)) {
    const transit = createTransit({ droplet: d.node, interface: d.interface, address: d.address, tunnel: d.tunnel, uplink: d.uplink, log: createLogger({ name: 'down', level: 'error' }) });
    await transit.start(); // finds the pods' interfaces by the maps
    await transit.remove();
  }
  // Programs leave with their pins, and with an interface that is gone.
  rmSync(pinned, { recursive: true, force: true });
}

export async function down(paths: Paths, s: Settings, options: { readonly purge: boolean; readonly say: (line: string) => void }): Promise<void> {
  options.say('ending the node agent and the region');
  for (const daemon of ['agent', 'region'] as const) {
    await endDaemon(paths.config(daemon), GRACE_MS);
    rmSync(paths.pid(daemon), { force: true });
  }
  options.say(`removing the pods and the network of ${s.node}`);
  await removeDroplet({ node: s.node, interface: s.interface, address: s.address, tunnel: null, uplink: null });
  await removeNode(paths.node, s.node);
  await removeInterface(paths, s);
  rmSync(join(paths.node, 'goal.json'), { force: true }); // it says what is in the kernel, which is empty now
  if (!options.purge) return;
  options.say(`removing the data in ${paths.dir}`);
  for (const name of MADE) rmSync(join(paths.dir, name), { recursive: true, force: true });
  if (readdirSync(paths.dir).length === 0) rmdirSync(paths.dir);
}
