/**
 * A move that does not keep its promise: between the plan and the first traffic the new place's line becomes slow. Its policy allows one move an hour,
 * so no other plan can repair it; what the fronts measure is held against what was predicted, and the scheduler takes the move back by itself.
 */
import type { Placement } from '../../api/kinds/mesh.ts';
import { readLab, setLink } from '../../topologies/run.ts';
import type { ClientFacts, SiteFacts } from './facts.ts';
import { PORTS } from './mesh.ts';
import { placementOf } from './narrator.ts';
import { seconds, until } from './report.ts';
import type { Story } from './story.ts';
import { Traffic } from './traffic.ts';

const NAME = 'kiosk';
const KEY = `acme/default/${NAME}`;
const PORT = 8_086;
const HOME = 'west';
const RATE = 25;
/** Each way, in place of half a millisecond. */
const SLOW_US = 60_000;

const application = (home: string): string => JSON.stringify({
  apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: NAME, tenant: 'acme', namespace: 'default' },
  spec: {
    vpc: 'shop', service: { port: PORT, targetPort: 80 },
    policy: { instances: { min: 1, max: 1 }, sites: { required: { names: [home] } }, migration: { allowed: true, maxMovesPerHour: 1 } },
    template: { spec: { containers: [{ name: 'web', image: 'localhost/proxima-web:1', resources: { requests: { cpu: '20m', memory: '16Mi' } }, readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 1 } }] } },
  },
});

/** `measured` over the connections to the new place; ms. */
const REASON = /^a move to (\S+) was undone: client region (\S+) measured ([\d.]+) ms over (\d+) connections; ([\d.]+) ms were predicted, ([\d.]+) ms it was before$/;

const sitesOf = (p: Placement): string => p.spec.sites.map((s) => s.site).join(', ');

export class TakenBack {
  readonly #story: Story;
  readonly #traffic = new Traffic();

  constructor(story: Story) {
    this.#story = story;
  }

  /** The site that it will move to: hardly anybody is there by now, so that its line may be slow for a moment. */
  get #place(): SiteFacts {
    return this.#story.quiet.site;
  }

  /** Its clients, beside that site. */
  get #client(): ClientFacts {
    return this.#story.quiet.clients;
  }

  /** At its home, which is far from its clients, until its policy lets it go. */
  async start(): Promise<void> {
    const { report, stage } = this.#story;
    await this.#story.kubectl(['apply', '-f', '-'], application(HOME));
    report.say(`kubectl apply: application ${NAME}, kept at ${HOME}, with clients in ${this.#client.region}; one move an hour is allowed`);
    this.#traffic.start([this.#client], { steering: `http://${stage.facts.global.address}:${PORTS.rest}`, applications: [KEY], rate: RATE });
  }

  /** Only answers from one site for two seconds. */
  #servedFrom(site: string, timeoutMs: number): Promise<true> {
    return until(`${NAME} being served from ${site}`, timeoutMs, async () => {
      const s = this.#traffic.span(Date.now() - 2_500, Date.now(), '*', '*');
      return s.ok > RATE && s.servedBy[site] === s.ok ? true : null;
    });
  }

  #placed(what: string, isIt: (p: Placement) => boolean): Promise<Placement> {
    return until(`${NAME} ${what}`, 60_000, async () => {
      const p = await placementOf(this.#story.stage, NAME);
      return isIt(p) ? p : null;
    }, 100);
  }

  /** Sets the delay of the line between the site's gateway and its metro; resolves with the way back. */
  async #slow(): Promise<() => Promise<void>> {
    const { stage } = this.#story;
    const { lab } = stage.facts;
    const ends = [this.#client.region, this.#place.gateway.name] as const;
    const before = readLab(stage.labs, lab)?.wanLinks.find((l) => ends.every((e) => l.id.split('=').some((x) => x.startsWith(`${e}:`))))?.impairment;
    if (before === undefined) throw new Error(`no line between ${ends.join(' and ')}`);
    const set = (delayUs: number): Promise<void> => setLink(lab, ...ends, { ...before, delayUs }, { stateDir: stage.labs });
    await set(SLOW_US);
    return () => set(before.delayUs);
  }

  async show(): Promise<void> {
    const { report } = this.#story;
    const to = this.#place.name;
    await this.#servedFrom(HOME, 60_000);
    const before = sitesOf(await this.#placed('having a placement', (p) => p.spec.sites.length > 0));
    const from = Date.now();
    await this.#story.kubectl(['patch', 'application', NAME, '--type=merge', '-p', JSON.stringify({ spec: { policy: { sites: { required: { names: [HOME, to] } } } } })]);
    const meanwhile = sitesOf(await this.#placed(`beginning to move to ${to}`, (p) => p.status?.moves?.some((m) => m.to === to && m.phase === 'starting') === true));
    const mend = await this.#slow();
    report.say(`${NAME} moves to ${to}; its line becomes slow before its first traffic: ${SLOW_US / 1000} ms each way`);
    try {
      const undone = await this.#placed(`having its move to ${to} undone`, (p) => p.status?.moves?.some((m) => m.phase === 'undone') === true);
      const took = Date.now() - from;
      await this.#tell(undone, before, meanwhile, took, from);
    } finally {
      await mend();
    }
    await this.end();
    await this.#story.kubectl(['delete', 'application', NAME, '--wait=false']);
  }

  async #tell(undone: Placement, before: string, meanwhile: string, took: number, from: number): Promise<void> {
    const { report } = this.#story;
    const to = this.#place.name;
    const reason = undone.status?.moves?.find((m) => m.phase === 'undone')?.reason ?? '';
    const [, site, region, measured, , predicted, was] = REASON.exec(reason) ?? [];
    const isWorse = Number(measured) > Number(predicted) * 1.25 && Number(measured) > Number(was) + 5;
    await this.#servedFrom(HOME, 30_000);
    const after = await this.#placed(`having nothing at ${to} any more`, (p) => p.status?.sites?.every((s) => s.site !== to) === true);
    const all = this.#traffic.span(from, Date.now(), '*', '*');
    const visits = all.servedBy[to] ?? 0;
    report.check('a move that turns out worse than predicted is taken back', reason, isWorse && site === to && region === this.#client.region);
    report.check('where it was before, meanwhile, and after', `${before} -> ${meanwhile} -> ${sitesOf(after)}, taken back ${seconds(took)} after it was allowed; ${visits} requests were answered from ${to}, ${all.failed} of ${all.sent} failed${all.failed > 0 ? ` (${all.lastError ?? ''})` : ''}`, before === HOME && meanwhile === to && sitesOf(after) === HOME && visits > 0 && all.failed === 0);
  }

  async end(): Promise<void> {
    await this.#traffic.stop();
  }
}
