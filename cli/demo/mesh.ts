/**
 * Brings the lab's mesh up the way its operators would: an authority, two regions with their gateways and nodes, the global scheduler, then three
 * edge sites that join with one-use tokens through `proxima join`. Everything lives in one folder, every daemon is a process of its own.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { MeshError } from '../../api/errors.ts';
import { writeKubeconfig } from '../../api/kubeconfig.ts';
import type { Images } from '../../edge/images/build.ts';
import { createAuthority, createRegionAuthority, issueToFiles, type Authority } from '../../certs/authority.ts';
import { spiffe } from '../../certs/names.ts';
import { ensureTunnelKey } from '../../gateway/tunnel/wireguard.ts';
import { daemonArgv, daemonEnv, type DaemonVerb } from '../daemon-command.ts';
import type { ClientFacts, LabFacts, NodeFacts, RegionFacts, SiteFacts } from './facts.ts';
import type { Processes } from './processes.ts';

export const PORTS = { api: 6443, goal: 50_051, mux: 7443, enrol: 7444, mqtt: 8883, agents: 7446, global: 6443, rest: 8080, wireguard: 51_820, probe: 7, echo: 7_007 } as const;
/** Of every node, so that the planner has something to weigh. */
const CAPACITY = { cpuMilli: 1_000, memoryMiB: 1_024, pods: 20 };
const cliMain = join(import.meta.dirname, '..', 'main.ts');

export interface MeshOptions {
  readonly dir: string;
  readonly facts: LabFacts;
  readonly images: Images;
  readonly processes: Processes;
}

export class Mesh {
  readonly dir: string;
  readonly facts: LabFacts;
  readonly #o: MeshOptions;
  readonly #root: Authority;
  readonly #regional = new Map<string, Authority>();
  readonly joins: { site: string; node: string; seconds: number }[] = [];
  /** Used up by each edge site's first node. */
  readonly tokens = new Map<string, string>();

  constructor(options: MeshOptions) {
    this.#o = options;
    this.dir = options.dir;
    this.facts = options.facts;
    mkdirSync(this.dir, { recursive: true, mode: 0o700 });
    this.#root = createAuthority(join(this.dir, 'ca'));
    for (const r of this.facts.regions) this.#regional.set(r.name, createRegionAuthority(this.#root, r.name, join(this.dir, 'ca')));
  }

  authority(region: string): Authority {
    const found = this.#regional.get(region);
    if (found === undefined) throw new MeshError('not-found', `no region ${region}`);
    return found;
  }

  path(...parts: readonly string[]): string {
    return join(this.dir, ...parts);
  }

  write(path: string, config: unknown): string {
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    return path;
  }

  start(name: string, netns: string, verb: DaemonVerb, configFile: string): void {
    this.#o.processes.start({ name, netns, argv: daemonArgv(verb, configFile), env: daemonEnv(this.dir) });
  }

  kubeconfig(region: string): string {
    return this.path(`${region}.kubeconfig`);
  }

  /** An administrator's certificate for a region's API or the global one. */
  async #access(name: string, authority: Authority, server: string, serverName: string): Promise<void> {
    const files = issueToFiles(authority, this.path('admin', name), 'admin', { uri: spiffe.admin('operator'), usage: ['client'] });
    const read = (p: string): string => readFileSync(p, 'utf8');
    await writeKubeconfig(this.kubeconfig(name), { server, serverName, ca: read(files.trustFile), credential: { kind: 'certificate', cert: read(files.certFile), key: read(files.keyFile) } }, name);
  }

  async startRegion(r: RegionFacts): Promise<void> {
    const { control } = r;
    const authority = this.authority(r.name);
    const dir = this.path(control.name);
    const ips = [control.uplink ?? control.lan, control.lan, '127.0.0.1'];
    issueToFiles(authority, dir, 'region', { uri: spiffe.region(r.name), dns: [`api.${r.name}.proxima`, 'localhost'], ips });
    issueToFiles(authority, dir, 'gateway', { uri: spiffe.cloudGateway(r.name), dns: [`gateway.${r.name}.proxima`, 'localhost'], ips });
    await this.#access(r.name, authority, `https://${control.uplink ?? control.lan}:${PORTS.api}`, `api.${r.name}.proxima`);
    this.start(`region-${r.name}`, control.netns, 'region', this.write(join(dir, 'region.json'), {
      region: r.name, dataDir: join(dir, 'store'), listen: { address: '0.0.0.0', port: PORTS.api }, goal: { address: '0.0.0.0', port: PORTS.goal },
      identity: { dir, use: 'region' }, kubeconfig: join(dir, 'admin.kubeconfig'), gateways: [`127.0.0.1:${PORTS.agents}`],
    }));
    const at = (port: number): string => `${control.uplink ?? control.lan}:${port}`;
    this.write(join(dir, 'gateway.json'), {
      region: r.name, identity: { dir, use: 'gateway' }, authority: { cert: this.path('ca', `region-${r.name}.crt`), key: this.path('ca', `region-${r.name}.key`) },
      mux: { address: '0.0.0.0', port: PORTS.mux }, enrol: { address: '0.0.0.0', port: PORTS.enrol }, mqtt: { address: '0.0.0.0', port: PORTS.mqtt }, agents: { address: '127.0.0.1', port: PORTS.agents },
      advertise: { mux: at(PORTS.mux), enrol: at(PORTS.enrol) }, api: { server: `https://127.0.0.1:${PORTS.api}`, serverName: `api.${r.name}.proxima` },
      services: { 'region-api': { host: '127.0.0.1', port: PORTS.api }, 'goal-grpc': { host: '127.0.0.1', port: PORTS.goal }, enrol: { host: '127.0.0.1', port: PORTS.enrol } },
    });
  }

  startCloudGateway(r: RegionFacts): void {
    this.start(`cloud-gateway-${r.name}`, r.control.netns, 'gateway', this.path(r.control.name, 'gateway.json'));
  }

  async startGlobal(locations: Readonly<Record<string, readonly [number, number]>>): Promise<void> {
    const { netns, address } = this.facts.global;
    const dir = this.path('global');
    issueToFiles(this.#root, dir, 'global', { uri: spiffe.global(), dns: ['global.proxima', 'localhost'], ips: [address, '127.0.0.1'] });
    await this.#access('global', this.#root, `https://${address}:${PORTS.global}`, 'global.proxima');
    const files = { cert: join(dir, 'global.crt'), key: join(dir, 'global.key'), ca: join(dir, 'trust.pem') };
    const at = (name: string): object => {
      const l = locations[name];
      return l === undefined ? {} : { location: { latitude: l[0], longitude: l[1] } };
    };
    this.start('global', netns, 'global', this.write(join(dir, 'global.json'), {
      dataDir: join(dir, 'store'), api: { host: '0.0.0.0', port: PORTS.global, ...files }, rest: { host: '0.0.0.0', port: PORTS.rest, tls: false, openSteering: true },
      regions: this.facts.regions.map((r) => ({ name: r.name, kubeconfig: this.kubeconfig(r.name), broker: { url: `mqtts://${r.control.uplink ?? ''}:${PORTS.mqtt}`, ...files } })),
      clientRegions: this.facts.clients.map((c) => ({ name: c.region, cidrs: [c.cidr], ...at(c.region) })),
      halfLifeMs: 4_000, mover: { stepMs: 1_000, drainMs: 6_000 }, failure: { suspectAfterMs: 2_000, downAfterMs: 8_000, returnAfterMs: 4_000 },
    }));
  }

  relayOf(site: SiteFacts): { readonly address: string; readonly interface: string } {
    return { address: `100.64.${site.index}.1`, interface: `pxwg-${site.gateway.name}` };
  }

  images(): object {
    return { containers: this.#o.images.containers.map((c) => c.tar), vmDir: this.#o.images.vmDir };
  }

  /** What a cloud node's configuration has beside its addresses, as joining would write it. */
  agentExtras(site: SiteFacts, node: NodeFacts, identityDir: string): object {
    const isGateway = node.name === site.gateway.name;
    const others = this.facts.sites.filter((s) => s.name !== site.name);
    const relay = { ...this.relayOf(site), publicKey: isGateway ? ensureTunnelKey(join(identityDir, 'relay.key')) : '', endpoint: `${node.uplink ?? ''}:${PORTS.wireguard}` };
    return {
      droplet: { interface: 'eth2', address: node.lan, ...(isGateway ? { relay, front: { interface: 'eth1', address: node.uplink } } : {}) },
      capacity: CAPACITY,
      probes: isGateway ? [...others.map((s) => ({ to: s.name, kind: 'site', address: s.gateway.uplink, port: PORTS.probe, echoPort: PORTS.echo })), ...this.facts.clients.map((c: ClientFacts) => ({ to: c.region, kind: 'client-region', address: c.address, port: PORTS.probe }))] : [],
      ...(isGateway ? { echo: { address: node.uplink, port: PORTS.echo } } : {}),
      images: this.images(),
    };
  }

  startCloudNode(site: SiteFacts, node: NodeFacts): void {
    const control = this.facts.regions.find((r) => r.name === site.region)?.control;
    if (control === undefined) throw new MeshError('not-found', `no region ${site.region}`);
    const dir = this.path(node.name);
    issueToFiles(this.authority(site.region), dir, 'node', { uri: spiffe.node(site.name, node.name), ips: [node.lan] });
    const name = `api.${site.region}.proxima`;
    this.start(`agent-${node.name}`, node.netns, 'agent', this.write(join(dir, 'agent.json'), {
      node: node.name, site: site.name, region: site.region, dir, identity: { dir, use: 'node' },
      api: { server: `https://${control.lan}:${PORTS.api}`, serverName: name }, goal: { server: `${control.lan}:${PORTS.goal}`, serverName: name },
      mqtt: { server: `mqtts://${control.lan}:${PORTS.mqtt}` }, enrol: `${control.lan}:${PORTS.enrol}`, listen: { address: '0.0.0.0', port: 10_250 }, ...this.agentExtras(site, node, dir),
    }));
  }

  async cli(netns: string, args: readonly string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await execa('nsenter', [`--net=/run/netns/${netns}`, '--', process.execPath, cliMain, ...args], { reject: false });
    if (exitCode !== 0) throw new MeshError('io', `proxima ${args[0] === 'join' ? 'join' : args.slice(0, 2).join(' ')}: ${stderr.trim().split('\n').slice(-2).join(' ')}`, { fields: { exitCode } });
    return stdout;
  }

  async createSite(site: SiteFacts, location: readonly [number, number] | undefined, role: 'edge' | 'node' = 'edge'): Promise<string> {
    const control = this.facts.regions.find((r) => r.name === site.region)?.control;
    const enrol = role === 'node' ? site.gateway.lan : (control?.uplink ?? '');
    const where = location === undefined ? [] : ['--location', location.join(',')];
    const out = await this.cli(control?.netns ?? '', ['site', 'create', site.name, '--region', site.region, '--kind', site.kind, '--gateway', `${enrol}:${PORTS.enrol}`, '--front', site.gateway.uplink ?? '', '--role', role, '--kubeconfig', this.kubeconfig(site.region), ...where, '-o', 'json']);
    return (JSON.parse(out) as { token?: string }).token ?? '';
  }

  /** What the field engineer does on one node: join, then start what it says. */
  async joinNode(site: SiteFacts, node: NodeFacts, token: string): Promise<void> {
    const started = performance.now();
    const isGateway = node.name === site.gateway.name;
    const dir = this.path(node.name);
    const { facts } = this;
    const probes = [
      ...facts.sites.filter((s) => s.name !== site.name).flatMap((s) => ['--probe', `${s.name}=${s.gateway.uplink ?? ''}:${PORTS.probe}`]),
      ...facts.clients.flatMap((c) => ['--probe-clients', `${c.region}=${c.address}:${PORTS.probe}`]),
    ];
    const relay = this.relayOf(site);
    const extra = isGateway ? ['--front', `eth1=${node.uplink ?? ''}`, '--relay', `${relay.interface}=${relay.address}`, ...probes] : ['--gateway-lan', site.gateway.lan];
    await this.cli(node.netns, ['join', token, '--dir', dir, '--node', node.name, '--lan', `eth2=${node.lan}`, '--images', JSON.stringify(this.images()), ...extra]);
    if (isGateway) this.start(`edge-gateway-${site.name}`, node.netns, 'gateway', join(dir, 'gateway.json'));
    // Joining takes the whole machine's size, which the nodes of a lab share.
    const agentFile = join(dir, 'agent.json');
    this.start(`agent-${node.name}`, node.netns, 'agent', this.write(agentFile, { ...(JSON.parse(readFileSync(agentFile, 'utf8')) as object), capacity: CAPACITY }));
    this.joins.push({ site: site.name, node: node.name, seconds: (performance.now() - started) / 1000 });
  }

  async kubectl(which: string, args: readonly string[], input?: string): Promise<string> {
    const { stdout, stderr, exitCode } = await execa('nsenter', [`--net=/run/netns/${this.facts.global.netns}`, '--', 'kubectl', `--kubeconfig=${this.kubeconfig(which)}`, `--cache-dir=${this.path('kubectl-cache')}`, ...args], { reject: false, ...(input === undefined ? {} : { input }) });
    if (exitCode !== 0) throw new MeshError('io', `kubectl ${args.slice(0, 3).join(' ')}: ${stderr.trim().split('\n').slice(-2).join(' ')}`);
    return stdout;
  }
}
