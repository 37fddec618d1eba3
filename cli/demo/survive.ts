/** kill -9 of any one process, in turn, under traffic: nobody notices, and what was killed takes up where it was. */
import type { Site } from '../../api/kinds/mesh.ts';
import { until } from './report.ts';
import { kubeJson, nodesReady, regionReady } from './stage.ts';
import { APPLICATIONS, type Story } from './story.ts';

const DOWN_MS = 2_000;

export async function surviveKills(story: Story): Promise<void> {
  const { stage, report, traffic } = story;
  const { processes, mesh, facts } = stage;
  const site = story.hot;
  const region = site.region;
  const placed = async (): Promise<string> => JSON.stringify(await Promise.all(APPLICATIONS.map(async (a) => (await story.placementOf(a)).spec.sites.map((s) => [s.site, s.instances]))));
  const gatewayBack = (): Promise<true> => until(`${site.name}'s gateway being connected`, 40_000, async () => {
    const s = await kubeJson<Site>(stage, region, ['get', 'site', site.name]);
    return s.status?.gateway?.connected === true && s.status.phase === 'Ready' ? true : null;
  }, 500);
  const cases: readonly [name: string, what: string, back: () => Promise<unknown>][] = [
    [`region-${region}`, 'a region server', () => regionReady(stage, region)],
    [`cloud-gateway-${region}`, 'a cloud gateway', gatewayBack],
    [`edge-gateway-${site.name}`, 'an edge gateway', gatewayBack],
    [`agent-${site.gateway.name}`, 'an agent', () => nodesReady(stage, region, [site.gateway.name], 60_000)],
    ['global', 'the global scheduler', () => until('the global API answering', 60_000, async () => ((await mesh.kubectl('global', ['get', '--raw', '/readyz'])).includes('ok') ? true : null), 500)],
  ];
  for (const [name, what, back] of cases) {
    const before = await placed();
    const from = Date.now();
    const spec = await processes.kill9(name);
    await new Promise((r) => setTimeout(r, DOWN_MS));
    processes.start(spec);
    await back();
    const took = (Date.now() - from) / 1000;
    await new Promise((r) => setTimeout(r, 2_000));
    const s = traffic.span(from, Date.now(), '*', '*');
    const after = await placed();
    report.check(`kill -9 of ${what} under traffic`, `back after ${took.toFixed(1)} s, ${s.failed} of ${s.sent} requests failed${before === after ? '' : `, placements ${before} -> ${after}`}`, s.failed === 0 && s.sent > 20);
  }
  report.say(`${facts.sites.length} sites still as they were placed`);
}
