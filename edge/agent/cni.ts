/**
 * The agent's half of the CNI plugin. The plugin (`dataplane/cni/proxima-cni`) only carries: it connects to the socket named in its
 * configuration, writes one JSON object {env: {CNI_*}, config: <its standard input>} and a line end, reads one JSON object, prints it, and
 * exits non-zero if that has a `code`. What an ADD does is decided here, where the pod's address is known.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { MeshError } from '../../api/errors.ts';
import type { Service } from '../../base/lifecycle.ts';
import type { Logger } from '../../base/log.ts';
import type { PodAddress } from './model.ts';
import type { PodNetwork } from './network.ts';

export interface CniOptions {
  readonly socket: string;
  /** Folder that containerd reads its network configuration from. */
  readonly confDir: string;
  readonly pluginName: string;
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
    mkdirSync(this.#o.confDir, { recursive: true });
    const conflist = { cniVersion: CNI_VERSION, name: 'proxima', plugins: [{ type: this.#o.pluginName, socket: this.#o.socket }] };
    writeFileSync(join(this.#o.confDir, '10-proxima.conflist'), JSON.stringify(conflist));
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
