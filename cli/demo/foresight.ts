/** What the global scheduler says before anything is done: a policy that physics forbids, a plan for what is not applied yet, a site that is not lost yet. */
import { writeFileSync } from 'node:fs';
import type { DryRun } from '../../api/scheduling.ts';
import { until } from './report.ts';
import { APPLICATIONS, type Story } from './story.ts';

/** A goal that light itself cannot meet from the only site that is allowed. */
const impossible = {
  apiVersion: 'mesh.proxima.io/v1', kind: 'PlacementPolicy', metadata: { name: 'faster-than-light', tenant: 'acme', namespace: 'default' },
  spec: { latency: [{ percentile: 95, milliseconds: 1, clientRegion: 'metro-a' }], instances: { min: 1, max: 1 }, sites: { required: { names: ['edge-c'] } } },
};

const another = {
  apiVersion: 'mesh.proxima.io/v1', kind: 'Application', metadata: { name: 'another', tenant: 'acme', namespace: 'default' },
  spec: { vpc: 'shop', service: { port: 8083, targetPort: 80 }, policyRef: 'near-clients', template: { spec: { containers: [{ name: 'web', image: 'localhost/proxima-web:1' }] } } },
};

async function ask(story: Story, args: readonly string[]): Promise<DryRun> {
  const { mesh, facts } = story.stage;
  return JSON.parse(await mesh.cli(facts.global.netns, [...args, '--kubeconfig', mesh.kubeconfig('global'), '-o', 'json'])) as DryRun;
}

export async function askInAdvance(story: Story): Promise<void> {
  const { stage, report } = story;
  const file = stage.mesh.path('impossible.json');
  writeFileSync(file, JSON.stringify(impossible));
  const answer = await stage.mesh.kubectl('global', ['apply', '-f', file]).catch((error: unknown) => (error as Error).message);
  report.check('refused: a latency goal below what light needs', answer.split(': ').slice(1).join(': '), answer.includes('spec.latency[0].milliseconds'));
  const wish = stage.mesh.path('another.json');
  writeFileSync(wish, JSON.stringify(another));
  const planned = await ask(story, ['plan', '-f', wish]);
  const its = planned.changes.filter((c) => c.application === 'acme/default/another');
  const names = await stage.mesh.kubectl('global', ['get', '--raw', '/apis/mesh.proxima.io/v1/tenants/acme/namespaces/default/applications']);
  report.check('proxima plan of an application that is not applied', `${its.map((c) => `${c.from} -> ${c.to} at ${c.site}`).join(', ') || 'nowhere'}, cost ${planned.summary.costPerHour.before ?? 0} -> ${planned.summary.costPerHour.after ?? 0}; nothing written`, its.some((c) => c.to > 0) && !names.includes('"another"'));
  story.simulated(report);
}

/** Where the hot site's clients would be served from without it, per application: compared with what happens when its uplink is cut. */
export async function foresee(story: Story): Promise<ReadonlyMap<string, string>> {
  return until('what-if saying who takes over', 20_000, async () => {
    const run = await ask(story, ['what-if', '--site-down', story.hot.name]);
    const of = (a: string): string | undefined => run.changes.find((c) => c.application === a && c.to > c.from)?.site;
    story.report.say(`proxima what-if --site-down ${story.hot.name}: ${run.changes.map((c) => `${c.application.split('/').at(-1)} ${c.site} ${c.from} -> ${c.to}`).join(', ') || 'nothing would start elsewhere'}`);
    return new Map(APPLICATIONS.flatMap((a) => (of(a) === undefined ? [] : [[a, of(a) as string] as const])));
  });
}
