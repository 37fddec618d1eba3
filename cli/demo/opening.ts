/** The story's opening: the regions come up with their gateways and nodes, then the edge sites join. */
import type { SiteFacts } from './facts.ts';
import { type Report, seconds, until } from './report.ts';
import { LOCATIONS, nodesReady, regionReady, type Stage } from './stage.ts';

export const allNodes = (s: SiteFacts): readonly string[] => [s.gateway, ...s.others].map((n) => n.name);

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

export async function joinSites(stage: Stage, report: Report): Promise<void> {
  const started = performance.now();
  const edges = stage.facts.sites.filter((s) => s.kind === 'edge');
  for (const s of edges) {
    const first = await stage.mesh.createSite(s, LOCATIONS[s.name]);
    await stage.mesh.joinNode(s, s.gateway, first);
    stage.mesh.tokens.set(s.name, first);
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
}
