/** The story that the demo tells and the end-to-end test asserts: one part after the other, each with the lines that it checks. */
import { join } from 'node:path';
import { execa } from 'execa';
import pc from 'picocolors';
import type { Placement } from '../../api/kinds/mesh.ts';
import { setLink } from '../../topologies/run.ts';
import type { ClientReport } from './client.ts';
import type { NodeFacts, SiteFacts } from './facts.ts';
import { PORTS } from './mesh.ts';
import { allNodes } from './opening.ts';
import { type Report, seconds, until } from './report.ts';
import type { Stage } from './stage.ts';
import { Traffic } from './traffic.ts';

export const EXAMPLE = join(import.meta.dirname, '..', '..', 'docs', 'examples', 'acme.yaml');
export const APPLICATIONS = ['acme/default/web', 'acme/default/vmweb'] as const;
/** Requests per second and application: in the morning clients are everywhere but at one metro, then the day moves there. */
const CLOUD_RATE = 5;
const EDGE_RATE = 3;
const COLD_RATE = 0.25;
const HOT_RATE = 8;

/** The client region beside an edge site. */
const metroOf = (site: string): string => site.replace('edge-', 'metro-');
const sleep = (ms: number): Promise<void> => new Promise((r) => setTimeout(r, ms));

async function placementOf(stage: Stage, name: string): Promise<Placement> {
  return JSON.parse(await stage.mesh.kubectl('global', ['get', '--raw', `/apis/mesh.proxima.io/v1/tenants/acme/namespaces/default/placements/${name}`])) as Placement;
}

const shortName = (application: string): string => application.split('/').at(-1) ?? '';

/** Tells each new decision once, as the scheduler explains it. */
class Narrator {
  readonly #stage: Stage;
  readonly #report: Report;
  readonly #told = new Set<string>();
  #isTelling = false;

  constructor(stage: Stage, report: Report) {
    this.#stage = stage;
    this.#report = report;
  }

  async tell(): Promise<void> {
    if (this.#isTelling) return;
    this.#isTelling = true;
    try {
      await this.#tellNew();
    } finally {
      this.#isTelling = false;
    }
  }

  async #tellNew(): Promise<void> {
    for (const a of APPLICATIONS) {
      const p = await placementOf(this.#stage, shortName(a));
      for (const m of p.status?.moves ?? []) {
        const key = `${a}${m.at}${m.phase}${m.to ?? ''}${m.from ?? ''}`;
        if (this.#told.has(key)) continue;
        this.#told.add(key);
        this.#report.say(`${pc.cyan(shortName(a))} ${m.to ?? m.from ?? ''}: ${pc.bold(m.phase)}; ${m.reason}`);
      }
    }
  }
}

/** A container answers in single digits from next door. A VM on an emulated CPU takes its time; what the move saves is still the way. */
function isLower(before: number | null, after: number | null, isVm: boolean): boolean {
  return before !== null && after !== null && before >= 20 && (isVm ? after < before - 30 : after < 10);
}

export class Story {
  readonly stage: Stage;
  readonly report: Report;
  readonly traffic = new Traffic();
  readonly #narrator: Narrator;
  #last = new Map<string, ClientReport>();
  #ticker: NodeJS.Timeout | undefined;
  /** The edge site that the traffic shifts to, and whose uplink is cut: one without an instance so far. */
  #hot: SiteFacts;
  #cooling = '';

  constructor(stage: Stage, report: Report) {
    this.stage = stage;
    this.report = report;
    this.#narrator = new Narrator(stage, report);
    this.#hot = stage.facts.sites.find((x) => x.kind === 'edge') as SiteFacts;
    this.traffic.onReport = (r) => this.#last.set(`${r.region} ${r.application}`, r);
  }

  async deployApplications(): Promise<void> {
    const { mesh } = this.stage;
    const client = /(v1\.\d+)/.exec(await mesh.kubectl('global', ['version', '--client']))?.[1] ?? 'kubectl';
    const out = await mesh.kubectl('global', ['apply', '-f', EXAMPLE]);
    const started = performance.now();
    this.report.say(`kubectl ${client} apply -f docs/examples/acme.yaml`);
    for (const a of APPLICATIONS) {
      await until(`${a} being placed and Ready`, 120_000, async () => {
        await this.#narrator.tell();
        const p = await placementOf(this.stage, shortName(a));
        return (p.status?.sites ?? []).some((s) => s.state === 'serving' && s.ready > 0) ? true : null;
      }, 1_000);
    }
    this.report.check('tenant, VPC, a container and a VM application applied with stock kubectl', `kubectl ${client}, ${out.trim().split('\n').length} objects, both serving after ${seconds(performance.now() - started)}`, true);
  }

  placementOf(application: string): Promise<Placement> {
    return placementOf(this.stage, shortName(application));
  }

  get hot(): SiteFacts {
    return this.#hot;
  }

  get #hotClients(): string {
    return metroOf(this.#hot.name);
  }

  /** Chooses the metro that the day moves to, and the one that it leaves, from where the applications stand. */
  async #chooseDay(): Promise<boolean> {
    const used = new Set<string>();
    for (const a of APPLICATIONS) for (const s of (await placementOf(this.stage, shortName(a))).spec.sites) used.add(s.site);
    const edges = this.stage.facts.sites.filter((s) => s.kind === 'edge');
    const free = edges.find((s) => !used.has(s.name));
    this.#hot = free ?? this.#hot;
    this.#cooling = metroOf(edges.findLast((s) => s.name !== this.#hot.name)?.name ?? '');
    return free !== undefined;
  }

  #morning(region: string): number {
    return region === this.#hotClients ? COLD_RATE : region.endsWith('west') ? CLOUD_RATE : EDGE_RATE;
  }

  #evening(region: string): number {
    return region === this.#hotClients ? HOT_RATE : region === this.#cooling ? 0.1 : 2;
  }

  /** One line a second: requests, failures, latency and who serves, per client region. */
  #startTicker(): void {
    this.#ticker = setInterval(() => {
      const parts = this.stage.facts.clients.map((c) => {
        const rows = APPLICATIONS.map((a) => this.#last.get(`${c.region} ${a}`)).filter((r) => r !== undefined);
        const failed = rows.reduce((n, r) => n + r.failed, 0);
        const cells = rows.map((r) => `${r.p50 ?? '-'}/${r.p99 ?? '-'} ms from ${Object.keys(r.servedBy).join('+') || '-'}`);
        return `${c.region} ${rows.reduce((n, r) => n + r.sent, 0)} req${failed > 0 ? pc.red(` ${failed} failed`) : ''} [${cells.join(' | ')}]`;
      });
      this.report.say(pc.dim(parts.join('  ')));
      this.#narrator.tell().catch((error: unknown) => this.report.say(pc.dim(`(the global API did not answer: ${(error as Error).message})`)));
    }, 2_000);
  }

  stopTicker(): void {
    clearInterval(this.#ticker);
  }

  async serveClients(): Promise<void> {
    const { facts } = this.stage;
    this.traffic.start(facts.clients.map((c) => ({ region: c.region, netns: c.netns })), { steering: `http://${facts.global.address}:${PORTS.rest}`, applications: APPLICATIONS, rate: 1 });
    await this.#chooseDay();
    for (const c of facts.clients) this.traffic.setRate(c.region, this.#morning(c.region));
    this.#startTicker();
    await until('every client region being served', 60_000, async () => {
      await this.#narrator.tell();
      const last = facts.clients.flatMap((c) => APPLICATIONS.map((a) => this.#last.get(`${c.region} ${a}`)));
      return last.every((r) => r !== undefined && (r.ok > 0 || r.sent === 0)) ? true : null;
    }, 1_000);
    await sleep(12_000); // the plan for this traffic settles
    const from = Date.now();
    await sleep(8_000);
    await this.#narrator.tell();
    for (const c of facts.clients) {
      const s = this.traffic.span(from, Date.now(), c.region, '*');
      this.report.check(`clients in ${c.region} served through their front`, `${s.ok}/${s.sent} ok, p50 ${s.p50} ms, p99 ${s.p99} ms, from ${Object.keys(s.servedBy).join(', ')}`, s.sent > 0 && s.failed === 0);
    }
  }

  async shiftTraffic(): Promise<void> {
    const { report, traffic } = this;
    // The morning may have moved things: the day goes to a site that no application uses now. Silence at one metro makes one, if there is none.
    if (!(await this.#chooseDay())) traffic.setRate(this.#hotClients, 0.05);
    await until('an edge site without an instance', 90_000, async () => ((await this.#chooseDay()) ? true : null), 1_000);
    const regions = this.stage.facts.clients.map((c) => c.region);
    report.say(`traffic shifts to ${this.#hotClients}: ${regions.map((r) => `${r} ${this.#morning(r)} -> ${this.#evening(r)}`).join(', ')} requests/s per application`);
    const from = Date.now();
    for (const r of regions) traffic.setRate(r, this.#evening(r));
    const local = (a: string): boolean => {
      const s = traffic.span(Date.now() - 3_000, Date.now(), this.#hotClients, a);
      return s.ok > HOT_RATE && (s.servedBy[this.#hot.name] ?? 0) === s.ok;
    };
    // A site that was left a moment ago is avoided for a while, so this may take minutes.
    await until(`${this.#hotClients} being served from ${this.#hot.name}`, 220_000, async () => {
      await this.#narrator.tell();
      return APPLICATIONS.every(local) ? true : null;
    }, 500);
    const took = Date.now() - from;
    await sleep(10_000); // what is not needed any more drains, under traffic
    await this.#narrator.tell();
    const to = Date.now();
    const all = traffic.span(from, to, '*', '*');
    report.check('seconds from traffic shift to served locally', seconds(took), true);
    for (const a of APPLICATIONS) {
      // A start alone takes longer than this, so all of it was served from afar.
      const before = traffic.span(from, from + 2_200, this.#hotClients, a);
      const after = traffic.span(to - 6_000, to, this.#hotClients, a);
      const isVm = a.endsWith('vmweb');
      report.check(`${isVm ? 'VM' : 'container'} application moved to ${this.#hot.name}, latency of ${this.#hotClients}`, `p50 ${before.p50 ?? '-'} -> ${after.p50 ?? '-'} ms${isVm ? ' (of which most is the emulated CPU)' : ''}`, isLower(before.p50, after.p50, isVm));
    }
    report.check('requests failed during the move', `${all.failed} of ${all.sent}${all.failed > 0 ? ` (${all.lastError ?? ''})` : ''}`, all.failed === 0 && all.sent > 100);
  }

  async #uplink(up: boolean): Promise<void> {
    await setLink(this.stage.facts.lab, this.#hotClients, this.#hot.gateway.name, { up }, { stateDir: this.stage.labs });
  }

  /** Pods of both kinds that answer inside the site, asked on the nodes themselves. */
  async #podsRunning(): Promise<{ readonly containers: number; readonly vms: number }> {
    let containers = 0;
    let vms = 0;
    for (const n of allNodes(this.#hot)) {
      const { stdout } = await execa('sh', ['-c', `for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done | grep -E '${this.stage.mesh.path(n)}/' || true`]);
      vms += stdout.split('\n').filter((l) => l.includes('qemu-system')).length;
      containers += stdout.split('\n').filter((l) => l.includes('containerd-shim')).length;
    }
    return { containers, vms };
  }

  async cutUplink(): Promise<void> {
    const { report, traffic } = this;
    const running = await this.#podsRunning();
    report.say(`cutting the uplink of ${this.#hot.name}`);
    const from = Date.now();
    await this.#uplink(false);
    const elsewhere = (): boolean => APPLICATIONS.every((a) => {
      const s = traffic.span(Date.now() - 2_000, Date.now(), this.#hotClients, a);
      return s.ok > HOT_RATE / 2 && s.failed === 0 && (s.servedBy[this.#hot.name] ?? 0) === 0;
    });
    await until(`${this.#hotClients} being served from elsewhere`, 60_000, async () => (elsewhere() ? true : null), 250);
    const took = Date.now() - from - 2_000; // the span that was looked at was good from its beginning
    const s = traffic.span(from, Date.now(), this.#hotClients, '*');
    report.check('seconds to fail over when the uplink is cut', `${seconds(Math.max(0, took))}, ${s.failed} of ${s.sent} requests failed, ${s.retried} answered by the second front`, took < 10_000);
    await sleep(6_000);
    await this.#narrator.tell();
    const still = await this.#podsRunning();
    report.check(`pods on ${this.#hot.name} keep running while it is cut off`, `${still.containers} container and ${still.vms} VM pods, as before`, still.vms === running.vms && still.containers === running.containers && still.vms > 0 && still.containers > 0);
  }

  /** Its nodes' processes, all of them, by kill -9; then the agents and the gateway again, as a boot would, still without the cloud. */
  async killSite(): Promise<void> {
    const { report, stage } = this;
    const before = await this.#podsRunning();
    const names = stage.processes.names().filter((n) => n === `edge-gateway-${this.#hot.name}` || allNodes(this.#hot).some((x) => n === `agent-${x}`));
    const specs = [];
    for (const n of names) specs.push(await stage.processes.kill9(n));
    const killed = await this.#killAllOf([this.#hot.gateway, ...this.#hot.others]);
    report.say(`killed -9 every process of ${this.#hot.name}: ${names.length} daemons and ${killed} others (containerd, pods, VMs, tunnel)`);
    const gone = await this.#podsRunning();
    const from = Date.now();
    for (const s of specs) stage.processes.start(s);
    await until('pods coming back without the cloud', 120_000, async () => {
      const now = await this.#podsRunning();
      return now.vms >= before.vms && now.containers >= before.containers ? true : null;
    }, 500);
    report.check('after kill -9 of everything and a boot without the cloud, pods are back', `container and VM pods after ${seconds(Date.now() - from)} (${gone.containers + gone.vms} were left in between)`, gone.vms === 0);
  }

  /** Processes in the nodes' namespaces, and those that name their folders: pods and their shims are in namespaces of their own. */
  async #killAllOf(nodes: readonly NodeFacts[]): Promise<number> {
    const patterns = nodes.map((n) => `*"${this.stage.mesh.path(n.name)}/"*`).join('|');
    const named = await execa('sh', ['-c', `for p in /proc/[0-9]*; do c=$(tr '\\0' ' ' <$p/cmdline 2>/dev/null) && case "$c" in ${patterns}) echo "\${p#/proc/}";; esac; done; true`]);
    const inside = await Promise.all(nodes.map((n) => execa('ip', ['netns', 'pids', n.netns], { reject: false })));
    const pids = new Set([named, ...inside].flatMap((r) => r.stdout.split('\n').map(Number)).filter((p) => p > 1 && p !== process.pid));
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // its parent's end took it along
      }
    }
    await sleep(300);
    return pids.size;
  }

  async restoreUplink(): Promise<void> {
    const { report, traffic } = this;
    report.say(`the uplink of ${this.#hot.name} returns`);
    const from = Date.now();
    await this.#uplink(true);
    await until(`${this.#hotClients} being served from ${this.#hot.name} again`, 180_000, async () => {
      await this.#narrator.tell();
      return APPLICATIONS.every((a) => {
        const s = traffic.span(Date.now() - 2_000, Date.now(), this.#hotClients, a);
        return s.ok > HOT_RATE / 2 && (s.servedBy[this.#hot.name] ?? 0) === s.ok;
      }) ? true : null;
    }, 500);
    const took = Date.now() - from;
    const s = traffic.span(from, Date.now(), '*', '*');
    report.check('seconds until the returned site serves again', `${seconds(took)}, ${s.failed} of ${s.sent} requests failed`, s.failed === 0);
  }

  memory(): void {
    const { processes } = this.stage;
    const of = (prefix: string): number[] => processes.names().filter((n) => n.startsWith(prefix)).map((n) => processes.memoryOf(n) ?? 0);
    const region = Math.max(...of('region-'));
    this.report.check('resident memory, region server', `${region} MB (most of ${of('region-').join(', ')})`, region <= 250);
    const gateways = of('edge-gateway-');
    const agents = of('agent-');
    this.report.say(`resident memory: cloud gateways ${of('cloud-gateway-').join(', ')} MB; edge gateways ${gateways.join(', ')} MB; agents ${agents.join(', ')} MB; global scheduler ${of('global').join(', ')} MB`);
  }

  daemonsAlive(): void {
    const { unexpected } = this.stage.processes;
    this.report.check('daemons that ended by themselves', unexpected.length === 0 ? 'none' : unexpected.join(', '), unexpected.length === 0);
  }
}

