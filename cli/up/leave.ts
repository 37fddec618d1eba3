/**
 * A joined node leaves: agent first (it would register again), then its objects in the region's API while the site's gateway still leads there,
 * then data plane, pods and VMs, the gateway, and last the certificates. What the region could not be told is said to the caller.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createHttpClient } from '../../api/http-client.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import { Resources } from '../../api/resources.ts';
import { loadIdentity } from '../../certs/enrol.ts';
import { removeNode } from '../../edge/agent/containerd.ts';
import { run } from '../../edge/agent/exec.ts';
import { decodeAgentConfig, type AgentConfig } from '../../edge/config.ts';
import { removeDroplet } from './down.ts';
import { endDaemon, hasInterface } from './machine.ts';

const GRACE_MS = 10_000;
/** What joining and running write into the folder of a node. */
const MADE = ['agent.json', 'gateway.json', 'endpoints.json', 'trust.pem', 'relay.key', 'relay-peers.json', 'goal.json', ...['node', 'gateway'].flatMap((use) => [`${use}.key`, `${use}.crt`, `${use}.key.next`, `${use}.crt.next`])];
/** Desired state: another mesh that is joined later must not find it. */
const DESIRED = ['pods', 'v', 'names.json', 'gateway/gateway-goal.json'];
const DATA = ['c', 'logs', 'cni.sock', 'gateway', 'telemetry.json', 'code-cache'];

function configOf(file: string): AgentConfig {
  if (!existsSync(file)) throw new MeshError('missing-file', `${file}: no such file, so this machine is no node of that folder`, { fields: { path: file }, next: 'proxima leave --dir DIR, as given to join' });
  let input: unknown;
  try {
    input = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new MeshError('invalid', `${file}: not JSON: ${(cause as Error).message}`, { fields: { path: file }, cause });
  }
  return decodeAgentConfig(input, file);
}

/** By the node's own certificate; null, or why the region does not know yet. */
async function tellRegion(config: AgentConfig, identityDir: string): Promise<string | null> {
  const { server, serverName } = config.api;
  const identity = loadIdentity(identityDir, config.identity.use);
  const client = createHttpClient({ server, ca: identity.trustPem, credential: { kind: 'certificate', cert: identity.chainPem, key: identity.keyPem }, ...(serverName === undefined ? {} : { serverName }) }, { timeoutMs: 5000 });
  const cluster = { tenant: null, namespace: null };
  try {
    for (const [resource, place] of [[Resources.Node, cluster], [Resources.Lease, { tenant: 'system', namespace: 'node-lease' }], [Resources.Droplet, cluster]] as const) {
      await client.delete(resource, place, config.node).catch((error: unknown) => {
        if (!isMeshError(error, 'not-found')) throw error;
      });
    }
    return null;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await client.close();
  }
}

export async function leaveMesh(given: string, o: { readonly purge: boolean; readonly say: (line: string) => void }): Promise<{ readonly node: string; readonly site: string; readonly next: readonly string[] }> {
  const dir = resolve(given);
  const [agentFile, gatewayFile] = [join(dir, 'agent.json'), join(dir, 'gateway.json')];
  const config = configOf(agentFile);
  const { node, site, droplet } = config;
  const serials = ['node', 'gateway'].filter((use) => existsSync(join(config.identity.dir, `${use}.crt`))).map((use) => loadIdentity(config.identity.dir, use).identity.serial);
  o.say('ending the node agent');
  await endDaemon(agentFile, GRACE_MS);
  o.say('telling the region');
  const untold = await tellRegion(config, config.identity.dir);
  if (untold !== null) o.say(`the region does not know yet: ${untold}`);
  o.say('removing pods, VMs and the data plane');
  const tunnel = droplet.relay === undefined ? null : { interface: droplet.relay.interface, address: droplet.relay.address };
  await removeDroplet({ node, interface: droplet.interface, address: droplet.address, tunnel, uplink: droplet.front?.interface ?? null });
  await removeNode(config.dir, node);
  if (tunnel !== null && (await hasInterface(tunnel.interface))) await run('ip', ['link', 'del', tunnel.interface]);
  await endDaemon(gatewayFile, GRACE_MS);
  for (const name of MADE) for (const at of new Set([dir, config.identity.dir, config.dir])) rmSync(join(at, name), { force: true });
  for (const name of DESIRED) rmSync(join(config.dir, name), { recursive: true, force: true });
  if (o.purge) for (const name of DATA) rmSync(join(config.dir, name), { recursive: true, force: true });
  const objects = untold === null ? [] : [`kubectl delete node ${node} && kubectl delete droplet ${node}`];
  return { node, site, next: [...objects, ...serials.map((s) => `proxima certs revoke ${s} --kubeconfig REGION`)] };
}
