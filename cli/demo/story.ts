/** The story that the demo tells and the end-to-end test asserts: one part after the other, each with the lines that it checks. */
import { join } from 'node:path';
import { execa } from 'execa';
import pc from 'picocolors';
import type { Placement } from '../../api/kinds/mesh.ts';
import { setLink } from '../../topologies/run.ts';
import type { ClientReport } from './client.ts';
import type { SiteFacts } from './facts.ts';
import { PORTS } from './mesh.ts';
import { type Report, until } from './report.ts';
import { LOCATIONS, nodesReady, regionReady, type Stage } from './stage.ts';
import { Traffic } from './traffic.ts';

export const EXAMPLE = join(import.meta.dirname, '..', '..', 'docs', 'examples', 'acme.yaml');
export const APPLICATIONS = ['acme/default/web', 'acme/default/vmweb'] as const;
/** Where the traffic shifts to, and whose uplink is cut. */
const HOT = { site: 'edge-a', clients: 'metro-a' } as const;
/** Requests per second and application: in the morning clients are elsewhere, then the day moves to HOT. */
const MORNING: Readonly<Record<string, number>> = { 'metro-west': 5, 'metro-a': 0.3, 'metro-b': 2, 'metro-c': 5 };
const HOT_RATE = 12;
const EVENING: Readonly<Record<string, number>> = { 'metro-west': 2, 'metro-a': HOT_RATE, 'metro-b': 2, 'metro-c': 0.1 };

const sleep = (ms: number): Promise<void> => new Promise((r) => setTimeout(r, ms));
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
const allNodes = (s: SiteFacts): readonly string[] => [s.gateway, ...s.others].map((n) => n.name);

export async function startControl(stage: Stage, report: Report): Promise<void> {
  for (const r of stage.facts.regions) {
    await regionReady(stage, r.name);
    stage.mesh.startCloudGateway(r);
  }
  report.say('both regions answer; starting their gateways, nodes and the global scheduler');
  for (const s of stage.facts.sites.filter((x) => x.kind === 'zone')) {
    await stage.mesh.createSite(s, LOCATIONS[s.name]);
    for (const n of [s.gateway, ...s.others]) stage.mesh.startCloudNode(s, n);
  }
  await stage.mesh.startGlobal(LOCATIONS);
  for (const s of stage.facts.sites.filter((x) => x.kind === 'zone')) await nodesReady(stage, s.region, allNodes(s), 90_000);
  report.check('regions with gateways and nodes', `${stage.facts.regions.length} regions, ${stage.facts.sites.filter((s) => s.kind === 'zone').flatMap(allNodes).length} nodes Ready`, true);
}

/** Returns a used token, for the refusals. */
export async function joinSites(stage: Stage, report: Report): Promise<string> {
  const started = performance.now();
  let used = '';
  const edges = stage.facts.sites.filter((s) => s.kind === 'edge');
  for (const s of edges) {
    used = await stage.mesh.createSite(s, LOCATIONS[s.name]);
    await stage.mesh.joinNode(s, s.gateway, used);
    for (const n of s.others) {
      const token = await stage.mesh.createSite(s, LOCATIONS[s.name], 'node');
      // The further node joins through the site's gateway, which has just been started.
      await until(`${n.name} joining`, 30_000, async () => {
        await stage.mesh.joinNode(s, n, token);
        return true;
      }, 1_000);
    }
    report.say(`${s.name}: ${allNodes(s).join(', ')} joined with one-use tokens`);
  }
  for (const s of edges) await nodesReady(stage, s.region, allNodes(s), 90_000);
  const slowest = Math.max(...stage.mesh.joins.map((j) => j.seconds));
  report.check('edge sites joined with one-use tokens', `${edges.length} sites, ${edges.flatMap(allNodes).length} nodes Ready in ${seconds(performance.now() - started)}, slowest join ${slowest.toFixed(1)} s`, true);
  return used;
}

async function placementOf(stage: Stage, name: string): Promise<Placement> {
  return JSON.parse(await stage.mesh.kubectl('global', ['get', '--raw', `/apis/mesh.proxima.io/v1/tenants/acme/namespaces/default/placements/${name}`])) as Placement;
}

const shortName = (application: string): string => application.split('/').at(-1) ?? '';

/** Tells each new decision once, as the scheduler explains it. */
class Narrator {
  readonly #stage: Stage;
  readonly #report: Report;
  readonly #told = new Set<string>();

  constructor(stage: Stage, report: Report) {
    this.#stage = stage;
    this.#report = report;
  }

  async tell(): Promise<void> {
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

  constructor(stage: Stage, report: Report) {
    this.stage = stage;
    this.report = report;
    this.#narrator = new Narrator(stage, report);
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
    }, 2_000);
  }

  stopTicker(): void {
    clearInterval(this.#ticker);
  }

  async serveClients(): Promise<void> {
    const { facts } = this.stage;
    this.traffic.start(facts.clients.map((c) => ({ region: c.region, netns: c.netns })), { steering: `http://${facts.global.address}:${PORTS.rest}`, applications: APPLICATIONS, rate: 1 });
    for (const [region, rate] of Object.entries(MORNING)) this.traffic.setRate(region, rate);
    this.#startTicker();
    await until('every client region being served', 60_000, async () => {
      await this.#narrator.tell();
      const last = facts.clients.flatMap((c) => APPLICATIONS.map((a) => this.#last.get(`${c.region} ${a}`)));
      return last.every((r) => r !== undefined && (r.ok > 0 || r.sent === 0)) ? true : null;
    }, 1_000);
    await sleep(6_000); // the plan for this traffic settles
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
    report.say(`traffic shifts: ${Object.entries(EVENING).map(([r, n]) => `${r} ${MORNING[r] ?? 0} -> ${n}`).join(', ')} requests/s per application`);
    const from = Date.now();
    for (const [region, rate] of Object.entries(EVENING)) traffic.setRate(region, rate);
    const local = (a: string): boolean => {
      const s = traffic.span(Date.now() - 3_000, Date.now(), HOT.clients, a);
      return s.ok > HOT_RATE && (s.servedBy[HOT.site] ?? 0) === s.ok;
    };
    await until(`${HOT.clients} being served from ${HOT.site}`, 120_000, async () => {
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
      const before = traffic.span(from, from + 4_000, HOT.clients, a);
      const after = traffic.span(to - 6_000, to, HOT.clients, a);
      const isVm = a.endsWith('vmweb');
      report.check(`${isVm ? 'VM' : 'container'} application moved to ${HOT.site}, latency of ${HOT.clients}`, `p50 ${before.p50 ?? '-'} -> ${after.p50 ?? '-'} ms${isVm ? ' (of which most is the emulated CPU)' : ''}`, isLower(before.p50, after.p50, isVm));
    }
    report.check('requests failed during the move', `${all.failed} of ${all.sent}${all.failed > 0 ? ` (${all.lastError ?? ''})` : ''}`, all.failed === 0 && all.sent > 100);
  }

  async #uplink(up: boolean): Promise<void> {
    await setLink(this.stage.facts.lab, 'metro-a', this.#hotSite().gateway.name, { up }, { stateDir: this.stage.labs });
  }

  #hotSite(): SiteFacts {
    const site = this.stage.facts.sites.find((s) => s.name === HOT.site);
    if (site === undefined) throw new Error(`no site ${HOT.site} in the lab`);
    return site;
  }

  /** Pods of both kinds that answer inside the site, asked on the nodes themselves. */
  async #podsRunning(): Promise<{ readonly containers: number; readonly vms: number }> {
    let containers = 0;
    let vms = 0;
    for (const n of allNodes(this.#hotSite())) {
      const { stdout } = await execa('sh', ['-c', `for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done | grep -E '${this.stage.mesh.path(n)}/' || true`]);
      vms += stdout.split('\n').filter((l) => l.includes('qemu-system')).length;
      containers += stdout.split('\n').filter((l) => l.includes('containerd-shim')).length;
    }
    return { containers, vms };
  }

  async cutUplink(): Promise<void> {
    const { report, traffic } = this;
    const running = await this.#podsRunning();
    report.say(`cutting the uplink of ${HOT.site}`);
    const from = Date.now();
    await this.#uplink(false);
    const elsewhere = (): boolean => APPLICATIONS.every((a) => {
      const s = traffic.span(Date.now() - 2_000, Date.now(), HOT.clients, a);
      return s.ok > HOT_RATE / 2 && s.failed === 0 && (s.servedBy[HOT.site] ?? 0) === 0;
    });
    await until(`${HOT.clients} being served from elsewhere`, 60_000, async () => (elsewhere() ? true : null), 250);
    const took = Date.now() - from - 2_000; // the span that was looked at was good from its beginning
    const s = traffic.span(from, Date.now(), HOT.clients, '*');
    report.check('seconds to fail over when the uplink is cut', `${seconds(Math.max(0, took))}, ${s.failed} of ${s.sent} requests failed, ${s.retried} answered by the second front`, took < 10_000);
    await sleep(6_000);
    await this.#narrator.tell();
    const still = await this.#podsRunning();
    report.check(`pods on ${HOT.site} keep running while it is cut off`, `${still.containers} container and ${still.vms} VM pods, as before`, still.vms === running.vms && still.containers === running.containers && still.vms > 0 && still.containers > 0);
  }

  /** Its nodes' processes, all of them, by kill -9; then the agents and the gateway again, as a boot would, still without the cloud. */
  async killSite(): Promise<void> {
    const { report, stage } = this;
    const before = await this.#podsRunning();
    const names = stage.processes.names().filter((n) => n === `edge-gateway-${HOT.site}` || allNodes(this.#hotSite()).some((x) => n === `agent-${x}`));
    const specs = [];
    for (const n of names) specs.push(await stage.processes.kill9(n));
    const killed = await this.#killAllOf(allNodes(this.#hotSite()).map((n) => stage.mesh.path(n)));
    report.say(`killed -9 every process of ${HOT.site}: ${names.length} daemons and ${killed} others (containerd, pods, VMs, tunnel)`);
    const gone = await this.#podsRunning();
    const from = Date.now();
    for (const s of specs) stage.processes.start(s);
    await until('pods coming back without the cloud', 120_000, async () => {
      const now = await this.#podsRunning();
      return now.vms >= before.vms && now.containers >= before.containers ? true : null;
    }, 500);
    report.check('after kill -9 of everything and a boot without the cloud, pods are back', `container and VM pods after ${seconds(Date.now() - from)} (${gone.containers + gone.vms} were left in between)`, gone.vms === 0);
  }

  async #killAllOf(dirs: readonly string[]): Promise<number> {
    const { stdout } = await execa('sh', ['-c', `for p in /proc/[0-9]*; do c=$(tr '\\0' ' ' <$p/cmdline 2>/dev/null) && case "$c" in ${dirs.map((d) => `*"${d}/"*`).join('|')}) echo "\${p#/proc/}";; esac; done; true`]);
    const pids = stdout.split('\n').map(Number).filter((p) => p > 1 && p !== process.pid);
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // its parent's end took it along
      }
    }
    await sleep(300);
    return pids.length;
  }

  async restoreUplink(): Promise<void> {
    const { report, traffic } = this;
    report.say(`the uplink of ${HOT.site} returns`);
    const from = Date.now();
    await this.#uplink(true);
    await until(`${HOT.clients} being served from ${HOT.site} again`, 120_000, async () => {
      await this.#narrator.tell();
      return APPLICATIONS.every((a) => {
        const s = traffic.span(Date.now() - 2_000, Date.now(), HOT.clients, a);
        return s.ok > HOT_RATE / 2 && (s.servedBy[HOT.site] ?? 0) === s.ok;
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

