/**
 * `proxima up`: this machine as a region with one node. Checks first, then the region, its default network, the node agent; each step does only
 * what is missing, so that a second `up` finds everything there. Resolves when the node is Ready.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '../../api/client.ts';
import { isMeshError, MeshError } from '../../api/errors.ts';
import type { Node } from '../../api/kinds/core.ts';
import type { Site } from '../../api/kinds/mesh.ts';
import type { Droplet, Subnet, Vpc } from '../../api/kinds/mizar.ts';
import type { KubeObject } from '../../api/object.ts';
import { Resources } from '../../api/resources.ts';
import { issueToFiles, loadAuthority } from '../../certs/authority.ts';
import { spiffe } from '../../certs/names.ts';
import { isBuilt } from '../../dataplane/transit/transit.ts';
import { doctor } from '../../edge/bootstrap/doctor.ts';
import { buildImages, type Images } from '../../edge/images/build.ts';
import { connect, until } from '../connect.ts';
import { ensureInterface, isRunning, portFree, startDaemon } from './machine.ts';
import { REGION, SITE, write, type Daemon, type Paths, type Settings } from './settings.ts';

export interface UpOptions {
  readonly paths: Paths;
  readonly settings: Settings;
  readonly preflight: boolean;
  readonly say: (line: string) => void;
}

const CLUSTER = { tenant: null, namespace: null } as const;
const START_MS = 60_000;
const READY_MS = 120_000;
const NODE_LIFETIME_MS = 365 * 86_400_000;
/** A region of one node has nobody to relay to. */
const NOT_NEEDED: ReadonlySet<string> = new Set(['WireGuard']);

export async function up(o: UpOptions): Promise<void> {
  const { paths, settings } = o;
  const running = { region: isRunning(paths, 'region'), agent: isRunning(paths, 'agent') };
  if (!running.region || !running.agent) await check(o, running);
  mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
  mkdirSync(paths.logs, { recursive: true });
  write(paths.settings, settings);
  const images = await imagesOf(o);
  await startRegion(o, running.region);
  const { client } = await connect(paths.kubeconfig);
  try {
    await network(client, settings);
    await startAgent(o, running.agent, images);
    await nodeReady(client, o);
  } finally {
    await client.close();
  }
}

async function check(o: UpOptions, running: Readonly<Record<Daemon, boolean>>): Promise<void> {
  const { settings: s } = o;
  o.say('checking this machine');
  if (!isBuilt()) throw new MeshError('missing-file', 'the data plane is not built', { next: 'sudo ./proxima install' });
  if (!running.region) {
    await portFree('--port', s.listen, s.port);
    await portFree('--goal-port', '127.0.0.1', s.goalPort);
  }
  if (!running.agent) await portFree('--agent-port', '127.0.0.1', s.agentPort);
  if (!o.preflight) return;
  const unfit = (await doctor({ dir: o.paths.dir })).find((r) => !r.ok && !r.optional && !NOT_NEEDED.has(r.check));
  if (unfit !== undefined) throw new MeshError(unfit.kind, `${unfit.check}: ${unfit.detail}`, { next: unfit.fix });
}

async function imagesOf(o: UpOptions): Promise<Images> {
  const onProgress = (what: string): void => o.say(`making ${what}`);
  if (!o.settings.withVms) return buildImages(o.settings.images, { onProgress, containersOnly: true });
  try {
    return await buildImages(o.settings.images, { onProgress });
  } catch (error) {
    // Its kernel comes over the network; containers need none.
    o.say(`without a VM image: ${(error as Error).message}`);
    return buildImages(o.settings.images, { onProgress, containersOnly: true });
  }
}

/** Waits for a daemon's own sign of life; a daemon that ended is told from one that is slow, with its last words. */
async function alive(o: UpOptions, daemon: Daemon, what: string, timeoutMs: number, ask: () => Promise<true | null>): Promise<void> {
  const log = o.paths.log(daemon);
  const began = Date.now();
  await until(what, timeoutMs, async () => {
    // Right after the start the process is still `env`.
    if (Date.now() - began > 1000 && !isRunning(o.paths, daemon)) throw new MeshError('forbidden', `the ${daemon} ended: ${lastWords(log)}`);
    return ask();
  }, `look at ${log}`).catch((error: unknown) => {
    throw isMeshError(error, 'forbidden') ? new MeshError('unavailable', error.message, { cause: error, next: `look at ${log}` }) : error;
  });
}

function lastWords(log: string): string {
  const lines = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : [];
  return lines.findLast((l) => l.startsWith('error:'))?.slice(7) ?? lines.at(-1)?.slice(0, 300) ?? 'it wrote nothing';
}

async function startRegion(o: UpOptions, isUp: boolean): Promise<void> {
  const { paths, settings: s } = o;
  if (!isUp) {
    o.say(`starting the region on https://${s.listen}:${s.port}`);
    write(paths.config('region'), { region: REGION, dataDir: paths.region, listen: { address: s.listen, port: s.port }, goal: { address: '127.0.0.1', port: s.goalPort }, kubeconfig: paths.kubeconfig, names: [s.node, s.address] });
    startDaemon(paths, 'region');
  }
  await alive(o, 'region', 'the region answering', START_MS, async () => {
    if (!existsSync(paths.kubeconfig)) return null;
    const { client } = await connect(paths.kubeconfig);
    try {
      await client.list(Resources.Site);
      return true;
    } finally {
      await client.close();
    }
  });
}

async function ensure<T extends KubeObject>(client: Client, resource: (typeof Resources)[keyof typeof Resources], object: T): Promise<void> {
  try {
    await client.create<T>(resource, object);
  } catch (error) {
    if (!isMeshError(error, 'already-exists')) throw error; // what a user made of it is theirs
  }
}

/** A pod that names no VPC belongs to its tenant's VPC `default`. */
async function network(client: Client, s: Settings): Promise<void> {
  await ensure<Site>(client, Resources.Site, { apiVersion: 'mesh.proxima.io/v1', kind: 'Site', metadata: { name: SITE }, spec: { kind: 'zone', region: REGION } });
  await ensure<Vpc>(client, Resources.Vpc, { apiVersion: 'mizar.com/v1', kind: 'Vpc', metadata: { name: 'default', tenant: 'system' }, spec: { cidr: s.cidr } });
  await ensure<Subnet>(client, Resources.Subnet, { apiVersion: 'mizar.com/v1', kind: 'Subnet', metadata: { name: 'default', tenant: 'system' }, spec: { vpc: 'default', cidr: s.cidr, site: SITE } });
}

async function startAgent(o: UpOptions, isUp: boolean, images: Images): Promise<void> {
  const { paths, settings: s } = o;
  await ensureInterface(paths, s);
  if (isUp) return;
  o.say(`starting the node agent of ${s.node}`);
  const pki = join(paths.region, 'pki', `region-${REGION}`);
  issueToFiles(loadAuthority(`${pki}.crt`, `${pki}.key`), paths.identity, 'node', { uri: spiffe.node(SITE, s.node), ips: [s.address], lifetimeMs: NODE_LIFETIME_MS });
  const host = s.listen === '0.0.0.0' ? '127.0.0.1' : s.listen;
  write(paths.config('agent'), {
    node: s.node, site: SITE, region: REGION, dir: paths.node, identity: { dir: paths.identity, use: 'node' },
    api: { server: `https://${host}:${s.port}`, serverName: 'localhost' }, goal: { server: `127.0.0.1:${s.goalPort}`, serverName: 'localhost' },
    droplet: { interface: s.interface, address: s.address }, listen: { address: s.address, port: s.agentPort }, systemVpc: 'default',
    images: { containers: images.containers.map((c) => c.tar), vmDir: s.withVms && existsSync(images.vmDir) ? images.vmDir : '' },
  });
  startDaemon(paths, 'agent');
}

async function nodeReady(client: Client, o: UpOptions): Promise<void> {
  const { node } = o.settings;
  o.say(`waiting for node ${node}`);
  await alive(o, 'agent', `node ${node} being Ready`, READY_MS, async () => {
    const found = await client.get<Node>(Resources.Node, CLUSTER, node);
    const is = (type: string): boolean => found.status?.conditions?.some((c) => c.type === type && c.status === 'True') === true;
    const droplet = await client.get<Droplet>(Resources.Droplet, CLUSTER, node);
    if (!is('Ready') || !is('ContainerRuntimeReady')) throw new MeshError('unavailable', `containers are not ready on ${node}`);
    if (droplet.status?.phase !== 'Provisioned') throw new MeshError('unavailable', `droplet ${node} is ${droplet.status?.phase ?? 'new'} ${droplet.status?.message ?? ''}`.trim());
    return true;
  });
}
