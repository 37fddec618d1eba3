/**
 * An application of which never two may serve: it stands at the hot site with a fence when the uplink is cut. Its node stops it by itself, it is
 * replaced elsewhere, neither the boot without the cloud nor the return of the uplink brings the old one back.
 */
import { execa } from 'execa';
import type { Pod } from '../../api/kinds/core.ts';
import { placementOf } from './narrator.ts';
import { until } from './report.ts';
import type { Story } from './story.ts';

const NAME = 'onlyone';
const PORT = 8_084;
const REFUGE = 'west';
const AFTER_SECONDS = 3;

const application = (hot: string): string => JSON.stringify({
  apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: NAME, tenant: 'acme', namespace: 'default' },
  spec: {
    vpc: 'shop', service: { port: PORT, targetPort: 80 },
    policy: { instances: { min: 1, max: 1 }, sites: { required: { names: [hot] } }, unreachable: { action: 'fence', afterSeconds: AFTER_SECONDS }, failback: { stabilisationSeconds: 2 } },
    template: { spec: { containers: [{ name: 'web', image: 'localhost/proxima-web:1', resources: { requests: { cpu: '20m', memory: '16Mi' } }, readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 1 } }] } },
  },
});

/** Runs on the client's host: who answers at each front, until it is told to end; a line each. */
const LISTEN = `
const fronts = process.argv.slice(1);
process.stdin.resume().on('end', () => process.exit(0));
for (;;) {
  await Promise.all(fronts.map(async (front) => {
    const reply = await fetch('http://' + front + ':${PORT}/', { signal: AbortSignal.timeout(1000) }).then((r) => r.json()).catch(() => null);
    if (reply !== null) console.log(reply.site);
  }));
  await new Promise((r) => setTimeout(r, 200));
}
`;

export class OnlyOne {
  readonly #story: Story;
  readonly #answers: string[] = [];
  #end: () => Promise<void> = async () => undefined;

  constructor(story: Story) {
    this.#story = story;
  }

  async #pods(): Promise<readonly Pod[]> {
    const { mesh, facts } = this.#story.stage;
    const lists = await Promise.all(facts.regions.map(async (r) => (JSON.parse(await mesh.kubectl(r.name, ['get', '--raw', '/api/v1/tenants/acme/pods'])) as { readonly items: readonly Pod[] }).items));
    return lists.flat().filter((p) => p.metadata.labels?.['mesh.proxima.io/application'] === NAME);
  }

  /** At the hot site only, so that it is there when the uplink is cut. */
  async start(): Promise<void> {
    const { report, hot } = this.#story;
    await this.#story.kubectl(['apply', '-f', '-'], application(hot.name));
    report.say(`kubectl apply: application ${NAME}, never more than one; without the cloud its node stops it after ${AFTER_SECONDS} s`);
  }

  /** The fence is of use only when the node has said that it keeps it; then it may go elsewhere. */
  async isArmed(): Promise<void> {
    await until(`${NAME} Ready at ${this.#story.hot.name}, with its fence armed`, 60_000, async () => {
      const at = (await this.#pods()).filter((p) => p.metadata.labels?.['mesh.proxima.io/site'] === this.#story.hot.name);
      return at.some((p) => ['Ready', 'mesh.proxima.io/FenceArmed'].every((type) => p.status?.conditions?.some((c) => c.type === type && c.status === 'True'))) ? true : null;
    }, 250);
    await this.#policy({ sites: { required: { names: [this.#story.hot.name, REFUGE] } } });
  }

  /** A policy's change replaces nothing that runs. */
  async #policy(change: object): Promise<void> {
    await this.#story.kubectl(['patch', 'application', NAME, '--type=merge', '-p', JSON.stringify({ spec: { policy: change } })]);
  }

  /** From now on clients ask at every front of the two sites. */
  listen(): void {
    const { hot, stage } = this.#story;
    const client = stage.facts.clients.find((c) => c.region === this.#story.hotClients) ?? stage.facts.clients[0];
    const fronts = stage.facts.sites.filter((s) => s.name === hot.name || s.name === REFUGE).map((s) => s.gateway.uplink ?? '');
    const child = execa('nsenter', [`--net=/run/netns/${client?.netns ?? ''}`, '--', process.execPath, '--input-type=module', '-e', LISTEN, ...fronts], { reject: false, stdin: 'pipe', buffer: false });
    child.stdout.on('data', (lines: Buffer) => this.#answers.push(...lines.toString().trim().split('\n')));
    this.#end = async () => {
      child.stdin.end();
      await child;
    };
  }

  async replaced(): Promise<void> {
    await until(`${NAME} serving at ${REFUGE}`, 60_000, async () => ((await placementOf(this.#story.stage, NAME)).status?.sites?.some((s) => s.site === REFUGE && s.ready === 1) === true ? true : null), 250);
    await until(`clients of ${NAME} being answered by ${REFUGE}`, 20_000, async () => (this.#answers.includes(REFUGE) ? true : null), 100);
    // else a new one would be started at the hot site when that is back, and the old one would have to be told from it
    await this.#policy({ failback: { automatic: false } });
    this.#answers.length = 0;
  }

  /** After the site is back and was heard. */
  async check(): Promise<void> {
    const { report, hot, stage } = this.#story;
    await until(`the old ${NAME} being gone from its region`, 30_000, async () => ((await this.#pods()).every((p) => p.metadata.labels?.['mesh.proxima.io/site'] !== hot.name) ? true : null), 250);
    const served = (site: string): number => this.#answers.filter((a) => a === site).length;
    const { epochs } = JSON.parse((await placementOf(stage, NAME)).metadata.annotations?.['mesh.proxima.io/moves'] ?? '{}') as { readonly epochs?: Readonly<Record<string, number>> };
    report.check(`what was replaced while ${hot.name} was cut off does not serve when it returns`, `${served(REFUGE)} answers from ${REFUGE}, ${served(hot.name)} from ${hot.name}, whose epoch is ${epochs?.[hot.name] ?? 0}`, served(REFUGE) > 0 && served(hot.name) === 0 && epochs?.[hot.name] === 1);
    await this.end();
    await this.#story.kubectl(['delete', 'application', NAME, '--wait=false']);
  }

  async end(): Promise<void> {
    await this.#end();
    this.#end = async () => undefined;
  }
}
