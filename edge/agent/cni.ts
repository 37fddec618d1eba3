/**
 * The agent's half of the CNI plugin. The plugin (`dataplane/cni/proxima-cni`) only carries: it connects to the socket named in its
 * configuration, writes one JSON object {env: {CNI_*}, config: <its standard input>} and a line end, reads one JSON object, prints it, and
 * exits non-zero if that has a `code`. What an ADD does is decided here, where the pod's address is known.
 */
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { MeshError } from '../../api/errors.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import type { PodAddress } from './model.ts';
import type { PodNetwork } from './network.ts';

export interface CniOptions {
  readonly socket: string;
  /** containerd's folder: it reads its network configuration in `cni`, and finds plugins in `cni-bin`. */
  readonly dir: string;
  /** The plugin's binary. */
  readonly plugin: string;
  readonly network: PodNetwork;
  /** The address of a pod that is to run here; null = it has none. */
  readonly addressOf: (podUid: string) => PodAddress | null;
  /** Turns a path that containerd names into one that is valid outside its mount namespace. */
  readonly hostPath: (path: string) => string;
  readonly log: Logger;
}

interface CniRequest {
  readonly env: Readonly<Record<string, string>>;
  readonly config: { readonly cniVersion?: string };
}

const CNI_VERSION = '0.4.0';
/** containerd insists on a plugin of this name; bringing `lo` up is all it has to do. */
const LOOPBACK = `#!/bin/sh
case $CNI_COMMAND in
  ADD)
    nsenter --net="$CNI_NETNS" ip link set lo up || exit 1
    echo '{"cniVersion":"0.3.1","interfaces":[{"name":"lo"}],"ips":[{"version":"4","address":"127.0.0.1/8","interface":0}]}' ;;
  VERSION) echo '{"cniVersion":"0.3.1","supportedVersions":["0.3.1","0.4.0","1.0.0"]}' ;;
esac
`;
const LIMIT_BYTES = 256 * 1024;

export class CniServer implements Service {
  readonly name = 'cni';
  readonly #o: CniOptions;
  #server: Server | null = null;

  constructor(options: CniOptions) {
    this.#o = options;
  }

  async start(): Promise<void> {
    rmSync(this.#o.socket, { force: true });
    if (!existsSync(this.#o.plugin)) throw new MeshError('missing-file', `cni.plugin: ${this.#o.plugin} does not exist`, { fields: { path: 'cni.plugin' }, next: 'build the data plane: sh dataplane/build.sh' });
    for (const d of ['cni', 'cni-bin']) mkdirSync(join(this.#o.dir, d), { recursive: true });
    const link = join(this.#o.dir, 'cni-bin', 'proxima-cni');
    rmSync(link, { force: true });
    symlinkSync(this.#o.plugin, link);
    writeFileSync(join(this.#o.dir, 'cni-bin', 'loopback'), LOOPBACK, { mode: 0o755 });
    const conflist = { cniVersion: CNI_VERSION, name: 'proxima', plugins: [{ type: 'proxima-cni', socket: this.#o.socket }] };
    writeFileSync(join(this.#o.dir, 'cni', '10-proxima.conflist'), JSON.stringify(conflist));
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(this.#o.socket, resolve));
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server !== null) await new Promise((resolve) => server.close(resolve));
    rmSync(this.#o.socket, { force: true });
  }

  #serve(socket: Socket): void {
    let text = '';
    let answered = false;
    const answer = async (): Promise<void> => {
      if (answered) return;
      answered = true;
      const reply = await this.#answer(text).catch((error: unknown) => {
        this.#o.log.warn('pod network call failed', { err: error });
        return { cniVersion: CNI_VERSION, code: 999, msg: (error as Error).message };
      });
      socket.end(`${JSON.stringify(reply)}\n`);
    };
    socket.setEncoding('utf8');
    socket.on('error', () => undefined); // the plugin was killed: containerd will call DEL
    socket.on('data', (part: string) => {
      text += part;
      if (text.length > LIMIT_BYTES) socket.destroy();
      else if (text.endsWith('\n')) void answer();
    });
    socket.on('end', () => void answer());
  }

  async #answer(text: string): Promise<object> {
    const { env, config } = JSON.parse(text) as CniRequest;
    const cniVersion = config.cniVersion ?? CNI_VERSION;
    if (env['CNI_COMMAND'] === 'VERSION') return { cniVersion, supportedVersions: ['0.3.1', '0.4.0', '1.0.0'] };
    const podUid = /(?:^|;)K8S_POD_UID=([^;]+)/.exec(env['CNI_ARGS'] ?? '')?.[1];
    if (podUid === undefined) throw new MeshError('invalid', 'CNI_ARGS: K8S_POD_UID is missing');
    if (env['CNI_COMMAND'] === 'DEL') {
      await this.#o.network.detach(podUid);
      return {};
    }
    if (env['CNI_COMMAND'] === 'CHECK') return {};
    const address = this.#o.addressOf(podUid);
    if (address === null) throw new MeshError('unavailable', 'the pod has no endpoint yet');
    const netns = env['CNI_NETNS'] ?? '';
    const ifName = env['CNI_IFNAME'] ?? 'eth0';
    const given = await this.#o.network.attach({ podUid, netnsPath: this.#o.hostPath(netns), tapName: null, ifName, address });
    return {
      cniVersion,
      interfaces: [{ name: ifName, mac: given.mac, sandbox: netns }],
      ips: [{ version: '4', address: `${given.address}/${given.prefix}`, gateway: given.gateway, interface: 0 }],
      routes: [{ dst: '0.0.0.0/0', gw: given.gateway }],
    };
  }
}
