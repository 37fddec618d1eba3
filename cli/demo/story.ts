/** The story that the demo tells and the end-to-end test asserts: one part after the other, each with the lines that it checks. */
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import pc from 'picocolors';
import type { Placement } from '../../api/kinds/mesh.ts';
import type { ClientReport } from './client.ts';
import type { ClientFacts, SiteFacts } from './facts.ts';
import { PORTS } from './mesh.ts';
import { Narrator, placementOf, shortName } from './narrator.ts';
import { OnlyOne } from './only-one.ts';
import { type Report, seconds, until } from './report.ts';
import { simulateDays } from './simulated.ts';
import type { Stage } from './stage.ts';
import { TakenBack } from './taken-back.ts';
import { Traffic } from './traffic.ts';

export const EXAMPLE = join(import.meta.dirname, '..', '..', 'docs', 'examples', 'acme.yaml');
export const APPLICATIONS = ['acme/default/web', 'acme/default/vmweb'] as const;
/** Requests per second and application: in the morning clients are everywhere but at one metro, then the day moves there. */
const CLOUD_RATE = 5;
const EDGE_RATE = 3;
const COLD_RATE = 0.25;
export const HOT_RATE = 8;
const LOCAL_MS = 10;
/** Latency is the median of the best so many ms, waited for no longer than so many more than what drains takes. */
const WINDOW_MS = 5_000;
const SETTLE_MS = 15_000;

/** The client region beside an edge site. */
const metroOf = (site: string): string => site.replace('edge-', 'metro-');
const sleep = (ms: number): Promise<void> => new Promise((r) => setTimeout(r, ms));

/** More runs on this machine than the demo: each request waits for a processor several times. */
const isBusy = (): boolean => (loadavg()[0] ?? 0) > 3 * availableParallelism();

/** Single digits of ms from next door, container or emulated VM; of a busy machine no more is asked than that the way is saved. */
const isLower = (before: number | null, after: number | null): boolean => before !== null && after !== null && before >= 20 && after < (isBusy() ? before - 30 : LOCAL_MS);

export class Story {
  readonly stage: Stage;
  readonly report: Report;
  readonly traffic = new Traffic();
  readonly onlyOne: OnlyOne;
  readonly takenBack: TakenBack;
  readonly #narrator: Narrator;
  #last = new Map<string, ClientReport>();
  #ticker: NodeJS.Timeout | undefined;
  /** The edge site that the traffic shifts to, and whose uplink is cut: one without an instance so far. */
  #hot: SiteFacts;
  /** The client region that the day leaves. */
  #cooling = '';
  /** Tells what was simulated while the morning's plan settled. */
  simulated: (report: Report) => void = () => undefined;

  constructor(stage: Stage, report: Report) {
    this.stage = stage;
    this.report = report;
    this.onlyOne = new OnlyOne(this);
    this.takenBack = new TakenBack(this);
    this.#narrator = new Narrator(stage, report, APPLICATIONS);
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
        await this.tell();
        const p = await placementOf(this.stage, shortName(a));
        return (p.status?.sites ?? []).some((s) => s.state === 'serving' && s.ready > 0) ? true : null;
      }, 1_000);
    }
    this.report.check('tenant, VPC, a container and a VM application applied with stock kubectl', `kubectl ${client}, ${out.trim().split('\n').length} objects, both serving after ${seconds(performance.now() - started)}`, true);
  }

  placementOf(application: string): Promise<Placement> {
    return placementOf(this.stage, shortName(application));
  }

  /** Of the tenant, in the global API. Through its own URL: kubectl looks for what it applies where its server says, not where the object says. */
  kubectl(args: readonly string[], input?: string): Promise<string> {
    const { mesh, facts } = this.stage;
    return mesh.kubectl('global', [`--server=https://${facts.global.address}:${PORTS.global}/tenants/acme`, ...args], input);
  }

  get hot(): SiteFacts {
    return this.#hot;
  }

  /** The client region beside it. */
  get hotClients(): string {
    return metroOf(this.#hot.name);
  }

  /** The site beside the clients that are silent by now, and they. */
  get quiet(): { readonly site: SiteFacts; readonly clients: ClientFacts } {
    const { sites, clients } = this.stage.facts;
    const [site, region] = [sites.find((s) => metroOf(s.name) === this.#cooling), clients.find((c) => c.region === this.#cooling)];
    if (site === undefined || region === undefined) throw new Error('the traffic has not shifted yet');
    return { site, clients: region };
  }

  /** Tells what the scheduler decided since the last time. */
  tell(): Promise<void> {
    return this.#narrator.tell();
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
    return region === this.hotClients ? COLD_RATE : region.endsWith('west') ? CLOUD_RATE : EDGE_RATE;
  }

  #evening(region: string): number {
    return region === this.hotClients ? HOT_RATE : region === this.#cooling ? 0.1 : 2;
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
      this.tell().catch((error: unknown) => this.report.say(pc.dim(`(the global API did not answer: ${(error as Error).message})`)));
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
      await this.tell();
      const last = facts.clients.flatMap((c) => APPLICATIONS.map((a) => this.#last.get(`${c.region} ${a}`)));
      return last.every((r) => r !== undefined && (r.ok > 0 || r.sent === 0)) ? true : null;
    }, 1_000);
    [this.simulated] = await Promise.all([simulateDays(this.stage), sleep(12_000)]); // the plan for this traffic settles
    const from = Date.now();
    await sleep(8_000);
    await this.tell();
    for (const c of facts.clients) {
      const s = this.traffic.span(from, Date.now(), c.region, '*');
      this.report.check(`clients in ${c.region} served through their front`, `${s.ok}/${s.sent} ok, p50 ${s.p50} ms, p99 ${s.p99} ms, from ${Object.keys(s.servedBy).join(', ')}`, s.sent > 0 && s.failed === 0);
    }
  }

  async shiftTraffic(): Promise<void> {
    const { report, traffic } = this;
    // The morning may have moved things: the day goes to a site that no application uses now. Silence at one metro makes one, if there is none.
    if (!(await this.#chooseDay())) traffic.setRate(this.hotClients, 0.05);
    await until('an edge site without an instance', 90_000, async () => ((await this.#chooseDay()) ? true : null), 1_000);
    const regions = this.stage.facts.clients.map((c) => c.region);
    report.say(`traffic shifts to ${this.hotClients}: ${regions.map((r) => `${r} ${this.#morning(r)} -> ${this.#evening(r)}`).join(', ')} requests/s per application`);
    const from = Date.now();
    for (const r of regions) traffic.setRate(r, this.#evening(r));
    const local = (a: string): boolean => {
      const s = traffic.span(Date.now() - 3_000, Date.now(), this.hotClients, a);
      return s.ok > HOT_RATE && (s.servedBy[this.#hot.name] ?? 0) === s.ok;
    };
    // A site that was left a moment ago is avoided for a while, so this may take minutes.
    await until(`${this.hotClients} being served from ${this.#hot.name}`, 220_000, async () => {
      await this.tell();
      return APPLICATIONS.every(local) ? true : null;
    }, 500);
    const took = Date.now() - from;
    await this.onlyOne.start();
    await sleep(10_000); // what is not needed any more drains, under traffic
    const after = await this.#settled(from + took);
    await this.tell();
    const all = traffic.span(from, Date.now(), '*', '*');
    report.check('seconds from traffic shift to served locally', seconds(took), true);
    const [container = null] = after;
    for (const [i, a] of APPLICATIONS.entries()) {
      // A start alone takes longer than this, so all of it was served from afar.
      const before = traffic.span(from, from + 2_200, this.hotClients, a).p50;
      const now = after[i] ?? null;
      const isVm = a.endsWith('vmweb');
      report.check(`${isVm ? 'VM' : 'container'} application moved to ${this.#hot.name}, latency of ${this.hotClients}`, `p50 ${before ?? '-'} -> ${now ?? '-'} ms${isVm && now !== null && container !== null ? ` (${(now - container).toFixed(1)} more than the container)` : ''}${isBusy() ? `; the machine is busy (load ${loadavg()[0]?.toFixed(0) ?? ''})` : ''}`, isLower(before, now));
    }
    report.check('requests failed during the move', `${all.failed} of ${all.sent}${all.failed > 0 ? ` (${all.lastError ?? ''})` : ''}`, all.failed === 0 && all.sent > 100);
  }

  /** The applications' latencies at the hot site since they are all served there. */
  async #settled(since: number): Promise<readonly (number | null)[]> {
    for (const end = Date.now() + SETTLE_MS; ; await sleep(500)) {
      const medians = APPLICATIONS.map((a) => this.traffic.bestMedian(since, Date.now(), this.hotClients, a, this.#hot.name, WINDOW_MS));
      if (Date.now() >= end || medians.every((ms) => ms !== null && ms < LOCAL_MS)) return medians;
    }
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

