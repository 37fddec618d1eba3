/** A node agent as the tests of the edge need it: real containerd and QEMU, links without the data plane. Run as a program, it is an agent that never reaches the cloud. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '../../api/client.ts';
import { systemClock } from '../../base/clock.ts';
import { createLogger, silentLogger, type Logger } from '../../base/log.ts';
import { composeAgent, type NodeAgent } from '../../edge/agent/compose.ts';
import type { PodNetwork } from '../../edge/agent/network.ts';
import { offlineClient } from './offline-client.ts';
import { VethNetwork } from './veth-network.ts';

export interface EdgeNodePaths {
  readonly dir: string;
  readonly images: readonly string[];
  readonly vmImageDir: string;
}

export function edgeNode(paths: EdgeNodePaths, client: Client, log: Logger = silentLogger, network: PodNetwork = new VethNetwork()): Promise<NodeAgent> {
  const built = join(import.meta.dirname, '..', '..', 'dataplane', 'cni', 'proxima-cni');
  const plugin = existsSync(built) ? built : join(paths.dir, 'test-cni');
  mkdirSync(paths.dir, { recursive: true });
  if (plugin !== built) {
    writeFileSync(plugin, readFileSync(join(import.meta.dirname, 'cni-carrier.mjs'), 'utf8').replace('/usr/bin/env node', process.execPath));
    chmodSync(plugin, 0o755);
  }
  return composeAgent({
    dir: paths.dir, node: 'n1', site: 'test-site', region: 'test-region', address: '127.0.0.1', mtu: 1400,
    cniPlugin: plugin, images: paths.images, vmImageDir: paths.vmImageDir,
    client, network, clock: systemClock, log,
  });
}

if (process.argv[1] === import.meta.filename) {
  const agent = await edgeNode(JSON.parse(process.argv[2] ?? '') as EdgeNodePaths, offlineClient, createLogger({ name: 'offline agent', level: 'error' }));
  await agent.start(new AbortController().signal);
  process.stdout.write('started\n');
}
